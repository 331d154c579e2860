"""The statements of an engine's file that write, on a bed, as a sweep and an undo use them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
from beds import Bed

from secateur.engines.foreign.installation import Installation, quoted


@dataclass
class Pruning:
    """The statements of the engine's file, as a sweep and an undo use them."""

    bed: Bed
    connection: asyncpg.Connection
    installation: Installation

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        return [row for sql in self.installation.each(name) for row in await self.connection.fetch(sql, *arguments)]

    async def cancel(self, ids: Sequence[str], *, stop: bool = False) -> dict[str, asyncpg.Record]:
        async with self.connection.transaction():
            await self.fetch("lock", list(ids))
            rows = {row["id"]: row for row in await self.fetch("cancel", list(ids), stop)}
        await self.wake()
        return rows

    async def restore(self, pres: Sequence[str]) -> dict[str, str | None]:
        async with self.connection.transaction():
            outcomes = {row["id"]: row["outcome"] for row in await self.fetch("restore", list(pres))}
        await self.wake()
        return outcomes

    async def delete_all(self) -> None:
        """As its own pruner does: over a connection that finds the engine's names."""
        schema = quoted(self.bed.schema)
        async with self.connection.transaction():
            await self.connection.execute(f"set local search_path = {schema}")
            await self.connection.execute(f"delete from {schema}.{quoted(self.bed.tables[0])}")

    async def wake(self) -> None:
        if "wake" in self.installation.file.statements:
            await self.fetch("wake", ["default", "idle"])

    async def rows(self) -> dict[str, list[str]]:
        """Every row of the engine's tables, to the last column."""
        return {
            table: [
                row[0]
                for row in await self.connection.fetch(
                    f"select each::text from {quoted(self.bed.schema)}.{quoted(table)} as each order by 1"
                )
            ]
            for table in self.bed.tables
        }

    async def statuses(self, ids: Sequence[str]) -> dict[str, str]:
        source = self.installation.source.replace("{sampled}", "")
        found = await self.connection.fetch(f"select run.id, run.status from {source} as run")
        return {row["id"]: row["status"] for row in found if row["id"] in ids}

    async def noted(self, what: str = "start") -> Counter[int]:
        rows = await self.connection.fetch("select number from bed_ran where what = $1", what)
        return Counter(row["number"] for row in rows)


def pres_of(rows: dict[str, asyncpg.Record]) -> list[str]:
    return [row["pre"] for row in rows.values()]
