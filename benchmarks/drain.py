"""How fast are runs performed, against other queues in Postgres written in Python?

Every system has the same server and a fresh database, performs jobs that do nothing, in processes of its own, and is
compared at the best of the settings that were tried with it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import SECATEUR, System, Workers
from benchmarks.report import because, goal
from benchmarks.runners.protocol import BATCH
from secateur.postgres.database import Database

TITLE = "Drain throughput"

PROCESSES = (1, 2)
ROUNDS = 3
"""The first one tries the settings, the others repeat the best."""
LONGEST_DRAIN = 6.0
"""Seconds; what is not done by then does not count."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Jobs per second, and the processor's microseconds that a job takes: of its worker, and of the server."""

    rate: float
    worker: float
    server: float


Rates = dict[tuple[str, int], tuple[int, Drained]]
"""By system and number of processes: the best setting, and the medians of its rounds."""


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared()
    rates = await _drain(ground, compared.systems)
    lines = [
        *compared.missing,
        f"### No-op runs per second, leases and heartbeats on, median of {ground.scaled(ROUNDS)} rounds",
        "",
        f"| queue | best setting | {' | '.join(_processes(count) for count in PROCESSES)} | processor time per run |",
        "|:--|---:|---:|---:|---:|",
    ]
    for system in compared.systems:
        best = [rates[system.name, count] for count in PROCESSES]
        settings = " / ".join(str(setting) for setting, _ in best)
        figures = " | ".join(f"{drained.rate:,.0f}" for _, drained in best)
        lines.append(f"| {compared.labels[system.name]} | {settings} | {figures} | {_time(best[0][1])} |")
    return [*lines, "", *_goals(rates, [system.name for system in compared.systems[1:]])]


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


def _time(drained: Drained) -> str:
    return f"{drained.worker:,.0f} µs of the worker's, {drained.server:,.0f} µs of the server's"


def _goals(rates: Rates, others: list[str]) -> list[str]:
    lines = []
    for count in PROCESSES:
        own = rates[SECATEUR.name, count][1]
        why = f"a run takes {_time(own)}, on {os.cpu_count()} cores"
        lines += because(goal(f"no-op runs/s, {_processes(count)}", own.rate, least=10_000), why)
        if others:
            fastest = max(others, key=lambda name: rates[name, count][1].rate)
            other = rates[fastest, count][1]
            why += f"; of {fastest} {_time(other)}"
            what = f"no-op runs/s against {fastest}, {_processes(count)}"
            lines += because(goal(what, own.rate / other.rate, least=3), why)
    return lines


async def _drain(ground: Ground, systems: list[System]) -> Rates:
    pairs = [(system, count) for system in systems for count in PROCESSES]
    found: dict[tuple[str, int], dict[int, list[Drained]]] = {(system.name, count): {} for system, count in pairs}
    for number in range(ground.scaled(ROUNDS)):
        for system, count in pairs:
            tried = found[system.name, count]
            settings = system.settings[1:2] if ground.quick else system.settings
            for setting in [_best(tried)] if tried else settings:
                drained = await _drain_once(ground, system, count, setting)
                tried.setdefault(setting, []).append(drained)
                what = f"round {number + 1}: {system.name} at {setting}, {_processes(count)}"
                say(f"{what}: {drained.rate:,.0f}/s, {_time(drained)}")
    return {key: (_best(tried), _median(tried[_best(tried)])) for key, tried in found.items()}


def _best(tried: dict[int, list[Drained]]) -> int:
    """The setting that was repeated; after the first round the one that was fastest."""
    return max(tried, key=lambda setting: (len(tried[setting]), tried[setting][0].rate))


def _median(rounds: list[Drained]) -> Drained:
    return Drained(
        statistics.median(drained.rate for drained in rounds),
        statistics.median(drained.worker for drained in rounds),
        statistics.median(drained.server for drained in rounds),
    )


async def _drain_once(ground: Ground, system: System, count: int, setting: int) -> Drained:
    """From the word to the moment when the database has all jobs as done."""
    jobs = max(1, ground.scaled(system.jobs * count) // BATCH) * BATCH
    async with ground.empty() as url, Database.connect(url, max_size=1) as database:
        await peers.call(system, "install", url)
        await peers.call(system, "enqueue", url, "many", str(jobs))
        await database.execute("vacuum analyze")
        left = await database.fetchval(system.unfinished)
        async with Workers(system, url, setting, count) as workers:
            before = (workers.seconds(), ground.server_seconds())
            begun = time.perf_counter()
            workers.begin()
            while workers.done < left or await database.fetchval(system.unfinished) > 0:
                if not workers.alive:
                    raise RuntimeError(f"a worker of {system.name} ended by itself")
                if time.perf_counter() - begun > LONGEST_DRAIN:
                    break
                await asyncio.sleep(0.01)
            seconds = time.perf_counter() - begun
            after = (workers.seconds(), ground.server_seconds())
            done = max(1, left - await database.fetchval(system.unfinished))
    worker, server = (1e6 * _taken(*pair) / done for pair in zip(before, after, strict=True))
    return Drained(done / seconds, worker, server)


def _taken(before: dict[int, float], after: dict[int, float]) -> float:
    """Processor seconds between two looks, of processes that are still there."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
