"""Takes turns at slow work, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from secateur.api.limits import Limits
from secateur.errors import Busy, QueryTimeout


class Turns:
    """The turns of previews. Nothing else has to wait for them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.counts)
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises `Busy` if too many are waiting or this one has waited too long, and `QueryTimeout`."""
        await self._take()
        try:
            async with asyncio.timeout(self._limits.count):
                yield
        except TimeoutError:
            raise QueryTimeout(f"the count took longer than {self._limits.count:g} s; nothing was changed") from None
        finally:
            self._free.release()

    async def _take(self) -> None:
        if self._free.locked() and self._waiting >= self._limits.counts_waiting:
            raise Busy("too many previews are already waiting: try again in a moment")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.count_wait):
                await self._free.acquire()
        except TimeoutError:
            raise Busy("other previews are still being counted: try again in a moment") from None
        finally:
            self._waiting -= 1
