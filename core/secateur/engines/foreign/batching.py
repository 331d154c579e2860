"""The common parts of batches of sweeps and restores in another engine's queue."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from secateur.engines.foreign.holders import holders_of
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.rules import RuleReader
from secateur.engines.foreign.slow_jobs import SlowJobs
from secateur.errors import LockUnavailable
from secateur.ledger.steps import SweepStep
from secateur.postgres.database import Database

if TYPE_CHECKING:
    from secateur.engines.foreign.source import ForeignSource

_FOR_UPDATE = re.compile(r"\bfor update\b(?: of \w+)?")


class Batching:
    """A batch's transaction, its locks, whom it waits for, and the runs whose conditions take too long for it."""

    def __init__(self, database: Database, source: ForeignSource) -> None:
        self._database = database
        self._source = source
        self._slow = SlowJobs(database, source)

    @property
    def _installation(self) -> Installation:
        return self._source.installation

    @property
    def _rules(self) -> RuleReader:
        return RuleReader(self._source, self._installation)

    @property
    def _stops(self) -> bool:
        return self._installation.file.stops is not None

    async def _held_up(self, state: str, ids: Sequence[str], error: LockUnavailable | None = None) -> SweepStep:
        """Nothing could be done, since others hold these runs, or what belongs to them."""
        holders = await self.holders_of(ids) if ids else None
        return SweepStep(state, busy=True, held_up=holders or (None if error is None else str(error)))

    async def holders_of(self, ids: Sequence[str]) -> str | None:
        """See `holders.holders_of`."""
        return await holders_of(self._database, self._installation, ids)

    async def _lock_free(self, connection: asyncpg.Connection, ids: Sequence[str]) -> set[str]:
        """Locks those of the runs that nobody else holds."""
        return {
            row["id"]
            for sql in self._installation.each("lock")
            for row in await connection.fetch(passing_over(sql), list(ids))
        }

    async def states_of(self, connection: asyncpg.Connection, ids: Sequence[str]) -> dict[str, Any]:
        """See `RuleReader.states_of`."""
        return dict(await self._rules.states_of(connection, ids))

    async def _changed(self, connection: asyncpg.Connection, ids: Sequence[str]) -> dict[str, Any]:
        """The rows that the engine's own statement has cancelled or asked to stop, by id."""
        changed: dict[str, Any] = {}
        for sql in self._installation.each("cancel"):
            changed |= {row["id"]: row for row in await connection.fetch(sql, list(ids), self._stops)}
        return changed

    async def _wake(self, connection: asyncpg.Connection, app_id: str) -> None:
        if "wake" in self._installation.file.statements:
            for sql in self._installation.each("wake"):
                await connection.fetch(sql, [app_id.removeprefix(f"{self._installation.name}/")])

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._database.transaction() as connection:
            await connection.execute(self._source.sql("set_for_batch"))
            yield connection


def passing_over(lock: str) -> str:
    """A statement that locks rows, for those that nobody else holds."""
    return _FOR_UPDATE.sub(r"\g<0> skip locked", lock)
