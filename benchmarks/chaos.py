"""Is a job lost, or performed twice, when workers are killed, Postgres restarts and connections are cut?

The method is that of the chaos cells of hardbyte/postgresql-job-queue-benchmarking: numbered jobs at a fixed rate while
something breaks again and again, then time to recover, and a ledger of what the client was told and what workers did. A
worker process that ends is started again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks import peers
from benchmarks.bed import Ground, say
from benchmarks.peers import SECATEUR, System
from benchmarks.report import goal
from secateur.errors import SecateurError
from secateur.postgres.database import Database

TITLE = "Chaos"

RATE = 100
"""Jobs per second."""
SECONDS = 12
EVERY = 3.0
"""Seconds between two kills of the worker, or two restarts."""
CUT_EVERY = 0.5
GRACE = 15.0
"""Seconds in which what was put in must be done: more than our own lease."""
LOOK = 0.05
SETTING = 16

CUT = """
select count(pg_terminate_backend(session.pid)) from pg_stat_activity as session
 where session.datname = current_database() and session.pid <> pg_backend_pid() and random() < 0.5
"""


@dataclass(slots=True)
class Book:
    """What the client was told, and what workers said."""

    put: set[int] = field(default_factory=set)
    refused: int = 0
    begun: Counter[int] = field(default_factory=Counter)
    ended: set[int] = field(default_factory=set)
    begun_after_end: set[int] = field(default_factory=set)
    begun_again: int = 0
    """Cut off before its end, and begun once more: what at-least-once is."""

    def read(self, line: bytes) -> None:
        with suppress(json.JSONDecodeError):  # cut off by a kill
            said = json.loads(line)
            if (number := said.get("put")) is not None:
                self.put.add(number)
            self.refused += "refused" in said
            if (number := said.get("begun")) is not None:
                if number in self.ended:
                    self.begun_after_end.add(number)
                elif self.begun[number]:
                    self.begun_again += 1
                self.begun[number] += 1
            if (number := said.get("ended")) is not None:
                self.ended.add(number)

    waiting: int = 0
    """What is in the queue at the end."""

    @property
    def stalled(self) -> int:
        """Acknowledged, not begun, and still in the queue: no worker took them in time."""
        return min(len(self.put - self.begun.keys()), self.waiting)

    @property
    def lost(self) -> int:
        """Acknowledged, never begun, and no longer in the queue."""
        return len(self.put - self.begun.keys()) - self.stalled

    @property
    def unfinished(self) -> int:
        """Begun, and not ended in time."""
        return len(self.put & self.begun.keys() - self.ended)


class Crew:
    """A worker process of one system that is started again whenever it ends."""

    def __init__(self, system: System, url: str, book: Book) -> None:
        self._command = (str(system.python), str(system.runner), "work", url, str(SETTING))
        self._book = book
        self._process: asyncio.subprocess.Process | None = None
        self.started = 0

    async def keep(self) -> None:
        while True:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            self.started += 1
            try:
                assert process.stdin is not None and process.stdout is not None  # noqa: PT018
                process.stdin.write(b"begin\n")
                async for line in process.stdout:
                    self._book.read(line)
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await asyncio.sleep(0.2)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


Break = Callable[[Ground, str, Crew], Awaitable[None]]


async def _kill_workers(ground: Ground, url: str, crew: Crew) -> None:
    while True:
        await asyncio.sleep(EVERY)
        await crew.kill()


async def _restart(ground: Ground, url: str, crew: Crew) -> None:
    while True:
        await asyncio.sleep(EVERY)
        await asyncio.to_thread(ground.server.restart)


async def _cut(ground: Ground, url: str, crew: Crew) -> None:
    async with Database.connect(url, max_size=1) as database:
        while True:
            await asyncio.sleep(CUT_EVERY)
            with suppress(SecateurError):
                await database.fetchval(CUT)


BREAKS: dict[str, Break] = {
    f"the worker is killed (SIGKILL) every {EVERY:g} s": _kill_workers,
    f"Postgres restarts every {EVERY:g} s": _restart,
    f"half of the connections are cut every {CUT_EVERY:g} s": _cut,
}


_MEANING = (
    "Lost: acknowledged, never begun, and no longer in the queue. Begun twice: begun again after its function had",
    "ended. (If a worker is killed, that end may not be recorded yet, and no queue can know of it.) Cut off: begun",
    "again because its worker had not ended it: at least once. Stalled: it still waits, though a worker is alive. The",
    "method is that of hardbyte/postgresql-job-queue-benchmarking.",
)
_COLUMNS = (
    *("what breaks", "queue", "acknowledged", "refused", "lost", "begun twice", "cut off and begun again"),
    *("begun and not ended", "stalled", "all done after", "workers started"),
)


async def measure(ground: Ground) -> list[str]:
    compared = await peers.compared()
    seconds = ground.lasting(SECONDS)
    rows, lines = [], []
    for what, breaks in BREAKS.items():
        for system in compared.systems:
            book, crew, recovered = await _once(ground, system, breaks, seconds)
            took = f"{recovered:.1f} s" if recovered is not None else f"not within {GRACE:.0f} s"
            figures = (
                *(len(book.put), book.refused, book.lost, len(book.begun_after_end), book.begun_again),
                *(book.unfinished, book.stalled),
            )
            row = f"{compared.labels[system.name]} | {' | '.join(f'{each:,}' for each in figures)}"
            rows.append(f"| {what} | {row} | {took} | {crew.started} |")
            say(rows[-1])
            if system is SECATEUR:
                lines.append(goal(f"lost, while {what}", book.lost, most=0))
                if breaks is not _kill_workers:
                    lines.append(goal(f"begun twice, while {what}", len(book.begun_after_end), most=0))
    return [
        *compared.missing,
        f"### {RATE} jobs a second for {seconds:g} s, {SETTING} at once, each of 20 ms; then {GRACE:.0f} s to recover",
        "",
        *_MEANING,
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|:--|:--|{'---:|' * (len(_COLUMNS) - 2)}",
        *rows,
        "",
        *lines,
    ]


async def _once(ground: Ground, system: System, breaks: Break, seconds: float) -> tuple[Book, Crew, float | None]:
    """The ledger, and the seconds after the last job was put in until all had ended; None if they never had."""
    book = Book()
    async with ground.empty() as url:
        await peers.call(system, "install", url)
        crew = Crew(system, url, book)
        keeping = asyncio.create_task(crew.keep())
        breaking = asyncio.create_task(breaks(ground, url, crew))
        try:
            command = (str(system.python), str(system.runner), "book", url, str(RATE), str(seconds))
            client = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            assert client.stdout is not None
            async for line in client.stdout:
                book.read(line)
            await client.wait()
            breaking.cancel()
            with suppress(asyncio.CancelledError):
                await breaking
            recovered = await _until_done(book)
            async with Database.connect(url, max_size=1) as database:
                book.waiting = await database.fetchval(system.unfinished, repeatable=True)
        finally:
            for task in (breaking, keeping):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    return book, crew, recovered


async def _until_done(book: Book) -> float | None:
    """The seconds until all that was put in had ended; None if that takes too long."""
    begun = time.monotonic()
    for _ in range(round(GRACE / LOOK)):
        if not book.put - book.ended:
            return time.monotonic() - begun
        await asyncio.sleep(LOOK)
    return None
