"""Reads secateur's own queue: the tables of the schema `secateur`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

from secateur.bounds import require_id
from secateur.cel.words import QueueWords
from secateur.engines.base import Selection
from secateur.engines.readings import Reading
from secateur.engines.relation import STATEMENTS
from secateur.engines.rows import run_of
from secateur.engines.sampled import SampledSource, Size
from secateur.engines.words import OWN, words_of_queue
from secateur.errors import NotFound
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, FunctionDepth, Run, Scope
from secateur.schema import Part, check_installed

ROWS_AT_ONCE = 250
"""Rows of the depth that are read before other tasks get their turn. They take a few milliseconds."""


class NativeSource(SampledSource):
    """The relation is the table of the runs itself. Samples are drawn by its pages."""

    name: str = "native"
    first_run: str | None = """select secateur.enqueue('billing', 'invoices', '{"name": "invoice/due"}');"""
    relation: str = "secateur.runs"
    columns: str = "run.*, run.status = 'running' and run.lease_expires_at < now() as lost"
    statements: Mapping[str, str] = {**STATEMENTS, **Statements.load("secateur.engines.native", "source.sql")}

    @property
    def words(self) -> QueueWords:
        return words_of_queue(OWN)

    @staticmethod
    def problem_of_run_id(run_id: str) -> str | None:
        try:
            UUID(run_id)
        except ValueError:
            return "must be a UUID"
        return None

    async def detect(self) -> str:
        return await check_installed(self._database, part=Part.QUEUE)

    async def depth(self) -> list[FunctionDepth]:
        depths: list[FunctionDepth] = []
        for number, row in enumerate(await self._database.fetch(self.sql("depth"))):
            if number % ROWS_AT_ONCE == 0:
                # With thousands of functions this takes long. The event loop must get to a pressed key in between.
                await asyncio.sleep(0)
            depths.append(FunctionDepth(**row))
        return depths

    async def size(self, reading: Reading, scope: Scope) -> Size:
        return Size(**await reading.connection.fetchrow(self.sql("size"), scope.app_id, scope.function_id))

    async def total(self, reading: Reading, selection: Selection) -> int:
        """As depth has it, which is exact in any snapshot: to count the index costs a third of a whole count."""
        if selection.statuses is not UNFINISHED:
            return await super().total(reading, selection)
        return (await self.size(reading, selection.scope)).total

    async def run(self, run_id: str) -> Run:
        row = await self._database.fetchrow(self.sql("run"), require_id("run_id", run_id))
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return run_of(row)
