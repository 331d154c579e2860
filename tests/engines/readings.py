"""A bed's jobs, read by the statements of its engine's file with nothing else of secateur."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import asyncpg
from beds import Bed

from secateur.postgres.statements import Statements


@dataclass(frozen=True)
class Reading:
    bed: Bed
    connection: asyncpg.Connection

    def sql(self, name: str) -> str:
        statements = Statements.load("secateur.engines", f"foreign/{self.bed.engine}.sql")
        schema = '"' + self.bed.schema.replace('"', '""') + '"'
        filled = statements[name].replace("{s}", schema).replace("{prefix}", self.bed.prefix.replace('"', '""'))
        return filled.replace("{sampled}", "")

    def query(self, columns: str, where: str = "true") -> str:
        return f"select {columns} from ({self.sql('source')}) as run where {where}"

    async def rows(self, where: str = "true", columns: str = "run.*") -> list[asyncpg.Record]:
        return await self.connection.fetch(self.query(columns, where))

    async def row(self, run_id: str) -> asyncpg.Record | None:
        return await self.connection.fetchrow(self.query("run.*", "run.id = $1"), run_id)

    async def data(self, run_id: str) -> Any:
        row = await self.row(run_id)
        assert row is not None, f"there is no run {run_id}"
        return None if row["data"] is None else json.loads(row["data"])
