"""Claims runs and executes them, several at a time, until it is told to stop.

One process runs one `Worker`. If it dies, its runs are claimed again when their leases expire; if Postgres goes
away, it waits and then continues.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from math import ceil
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from secateur.bounds import LONGEST_LEASE, LONGEST_NAME, MOST_AT_ONCE
from secateur.engines.native.attempts import CLEANUP_SECONDS, Attempt, Interruption
from secateur.engines.native.claims import Batch, Claim, Claims, may_pass
from secateur.engines.native.containment import contained
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.functions import App
from secateur.engines.native.heartbeats import Heartbeats
from secateur.engines.native.observing import Observer
from secateur.engines.native.performing import Performance
from secateur.engines.native.wakeups import LONGEST_POLL, LONGEST_SLEEP, Ear, Intake
from secateur.engines.upkeep import Maintenance
from secateur.errors import DatabaseError, SecateurError, UsageError
from secateur.ledger.cancellations import Cancellations
from secateur.postgres.database import Database
from secateur.postgres.reachable import until_reachable
from secateur.schema import Part, check_installed
from secateur.signals import stopped_by_signals

SLOW_SECONDS = 5.0
"""After this time, the log says what the worker waits for at its start."""

SMALL_BATCH = 100
"""A larger claim takes at most half of the slots, so that Postgres works while the other half executes functions."""

LAST_WORDS_SECONDS = 5.0
"""How long a stopping worker tries to report interrupted runs to Postgres."""

MOST_CONNECTIONS = 1_000
LONGEST_GRACE = timedelta(days=1)

Bound = TypeVar("Bound", int, timedelta)

logger = logging.getLogger("secateur.worker")


class Worker:
    """Executes the runs of `apps`, at most `concurrency` at a time, whatever their function.

    At the start it registers the declarations of the apps' functions, which then apply to all workers. This includes a
    function's own `concurrency`, which the database enforces over all workers. The transaction that queues a run wakes
    an idle worker; where notifications do not get through, as with a transaction pooler, the worker polls often.

    A run is held for `lease`; heartbeats extend it. When a run is cancelled, or the worker stops gracefully, the run
    has `grace` to finish by itself; then it is interrupted. A run that a stopping worker interrupts is queued again,
    keeps its finished steps and does not use up an attempt, at most ten times.

    `connections` is the maximum number of connections to Postgres, 2 or more: one for heartbeats and, from 4 on, one
    for notifications; everything else shares the rest, of which sweeps and upkeep leave one alone. `url` None means
    libpq's environment variables. Raises `UsageError` for values that cannot work.
    """

    def __init__(
        self,
        url: str | None,
        *,
        apps: Sequence[App],
        concurrency: int = 10,
        lease: timedelta = timedelta(seconds=30),
        grace: timedelta = timedelta(seconds=20),
        name: str | None = None,
        connections: int | None = None,
    ) -> None:
        self.url = url
        self.apps = _checked(apps)
        self.configure(concurrency=concurrency, lease=lease, grace=grace, connections=connections)
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        if name is not None:
            self.configure(name=name)
        self.observer = Observer()
        """Receives every claim and attempt."""
        self.started = asyncio.Event()
        """Set once the functions are registered and runs are being claimed."""
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._slot_or_stop = asyncio.Event()
        self._cut_off = False
        self.database: Database | None = None
        """The worker's connections while it runs."""
        self._intakes = [Intake(app.id, dict(app.functions)) for app in self.apps]
        self._ear: Ear | None = None
        self._threads: ThreadPoolExecutor
        self._heartbeats: Heartbeats
        self._performance: Performance

    def configure(
        self,
        *,
        url: str | None = None,
        concurrency: int | None = None,
        lease: timedelta | None = None,
        grace: timedelta | None = None,
        name: str | None = None,
        connections: int | None = None,
    ) -> None:
        """Change the given settings, before the worker runs. Raises `UsageError`."""
        if url is not None:
            self.url = url
        if concurrency is not None:
            self.concurrency = _within("concurrency", concurrency, 1, MOST_AT_ONCE)
        if lease is not None:
            self.lease = _within("lease", lease, timedelta(microseconds=1), LONGEST_LEASE)
        if grace is not None:
            self.grace = _within("grace", grace, timedelta(0), LONGEST_GRACE)
        if name is not None:
            if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
                raise UsageError(
                    f"a worker's name must have 1 to {LONGEST_NAME} printable characters, not {name!r:.80}"
                )
            self.name = name
        if connections is not None:
            self._connections: int | None = _within("connections", connections, 2, MOST_CONNECTIONS)
        elif not hasattr(self, "_connections"):
            self._connections = None

    @property
    def connections(self) -> int:
        """The maximum number of connections that it opens."""
        return self._connections or min(self.concurrency, 10) + 4

    @property
    def _listens(self) -> bool:
        """Whether it has a connection for notifications. With fewer it polls, for sweeps to hold up no claims."""
        return self.connections > 3

    def stop(self) -> None:
        """Stop gracefully; a second call no longer waits for running runs."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()
        self._slot_or_stop.set()

    async def run(self, *, to_the_end: bool = False) -> None:
        """Work until SIGTERM, SIGINT, SIGHUP or `stop()`; only once. Waits for Postgres, also at the start.

        `to_the_end` means that the process ends with the worker: signals are then ignored, and if functions cannot be
        interrupted, the process exits from here.

        Raises `SecateurError` if Postgres refuses, for example the login or a missing right.
        """
        try:
            with stopped_by_signals(self.stop, to_the_end=to_the_end), contained():
                # In a task of its own, since the present one is not contained.
                await asyncio.create_task(self._run(to_the_end=to_the_end))
        except BaseExceptionGroup as group:
            known = group.subgroup(SecateurError)
            if known is None:
                raise
            raise _first(known) from group

    async def _run(self, *, to_the_end: bool) -> None:
        application = f"secateur worker {self.name}"[:63]
        spare = 2 if self._listens else 1
        async with Database.connect(
            self.url, application_name=application, max_size=self.connections - spare
        ) as database:
            self.database = database
            claims = Claims(database, self.name, self.lease)
            if await self._prepare(claims, database):
                with closing(claims):
                    await self._work(claims, database, to_the_end=to_the_end)

    async def _prepare(self, claims: Claims, database: Database) -> bool:
        """Register the functions. Returns False if the worker was stopped first."""

        async def register() -> None:
            await until_reachable(database, logger.warning)
            await check_installed(database, part=Part.QUEUE)
            for app in self.apps:
                for function in app.functions.values():
                    await claims.register(function)

        return await self._unless_stopped(register())

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait until it is done or the worker must stop. Returns whether it was done."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            return task.done()
        finally:
            task.cancel()
            stopping.cancel()
            await asyncio.wait([task, stopping])

    async def _work(self, claims: Claims, database: Database, *, to_the_end: bool) -> None:
        self._threads = ThreadPoolExecutor(self.concurrency, "secateur run")
        self._heartbeats = Heartbeats(
            self.url, self.name, self.lease, on_stopped=self._told_to_stop, on_refused=database.give_way
        )
        self._ear = Ear(database, on_runs=self._wake, on_cancellations=self._heartbeats.beat)
        async with asyncio.TaskGroup() as group:
            performance = self._performance = Performance(
                group,
                claims,
                self.name,
                self._threads,
                self._heartbeats,
                self.observer,
                on_change=self._slot_or_stop.set,
                on_room=lambda app_id: self._wake(app_id, room=True),
            )
            helpers = [group.create_task(self._heartbeats.run())]
            if self._listens:
                helpers.append(group.create_task(self._ear.listen()))
            # Claim nothing, and use no other connection, before heartbeats can be sent.
            await self._unless_stopped(self._first_beat(self._heartbeats))
            helpers += [
                group.create_task(self._sweep(database)),
                group.create_task(Maintenance(NativeEngine(database)).keep_up_forever()),
            ]
            logger.info("%s works on %s", self.name, ", ".join(app.id for app in self.apps))
            self.started.set()
            while not self._stopping.is_set():
                self._slot_or_stop.clear()
                pause = await self._claim_round(claims, performance)
                if pause > 0 and not self._stopping.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(None if pause == float("inf") else pause):
                            await self._slot_or_stop.wait()
            await self._wind_down(claims, to_the_end=to_the_end)
            for helper in helpers:
                helper.cancel()
            self._threads.shutdown(wait=False)
        logger.info("%s has stopped", self.name)

    async def _first_beat(self, heartbeats: Heartbeats) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await heartbeats.ready.wait()
        except TimeoutError:
            logger.warning("%s is waiting for its second connection, for heartbeats; it needs at least two", self.name)
            await heartbeats.ready.wait()

    async def _claim_round(self, claims: Claims, performance: Performance) -> float:
        """Fill the free slots, divided among the intakes that are due. Returns how long there is nothing to do.

        A run frees its slot when it ends, before the queue is told, so that the next claim need not wait for that.
        """
        free = min(self.concurrency - performance.busy, 2 * self.concurrency - len(performance.held))
        if free <= 0:
            return float("inf")
        due = [intake for intake in self._intakes if intake.due <= time.monotonic()]
        random.shuffle(due)
        for place, intake in enumerate(due):
            wanted = min(ceil(free / (len(due) - place)), max(SMALL_BATCH, ceil(self.concurrency / 2)))
            if wanted == 0 or self._stopping.is_set():
                break
            batch = await self._claim(claims, intake, wanted)
            if self._stopping.is_set():
                await self._release(claims, batch.claims)
                break
            performance.begin(batch.claims)
            free -= len(batch.claims)
        return min(intake.due for intake in self._intakes) - time.monotonic()

    async def _claim(self, claims: Claims, intake: Intake, wanted: int) -> Batch:
        intake.looking()
        asked_at = time.monotonic()
        try:
            batch = await claims.claim(intake.app_id, intake.functions, wanted)
        except DatabaseError as error:
            if not may_pass(error):
                raise
            if not self._cut_off:
                logger.warning("%s cannot claim runs, and keeps trying: %s", self.name, error)
            self._cut_off = True
            self.observer.claim_failed(intake.app_id)
            intake.failed()
            return Batch([])
        if self._cut_off:
            logger.warning("%s can claim runs again", self.name)
        self._cut_off = False
        self.observer.claimed(intake.app_id, len(batch.claims), time.monotonic() - asked_at)
        hears = self._ear is not None and self._ear.hears
        intake.brought(batch, longest=LONGEST_SLEEP if hears else LONGEST_POLL)
        return batch

    def _wake(self, app_id: str | None, *, room: bool = False) -> None:
        """There may be new runs of the app (None: of any app; see `Ear`), or `room` for a run that was held back."""
        for intake in self._intakes:
            if app_id is None or intake.app_id == app_id:
                intake.make_room() if room else intake.wake()
        self._slot_or_stop.set()

    async def _release(self, claims: Claims, released: Sequence[Claim]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await claims.release(released)

    def _told_to_stop(self, reasons: Mapping[UUID, str]) -> None:
        """Called with a heartbeat's answers, by token; see `Heartbeats`."""
        for token, attempt in self._performance.held.items():
            attempt.must_stop(reasons.get(token), self.grace)

    async def _sweep(self, database: Database) -> None:
        """Rewrite the rows that cancellations match, as every live process does; claims never depend on it."""
        await Cancellations(NativeEngine(database)).sweep_forever()

    async def _wind_down(self, claims: Claims, *, to_the_end: bool) -> None:
        if self._performance.held:
            logger.info(
                "%s is stopping; %d running runs have %s to end", self.name, len(self._performance.held), self.grace
            )
            await self._until(lambda: not self._performance.held or self._hurrying.is_set(), self.grace.total_seconds())
        for attempt in self._performance.held.values():
            attempt.interrupt(Interruption.STOP)
        await self._until(lambda: not any(self._stubborn()), CLEANUP_SECONDS)
        stubborn = self._stubborn()
        await self._until(lambda: len(self._performance.held) == len(stubborn), LAST_WORDS_SECONDS)
        for attempt in self._performance.held.values():
            if attempt not in stubborn:
                attempt.leave()
        if not stubborn:
            return
        named = ", ".join(map(str, stubborn))
        if to_the_end:
            logger.error("these runs could not be interrupted, and end with the process: %s", named)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    for attempt in stubborn:
                        await claims.interrupt(attempt.claim, Interruption.STOP.value)
            _exit_at_once()
        logger.error("these runs cannot be interrupted; kill the process: %s", named)
        await self._until(lambda: not self._performance.held)

    def _stubborn(self) -> list[Attempt]:
        """Attempts whose function has not ended, even if it was interrupted."""
        return [attempt for attempt in self._performance.held.values() if attempt.busy]

    async def _until(self, reached: Callable[[], bool], seconds: float | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not reached():
                    self._slot_or_stop.clear()
                    await self._slot_or_stop.wait()


def _exit_at_once() -> NoReturn:
    """Exit without waiting for threads. They cannot be stopped, and the interpreter would wait for them."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def _within(what: str, value: Bound, least: Bound, most: Bound) -> Bound:
    """Raises `UsageError` if the value is out of range."""
    if type(value) is not type(least) or not least <= value <= most:
        raise UsageError(f"a worker's {what} must be from {least} to {most}, not {value!r}")
    return value


def _first(group: BaseExceptionGroup[SecateurError]) -> SecateurError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _checked(apps: Sequence[App]) -> tuple[App, ...]:
    ids = [app.id for app in apps]
    if not ids:
        raise UsageError("a worker needs at least one app")
    for app in apps:
        if ids.count(app.id) > 1:
            raise UsageError(f"app {app.id} is listed twice: declare its functions on one App object")
        if not app.functions:
            raise UsageError(f"app {app.id} has no functions: declare them with @app.function(id=…)")
    return tuple(apps)
