"""Searches the runs of secateur's own queue, page by page, within a bound of rows read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from secateur.bounds import require_id
from secateur.engines.native.ids_by_time import ids_around
from secateur.engines.native.source import NativeSource
from secateur.engines.readings import Reading, directed
from secateur.engines.rows import run_of
from secateur.engines.searching import MOST_READ, RunPage, RunSearch
from secateur.postgres.statements import Statements
from secateur.runs import Run, RunStatus

if TYPE_CHECKING:
    import asyncpg

CHUNK = 5_000
"""Runs that one round looks at, at most."""

ROUND_ROWS = 10_000
"""About how many rows a round reads: it takes more or fewer of each function, by what the round before has read."""

FIRST_OF_EACH = 20
"""Runs of each function in the first round of a search for something: there may be thousands of functions."""


class NativeSearching(NativeSource):
    """Searches in the order of ids. These begin with the milliseconds of the start, so times bound what is read.

    Only the owner of the tables can insert rows with other ids. A search by time may miss such rows.
    """

    statements: Mapping[str, str] = {
        **NativeSource.statements,
        **Statements.load("secateur.engines.native", "searching.sql"),
    }

    async def page(self, reading: Reading, search: RunSearch) -> RunPage:
        await reading.connection.execute(self.sql("by_index"))
        low, high = ids_around(search.window)
        if search.before is not None:
            position = require_id("before", search.before)
            low, high = (low, min(high, position)) if search.newest else (max(low, position), high)
        of_each = FIRST_OF_EACH if search.searches else min(search.limit, CHUNK)
        indexed = search.status not in (None, RunStatus.COMPLETED)
        sql = directed(self.sql("next_indexed" if indexed else "next_any"), search)
        found: list[Run] = []
        looked = read = 0
        back_to: datetime | None = None
        while True:
            chunk = CHUNK if indexed or search.searches else min(CHUNK, max(1000, search.limit))
            end = await reading.connection.fetchrow(
                sql,
                *(search.app_id, search.named, low, high, of_each, chunk),
                *(search.window.started_after, search.window.started_before, search.status),
            )
            wanted = search.limit - len(found)
            rows = await self._among(reading, search, end["ids"], wanted)
            found += map(run_of, rows)
            if len(found) == search.limit:
                last = found[-1]
                looked += end["looked"] if last.id == str(end["last_id"]) else rows[-1]["nth"]
                at_the_end = end["is_all"] and last.id == str(end["last_id"])
                return RunPage(found, next=None if at_the_end else last.id, looked_at=looked, back_to=last.started_at)
            looked += end["looked"]
            read += end["read"]
            back_to = end["last_start"] or back_to
            if end["is_all"] or read - len(found) >= MOST_READ:
                next = None if end["is_all"] else str(end["last_id"])
                return RunPage(found, next=next, looked_at=looked, back_to=back_to)
            low, high = (low, end["last_id"]) if search.newest else (end["last_id"], high)
            of_each = max(1, min(CHUNK, of_each * ROUND_ROWS // max(1, end["read"])))

    async def _among(self, reading: Reading, search: RunSearch, ids: list[UUID], wanted: int) -> list[asyncpg.Record]:
        """The first `wanted` of these runs that match the search."""
        if not ids:
            return []
        given: list[object] = [search.app_id, ids if search.filter else ids[:wanted], search.status, wanted]
        sql, parameters = self.search_condition("runs_found", search, reading.as_of, given)
        rows: list[asyncpg.Record] = await reading.connection.fetch(sql, *parameters)
        return rows
