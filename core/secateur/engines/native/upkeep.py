"""Keeps secateur's own queue small, and its depth correct."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from secateur.engines.base import DepthCheck, Pruned, Retention, Upkeep
from secateur.engines.native.writing import Writing
from secateur.postgres.statements import Statements

if TYPE_CHECKING:
    import asyncpg

CHECK_SECONDS = 300.0
"""The timeout for counting all unfinished runs, when the depth is checked."""

_SQL = Statements.load("secateur.engines.native", "upkeep.sql")


class NativeUpkeep(Writing, Upkeep):
    """One app at a time, each in its own transaction."""

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        self._refuse_if_read_only()
        moved: int = await self._database.fetchval(_SQL["compact_depth"], every, batch)
        return moved

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        self._refuse_if_read_only()
        found = await self._of_each_app("check_depth", every, seconds=CHECK_SECONDS)
        checked = [row for row in found if row["checked"]]
        if not checked:
            return None
        return DepthCheck(sum(row["counted"] for row in checked), sum(row["drift"] for row in checked))

    async def prune(self, batch: int) -> Pruned:
        self._refuse_if_read_only()
        pruned = await self._of_each_app("prune", batch)
        await self._of_each_app("end_guard_pauses")
        return Pruned(sum(row["runs"] for row in pruned), any(row["more"] for row in pruned))

    async def _of_each_app(self, name: str, *arguments: object, seconds: float | None = None) -> list[asyncpg.Record]:
        """The rows of the statement for all apps; it is executed for one app at a time."""
        return [
            row
            for app_id in await self._database.fetchval(_SQL["all_apps"])
            for row in await self._database.fetch(_SQL[name], app_id, *arguments, timeout=seconds)
        ]

    async def retention(self) -> Retention:
        row = await self._database.fetchrow(_SQL["retention"])
        assert row is not None  # noqa: S101 - the table always has its row
        return Retention(**row)

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(_SQL["set_retention"], finished, cancelled, standing, author, source)
        assert row is not None  # noqa: S101 - the function always returns a row
        return Retention(**row)
