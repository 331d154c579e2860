"""A bed's jobs, read by the statements of its engine's file with nothing else of secateur."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
from beds import Bed

from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installation import Installation


@dataclass
class Reading:
    bed: Bed
    connection: asyncpg.Connection

    def __post_init__(self) -> None:
        server = int(self.connection.get_server_version().major) * 10000
        file = engine_files()[self.bed.engine]
        self.installation = Installation(file, self.bed.schema, self.bed.prefix, "any", True, server)

    async def look_again(self) -> None:
        """For the tables that an engine makes while it runs."""
        if self.installation.has_parts:
            rows = await self.connection.fetch(self.installation.sql("parts"))
            parts = [
                {name: value for name, value in row.items() if isinstance(value, str)}
                for row in rows
                if row["readable"]
            ]
            self.installation = replace(self.installation, parts=parts)

    def sql(self, name: str) -> str:
        """Raises `KeyError` where the engine has no such statement."""
        found = dict.fromkeys(self.installation.each(name))
        return "\nunion all\n".join(found).replace("{sampled}", "")

    def query(self, columns: str, where: str = "true") -> str:
        return f"select {columns} from {self.installation.source.replace('{sampled}', '')} as run where {where}"

    async def rows(self, where: str = "true", columns: str = "run.*") -> list[asyncpg.Record]:
        await self.look_again()
        return await self.connection.fetch(self.query(columns, where))

    async def row(self, run_id: str) -> asyncpg.Record | None:
        await self.look_again()
        return await self.connection.fetchrow(self.query("run.*", "run.id = $1"), run_id)

    async def data(self, run_id: str) -> Any:
        row = await self.row(run_id)
        assert row is not None, f"there is no run {run_id}"
        return None if row["data"] is None else unmarked(json.loads(row["data"]))


def unmarked(data: Any) -> Any:
    """Without the keys by which ActiveJob marks what was a hash in Ruby."""
    if isinstance(data, dict):
        return {name: unmarked(value) for name, value in data.items() if not name.startswith("_aj_")}
    return [unmarked(value) for value in data] if isinstance(data, list) else data
