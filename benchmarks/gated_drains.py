"""How long is a drain in which a third of the jobs is cancelled, by an engine's own worker?

180 jobs of 10 ms. A commit cancels a third of them just before one worker process starts, with the gate on, and a sweep
in this process. The other drain of a round is of as many jobs, without a cancellation. Both begin with the worker's
process, whose start takes some tenths of a second.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack

from benchmarks.bed import Ground, median_ratio, say
from benchmarks.gated_claims import EQUALITY
from benchmarks.gated_workers import Place, beds, commit, placed, until_done
from benchmarks.report import because, goal

TITLE = "Drains in which a third is cancelled"

ROUNDS = 3
DRAINED, SECONDS = 180, 0.01
WHY = "the gate, the sweep, and two cores that all of it shares"


async def measure(ground: Ground) -> list[str]:
    rounds = ground.scaled(ROUNDS)
    lines = [
        f"### Seconds until {DRAINED} jobs of {1000 * SECONDS:.0f} ms are drained, the median of {rounds} rounds",
        "",
        "| worker of | a third is cancelled | nothing is cancelled | ratio |",
        "|:--|---:|---:|---:|",
    ]
    goals: list[str] = []
    for kind in beds():
        cancelled, usual = [], []
        async with AsyncExitStack() as stack:
            gated = await placed(stack, ground, kind, (EQUALITY, 0))
            sweeping = asyncio.create_task(gated.queue.cancellations.sweep_forever())
            stack.callback(sweeping.cancel)
            for number in range(rounds):
                for vendor, seconds in ((f"v{number}", cancelled), ("", usual)):
                    seconds.append(await _drain(gated, number, vendor))
        ratio = median_ratio(cancelled, usual)
        figures = [statistics.median(seconds) for seconds in (cancelled, usual)]
        lines.append(f"| {kind.engine} | {figures[0]:.2f} s | {figures[1]:.2f} s | {ratio:.2f} |")
        say(f"{kind.engine}: {ratio:.2f}")
        what = f"{kind.engine}: drain of {DRAINED} jobs of which a third is cancelled, against none"
        goals += because(goal(what, ratio, most=1.3), WHY)
    return [*lines, "", *goals]


async def _drain(gated: Place, number: int, vendor: str) -> float:
    """Jobs of which every third has that vendor, which is cancelled, if it is not empty."""
    vendors = [vendor or "other", "other", "other"]
    payloads = [{"number": 1 + n, "seconds": SECONDS, "vendor": vendors[n % 3]} for n in range(DRAINED)]
    await gated.bed.enqueue(payloads)
    if vendor:
        await commit(gated.queue, f"event.data.vendor == '{vendor}'")
    begun = time.perf_counter()
    async with gated.bed.worker(concurrency=2):
        await until_done(gated)
        return time.perf_counter() - begun
