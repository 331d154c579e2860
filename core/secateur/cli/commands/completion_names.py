"""The names that a database can complete, by one statement over one connection."""

from __future__ import annotations

import asyncpg

from secateur.cli.completing import Candidate, NameQuestion
from secateur.postgres.addresses import resolve
from secateur.postgres.statements import Statements

_SQL = Statements.load("secateur.cli", "completing.sql")

_STATEMENTS = {"APP": "apps", "FUNCTION": "functions", "ID": "cancellations", "RUN": "runs"}
_OF_OTHERS = {"apps", "functions"}


async def names(url: str | None, asked: NameQuestion) -> list[Candidate]:
    """Raises whatever goes wrong: the caller is silent about it. Of `ENGINE`, the kinds that secateur knows as well."""
    settings = {"application_name": "secateur completion", "default_transaction_read_only": "on"}
    connection = await asyncpg.connect(**resolve(url).arguments, server_settings=settings)
    try:
        if asked.what == "ENGINE":
            from secateur.engines.foreign.file import engine_files

            rows = await connection.fetch(_SQL["installations"])
            return [Candidate("native"), *(Candidate(row["name"]) for row in rows), *map(Candidate, engine_files())]
        values = [asked.given.get("app")] if asked.what == "FUNCTION" else []
        name = _STATEMENTS[asked.what]
        try:
            rows = await connection.fetch(_SQL[name], *values)
        except asyncpg.UndefinedTableError:  # secateur's own queue is not there
            if name not in _OF_OTHERS:
                raise
            rows = await connection.fetch(_SQL[f"{name}_of_others"], *values)
        return [Candidate(row["value"], row["description"]) for row in rows]
    finally:
        connection.terminate()
