"""How long does a run wait until it starts, at rates that a worker can easily keep up with?

One process puts jobs in, one a call and at random moments; another performs them. What counts is the time from just
before the client's call to the first line of the job's function, by the machine's clock.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

import psutil

from benchmarks import peers
from benchmarks.bed import Ground, quantile, say
from benchmarks.peers import PGQUEUER, SECATEUR, System, Workers
from benchmarks.report import because, goal

TITLE = "From insert to start"

RATES = (40, 200, 800)
"""Jobs per second."""
SECONDS = 10
ROUNDS = 3
SETTING = 64
"""Runs at once, and jobs of a batch."""
GRACE = 5.0
"""Seconds after the last insert; what has not started by then does not count."""
MOST_MS = 8

WHY = "a run waits for its own commit and its claim's, and for whatever else uses the cores: see the last column"


@dataclass(slots=True)
class Waits:
    """Seconds that jobs waited; processor time per job, in microseconds, of worker and server; cores used by others."""

    seconds: list[float]
    worker: float
    server: float
    others: float


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared()
    systems = [system for system in compared.systems if system in {SECATEUR, PGQUEUER}]
    found: dict[tuple[str, int], list[Waits]] = {}
    for number in range(ground.scaled(ROUNDS)):
        for rate in RATES:
            for system in systems:
                waits = await _once(ground, system, rate)
                found.setdefault((system.name, rate), []).append(waits)
                say(f"round {number + 1}: {system.name} at {rate}/s: {_cells([waits])}")
    lines = [
        *compared.missing,
        f"### {SETTING} at once, {ground.scaled(SECONDS)} s and {ground.scaled(ROUNDS)} rounds in turn",
        "",
        "| queue | rate | p50 | p95 | p99 | processor time per run, worker + server | cores used by others |",
        "|:--|---:|---:|---:|---:|---:|---:|",
    ]
    for (name, rate), rounds in found.items():
        lines.append(f"| {compared.labels[name]} | {rate}/s | {_cells(rounds)} |")
    return [*lines, "", *_goals(found)]


def _cells(rounds: list[Waits]) -> str:
    seconds = [one for waits in rounds for one in waits.seconds]
    worker, server, others = (
        statistics.median(getattr(waits, name) for waits in rounds) for name in ("worker", "server", "others")
    )
    quantiles = " | ".join(f"{quantile(seconds, share):.1f} ms" for share in (0.5, 0.95, 0.99))
    return f"{quantiles} | {worker:,.0f} + {server:,.0f} µs | {others:.1f}"


def _goals(found: dict[tuple[str, int], list[Waits]]) -> list[str]:
    lines = []
    for rate in RATES:
        own = quantile([one for waits in found[SECATEUR.name, rate] for one in waits.seconds], 0.5)
        lines += because(goal(f"insert to start p50 at {rate}/s", own, " ms", most=MOST_MS), WHY)
        if (PGQUEUER.name, rate) in found:
            other = quantile([one for waits in found[PGQUEUER.name, rate] for one in waits.seconds], 0.5)
            lines += because(goal(f"insert to start p50 at {rate}/s against pgqueuer", own / other, most=1), WHY)
    return lines


async def _once(ground: Ground, system: System, rate: int) -> Waits:
    seconds = ground.scaled(SECONDS)
    async with ground.empty() as url:
        await peers.call(system, "install", url)
        async with Workers(system, url, SETTING, 1) as workers:
            workers.begin()
            await peers.call(system, "pace", url, str(rate), "1")  # plans are made, notifications heard
            await _all_started(workers)
            workers.waited.clear()
            before = (workers.seconds(), ground.server_seconds())
            begun, busy = time.perf_counter(), _busy()
            await peers.call(system, "pace", url, str(rate), str(seconds))
            busy, elapsed = _busy() - busy, time.perf_counter() - begun
            await _all_started(workers)
            after = (workers.seconds(), ground.server_seconds())
    worker, server = (sum(last.values()) - sum(first.values()) for first, last in zip(before, after, strict=True))
    per_job = 1e6 / max(1, len(workers.waited))
    others = max(0.0, busy - worker - server) / elapsed
    return Waits(workers.waited, worker * per_job, server * per_job, others)


def _busy() -> float:
    """Seconds that the machine's cores have worked so far."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


async def _all_started(workers: Workers) -> None:
    """Until nothing has started for half a second."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE
    seen = -1
    while seen != workers.done and loop.time() < deadline:
        seen = workers.done
        await asyncio.sleep(0.5)
