"""How fast are runs put in, against other queues in Postgres written in Python?

Each by the client that an application would use, in a process of its own and over one connection.
"""

from __future__ import annotations

import json
import statistics

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import SECATEUR, System
from benchmarks.runners.protocol import BATCH
from secateur.engines.native.client import Queue

TITLE = "Enqueueing"

ROUNDS = 3
ENQUEUED = {"one": 2_000, "many": 50_000, "bulk": 200_000}
"""Runs by the way in which they are put in."""


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared()
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
    for way, words in (("one", "one by one"), ("many", f"{BATCH:,} a call")):
        others = {system.name: rates[system.name, way] for system in compared.systems[1:]}
        if others:
            fastest = max(others, key=lambda name: others[name])
            lines.append(f"- {words}, against {fastest}: {rates[SECATEUR.name, way] / others[fastest]:.2f}")
    return lines


def _ways(system: System) -> list[str]:
    has_bulk = system is SECATEUR and hasattr(Queue, "enqueue_bulk")
    return [way for way in ENQUEUED if way != "bulk" or has_bulk]


async def _once(ground: Ground, system: System, way: str) -> float:
    """Runs per second."""
    runs = max(1, ground.scaled(ENQUEUED[way]) // BATCH) * BATCH
    async with ground.empty() as url:
        await peers.call(system, "install", url)
        answer = await peers.call(system, "enqueue", url, way, str(runs))
    seconds: float = json.loads(answer)["seconds"]
    say(f"{system.name}, {way}: {runs / seconds:,.0f}/s")
    return runs / seconds
