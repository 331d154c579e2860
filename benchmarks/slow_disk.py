"""How long does a commit take while workers claim, on a disk that takes five milliseconds for each flush?

A server of its own, in memory where that can be had, whose fdatasync is delayed. A commit cannot take less than its own
flush, which often waits for one that is under way; what counts is how little the claims add.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import peers
from benchmarks.bed import SETTINGS, Bed, Ground, quantile, say, timed
from benchmarks.load import loaded
from benchmarks.peers import SECATEUR, Workers
from benchmarks.report import because, goal
from secateur.engines.native.engine import NativeEngine
from secateur.ledger.cancellations import Cancellations
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.requests import CancellationRequest

TITLE = "Commits on a slow disk"

SOURCE = Path(__file__).with_name("slow_fsync.c")
FLUSH_MS = 5
MEMORY = "/dev/shm"
WORKERS = (0, 2, 5)
SETTING = 10
"""Runs at once of each worker: many small claims."""
COMMITS = 100
ROUNDS = 3
BACKLOG = 200_000

WHY = (
    "it takes {alone:.0f} ms with nobody claiming, and a row's insert {floor:.0f} ms; "
    "the rest is waiting for claims that execute, and for a core"
)

REQUEST = CancellationRequest.parse({"app_id": "bench", "if": "event.data.vendor_id == 'v7'"})


@dataclass(slots=True)
class Sample:
    """Seconds of commits, by what claims meanwhile, and how many runs the workers began in a second."""

    commits: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


async def measure(ground: Ground) -> list[str]:
    found: dict[tuple[str, int], Sample] = {}
    floor: list[float] = []
    async with _bed(ground.scaled(BACKLOG)) as bed:
        await bed.database.execute("create table public.floor (n integer)")
        await _commit(bed)
        for number in range(ground.scaled(ROUNDS)):
            for count in WORKERS:
                sample = found.setdefault(("workers", count), Sample())
                async with Workers(SECATEUR, bed.url, SETTING, count) as workers:
                    workers.begin()
                    await _measure(bed, ground.scaled(COMMITS), sample, lambda w=workers: w.done)  # type: ignore[misc]
                say(f"round {number + 1}: {count} workers: {_cells(sample)}")
            for _ in range(ground.scaled(COMMITS)):
                floor.append(await timed(lambda: bed.database.execute("insert into public.floor values (1)")))
            sample = found.setdefault(("SQL", 2), Sample())
            async with loaded(bed.url, 2) as load:
                await _measure(bed, ground.scaled(COMMITS), sample, lambda: load.done)
            say(f"round {number + 1}: 2 in SQL: {_cells(sample)}")
    return [
        f"### {ground.scaled(ROUNDS) * ground.scaled(COMMITS)} commits each; each flush is delayed by {FLUSH_MS} ms",
        "",
        "| who claims | p50 | p99 | runs begun/s |",
        "|:--|---:|---:|---:|",
        *(f"| {_who(*key)} | {_cells(sample)} |" for key, sample in found.items()),
        f"| (one row inserted, nobody) | {quantile(floor, 0.5):.1f} ms | {quantile(floor, 0.99):.1f} ms | |",
        "",
        *_goals(found, WHY.format(alone=quantile(found["workers", 0].commits, 0.5), floor=quantile(floor, 0.5))),
    ]


def _who(what: str, count: int) -> str:
    return f"{count} processes, in plain SQL" if what == "SQL" else f"{count} {what}" if count else "nobody"


def _cells(sample: Sample) -> str:
    return (
        f"{quantile(sample.commits, 0.5):.1f} ms | {quantile(sample.commits, 0.99):.1f} ms "
        f"| {sum(sample.rates) / len(sample.rates):,.0f}"
    )


def _goals(found: dict[tuple[str, int], Sample], why: str) -> list[str]:
    lines = []
    for count in WORKERS[1:]:
        commits = found["workers", count].commits
        for share, most in ((0.5, 2 * FLUSH_MS + 5), (0.99, 4 * FLUSH_MS)):
            what = f"commit p{100 * share:g} under {count} workers, flushes of {FLUSH_MS} ms"
            lines += because(goal(what, quantile(commits, share), " ms", most=most), why)
    return lines


async def _measure(bed: Bed, commits: int, sample: Sample, done: Callable[[], int]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.5)
    begun, before = loop.time(), done()
    sample.commits += [await _commit(bed) for _ in range(commits)]
    sample.rates.append((done() - before) / (loop.time() - begun))


async def _commit(bed: Bed) -> float:
    """Seconds of one commit that was in force when it returned; then stopped, so that each meets the same queue."""
    committed = []

    async def commit() -> None:
        committed.append(await bed.cancellations.commit(REQUEST, author="bench", source="python"))

    seconds = await timed(commit)
    await bed.cancellations.stop(committed[0].id, author="bench")
    return seconds


@asynccontextmanager
async def _bed(runs: int) -> AsyncIterator[Bed]:
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        TemporaryDirectory(dir=memory, prefix="secateur-") as directory,
        _slow_flushes(Path(directory)),
        EmbeddedPostgres(directory=Path(directory) / "server", settings=SETTINGS) as server,
    ):
        await peers.call(SECATEUR, "install", server.url)
        await peers.call(SECATEUR, "enqueue", server.url, "bulk", str(runs))
        async with Database.connect(server.url, max_size=2) as database:
            await database.execute("vacuum (analyze) secateur.runs")
            engine = NativeEngine(database)
            yield Bed(server.url, database, engine, Cancellations(engine))


@contextmanager
def _slow_flushes(directory: Path) -> Iterator[None]:
    """Servers that are started within have them. Raises `RuntimeError` where that cannot be made."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise RuntimeError("a slow disk is made by a C compiler, on Linux")
    library = directory / "slow_fsync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    directory.chmod(0o755)  # the server may be another user's
    before = os.environ.get("LD_PRELOAD")
    os.environ["LD_PRELOAD"] = str(library)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LD_PRELOAD"]
        else:
            os.environ["LD_PRELOAD"] = before
