"""Claims runs and performs them, several at a time, until it is told to stop.

One process runs one `Worker`. If it dies, its runs are taken up again when their lease ends; if Postgres goes
away, it waits and goes on.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from math import ceil
from uuid import UUID

from secateur.cancellations import Cancellations
from secateur.claims import Batch, Claim, Claims, may_pass
from secateur.database import Database
from secateur.engines.native import NativeEngine
from secateur.errors import DatabaseError, SecateurError, UsageError
from secateur.functions import App, RunCancelled
from secateur.maintenance import Maintenance
from secateur.migrations import check_installed
from secateur.wakeups import LONGEST_POLL, LONGEST_SLEEP, Ear, Intake

CANCEL_SECONDS = 2.0
"""How long functions that were interrupted may take to clean up."""

LAST_WORDS_SECONDS = 5.0
"""How long to try to tell Postgres about interrupted runs."""

logger = logging.getLogger("secateur.worker")


class Worker:
    """Performs the runs of `apps`, up to `concurrency` of whatever function at a time.

    What the apps' functions declare is registered at the start and holds for all workers, `concurrency` of a
    function too: its limit is kept by the database, over all of them. An idle worker is woken by the transaction
    that queues a run; where notifications do not get through, as through a transaction pooler, it looks often.

    A run is held for `lease` and kept alive by heartbeats. At a graceful stop running runs have `grace` to
    end; then they are interrupted and count as failed attempts. `url` None means libpq's environment.
    Raises `UsageError` for what could not work.
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
    ) -> None:
        if concurrency < 1:
            raise UsageError("a worker's concurrency must be at least 1")
        if lease <= timedelta(0):
            raise UsageError("a worker's lease must be longer than nothing")
        self.url = url
        self.apps = _checked(apps)
        self.concurrency = concurrency
        self.lease = lease
        self.grace = grace
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.started = asyncio.Event()
        """Set once functions are registered and runs are being claimed."""
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._slot_or_stop = asyncio.Event()
        self._beat = asyncio.Event()
        self._cut_off = False
        self._held: dict[UUID, tuple[Claim, asyncio.Task[None]]] = {}
        self._busy = 0
        """How many of the held runs have not ended yet; of the others the queue has yet to be told."""
        self._intakes = [Intake(app.id, dict(app.functions)) for app in self.apps]
        self._ear: Ear | None = None

    def stop(self) -> None:
        """Stop gracefully; a second time, without waiting for running runs."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()
        self._slot_or_stop.set()

    async def run(self) -> None:
        """Work until SIGTERM, SIGINT or `stop()`, once in the worker's life.

        Raises `SecateurError` if Postgres cannot be reached at the start, or refuses later.
        """
        application = f"secateur worker {self.name}"[:63]
        connections = min(self.concurrency + 2, 10)
        try:
            async with (
                Database.connect(self.url, application_name=application, max_size=connections) as database,
                Database.connect(self.url, application_name=application, max_size=4) as background,
            ):
                await check_installed(database)
                claims = Claims(database, background, self.name, self.lease)
                for app in self.apps:
                    for function in app.functions.values():
                        await claims.register(function)
                with self._stopped_by_signals(), closing(claims):
                    await self._work(claims, background)
        except BaseExceptionGroup as group:
            known = group.subgroup(SecateurError)
            if known is None:
                raise
            raise _first(known) from group

    async def _work(self, claims: Claims, background: Database) -> None:
        self._ear = Ear(background, on_runs=self._wake, on_cancellations=self._beat.set)
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._keep_alive(claims)),
                group.create_task(self._ear.listen()),
                group.create_task(self._sweep(background)),
                group.create_task(Maintenance(NativeEngine(background)).keep_up_forever()),
            ]
            logger.info("%s works on %s", self.name, ", ".join(app.id for app in self.apps))
            self.started.set()
            while not self._stopping.is_set():
                self._slot_or_stop.clear()
                pause = await self._claim_round(claims, group)
                if pause > 0 and not self._stopping.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(None if pause == float("inf") else pause):
                            await self._slot_or_stop.wait()
            await self._wind_down(claims)
            for helper in helpers:
                helper.cancel()
        logger.info("%s has stopped", self.name)

    async def _claim_round(self, claims: Claims, group: asyncio.TaskGroup) -> float:
        """Fill the free slots, shared by the queues that are due. Returns how long there is nothing to do.

        A run that has ended leaves its slot before the queue knows of it: the next claim need not wait for that.
        """
        free = min(self.concurrency - self._busy, 2 * self.concurrency - len(self._held))
        if free <= 0:
            return float("inf")
        due = [intake for intake in self._intakes if intake.due <= time.monotonic()]
        random.shuffle(due)
        for place, intake in enumerate(due):
            wanted = ceil(free / (len(due) - place))
            if wanted == 0 or self._stopping.is_set():
                break
            batch = await self._claim(claims, intake, wanted)
            if self._stopping.is_set():
                await self._release(claims, batch.claims)
                break
            for claim in batch.claims:
                self._begin(claims, claim, group)
            free -= len(batch.claims)
        return min(intake.due for intake in self._intakes) - time.monotonic()

    async def _claim(self, claims: Claims, intake: Intake, wanted: int) -> Batch:
        intake.looking()
        try:
            batch = await claims.claim(intake.app_id, intake.functions, wanted)
        except DatabaseError as error:
            if not may_pass(error):
                raise
            if not self._cut_off:
                logger.warning("%s cannot claim runs, and goes on trying: %s", self.name, error)
            self._cut_off = True
            intake.failed()
            return Batch([])
        if self._cut_off:
            logger.warning("%s claims runs again", self.name)
        self._cut_off = False
        hears = self._ear is not None and self._ear.hears
        intake.brought(batch, wanted=wanted, longest=LONGEST_SLEEP if hears else LONGEST_POLL)
        return batch

    def _wake(self, app_id: str | None) -> None:
        """Runs of the app (None: of any) may have come; see `Ear`."""
        for intake in self._intakes:
            if app_id is None or intake.app_id == app_id:
                intake.wake()
        self._slot_or_stop.set()

    async def _release(self, claims: Claims, released: Sequence[Claim]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await claims.release(released)

    def _begin(self, claims: Claims, claim: Claim, group: asyncio.TaskGroup) -> None:
        self._busy += 1
        self._held[claim.token] = (claim, group.create_task(self._hold(claims, claim)))

    async def _hold(self, claims: Claims, claim: Claim) -> None:
        try:
            await self._perform(claims, claim)
        finally:
            del self._held[claim.token]
            self._slot_or_stop.set()
            if claim.function.concurrency is not None:
                self._wake(claim.run.app_id)  # what it was in the way of may begin

    async def _perform(self, claims: Claims, claim: Claim) -> None:
        """One attempt. Whatever the function raises is its run's failure, never the worker's."""
        try:
            await claims.recall(claim)
            error = await _attempt(claim)
        finally:
            self._busy -= 1
            self._slot_or_stop.set()
        if error is None:
            if not await claims.complete(claim):
                logger.info("%s ended, but was cancelled or is no longer held by %s", claim.run, self.name)
            return
        text = _describe(error)
        match await claims.fail(claim, text):
            case "scheduled":
                logger.warning("%s failed and will be tried again: %s", claim.run, text, exc_info=error)
            case "failed":
                logger.error("%s failed for good: %s", claim.run, text, exc_info=error)
            case _:
                logger.info("%s stopped: it was cancelled, or is no longer held by %s", claim.run, self.name)

    async def _keep_alive(self, claims: Claims) -> None:
        """Heartbeats, and at once when something was cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.lease.total_seconds() / 3):
                    await self._beat.wait()
            self._beat.clear()
            held = [claim for claim, _ in self._held.values()]
            if held:
                # A run whose lease ended can have come back to this very worker: the later claim counts.
                newest = {claim.run.id: claim for claim in held}
                stopped = await claims.heartbeat(list(newest.values()))
                for claim in held:
                    claim.run.must_stop = claim.run.id in stopped or claim is not newest[claim.run.id]

    async def _sweep(self, background: Database) -> None:
        """Rewrite what cancellations match, as any living process does; claims never depend on it."""
        await Cancellations(NativeEngine(background)).sweep_forever()

    async def _wind_down(self, claims: Claims) -> None:
        if self._held:
            logger.info("%s stops; %d running runs have %s to end", self.name, len(self._held), self.grace)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.grace.total_seconds()):
                    await self._until_idle_or_hurried()
        interrupted = dict(self._held)
        for _, task in interrupted.values():
            task.cancel()
        if interrupted:
            await asyncio.wait([task for _, task in interrupted.values()], timeout=CANCEL_SECONDS)
            # One that was cancelled before it began could not see itself off.
            self._held = {token: held for token, held in self._held.items() if not held[1].done()}
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    for claim, _ in interrupted.values():
                        await claims.fail(claim, "interrupted: the worker stopped before the run ended")
            logger.warning("%s interrupted %d runs", self.name, len(interrupted))
        if self._held:
            stubborn = ", ".join(str(claim.run) for claim, _ in self._held.values())
            logger.error("these do not let themselves be interrupted, so kill the process: %s", stubborn)

    async def _until_idle_or_hurried(self) -> None:
        while self._held and not self._hurrying.is_set():
            self._slot_or_stop.clear()
            await self._slot_or_stop.wait()

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


