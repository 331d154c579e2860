"""What do active cancellations cost the claims that they do not match?"""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.bed import Bed, bed, seed
from secateur.requests import CancellationRequest

ACTIVE = (0, 1, 10)
BATCHES = (10, 100)
WORKERS = 2
CLAIMS = 60
"""Claims per worker and round."""
ROUNDS = 5


async def measure() -> list[str]:
    """A table: batch size, then the throughput with each number of cancellations against none."""
    rows = []
    for batch in BATCHES:
        async with bed() as ground:
            await seed(ground.database, batch * WORKERS * CLAIMS * len(ACTIVE) * (ROUNDS + 1))
            found: dict[int, list[float]] = {active: [] for active in ACTIVE}
            # The rounds take turns, so that whatever else the machine does meets all of them.
            for _ in range(ROUNDS):
                for active in ACTIVE:
                    found[active].append(await _round(ground, active, batch))
        base = statistics.median(found[0])
        cells = [f"{statistics.median(found[active]) / base:.2f}" for active in ACTIVE[1:]]
        rows.append(f"| {batch} | {base:,.0f} runs/s | {' | '.join(cells)} |")
    return [
        f"### Claim and complete, {WORKERS} connections, by active cancellations that match nothing claimed",
        "",
        "| batch | none | 1, against none | 10, against none |",
        "|---:|---:|---:|---:|",
        *rows,
    ]


async def _round(ground: Bed, active: int, batch: int) -> float:
    """Runs claimed and completed per second with that many active cancellations."""
    requests = [
        CancellationRequest.parse(
            {"app_id": "bench", "if": f"event.data.vendor_id == 'nobody-{n}' && event.data.amount > {n}"}
        )
        for n in range(active)
    ]
    committed = [await ground.cancellations.commit(request, author="bench", source="python") for request in requests]
    await ground.database.execute("vacuum secateur.runs")
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as workers:
        for _ in range(WORKERS):
            workers.create_task(_claim(ground, batch))
    seconds = time.perf_counter() - begun
    for cancellation in committed:
        await ground.cancellations.stop(cancellation.id, author="bench")
    return WORKERS * CLAIMS * batch / seconds


async def _claim(ground: Bed, batch: int) -> None:
    for _ in range(CLAIMS):
        runs = await ground.database.fetch(
            "select id, claim_token from secateur.claim('bench', null, $1, 'bench', interval '1 minute')",
            batch,
        )
        assert len(runs) == batch
        await ground.database.execute(
            "select secateur.complete(held.id, held.token) from unnest($1::uuid[], $2::uuid[]) as held (id, token)",
            [run["id"] for run in runs],
            [run["claim_token"] for run in runs],
        )
