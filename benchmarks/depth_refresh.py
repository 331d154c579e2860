"""What the console asks every second: how long does the depth take, whatever the backlog?"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from benchmarks.bed import APP, Bed, Ground, quantile, say, timed
from benchmarks.load import loaded
from benchmarks.report import because, goal
from secateur.engines.upkeep import Maintenance

TITLE = "Depth refresh"

SMALL = 10_000
REFRESHES = 300
CLAIMERS = 2

COUNTED = """
select run.app_id, run.function_id, run.status, count(*)
  from secateur.runs as run where run.status in ('queued', 'scheduled', 'running') group by 1, 2, 3
"""

WHY = "the sums of what was not yet moved into the totals, which two busy processes leave little time to move"


async def measure(ground: Ground) -> list[str]:
    rows, goals = [], []
    for size in sorted({min(SMALL, ground.largest), ground.largest}):
        bed = await ground.backlog(size)
        while await bed.database.fetchval("select secateur.compact_depth($1)", APP):
            pass
        quiet = await _refresh(bed, ground.scaled(REFRESHES))
        busy = await _refresh_under_load(bed, ground.scaled(REFRESHES))
        counted = 1000 * await timed(lambda bed=bed: bed.database.fetch(COUNTED))  # type: ignore[misc]
        cells = [quantile(seconds, share) for seconds in (quiet, busy) for share in (0.5, 0.99)]
        say(f"{size:,}: " + ", ".join(f"{cell:.2f} ms" for cell in cells))
        rows.append(f"| {size:,} | {' | '.join(f'{cell:.2f} ms' for cell in cells)} | {counted:,.0f} ms |")
        if size == ground.largest:
            goals += because(goal(f"depth refresh p99 at {size:,}", cells[1], " ms", most=50), WHY)
            goals += because(goal(f"depth refresh p99 at {size:,}, under load", cells[3], " ms", most=50), WHY)
    times = ground.scaled(REFRESHES)
    return [
        f"### {times} refreshes each; under load: while {CLAIMERS} processes claim, complete and enqueue",
        "",
        "| backlog | p50 | p99 | under load p50 | p99 | counting the rows instead |",
        "|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


async def _refresh(bed: Bed, times: int) -> list[float]:
    await bed.engine.depth()
    return [await timed(bed.engine.depth) for _ in range(times)]


async def _refresh_under_load(bed: Bed, times: int) -> list[float]:
    """With the upkeep that any worker or console does beside its work."""
    upkeep = asyncio.create_task(Maintenance(bed.engine).keep_up_forever())
    try:
        async with loaded(bed.url, CLAIMERS):
            return await _refresh(bed, times)
    finally:
        upkeep.cancel()
        with suppress(asyncio.CancelledError):
            await upkeep
