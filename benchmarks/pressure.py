"""What is left of a queue's speed while a snapshot is held, others read it, or jobs come in bursts? Does it stay small?

The method is that of the pressure cells of hardbyte/postgresql-job-queue-benchmarking. Every system gets the same
server, a fresh database and one worker process, and goes through the same phases in turn: drained as fast as it can
without anything, with a snapshot that somebody holds open, beside two sessions that read the whole queue without pause,
and without anything again; then a fixed rate, with a burst at its end.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from benchmarks import peers
from benchmarks.bed import Ground, quantile, say
from benchmarks.peers import PGQUEUER, PROCRASTINATE, SECATEUR, System, Workers
from benchmarks.report import because, goal
from secateur.postgres.database import Database

TITLE = "Pressure"

SECONDS = 5.0
"""Of each phase."""
RATE = 150
"""Jobs per second at the fixed rate."""
BURST = 5
"""How many times as many, for a quarter of a phase at its end."""
READERS = 2
AT_ONCE = {SECATEUR.name: 5_000, PGQUEUER.name: 5_000, PROCRASTINATE.name: 1_000}
"""Jobs that are put in before each part of a drain."""
SETTING = {SECATEUR.name: 500, PGQUEUER.name: 500, PROCRASTINATE.name: 50}
LONGEST = 3_000
"""Hundredths of a second that one part of a drain may take."""
LOOKS = 4

WHY = "the versions of rows that somebody might still see lie in the way of claims and of updates"

TABLES = """
select coalesce(sum(used.n_dead_tup), 0)::bigint as dead,
       coalesce(sum(pg_total_relation_size(used.relid)), 0)::bigint as bytes
  from pg_stat_user_tables as used
"""
READ = {
    SECATEUR.name: "select count(*), max(length(event::text)) from secateur.runs",
    PGQUEUER.name: "select count(*), max(length(payload::text)) from pgqueuer",
    PROCRASTINATE.name: "select count(*), max(length(args::text)) from procrastinate_jobs",
}
WAL = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"


@dataclass(frozen=True, slots=True)
class Drained:
    """One phase of drains. Bytes and rows are a job's."""

    rate: float
    server: float
    """The server's microseconds, the readers' left out."""
    wal: float
    dead: int
    """Dead rows at its end, in all tables."""


@dataclass(frozen=True, slots=True)
class Steady:
    """A fixed rate, with a burst at its end."""

    rate: float
    p50: float
    p99: float
    burst_p99: float
    wal: float
    dead: list[int]
    """At the end of each part, as are the bytes."""
    size: list[int]


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared()
    drains: dict[str, dict[str, Drained]] = {}
    steady: dict[str, Steady] = {}
    for system in compared.systems:
        drains[system.name] = await _drains(ground, system)
        if system is not PROCRASTINATE:  # whose runner says nothing of waits, and which cannot keep up
            steady[system.name] = await _steady(ground, system)
    seconds = ground.lasting(SECONDS)
    return [
        *compared.missing,
        f"### Drained as fast as one process can, {seconds:g} s each, in turn on one database",
        "",
        "| queue | while | jobs/s | against undisturbed | server's time a job | WAL a job | dead rows at the end |",
        "|:--|:--|---:|---:|---:|---:|---:|",
        *(row for name, phases in drains.items() for row in _drain_rows(compared.labels[name], phases)),
        "",
        *_goals(drains),
        "",
        f"### {RATE} jobs a second for {seconds:g} s, then {BURST} times as many for {seconds / 4:g} s",
        "",
        "| queue | reached | p50 | p99 | p99 in the burst | WAL a job | dead rows, by quarter | size, by quarter |",
        "|:--|---:|---:|---:|---:|---:|---:|---:|",
        *(_steady_row(compared.labels[name], each) for name, each in steady.items()),
        "",
        *_steady_goals(steady),
    ]


def _undisturbed(phases: dict[str, Drained], figure: Callable[[Drained], float]) -> float:
    return statistics.mean(figure(each) for name, each in phases.items() if name.startswith("nothing"))


def _drain_rows(label: str, phases: dict[str, Drained]) -> list[str]:
    usual = _undisturbed(phases, lambda each: each.rate)
    return [
        f"| {label} | {name} | {each.rate:,.0f} | {each.rate / usual:.2f} | {each.server:,.0f} µs | {each.wal:,.0f} B"
        f" | {each.dead:,} |"
        for name, each in phases.items()
    ]


def _goals(drains: dict[str, dict[str, Drained]]) -> list[str]:
    phases = drains[SECATEUR.name]
    pinned = phases[PINNED]
    rate = pinned.rate / _undisturbed(phases, lambda each: each.rate)
    server = pinned.server / _undisturbed(phases, lambda each: each.server)
    return [
        *because(goal("jobs/s while a snapshot is held, against undisturbed", rate, least=0.95), WHY),
        *because(goal("server's time a job while a snapshot is held, against undisturbed", server, most=1.25), WHY),
    ]


def _steady_row(label: str, each: Steady) -> str:
    dead = " / ".join(f"{one:,}" for one in each.dead)
    size = " / ".join(f"{one / 2**20:,.1f}" for one in each.size)
    waits = " | ".join(f"{one:,.0f} ms" for one in (each.p50, each.p99, each.burst_p99))
    return f"| {label} | {each.rate:,.0f}/s | {waits} | {each.wal:,.0f} B | {dead} | {size} MB |"


