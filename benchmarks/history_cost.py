"""What does the depth's history cost: those who claim, the disk, and whoever reads it?

A sample is taken once a second, beside the claims, and takes no lock that they want. So it costs them at most the part
of a second for which it keeps one core busy.
"""

from __future__ import annotations

import statistics
from datetime import timedelta

from benchmarks.bed import APP, Bed, Ground, say, timed
from benchmarks.report import goal
from secateur.looking.history import DepthHistory
from secateur.runs import Scope

TITLE = "What the depth's history costs"

FUNCTIONS = (3, 300, 3000)
SAMPLES = 100
READS = 20

FILL = """
insert into secateur.depth_totals (app_id, function_id, queued, scheduled, running, failed, entered, drained, moved_at)
select $1, 'function-' || n, 1000 + n, n % 7, n % 5, n % 3, 100000 + n, 99000, clock_timestamp()
  from generate_series(1, $2::integer) as n
"""

MOVE = """
update secateur.depth_totals
   set queued = queued + (random() * 20 - 9)::integer,
       entered = entered + (random() * 50)::integer,
       drained = drained + (random() * 40)::integer,
       moved_at = $2
 where app_id = $1
"""

PAST = """
insert into secateur.depth_samples
select one.app_id, true, one.at - interval '10 s' * back, one.function_ids,
       array(select greatest(0, queued + (random() * 50)::integer) from unnest(one.queued) as queued),
       one.scheduled, one.running, one.failed,
       array(select entered - back * 100 - (random() * 50)::integer from unnest(one.entered) as entered),
       array(select drained - back * 90 - (random() * 50)::integer from unnest(one.drained) as drained),
       one.cancelling, one.cut
  from (select * from secateur.depth_samples where coarse order by at desc limit 1) as one,
       generate_series(100, 17280) as back
"""


async def measure(ground: Ground) -> list[str]:
    rows, goals = [], []
    for functions in FUNCTIONS:
        async with ground.bed() as bed:
            await bed.database.execute("select secateur.ensure_function($1, 'function-1')", APP)
            await bed.database.execute(FILL, APP, functions)
            sampling = await _sampling(bed, ground.scaled(SAMPLES))
            await bed.database.execute(PAST)
            await bed.database.execute("vacuum analyze secateur.depth_samples")
            size = await bed.database.fetchval("select pg_total_relation_size('secateur.depth_samples')")
            history = DepthHistory(bed.engine)
            reading = [await _reading(bed, name, ground.scaled(READS)) for name in ("15m", "2h", "48h")]
            everything = await timed(lambda history=history: history.overview("48h"))  # type: ignore[misc]
            say(f"{functions}: {1000 * sampling:.1f} ms a sample, {size / 1e6:.0f} MB")
            cells = [f"{1000 * seconds:.1f} ms" for seconds in (sampling, *reading, everything)]
            rows.append(f"| {functions:,} | {cells[0]} | {size / 1e6:,.0f} MB | {' | '.join(cells[1:])} |")
            goals.append(goal(f"a sample of {functions:,} functions, of a core's second", 100 * sampling, " %", most=1))
    return [
        f"### All of the app's functions busy; a sample once a second, the median of {ground.scaled(SAMPLES)}",
        "",
        "| functions | one sample | 48 hours on disk | one series of 15m | 2h | 48h | all functions, 48h |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


async def _sampling(bed: Bed, times: int) -> float:
    """Seconds of the median sample, of moments a second apart."""
    begun = await bed.engine.clock() - timedelta(seconds=times + 1)
    found = []
    for number in range(times):
        moment = begun + timedelta(seconds=number)
        await bed.database.execute(MOVE, APP, moment)
        found.append(
            await timed(lambda at=moment: bed.database.execute("select secateur.sample_depth($1, $2)", APP, at))  # type: ignore[misc]
        )
    if await bed.database.fetchval("select count(*) from secateur.depth_samples") != times:
        raise RuntimeError("not every sample was kept")
    return statistics.median(found)


async def _reading(bed: Bed, name: str, times: int) -> float:
    """Seconds of the median read, with its gaps and marks and the growth."""
    history = DepthHistory(bed.engine)
    scope = Scope(APP, "function-1" if name == "15m" else None)
    return statistics.median([await timed(lambda: history.series(scope, name)) for _ in range(times)])
