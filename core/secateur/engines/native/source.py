"""Reads secateur's own queue: the tables of the schema `secateur`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

from secateur.bounds import require_id
from secateur.cel.values import decode_json
from secateur.engines.base import Selection
from secateur.engines.relation import STATEMENTS, Reading, RelationSource, counted, run_of, scoped
from secateur.engines.sampling import estimate
from secateur.errors import NotFound
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, Count, FunctionDepth, Histogram, Run, Scope
from secateur.schema import check_installed

ROWS_AT_ONCE = 250
"""Rows of the depth that are read before other tasks get their turn. They take a few milliseconds."""

SAMPLE_RUNS = 20_000
"""About how many runs of the scope an estimate looks at."""

FEWEST_SAMPLED = 500
"""A sample with fewer runs gives no estimate, because the scope is a small part of the table."""

SAMPLE_PAGES = 3_000
"""A sample reads no more of the table's pages: each may have to come from the disk."""

EXACT_IS_QUICK = 30_000
"""Up to this many runs in scope an exact count takes no longer than a sample."""

DRAWING_IS_QUICK = 100_000
"""Up to this many runs in scope a sample of events is drawn run by run; it takes a tenth of a second."""

SAMPLE_CHARACTERS = 20_000_000
"""A sample of events ends once it has read this much JSON."""


class NativeSource(RelationSource):
    """The relation is the table of the runs itself. Samples are drawn by its pages."""

    name: ClassVar[str] = "native"
    first_run: ClassVar[str | None] = """select secateur.enqueue('billing', 'invoices', '{"name": "invoice/due"}');"""
    relation: ClassVar[str] = "secateur.runs"
    columns: ClassVar[str] = "run.*, run.status = 'running' and run.lease_expires_at < now() as lost"
    statements: ClassVar[Mapping[str, str]] = {**STATEMENTS, **Statements.load("secateur.engines.native", "source.sql")}

    @staticmethod
    def problem_of_run_id(run_id: str) -> str | None:
        try:
            UUID(run_id)
        except ValueError:
            return "must be a UUID"
        return None

    async def detect(self) -> str:
        return await check_installed(self._database)

    async def depth(self) -> list[FunctionDepth]:
        depths: list[FunctionDepth] = []
        for number, row in enumerate(await self._database.fetch(self.sql("depth"))):
            if number % ROWS_AT_ONCE == 0:
                # With thousands of functions this takes long. The event loop must get to a pressed key in between.
                await asyncio.sleep(0)
            depths.append(FunctionDepth(**row))
        return depths

    async def estimate(self, selection: Selection) -> Count | None:
        if selection.statuses is not UNFINISHED:
            return None
        scope = scoped(selection)

        async def ask(reading: Reading) -> Count | None:
            size = await reading.connection.fetchrow(self.sql("size"), *scope[:2])
            if size["total"] <= EXACT_IS_QUICK:
                return None
            percent = _percent(SAMPLE_RUNS, **size)
            sql, parameters = self.conditioned("sample", selection, reading.as_of, [*scope, percent])
            rows = await reading.connection.fetch(sql, *parameters)
            sampled = sum(row["total"] for row in rows)
            if sampled < FEWEST_SAMPLED:
                return None
            total = max(size["total"], sampled)
            pages: dict[int, tuple[int, int]] = {}
            for row in rows:
                runs, matched = pages.get(row["page"], (0, 0))
                pages[row["page"]] = runs + row["total"], matched + row["matched"]
            guess = estimate(pages.values(), total, percent / 100)
            errors = sum(row["errors"] for row in rows)
            count = counted(rows, reading, selection, exact=False, total=total, errors=errors, scale=total / sampled)
            # Each is rounded by itself.
            errors = min(count.errors or 0, total - guess.matched)
            return replace(count, matched=guess.matched, errors=errors, low=guess.low, high=guess.high)

        return await self.read(ask)

    async def histogram(self, selection: Selection, bars: int) -> Histogram | None:
        scope = selection.scope

        async def ask(reading: Reading) -> Histogram | None:
            size = await reading.connection.fetchrow(self.sql("size"), scope.app_id, scope.function_id)
            if size["total"] <= EXACT_IS_QUICK or selection.statuses is not UNFINISHED:
                return await self.charted(reading, selection, bars)
            percent = _percent(SAMPLE_RUNS, **size)
            return await self.charted(
                reading, selection, bars, sampled="tablesample system ($6::float8)", percent=percent
            )

        return await self.read(ask)

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        where = (scope.app_id, scope.function_id)

        async def ask(reading: Reading) -> list[Any]:
            size = await reading.connection.fetchrow(self.sql("size"), *where)
            if size["total"] <= DRAWING_IS_QUICK:
                cursor = reading.connection.cursor(self.sql("sample_events"), *where, limit, prefetch=500)
            else:
                percent = _percent(limit, **size)
                cursor = reading.connection.cursor(
                    self.sql("sample_events_of_pages"), *where, limit, percent, prefetch=500
                )
            events: list[Any] = []
            characters = 0
            async for (text,) in cursor:
                events.append(decode_json(text))
                characters += len(text)
                if characters > SAMPLE_CHARACTERS:
                    break
            return events

        return await self.read(ask)

    async def run(self, run_id: str) -> Run:
        row = await self._database.fetchrow(self.sql("run"), require_id("run_id", run_id))
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return run_of(row)


def _percent(wanted: int, *, total: int, pages: int) -> float:
    """The percentage of the table's `pages` that holds about `wanted` of a scope's `total` runs. It is bounded."""
    return min(100.0, 100.0 * wanted / max(1, total), 100.0 * SAMPLE_PAGES / max(1, pages))
