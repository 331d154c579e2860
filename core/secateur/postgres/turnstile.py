"""Limits how many connections of a pool are in use at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque

GROW_SECONDS = 10.0
"""How long after a refusal to try whether the server accepts one more connection."""


class Turnstile:
    """Admits as many tasks as there may be connections: `ceiling`, or fewer once the server has refused more.

    The others wait in order until a connection is free, instead of asking the server again.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.room = ceiling
        self.inside = 0
        self.refusals = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._grow_at = float("inf")

    async def enter(self) -> None:
        if time.monotonic() >= self._grow_at:
            self.room = min(self.room + 1, self.ceiling)
            self._grow_at = time.monotonic() + GROW_SECONDS if self.room < self.ceiling else float("inf")
            self._let_in()
        if self.inside < self.room and not self._waiting:
            self.inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        self.inside -= 1
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
        while self._waiting and self.inside < self.room:
            turn = self._waiting.popleft()
            # One that was cancelled a moment ago still waits here until its task runs again.
            if not turn.done():
                self.inside += 1
                turn.set_result(None)
