"""How fast are runs put in and performed, against other queues in Postgres written in Python?

Every system has the same server and a fresh database, performs jobs that do nothing, in processes of its own, and is
compared at the best of the settings that were tried with it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import PGQUEUER, PROCRASTINATE, SECATEUR, System, Workers
from benchmarks.report import because, goal
from benchmarks.runners.protocol import BATCH
from secateur.client import Queue
from secateur.database import Database

TITLE = "Drain throughput and enqueueing"

PROCESSES = (1, 2)
ROUNDS = 3
"""The first one tries the settings, the others repeat the best."""
LONGEST_DRAIN = 6.0
"""Seconds; what is not done by then does not count."""
ENQUEUED = {"one": 2_000, "many": 50_000, "bulk": 200_000}

WHY_RATE = "on two cores the workers, in Python, and Postgres share what there is"


async def measure(ground: Ground) -> list[str]:
    systems, versions, missing = [SECATEUR], {}, ""
    try:
        versions = await peers.prepare()
    except RuntimeError as error:
        missing = f"The peers could not be installed, so they are not compared: {error}"
    else:
        systems += [PGQUEUER, PROCRASTINATE]
    rates = await _drain(ground, systems)
    labels = {system.name: f"{system.name} {versions.get(system.name, '')}".strip() for system in systems}
    lines = [
        *([missing, ""] if missing else []),
        f"### No-op runs per second, leases and heartbeats on, median of {ROUNDS} rounds",
        "",
        f"| queue | best setting | {' | '.join(_processes(count) for count in PROCESSES)} |",
        "|:--|---:|---:|---:|",
    ]
    for system in systems:
        best = [rates[system.name, count] for count in PROCESSES]
        settings = " / ".join(str(setting) for setting, _ in best)
        lines.append(f"| {labels[system.name]} | {settings} | {' | '.join(f'{rate:,.0f}' for _, rate in best)} |")
    lines += ["", *_goals(rates, [system.name for system in systems[1:]]), ""]
    lines += await _enqueue(ground, systems, labels)
    return lines


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
    found: dict[tuple[str, int, int], list[float]] = {}
    for number in range(ROUNDS):
        for system in systems:
            for count in PROCESSES:
                tried = {s: found[system.name, count, s] for s in system.settings if (system.name, count, s) in found}
                settings = [max(tried, key=lambda s: tried[s][0])] if tried else list(system.settings)
                for setting in settings:
                    rate = await _drain_once(ground, system, count, setting)
                    found.setdefault((system.name, count, setting), []).append(rate)
                    say(f"round {number + 1}: {system.name} at {setting}, {_processes(count)}: {rate:,.0f}/s")
    rates = {}
    for system in systems:
        for count in PROCESSES:
            tried = {s: found[system.name, count, s] for s in system.settings}
            best = max(tried, key=lambda s: (len(tried[s]), statistics.median(tried[s])))
            rates[system.name, count] = (best, statistics.median(tried[best]))
    return rates


async def _drain_once(ground: Ground, system: System, count: int, setting: int) -> float:
    """Jobs per second, from the word to the moment when the database has all of them as done."""
    jobs = system.jobs * count // BATCH * BATCH
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
                    return (left - int(await database.fetchval(system.unfinished))) / seconds
                await asyncio.sleep(0.01)
            return left / (time.perf_counter() - begun)


async def _enqueue(ground: Ground, systems: list[System], labels: dict[str, str]) -> list[str]:
    lines = [
        f"### Runs put in per second from one connection, median of {ROUNDS} rounds",
        "",
        f"| queue | one by one | {BATCH} a call | in bulk, by COPY |",
        "|:--|---:|---:|---:|",
    ]
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for system in systems:
            for way in _ways(system):
                found.setdefault((system.name, way), []).append(await _enqueue_once(ground, system, way))
    for system in systems:
        cells = [
            f"{statistics.median(found[system.name, way]):,.0f}" if (system.name, way) in found else "–"
            for way in ENQUEUED
        ]
        lines.append(f"| {labels[system.name]} | {' | '.join(cells)} |")
    return lines


def _ways(system: System) -> list[str]:
    has_bulk = system is SECATEUR and hasattr(Queue, "enqueue_bulk")
    return [way for way in ENQUEUED if way != "bulk" or has_bulk]


async def _enqueue_once(ground: Ground, system: System, way: str) -> float:
    async with ground.empty() as url:
        await peers.call(system, "install", url)
        answer = await peers.call(system, "enqueue", url, way, str(ENQUEUED[way]))
        seconds: float = json.loads(answer)["seconds"]
        say(f"{system.name}, {way}: {ENQUEUED[way] / seconds:,.0f}/s")
        return ENQUEUED[way] / seconds