def _steady_goals(steady: dict[str, Steady]) -> list[str]:
    own = steady[SECATEUR.name]
    lines = [*because(goal("jobs/s at the fixed rate, against what is put in", own.rate / RATE, least=0.95), WHY)]
    if PGQUEUER.name in steady:
        lines.append(goal("WAL a job at a fixed rate, against pgqueuer", own.wal / steady[PGQUEUER.name].wal, most=1))
    return lines


PINNED = "a snapshot is held"


async def _drains(ground: Ground, system: System) -> dict[str, Drained]:
    async with ground.empty() as url, Database.connect(url, max_size=2) as database:
        await peers.call(system, "install", url)
        phases: dict[str, Callable[[], AbstractAsyncContextManager[set[int]]]] = {
            "nothing else happens": lambda: _nothing(),
            PINNED: lambda: _pinned(url),
            f"{READERS} others read it all": lambda: _readers(url, READ[system.name]),
            "nothing again": lambda: _nothing(),
        }
        await _drained(ground, system, url, database, 0.0, _nothing)  # plans are made, pages are there
        found = {}
        for name, beside in phases.items():
            found[name] = await _drained(ground, system, url, database, ground.lasting(SECONDS), beside)
            say(f"{system.name}, {name}: {found[name]}")
        return found


async def _drained(
    ground: Ground,
    system: System,
    url: str,
    database: Database,
    length: float,
    beside: Callable[[], AbstractAsyncContextManager[set[int]]],
) -> Drained:
    """Puts jobs in and drains them, again and again, for so many seconds of draining, once at least."""
    many, done, elapsed, busy = ground.scaled(AT_ONCE[system.name] // 1_000) * 1_000, 0, 0.0, 0.0
    async with beside() as others:
        before = await database.fetchval(WAL)
        while not done or elapsed < length:
            await peers.call(system, "enqueue", url, "many", str(many))
            left = await database.fetchval(system.unfinished)
            async with Workers(system, url, SETTING[system.name], 1) as workers:
                server, begun = _server_seconds(ground, others), time.perf_counter()
                workers.begin()
                for _ in range(LONGEST):
                    if workers.done >= left:
                        break
                    await asyncio.sleep(0.01)
                elapsed += time.perf_counter() - begun
                after = _server_seconds(ground, others)
                busy += sum(seconds - server.get(pid, 0.0) for pid, seconds in after.items())
                done += workers.done
        wal = await database.fetchval(WAL) - before
        await asyncio.sleep(1.1)  # statistics of dead rows come once a second
        dead = (await database.fetch(TABLES))[0]["dead"]
    return Drained(done / elapsed, 1e6 * busy / done, wal / done, dead)


def _server_seconds(ground: Ground, others: set[int]) -> dict[int, float]:
    """Of the processes that are there, but for those of other sessions."""
    return {pid: seconds for pid, seconds in ground.server_seconds().items() if pid not in others}


@asynccontextmanager
async def _nothing() -> AsyncIterator[set[int]]:
    yield set()


@asynccontextmanager
async def _pinned(url: str) -> AsyncIterator[set[int]]:
    async with Database.connect(url, max_size=1) as holder, holder.transaction(one_snapshot=True) as held:
        await held.fetchval("select pg_current_xact_id()")
        yield set()


@asynccontextmanager
async def _readers(url: str, read: str) -> AsyncIterator[set[int]]:
    async with Database.connect(url, max_size=READERS) as database:

        async def go_on() -> None:
            async with database.transaction() as connection:
                pids.add(connection.get_server_pid())
                await connection.execute("set local max_parallel_workers_per_gather = 0")
                while True:
                    await connection.fetch(read)
                    await asyncio.sleep(0.05)

        pids: set[int] = set()
        reading = [asyncio.create_task(go_on()) for _ in range(READERS)]
        await asyncio.sleep(0.5)
        try:
            yield pids
        finally:
            for each in reading:
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each


async def _steady(ground: Ground, system: System) -> Steady:
    seconds = ground.lasting(SECONDS)
    dead, size = [], []
    async with ground.empty() as url, Database.connect(url, max_size=2) as database:
        await peers.call(system, "install", url)
        async with Workers(system, url, 64, 1) as workers:
            workers.begin()
            await peers.call(system, "pace", url, str(RATE), "1")
            await _all_started(workers)
            workers.waited.clear()
            first, before = workers.done, await database.fetchval(WAL)
            begun = time.perf_counter()
            for _ in range(LOOKS):
                await peers.call(system, "pace", url, str(RATE), str(seconds / LOOKS), seconds=2 * seconds + 60)
                row = (await database.fetch(TABLES))[0]
                dead.append(row["dead"])
                size.append(row["bytes"])
            rate = (workers.done - first) / seconds
            await _all_started(workers)
            wal = (await database.fetchval(WAL) - before) / max(1, workers.done - first)
            usual, workers.waited = workers.waited, []
            say(f"{system.name}: {rate:.0f}/s, {time.perf_counter() - begun:.0f} s")
            await peers.call(system, "pace", url, str(BURST * RATE), str(seconds / 4), seconds=seconds + 60)
            await _all_started(workers)
            burst = workers.waited
    return Steady(rate, quantile(usual, 0.5), quantile(usual, 0.99), quantile(burst, 0.99), wal, dead, size)


async def _all_started(workers: Workers) -> None:
    """Until nothing has started for half a second, for ten seconds at most."""
    deadline, seen = time.monotonic() + 10, -1
    while seen != workers.done and time.monotonic() < deadline:
        seen = workers.done
        await asyncio.sleep(0.5)
