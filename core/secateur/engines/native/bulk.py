"""Any number of events as runs, by COPY and in one transaction."""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg

from secateur.engines.native.events import as_json
from secateur.errors import Problem, RequestError
from secateur.postgres.database import Connection, Database
from secateur.postgres.sqlstates import translate
from secateur.postgres.statements import Statements

Events: TypeAlias = Iterable[object] | AsyncIterable[object]

COPY_BYTES = 1_000_000
"""What one COPY takes, or an event more. Twice that is held at a time; a refusal is heard of when it is sent."""
BREATH = 200
"""Events after which others have their turn."""

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
_row_head = struct.Struct("!hiB").pack
"""COPY's binary format: a row begins with its number of columns, a column with its length, and jsonb with a 1."""

_LINE = re.compile(r"^COPY secateur_bulk\b\D*(\d+)", re.MULTILINE)
"""In the error's context, whatever language the server speaks."""

_SQL = Statements.load("secateur.engines.native", "bulk.sql")


async def enqueue_bulk(
    database: Database, app_id: str, function_id: str, events: Events, *, scheduled_for: datetime | None, priority: int
) -> int:
    """One run per event, all or none; returns how many. What the iterable raises is raised as it is.

    Raises `RequestError` for an event that cannot be kept, and says the how manieth.
    """
    async with aclosing(_chunks(events)) as chunks:
        try:
            first = await _next(chunks)
            if first is None:
                return 0
            async with database.transaction() as connection:
                await connection.fetchval(_SQL["begin_bulk"])
                await _copy_all(database, connection, first, chunks)
                runs: int = await connection.fetchval(
                    _SQL["enqueue_bulk"], app_id, function_id, scheduled_for, priority
                )
            return runs
        except _EventsFailed as failed:
            error = failed.error
    raise error


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Events as COPY takes them."""

    before: int
    """How many events came before."""
    rows: bytes


class _EventsFailed(Exception):
    """Rolls the transaction back, and is not mistaken for an error of the connection, which is put into other words."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _next(chunks: AsyncIterator[_Chunk]) -> _Chunk | None:
    """None at the end. Raises `_EventsFailed`."""
    try:
        return await anext(chunks, None)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise _EventsFailed(error) from error


async def _copy_all(database: Database, connection: Connection, first: _Chunk, others: AsyncIterator[_Chunk]) -> None:
    """Copies a chunk while the next one is made."""
    chunk: _Chunk | None = first
    while chunk is not None:
        copying = asyncio.create_task(_copy(database, connection, chunk))
        try:
            chunk = await _next(others)
        except BaseException:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)
            raise
        await copying


async def _copy(database: Database, connection: Connection, chunk: _Chunk) -> None:
    try:
        await connection.copy_to_table(
            "secateur_bulk", schema_name="pg_temp", columns=["event"], source=memoryview(chunk.rows), format="binary"
        )
    except (asyncpg.DataError, asyncpg.ProgramLimitExceededError) as error:
        line = _LINE.search(error.context or "")
        which = f"item {chunk.before + int(line[1]):,} " if line else ""
        why = translate(error, database.description)
        raise RequestError([Problem("event", f"{which}cannot be kept: {why}")]) from error


async def _chunks(events: Events) -> AsyncGenerator[_Chunk, None]:
    before = taken = size = 0
    rows = [HEAD]
    async for event in events if isinstance(events, AsyncIterable) else _one_by_one(events):
        taken += 1
        try:
            text = as_json(event).encode("ascii")
        except RequestError as error:
            [problem] = error.problems
            raise RequestError([Problem(problem.field, f"item {taken:,} {problem.message}")]) from error
        rows += _row_head(1, len(text) + 1, 1), text
        if taken % BREATH == 0:
            await asyncio.sleep(0)
        size += len(text)
        if size >= COPY_BYTES:
            yield _Chunk(before, b"".join([*rows, TAIL]))
            before, size, rows = taken, 0, [HEAD]
    if taken > before:
        yield _Chunk(before, b"".join([*rows, TAIL]))


async def _one_by_one(events: Iterable[object]) -> AsyncIterator[object]:
    for event in events:
        yield event
