"""What do active cancellations cost the claims that they do not match?"""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.bed import Bed, Ground, claim, complete, median_ratio, say, seed
from benchmarks.report import because, goal
from secateur.requests import CancellationRequest

TITLE = "Claims under active cancellations"

ACTIVE = (0, 1, 10)
BATCHES = (10, 100)
WORKERS = 2
CLAIMS = {10: 150, 100: 60}
"""Claims per worker and round, by their batch."""
ROUNDS = 9

WHY = "each claim plans anew the one statement that evaluates its runs by all conditions of the moment"


async def measure(ground: Ground) -> list[str]:
    rows, goals = [], []
    rounds = ground.scaled(ROUNDS)
    for batch in BATCHES:
        claims = ground.scaled(CLAIMS[batch])
        async with ground.bed() as bed:
            await seed(bed.database, batch * WORKERS * claims * len(ACTIVE) * (rounds + 1))
            found: dict[int, list[float]] = {active: [] for active in ACTIVE}
            # The rounds take turns, so that whatever else the machine does meets all of them; the first warms up.
            for number in range(rounds + 1):
                for active in ACTIVE:
                    rate = await _round(bed, active, batch, claims)
                    if number > 0:
                        found[active].append(rate)
        base = statistics.median(found[0])
        ratios = [median_ratio(found[active], found[0]) for active in ACTIVE[1:]]
        say(f"batch {batch}: {base:,.0f} runs/s, {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        rows.append(f"| {batch} | {base:,.0f} runs/s | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
        what = f"claims of {batch} under {ACTIVE[-1]} active cancellations, against none"
        goals += because(goal(what, ratios[-1], least=0.9), WHY)
    return [
        f"### Claim and complete, {WORKERS} connections, by active cancellations that match nothing claimed",
        "",
        "| batch | none | 1, against none | 10, against none |",
        "|---:|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


async def _round(bed: Bed, active: int, batch: int, claims: int) -> float:
    """Runs claimed and completed per second with that many active cancellations."""
    requests = [
        CancellationRequest.parse(
            {"app_id": "bench", "if": f"event.data.vendor_id == 'nobody-{n}' && event.data.amount > {n}"}
        )
        for n in range(active)
    ]
    committed = [await bed.cancellations.commit(request, author="bench", source="python") for request in requests]
    await bed.database.execute("vacuum secateur.runs")
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as workers:
        for _ in range(WORKERS):
            workers.create_task(_claim(bed, batch, claims))
    seconds = time.perf_counter() - begun
    for cancellation in committed:
        await bed.cancellations.stop(cancellation.id, author="bench")
    return WORKERS * claims * batch / seconds


async def _claim(bed: Bed, batch: int, claims: int) -> None:
    for _ in range(claims):
        held = await claim(bed.database, batch)
        assert len(held[0]) == batch
        await complete(bed.database, held)
