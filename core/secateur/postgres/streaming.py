"""Reads any number of rows through a cursor of the server, a few at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

BATCH_CHARACTERS = 4_000_000
"""About how much text of the rows is in memory at a time, unless one row alone is longer."""

MOST_ROWS = 1_000


async def stream(connection: asyncpg.Connection, sql: str, *parameters: object) -> AsyncIterator[Any]:
    """Each row, within the connection's transaction. How many are fetched at a time depends on how long they are."""
    cursor = await connection.cursor(sql, *parameters)
    many = 1
    while rows := await cursor.fetch(many):
        longest = 1
        for row in rows:
            longest = max(longest, sum(len(value) for value in row.values() if isinstance(value, str)))
            yield row
        many = max(1, min(MOST_ROWS, 2 * many, BATCH_CHARACTERS // longest))
