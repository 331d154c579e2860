"""Does a queue that is never idle grow, or become slower?"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress

from benchmarks.bed import Bed, Ground, claim, complete, say, seed
from benchmarks.load import Load, loaded
from benchmarks.report import because, goal
from secateur.engines.upkeep import Maintenance

TITLE = "Sustained load"

BACKLOG = 20_000
PROCESSES = 2
KEPT = "5 seconds"
"""How long finished runs are kept, so that pruning comes into balance with the load soon."""
SPANS = 4
SPAN_SECONDS = 25.0
"""The first span is the way into that balance, and not compared."""
LOOK_SECONDS = 0.5

WHY_SIZE = "pruning and autovacuum get what two busy processes leave them of two cores"
WHY_RATE = "dead entries that autovacuum has not removed yet lie in the claims' way"

SIZE = """
select sum(pg_total_relation_size(class.oid))
  from pg_class as class where class.relnamespace = 'secateur'::regnamespace and class.relkind = 'r'
"""


async def measure(ground: Ground) -> list[str]:
    length = SPAN_SECONDS / 20 if ground.quick else SPAN_SECONDS
    async with ground.bed() as bed:
        await seed(bed.database, BACKLOG)
        await bed.database.execute("update secateur.retention set finished = $1::text::interval", KEPT)
        upkeep = asyncio.create_task(Maintenance(bed.engine).keep_up_forever())
        try:
            async with loaded(bed.url, PROCESSES) as load:
                spans = [await _span(bed, load, length) for _ in range(SPANS)]
        finally:
            upkeep.cancel()
            with suppress(asyncio.CancelledError):
                await upkeep
    second, last = spans[1], spans[-1]
    rows = [
        f"| {place} | {rate:,.0f} | {1000 * median:.2f} ms | {size / 2**20:,.0f} MB |"
        for place, (rate, median, size) in enumerate(spans, start=1)
    ]
    return [
        f"### {PROCESSES} processes claim, complete and enqueue {SPANS * length:.0f} s long; "
        f"backlog {BACKLOG:,}, finished runs kept {KEPT}",
        "",
        f"| {length:.0f} s | runs/s | claim p50 | largest size of all tables |",
        "|---:|---:|---:|---:|",
        *rows,
        "",
        *because(
            goal("size under sustained load, last span against the second", last[2] / second[2], most=1.25), WHY_SIZE
        ),
        *because(
            goal("runs/s under sustained load, last span against the second", last[0] / second[0], least=0.8), WHY_RATE
        ),
    ]


async def _span(bed: Bed, load: Load, length: float) -> tuple[float, float, int]:
    """Runs per second, the median of a claim's seconds, the largest size in bytes."""
    begun, before = time.monotonic(), load.done
    claims, sizes = [], []
    while time.monotonic() - begun < length:
        asked = time.perf_counter()
        held = await claim(bed.database, 10)
        claims.append(time.perf_counter() - asked)
        await complete(bed.database, held)
        sizes.append(int(await bed.database.fetchval(SIZE)))
        await asyncio.sleep(LOOK_SECONDS)
    rate = (load.done - before) / (time.monotonic() - begun)
    say(f"{rate:,.0f} runs/s, claim {1000 * statistics.median(claims):.2f} ms, {max(sizes) / 2**20:,.0f} MB")
    return rate, statistics.median(claims), max(sizes)
