"""What do active cancellations cost the claims that they do not match?"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from benchmarks.bed import Bed, Ground, claim, complete, say, seed, timed
from benchmarks.report import because, goal
from secateur.requests import CancellationRequest

TITLE = "Claims under active cancellations"

ACTIVE = (0, 1, 10)
CALLS = {10: 1500, 100: 500}
"""Claims of each queue, by their batch."""
WARM_UP = 20

WHY = "each claim plans anew the one statement that evaluates its runs by all conditions of the moment"


@dataclass(slots=True)
class Times:
    """Seconds of each call on one queue."""

    claims: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)
    """Of a claim and of completing what it brought."""


async def measure(ground: Ground) -> list[str]:
    rows, goals = [], []
    for batch, calls in CALLS.items():
        found = await _in_turns(ground, batch, ground.scaled(calls))
        none, one, ten = ([statistics.median(times.claims), statistics.median(times.both)] for times in found)
        cells = [none[0] / one[0], none[0] / ten[0], none[1] / one[1], none[1] / ten[1]]
        say(f"batch {batch}: {batch / none[1]:,.0f} runs/s, {', '.join(f'{cell:.2f}' for cell in cells)}")
        rows.append(
            f"| {batch} | {1000 * none[0]:.2f} ms | {cells[0]:.2f} | {cells[1]:.2f} "
            f"| {batch / none[1]:,.0f} runs/s | {cells[2]:.2f} | {cells[3]:.2f} |"
        )
        what = f"claims of {batch}, and their completion, under {ACTIVE[-1]} active cancellations, against none"
        goals += because(goal(what, cells[-1], least=0.9), WHY)
    return [
        "### One connection, the median call, by active cancellations that match nothing claimed",
        "",
        "| batch | claim, none | 1, against none | 10 | claim and complete, none | 1, against none | 10 |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


async def _in_turns(ground: Ground, batch: int, calls: int) -> list[Times]:
    """A queue for each number of active cancellations. They take turns call by call, so that whatever else the machine
    does meets all of them."""
    async with AsyncExitStack() as stack:
        beds = [await stack.enter_async_context(ground.bed()) for _ in ACTIVE]
        for bed, active in zip(beds, ACTIVE, strict=True):
            await seed(bed.database, batch * (WARM_UP + calls))
            await _commit(bed, active)
        for bed in beds:
            for _ in range(WARM_UP):
                await _claim_and_complete(bed, batch, Times())
        found = [Times() for _ in ACTIVE]
        places = list(range(len(ACTIVE)))
        for _ in range(calls):
            for place in places:
                await _claim_and_complete(beds[place], batch, found[place])
            places.append(places.pop(0))
        return found


async def _commit(bed: Bed, active: int) -> None:
    for n in range(active):
        request = CancellationRequest.parse(
            {"app_id": "bench", "if": f"event.data.vendor_id == 'nobody-{n}' && event.data.amount > {n}"}
        )
        await bed.cancellations.commit(request, author="bench", source="python")


async def _claim_and_complete(bed: Bed, batch: int, times: Times) -> None:
    held = []

    async def ask() -> None:
        held.append(await claim(bed.database, batch))

    seconds = await timed(ask)
    assert len(held[0][0]) == batch
    times.claims.append(seconds)
    times.both.append(seconds + await timed(lambda: complete(bed.database, held[0])))
