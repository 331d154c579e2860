"""Keeps a queue small and its figures correct in the background; every process that may write takes part.

Any number of processes may do this at once: the database lets only one of them do a task at a time, and only when the
task is due.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from secateur.engines.base import Source, Upkeep, unsupported
from secateur.errors import DatabaseError, NotInstalled, PermissionDenied, ReadOnly
from secateur.postgres.turnstile import STANDBY_SECONDS, in_background
from secateur.troubles import Troubles

logger = logging.getLogger(__name__)

COMPACT_SECONDS = 1.0
COMPACT_BATCH = 100_000
"""Deltas summed up in one transaction, which takes about a quarter of a second."""

PRUNE_SECONDS = 10.0
"""Time between two looks for something to prune."""
PRUNE_BATCH = 1000
"""Runs deleted in one transaction."""

CHECK_EVERY = timedelta(minutes=10)
"""Time between two comparisons of the depth with the rows, by any process."""
CHECK_SECONDS = 30.0
"""Time between two checks whether a comparison is due; a new process waits this long before its first one."""

COMPACT_SHARE, PRUNE_SHARE = 0.1, 0.5
"""The largest share of a process's time for these tasks, so that a slow database gets more rest."""


class Maintenance:
    """The upkeep of one queue; does nothing if it is `read_only`, or if the engine does not need it."""

    def __init__(self, engine: Source, *, read_only: bool = False) -> None:
        self._engine = engine
        self._read_only = read_only
        self.troubles = Troubles(logger)
        """What is failing in `keep_up_forever`."""

    async def keep_up_forever(self) -> None:
        """Run until cancelled. Survives a database that goes away; gives up a task for which the role lacks a right."""
        if self._read_only or not isinstance(self._engine, Upkeep):
            return
        with in_background():
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat("summing up the depth", self.compact))
                group.create_task(self._repeat("pruning", self.prune, first=PRUNE_SECONDS / 2))
                group.create_task(self._repeat("checking the depth", self.check, first=CHECK_SECONDS))

    @property
    def _upkeep(self) -> Upkeep:
        if not isinstance(self._engine, Upkeep):
            raise unsupported(self._engine, "be kept up from outside")
        return self._engine

    async def compact(self) -> float:
        """Sum up the deltas that the depth is read from. Returns the seconds until the next time."""
        began = time.monotonic()
        moved = await self._upkeep.compact_depth(timedelta(seconds=COMPACT_SECONDS / 2), COMPACT_BATCH)
        took = time.monotonic() - began
        return took if moved >= COMPACT_BATCH else max(COMPACT_SECONDS, took * (1 / COMPACT_SHARE - 1))

    async def prune(self) -> float:
        """Delete one batch of expired runs. Returns the seconds until the next time."""
        began = time.monotonic()
        pruned = await self._upkeep.prune(PRUNE_BATCH)
        return (time.monotonic() - began) * (1 / PRUNE_SHARE - 1) if pruned.more else PRUNE_SECONDS

    async def check(self) -> float:
        """Compare the depth with the rows if that is due. Returns the seconds until the next check."""
        found = await self._upkeep.check_depth(CHECK_EVERY)
        if found is not None and found.drift:
            logger.warning("the depth was off by %d of %d runs; it has been corrected", found.drift, found.counted)
        return CHECK_SECONDS

    async def _repeat(self, what: str, task: Callable[[], Awaitable[float]], *, first: float = 0.0) -> None:
        """Wait a little more or less than `seconds`, so that processes do not run in step."""
        pause = first
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                pause = await task()
                self.troubles.went_well(what)
            except PermissionDenied as error:
                logger.warning("this process cannot do the maintenance and leaves it to others: %s", error)
                return
            except ReadOnly:
                # A standby: its primary's processes do it, until it is one itself.
                pause = STANDBY_SECONDS
            except (DatabaseError, NotInstalled) as error:
                self.troubles.failed(what, error)
                pause = PRUNE_SECONDS
