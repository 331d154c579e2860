"""Sends heartbeats from a separate thread, so that a function that blocks the worker's event loop cannot stop them.

The thread has its own event loop and connection. It shares two things with the worker's: the held claims, behind a
lock, and the flags of the runs that must stop. It also logs when the worker's event loop is blocked, and by which run.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import asyncpg

from secateur.engines.native.claims import Claim, extend_leases, insist
from secateur.engines.native.containment import NAMES
from secateur.errors import DatabaseError
from secateur.postgres.database import Database

LOOK_SECONDS = 0.25
"""How often to check that the event loop responds."""

LATE_SECONDS = 1.0
"""After this time a blocked event loop is logged, and again after twice the time, four times the time, …"""

GOODBYE_SECONDS = 6.0
"""How long the thread may take to finish."""

logger = logging.getLogger("secateur.worker")


class Heartbeats:
    """Keeps the held claims alive until they are let go.

    After each heartbeat `on_stopped` is called on the worker's event loop, with the tokens of all claims that must stop
    and the reason, `cancelled` or `lost`. `on_refused` is called there if Postgres has too many connections to give the
    thread one.
    """

    def __init__(
        self,
        url: str | None,
        worker: str,
        lease: timedelta,
        *,
        on_stopped: Callable[[Mapping[UUID, str]], None],
        on_refused: Callable[[], object],
    ) -> None:
        self.ready = asyncio.Event()
        """Set once the thread has its connection."""
        self._url = url
        self._worker = worker
        self._lease = lease
        self._on_stopped = on_stopped
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._held: dict[UUID, Claim] = {}
        self._ending = False
        self._living: tuple[asyncio.AbstractEventLoop, asyncio.Task[None] | None, asyncio.Event] | None = None

    def hold(self, claims: Sequence[Claim]) -> None:
        with self._lock:
            self._held.update((claim.token, claim) for claim in claims)

    def let_go(self, claim: Claim) -> None:
        with self._lock:
            self._held.pop(claim.token, None)

    def beat(self) -> None:
        """Send a heartbeat now, not only when the next one is due."""
        with self._lock:
            if self._living is not None:
                loop, _, wake = self._living
                loop.call_soon_threadsafe(wake.set)

    async def run(self) -> None:
        """Run until cancelled. Raises the error that ends the thread, such as `PermissionDenied`."""
        ended: Future[None] = Future()
        watch = Watch(asyncio.get_running_loop(), threading.get_ident())

        def live() -> None:
            try:
                asyncio.run(self._live(watch))
            except asyncio.CancelledError:
                ended.set_result(None)
            except BaseException as error:
                ended.set_exception(error)
            else:
                ended.set_result(None)

        # A daemon, so that a process that exits in a hurry does not wait for it.
        threading.Thread(target=live, name="secateur heartbeats", daemon=True).start()
        end = asyncio.wrap_future(ended)
        try:
            await asyncio.shield(end)
        finally:
            self._end()
            await asyncio.wait([end], timeout=GOODBYE_SECONDS)

    def _end(self) -> None:
        with self._lock:
            self._ending = True
            if self._living is not None:
                loop, task, _ = self._living
                if task is not None:
                    loop.call_soon_threadsafe(task.cancel)

    async def _live(self, watch: Watch) -> None:
        wake = asyncio.Event()
        with self._lock:
            if self._ending:
                return
            self._living = asyncio.get_running_loop(), asyncio.current_task(), wake
        watching = asyncio.create_task(watch.forever())
        try:
            application = f"secateur worker {self._worker}"[:63]
            async with Database.connect(self._url, application_name=application, max_size=1) as database:
                await insist(self._worker, lambda: self._ask(database, [], watch))
                watch.tell(self.ready.set)
                while True:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._lease.total_seconds() / 3):
                            await wake.wait()
                    wake.clear()
                    await self._beat(database, watch)
        finally:
            watching.cancel()
            with self._lock:
                self._living = None

    async def _beat(self, database: Database, watch: Watch) -> None:
        with self._lock:
            held = list(self._held.values())
        if not held:
            return
        # A run whose lease expired can have come back to this same worker: the later claim counts.
        newest = {claim.run_id: claim for claim in held}
        stopped = await insist(self._worker, lambda: self._ask(database, list(newest.values()), watch))
        reasons = {}
        for claim in held:
            reason = stopped.get(claim.run_id) if claim is newest[claim.run_id] else "lost"
            claim.run.must_stop = reason is not None or claim.run.stopped_because is not None
            if reason is not None:
                reasons[claim.token] = reason
        watch.tell(self._on_stopped, reasons)

    async def _ask(self, database: Database, claims: Sequence[Claim], watch: Watch) -> dict[UUID, str]:
        try:
            if not claims:
                await database.fetchval("select 1")
            return await extend_leases(database, claims, self._lease)
        except DatabaseError as error:
            if isinstance(error.__cause__, asyncpg.TooManyConnectionsError):
                watch.tell(self._on_refused)
            raise


class Watch:
    """Checks from another thread that the worker's event loop responds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread
        self._answered = False

    def tell(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call it on the worker's event loop, unless the loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    async def forever(self) -> None:
        while True:
            asked, warn_after = time.monotonic(), LATE_SECONDS
            self._answered = False
            self.tell(self._answer)
            while not self._answered:
                await asyncio.sleep(LOOK_SECONDS)
                waited = time.monotonic() - asked
                if not self._answered and waited >= warn_after:
                    logger.warning("%s for %.1f s%s", self._who(), waited, self._where())
                    warn_after *= 2
            if warn_after > LATE_SECONDS:
                logger.warning("the event loop responds again, after %.1f s", time.monotonic() - asked)
            await asyncio.sleep(LOOK_SECONDS)

    def _answer(self) -> None:
        self._answered = True

    def _who(self) -> str:
        task = asyncio.current_task(self._loop)
        name = None if task is None else NAMES.get(task)
        return f"{name} has been blocking the event loop" if name else "the event loop has not responded"

    def _where(self) -> str:
        frame = sys._current_frames().get(self._thread)
        if frame is None:
            return ""
        code = frame.f_code
        return (
            f", at {code.co_filename}:{frame.f_lineno} in {code.co_name}: all other runs of this worker are stalled;"
            " declare a blocking function without `async`"
        )
