"""A bed's jobs, read by the statements of its engine's file with nothing else of secateur."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import asyncpg
from beds import Bed

from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installation import Installation


@dataclass(frozen=True)
class Reading:
    bed: Bed
    connection: asyncpg.Connection

    @cached_property
    def installation(self) -> Installation:
        server = int(self.connection.get_server_version().major) * 10000
        file = engine_files()[self.bed.engine]
        return Installation(file, self.bed.schema, self.bed.prefix, "any", True, server)

    def sql(self, name: str) -> str:
        """Raises `KeyError` where the engine has no such statement."""
        return self.installation.sql(name).replace("{sampled}", "")

    def query(self, columns: str, where: str = "true") -> str:
        return f"select {columns} from {self.installation.source.replace('{sampled}', '')} as run where {where}"

    async def rows(self, where: str = "true", columns: str = "run.*") -> list[asyncpg.Record]:
        return await self.connection.fetch(self.query(columns, where))

    async def row(self, run_id: str) -> asyncpg.Record | None:
        return await self.connection.fetchrow(self.query("run.*", "run.id = $1"), run_id)

    async def data(self, run_id: str) -> Any:
        row = await self.row(run_id)
        assert row is not None, f"there is no run {run_id}"
        return None if row["data"] is None else json.loads(row["data"])
