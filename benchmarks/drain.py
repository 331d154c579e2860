"""How fast are runs performed, against other queues in Postgres written in Python?

Every system has the same server and a fresh database, performs jobs that do nothing, in processes of its own, and is
compared at the best of the settings that were tried with it.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import SECATEUR, System, Workers
from benchmarks.report import because, goal
from benchmarks.runners.protocol import BATCH
from secateur.database import Database

TITLE = "Drain throughput"

PROCESSES = (1, 2)
ROUNDS = 3
"""The first one tries the settings, the others repeat the best."""
LONGEST_DRAIN = 6.0
"""Seconds; what is not done by then does not count."""

WHY_RATE = "on two cores the workers, in Python, and Postgres share what there is"


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared()
    systems = compared.systems
    rates = await _drain(ground, systems)
    lines = [
        *compared.missing,
        f"### No-op runs per second, leases and heartbeats on, median of {ground.scaled(ROUNDS)} rounds",
        "",
        f"| queue | best setting | {' | '.join(_processes(count) for count in PROCESSES)} |",
        "|:--|---:|---:|---:|",
    ]
    for system in systems:
        best = [rates[system.name, count] for count in PROCESSES]
        settings = " / ".join(str(setting) for setting, _ in best)
        label = compared.labels[system.name]
        lines.append(f"| {label} | {settings} | {' | '.join(f'{rate:,.0f}' for _, rate in best)} |")
    return [*lines, "", *_goals(rates, [system.name for system in systems[1:]])]


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


def _goals(rates: dict[tuple[str, int], tuple[int, float]], others: list[str]) -> list[str]:
    lines = []
    for count in PROCESSES:
        _, own = rates[SECATEUR.name, count]
        lines += because(goal(f"no-op runs/s, {_processes(count)}", own, least=10_000), WHY_RATE)
        if others:
            fastest = max(others, key=lambda name: rates[name, count][1])
            ratio = own / rates[fastest, count][1]
            lines += because(goal(f"no-op runs/s against {fastest}, {_processes(count)}", ratio, least=3), WHY_RATE)
    return lines


async def _drain(ground: Ground, systems: list[System]) -> dict[tuple[str, int], tuple[int, float]]:
    """The best setting by system and number of processes, and its runs per second."""
    pairs = [(system, count) for system in systems for count in PROCESSES]
    found: dict[tuple[str, int], dict[int, list[float]]] = {(system.name, count): {} for system, count in pairs}
    for number in range(ground.scaled(ROUNDS)):
        for system, count in pairs:
            tried = found[system.name, count]
            settings = system.settings[1:2] if ground.quick else system.settings
            for setting in [_best(tried)] if tried else settings:
                rate = await _drain_once(ground, system, count, setting)
                tried.setdefault(setting, []).append(rate)
                say(f"round {number + 1}: {system.name} at {setting}, {_processes(count)}: {rate:,.0f}/s")
    return {key: (_best(tried), statistics.median(tried[_best(tried)])) for key, tried in found.items()}


def _best(tried: dict[int, list[float]]) -> int:
    """The setting that was repeated; after the first round the one that was fastest."""
    return max(tried, key=lambda setting: (len(tried[setting]), tried[setting][0]))


async def _drain_once(ground: Ground, system: System, count: int, setting: int) -> float:
    """Jobs per second, from the word to the moment when the database has all of them as done."""
    jobs = max(1, ground.scaled(system.jobs * count) // BATCH) * BATCH
    async with ground.empty() as url, Database.connect(url, max_size=1) as database:
        await peers.call(system, "install", url)
        await peers.call(system, "enqueue", url, "many", str(jobs))
        await database.execute("vacuum analyze")
        left = await database.fetchval(system.unfinished)
        async with Workers(system, url, setting, count) as workers:
            begun = time.perf_counter()
            workers.begin()
            while workers.done < left or await database.fetchval(system.unfinished) > 0:
                if not workers.alive:
                    raise RuntimeError(f"a worker of {system.name} ended by itself")
                if (seconds := time.perf_counter() - begun) > LONGEST_DRAIN:
                    return float((left - await database.fetchval(system.unfinished)) / seconds)
                await asyncio.sleep(0.01)
            return float(left / (time.perf_counter() - begun))