async def _attempt(claim: Claim) -> BaseException | None:
    """What the function raised, even if it tried to end the process or met a cancelled task of its own."""
    try:
        await claim.function.work(claim.run)
    except (Exception, RunCancelled, BaseExceptionGroup, SystemExit) as error:
        return error
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is None or current.cancelling():
            raise
        return error
    return None


def _describe(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be shown)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _first(group: BaseExceptionGroup[SecateurError]) -> SecateurError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _checked(apps: Sequence[App]) -> tuple[App, ...]:
    ids = [app.id for app in apps]
    if not ids:
        raise UsageError("a worker needs at least one app")
    for app in apps:
        if ids.count(app.id) > 1:
            raise UsageError(f"the app {app.id} is given twice: declare its functions on one App object")
        if not app.functions:
            raise UsageError(f"the app {app.id} has no functions: declare them with @app.function(id=…)")
    return tuple(apps)


def load_apps(spec: str) -> list[App]:
    """The apps that `MODULE:OBJECT` names: an `App`, a `Worker` (then its apps) or a list of apps.

    The module is looked for in the working directory too. Raises `UsageError` in words; what the module
    itself raises comes through.
    """
    module_name, colon, path = spec.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"{spec!r} is not of the form MODULE:OBJECT, as in shop.jobs:billing")
    found: object = _import(module_name)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise UsageError(f"{module_name} has no {path}") from None
    if isinstance(found, Worker):
        return list(found.apps)
    listed = list(found) if isinstance(found, list | tuple) else [found]
    apps = [app for app in listed if isinstance(app, App)]
    if len(apps) < len(listed) or not apps:
        raise UsageError(f"{spec} is not an App, a Worker or a list of apps, but {found!r}")
    return list(_checked(apps))


def _import(name: str) -> object:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {error.name} (looked also in {os.getcwd()})") from None
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name!r} is not a module's name: {error}") from None
