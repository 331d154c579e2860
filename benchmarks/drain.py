"""How fast are runs performed, and what does a run cost, against other queues in Postgres written in Python?

Every system has the same server and a fresh database, and performs jobs that do nothing in processes of its own.
Those that are close to each other take turns at every batch; each is compared at its best as well.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import astuple, dataclass

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import AWA, OBAN, PGQUEUER, SECATEUR, System, Workers
from benchmarks.report import because, goal
from benchmarks.runners.protocol import BATCH
from secateur.postgres.database import Database

TITLE = "Drain throughput"

BATCHES = (16, 64, 500)
"""Runs at once, and jobs of a batch."""
ROUNDS = 2
LONGEST_DRAIN = 4.0
"""Seconds; what is not done by then does not count."""
TRIED = """
### What a run's time goes into, and what was tried (2026-11-28, AMD EPYC, without load from the worker; load 15 to 20)

- Batches of 16: most of the time goes into the call itself, whose cost hardly depends on its runs. It takes 1.2 to 1.4
  ms in the server. The two updates of runs take half of that (their checks took 8 % of the whole, and take 4 % now),
  the survey before them 8 %, locking the runs 5 %, the app's lock 2 %. On a slow disk, a claim and its flush used to be
  two calls. They are one now, with 6 % less of the server's time and 34 % less of the worker's. A shorter survey saved
  nothing.
- A connection's first claim takes 20 ms, because Postgres plans it. So claims use one connection, one after another.
- Batches of 500: three versions of the row and eight index entries. With `running` left out of `runs_unfinished`, a run
  took 2 to 6 % less time and 100 bytes less WAL; without `runs_drained`, no less time and 50 to 90 bytes less. Neither
  reaches the goals, and the first would split nine other queries in two. So they were not done.
- A separate table for ended runs, so that the live one stays small: measured, and not done. Completing a run by moving
  it took 16 to 22 µs and 766 bytes of WAL, and by updating it 22 to 24 µs and 722 bytes (batches of 16; of 500: 10 to
  14 µs and 759 bytes against 12 to 16 µs and 772 bytes; 8 rounds in turn, load 12). Both leave one dead version in the
  live table. Depth and counts already read the live runs by an index that has no others. But undo, retries, keys, late
  completions and every look-up of a run by its id would read two tables.
- The worker's own share, without Postgres, fell from 16 to 8 µs a run where the function does not read its event.
- Nobody is notified while claims find more than two runs.
"""

LSN = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


@dataclass(frozen=True, slots=True)
class Drained:
    """Jobs per second; microseconds of the processor that a job takes, of its worker and of the server; bytes of WAL
    that it takes to put it in, and to perform it."""

    rate: float
    worker: float
    server: float
    wal_in: float
    wal_out: float

    @property
    def both(self) -> float:
        return self.worker + self.server

    @property
    def wal(self) -> float:
        return self.wal_in + self.wal_out


Key = tuple[str, int, int]
"""A system, its batch, and the number of its processes."""


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared(AWA, OBAN)
    close = [system for system in compared.systems if system in {SECATEUR, PGQUEUER}]
    found: dict[Key, Drained] = await _in_turns(ground, [(one, batch, 1) for batch in BATCHES for one in close])
    best = {one.name: max(BATCHES, key=lambda batch, name=one.name: found[name, batch, 1].rate) for one in close}  # type: ignore[misc]
    found |= await _in_turns(ground, [(one, best[one.name], 2) for one in close])
    for system in compared.systems:
        if system not in close:
            found[system.name, system.setting, 1] = await _once(ground, system, system.setting, 1)
    lines = [
        *compared.missing,
        f"### Jobs that do nothing, leases and heartbeats on; the median of {ground.scaled(ROUNDS)} rounds in turn "
        "(of those that are far off: once)",
        "",
        "| queue | processes | batch | jobs/s | server's time a job | worker's | both | WAL: put in | performed |",
        "|:--|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {compared.labels[name]} | {count} | {batch} | {_cells(one)} |"
            for (name, batch, count), one in found.items()
        ),
    ]
    return [*lines, "", *(_goals(found, best) if PGQUEUER in close else []), *TRIED.rstrip().splitlines()]


def _cells(one: Drained) -> str:
    return (
        f"{one.rate:,.0f} | {one.server:,.0f} µs | {one.worker:,.0f} µs | {one.both:,.0f} µs "
        f"| {one.wal_in:,.0f} B | {one.wal_out:,.0f} B"
    )


def _goals(found: dict[Key, Drained], best: dict[str, int]) -> list[str]:
    lines = []
    for batch in BATCHES:
        own, other = (found[name, batch, 1] for name in (SECATEUR.name, PGQUEUER.name))
        why = f"{own.server:,.0f} + {own.worker:,.0f} µs, of pgqueuer {other.server:,.0f} + {other.worker:,.0f}"
        at = f"against pgqueuer, batches of {batch}"
        lines += because(goal(f"server's time a run {at}", own.server / other.server, most=0.8), why)
        lines += because(goal(f"server's and worker's time a run {at}", own.both / other.both, most=0.6), why)
        why = f"{own.wal_in:,.0f} + {own.wal_out:,.0f} B, of pgqueuer {other.wal_in:,.0f} + {other.wal_out:,.0f}"
        lines += because(goal(f"WAL a run {at}", own.wal / other.wal, most=0.7), why)
    for count, least in ((1, 1.8), (2, 1.5)):
        own, other = (found[name, best[name], count] for name in (SECATEUR.name, PGQUEUER.name))
        words = "one process" if count == 1 else f"{count} processes"
        why = f"{own.both:,.0f} µs a run against {other.both:,.0f}, on cores that the server shares"
        lines += because(
            goal(f"runs/s against pgqueuer, {words}, each at its best", own.rate / other.rate, least=least), why
        )
    return lines


async def _in_turns(ground: Ground, sides: list[tuple[System, int, int]]) -> dict[Key, Drained]:
    """The medians of each."""
    rounds: dict[Key, list[Drained]] = {}
    for number in range(ground.scaled(ROUNDS)):
        for system, batch, count in sides:
            drained = await _once(ground, system, batch, count)
            rounds.setdefault((system.name, batch, count), []).append(drained)
            say(f"round {number + 1}: {system.name}, {count} at {batch}: {_cells(drained)}")
    return {key: Drained(*map(statistics.median, zip(*map(astuple, all), strict=True))) for key, all in rounds.items()}


async def _once(ground: Ground, system: System, batch: int, count: int) -> Drained:
    """From the word to the moment when the database has all jobs as done."""
    jobs = max(1, ground.scaled(system.jobs * count) // BATCH) * BATCH
    async with ground.empty() as url, Database.connect(url, max_size=1) as database:
        await peers.call(system, "install", url)
        start = await database.fetchval(LSN)
        await peers.call(system, "enqueue", url, "many", str(jobs))
        wal_in = await database.fetchval(LSN) - start
        await database.execute("vacuum analyze")
        left = await database.fetchval(system.unfinished)
        async with Workers(system, url, batch, count) as workers:
            before = (workers.seconds(), ground.server_seconds())
            start = await database.fetchval(LSN)
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
            wal_out = await database.fetchval(LSN) - start
            done = max(1, left - await database.fetchval(system.unfinished))
    worker, server = (1e6 * _taken(*pair) / done for pair in zip(before, after, strict=True))
    return Drained(done / seconds, worker, server, float(wal_in / jobs), float(wal_out / done))


def _taken(before: dict[int, float], after: dict[int, float]) -> float:
    """Processor seconds between two looks, of processes that are still there."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
