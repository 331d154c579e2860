"""Limits how many connections of a pool are in use at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

GROW_SECONDS = 10.0
"""How long after a refusal to try whether the server accepts one more connection."""

BACKGROUND_SHARE = 0.2
"""The share of a single connection's time that background work takes while others wait for it."""

STANDBY_SECONDS = 10.0
"""Until background work tries a standby again: it may have become the primary."""

_IN_BACKGROUND: ContextVar[bool] = ContextVar("secateur_in_background", default=False)


@contextmanager
def in_background() -> Iterator[None]:
    """Within this context, the task and those that it starts do what can wait, as a sweep can.

    They always leave one connection to the others. If there is only one, they leave the greater part of its time.
    """
    token = _IN_BACKGROUND.set(True)
    try:
        yield
    finally:
        _IN_BACKGROUND.reset(token)


@dataclass(slots=True, eq=False)
class _Turn:
    given: asyncio.Future[None]
    can_wait: bool


class Turnstile:
    """Admits as many tasks as there may be connections: `ceiling`, or fewer once the server has refused more.

    The others wait in order until a connection is free, instead of asking the server again. Background work is passed
    by while it has as many as it may.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.room = ceiling
        self.inside = 0
        self.refusals = 0
        self._in_background = 0
        """How many of those inside do background work."""
        self._background_since = 0.0
        """When the last of these entered."""
        self._resting: asyncio.TimerHandle | None = None
        """Background work is not admitted until then."""
        self._waiting: deque[_Turn] = deque()
        self._grow_at = float("inf")

    async def enter(self) -> None:
        if time.monotonic() >= self._grow_at:
            self.room = min(self.room + 1, self.ceiling)
            self._grow_at = time.monotonic() + GROW_SECONDS if self.room < self.ceiling else float("inf")
            self._let_in()
        can_wait = _IN_BACKGROUND.get()
        if self.inside < self.room and not self._waiting and not (can_wait and self._is_closed):
            self._admit(can_wait)
            return
        turn = _Turn(asyncio.get_running_loop().create_future(), can_wait)
        self._waiting.append(turn)
        self._let_in()
        try:
            await turn.given
        except asyncio.CancelledError:
            if turn.given.done() and not turn.given.cancelled():
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Called by the task that has entered."""
        self.inside -= 1
        if _IN_BACKGROUND.get():
            self._in_background -= 1
            if self.room == 1 and any(not turn.can_wait and not turn.given.done() for turn in self._waiting):
                took = time.monotonic() - self._background_since
                loop = asyncio.get_running_loop()
                self._resting = loop.call_later(took * (1 / BACKGROUND_SHARE - 1), self._rested)
        self._let_in()

    def _rested(self) -> None:
        self._resting = None
        self._let_in()

    def fits(self, open_now: int) -> None:
        """The server has accepted this many."""
        if open_now > self.room:
            self.room = open_now
            self._let_in()

    def refused(self, open_now: int) -> None:
        """The server accepts no more connections than this."""
        self.refusals += 1
        self.room = max(1, min(open_now, self.room))
        self._grow_at = time.monotonic() + GROW_SECONDS

    def _let_in(self) -> None:
        while self.inside < self.room and (turn := self._next()) is not None:
            self._waiting.remove(turn)
            # One that was cancelled a moment ago still waits here until its task runs again.
            if not turn.given.done():
                self._admit(turn.can_wait)
                turn.given.set_result(None)

    def _next(self) -> _Turn | None:
        """The first that waits and may enter."""
        return next((turn for turn in self._waiting if not (turn.can_wait and self._is_closed)), None)

    @property
    def _is_closed(self) -> bool:
        """To background work."""
        return self._resting is not None or self._in_background >= max(1, self.room - 1)

    def _admit(self, can_wait: bool) -> None:
        self.inside += 1
        if can_wait:
            self._in_background += 1
            self._background_since = time.monotonic()
