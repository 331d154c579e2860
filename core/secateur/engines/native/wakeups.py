"""Decides when a worker looks for runs: at once while there are any, when it is notified, and also from time to time.

A worker that has free slots claims until a claim says that nothing else is there. From then on, an enqueue notifies the
app's workers (`wake` in sql/levels.sql). If a transaction is open that may have queued something without a
notification, the claim says so, and the worker looks again after some milliseconds.

Notifications can be lost with their connection, and never arrive through a transaction pooler. So a worker also
polls: rarely if it receives notifications, often if it does not.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from uuid import uuid4

from secateur.engines.native.claims import Batch
from secateur.engines.native.functions import Function
from secateur.errors import DatabaseError, PermissionDenied
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements

SHORTEST_POLL = 0.05
LONGEST_POLL = 0.5
"""Seconds between two polls of an empty queue, for a worker that does not receive notifications."""

LONGEST_SLEEP = 3.0
"""The same for a worker that receives them."""

SHORTEST_WAIT = 0.004
LONGEST_WAIT = 0.25
"""Seconds between two looks while a transaction is open that may have queued something."""

LOOKS_IN_VAIN = 2
"""This many in a row mean nothing: a look may take a run before the run's own notification arrives."""

PROBE_SECONDS = 60.0
"""Time between two tests whether notifications get through."""
ECHO_SECONDS = 5.0
"""How long a test notification may take to arrive."""

RUNS, CANCELLATIONS = "secateur_runs", "secateur_cancellations"

logger = logging.getLogger("secateur.worker")

_SQL = Statements.load("secateur.engines.native", "worker.sql")


@dataclass(slots=True)
class Intake:
    """The functions of one app, whose runs are claimed together, and when to claim. Times on the monotonic clock."""

    app_id: str
    functions: dict[str, Function]
    due: float = 0.0
    """When to look next."""
    looked: float = float("-inf")
    pause: float = 0.0
    wait: float = 0.0
    """The pause while a transaction is open that may have queued something; 0 if none is."""
    vain: int = 0
    """How many looks in a row were caused by notifications and found nothing."""
    rest: float = 0.0
    """After a look that found nothing, a notification can cause the next one no sooner than this."""
    told: bool = False
    """The current look was caused by a notification."""
    woken: bool = False
    """A notification arrived after the current look began, which may therefore have missed the new runs."""
    room: bool = False
    """A run of a limited function ended after the current look began, which may have found the function full."""

    def looking(self) -> None:
        """A look begins."""
        self.told, self.woken, self.room = self.woken, False, False

    def brought(self, batch: Batch, *, longest: float) -> None:
        """Look again at once until nothing is there; then less and less often, but always when a run becomes due.

        A worker that is repeatedly notified in vain, because others are quicker, also reacts less often.
        """
        self.looked = time.monotonic()
        self.wait = min(max(self.wait * 1.5, SHORTEST_WAIT), LONGEST_WAIT) if batch.unsure else 0.0
        if batch.claims or batch.more:
            self.pause = SHORTEST_POLL if batch.drained else 0.0
            self.vain, self.rest = 0, 0.0
        else:
            self.pause = min(max(self.pause * 1.5, SHORTEST_POLL), longest)
            self.vain += self.told
            if self.told and self.vain > LOOKS_IN_VAIN:
                self.rest = min(max(self.rest * 1.5, SHORTEST_POLL), LONGEST_POLL)
        pause = self.pause * random.uniform(0.8, 1.0)  # noqa: S311 - spreads the looks of several workers
        if batch.due_in is not None:
            pause = min(pause, max(batch.due_in, SHORTEST_POLL))
        if batch.unsure:
            pause = min(pause, self.wait)
        self.due = self.looked + pause
        if self.woken:
            self.wake()
        if self.room:
            self.make_room()

    def failed(self) -> None:
        """The query failed."""
        self.pause = LONGEST_POLL
        self.due = time.monotonic() + self.pause

    def wake(self) -> None:
        """There may be something to claim."""
        self.woken = True
        self.due = min(self.due, self.looked + self.rest)

    def make_room(self) -> None:
        """A run of a limited function ended here: look for the next one at once, and do not rest first."""
        self.room = True
        self.due = min(self.due, self.looked)


class Ear:
    """Listens on one connection for cancellations and for runs to claim (`on_runs` gets their app, or None for any)."""

    def __init__(
        self, database: Database, *, on_runs: Callable[[str | None], None], on_cancellations: Callable[[], None]
    ) -> None:
        self.hears = False
        """Whether notifications get through, as far as known."""
        self._database = database
        self._on_runs = on_runs
        self._on_cancellations = on_cancellations
        self._own = f"secateur_echo_{uuid4().hex}"
        self._listening = asyncio.Event()
        self._echoed = asyncio.Event()

    async def listen(self) -> None:
        """Listen until cancelled; returns if the role may not."""
        probing = asyncio.create_task(self._probe())
        try:
            async with aclosing(self._database.listen_to(RUNS, CANCELLATIONS, self._own)) as notifications:
                async for channel, payload in notifications:
                    self._hear(channel, payload)
        except PermissionDenied as error:
            logger.warning("this worker cannot use LISTEN, and polls instead: %s", error)
        finally:
            self.hears = False
            probing.cancel()

    def _hear(self, channel: str, payload: str) -> None:
        if channel == self._own:
            self._echoed.set()
        if not channel:  # a new connection: look now, because earlier notifications are lost
            self._listening.set()
        if channel in {"", RUNS}:
            self._on_runs(payload or None)
        if channel in {"", CANCELLATIONS}:
            self._on_cancellations()

    async def _probe(self) -> None:
        """Test from time to time whether a notification gets through. A transaction pooler accepts LISTEN but
        delivers nothing."""
        await self._listening.wait()
        while True:
            self._listening.clear()
            self._echoed.clear()
            try:
                await self._database.execute(_SQL["echo"], self._own)
                async with asyncio.timeout(ECHO_SECONDS):
                    await self._echoed.wait()
                heard = True
            except (DatabaseError, TimeoutError):
                heard = False
            if heard != self.hears:
                logger.debug("notifications %s", "get through" if heard else "do not get through")
            self.hears = heard
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._listening.wait()
