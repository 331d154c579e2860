"""How fast are runs put in, against other queues in Postgres written in Python?

Each by the client that an application would use, in a process of its own and over one connection.
"""

from __future__ import annotations

import json
import statistics

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import AWA, OBAN, PGQUEUER, SECATEUR, System
from benchmarks.report import because, goal
from benchmarks.runners.protocol import BATCH
from secateur.engines.native.client import Queue

TITLE = "Enqueueing"

WHY = {
    "one": "around its INSERT a call looks whether the function is known, noted and awaited, and counts the run",
    "many": "its index entries are half of what a run costs, and its event is parsed as JSON (pgqueuer keeps bytes)",
}

ROUNDS = 2
ENQUEUED = {"one": 500, "many": 10_000, "bulk": 50_000}
"""Runs by the way in which they are put in."""
SLOWER = 10
"""So many times fewer for those that take longer."""


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared(AWA, OBAN)
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(ground.scaled(ROUNDS)):
        for system in compared.systems:
            for way in _ways(system):
                found.setdefault((system.name, way), []).append(await _once(ground, system, way))
    rates = {key: statistics.median(rounds) for key, rounds in found.items()}
    lines = [
        *compared.missing,
        f"### Runs put in per second over one connection, median of {ground.scaled(ROUNDS)} rounds",
        "",
        f"| queue | one by one | {BATCH:,} a call | all in one call |",
        "|:--|---:|---:|---:|",
    ]
    for system in compared.systems:
        cells = [f"{rates[system.name, way]:,.0f}" if (system.name, way) in rates else "–" for way in ENQUEUED]
        lines.append(f"| {compared.labels[system.name]} | {' | '.join(cells)} |")
    lines.append("")
    if PGQUEUER in compared.systems:
        for way, words in (("one", "one by one"), ("many", f"{BATCH:,} a call")):
            own, other = (rates[name, way] for name in (SECATEUR.name, PGQUEUER.name))
            lines += because(goal(f"enqueue {words} against pgqueuer", own / other, least=1.2), WHY[way])
    return lines


def _ways(system: System) -> list[str]:
    has_bulk = system is SECATEUR and hasattr(Queue, "enqueue_bulk")
    return [way for way in ENQUEUED if way != "bulk" or has_bulk]


async def _once(ground: Ground, system: System, way: str) -> float:
    """Runs per second."""
    jobs = ground.scaled(ENQUEUED[way] // (1 if system in {SECATEUR, PGQUEUER} else SLOWER))
    runs = jobs if way == "one" else max(1, jobs // BATCH) * BATCH
    async with ground.empty() as url:
        await peers.call(system, "install", url)
        answer = await peers.call(system, "enqueue", url, way, str(runs))
    seconds: float = json.loads(answer)["seconds"]
    say(f"{system.name}, {way}: {runs / seconds:,.0f}/s")
    return runs / seconds
