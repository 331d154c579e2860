"""Enqueues any number of events as runs, with COPY and in one transaction."""

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
from secateur.postgres.sqlstates import translate, why_not_stored
from secateur.postgres.statements import Statements
from secateur.spans import traceparent

Events: TypeAlias = Iterable[object] | AsyncIterable[object]

COPY_BYTES = 1_000_000
"""The size of one COPY, to the nearest event. Two are in memory at a time; a bad event is reported when it is sent."""
BREATH = 200
"""Other tasks get a turn after this many events."""

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
_row_head = struct.Struct("!hiB").pack
"""COPY's binary format: a row starts with its number of columns, a column with its length, and jsonb with a 1."""

_LINE = re.compile(r"^COPY secateur_bulk\b\D*(\d+)", re.MULTILINE)
"""Finds the line number in the error's context, whatever the server's language."""

_SQL = Statements.load("secateur.engines.native", "bulk.sql")


async def enqueue_bulk(
    database: Database, app_id: str, function_id: str, events: Events, *, scheduled_for: datetime | None, priority: int
) -> int:
    """Enqueue one run per event, all or none; returns how many. An exception of the iterable is raised unchanged.

    Raises `RequestError` for an event that cannot be stored, giving its position in the input.
    """
    async with aclosing(_chunks(events)) as chunks:
        try:
            first = await _next(chunks)
            if first is None:
                return 0
            async with database.transaction() as connection:
                await connection.fetchval(_SQL["begin_bulk"], traceparent())
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
    """Events in COPY's format."""

    before: int
    """How many events came before these."""
    rows: bytes


class _EventsFailed(Exception):
    """Rolls the transaction back. A type of its own, so that it is not translated like an error of the connection."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _next(chunks: AsyncIterator[_Chunk]) -> _Chunk | None:
    """The next chunk; None at the end. Raises `_EventsFailed`."""
    try:
        return await anext(chunks, None)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise _EventsFailed(error) from error


async def _copy_all(database: Database, connection: Connection, first: _Chunk, others: AsyncIterator[_Chunk]) -> None:
    """Copy each chunk while the next one is prepared."""
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
        raise RequestError([Problem("event", f"{which}{why_not_stored(error, why)}")]) from error


async def _chunks(events: Events) -> AsyncGenerator[_Chunk, None]:
    before = taken = size = 0
    rows = [HEAD]
    async for event in events if isinstance(events, AsyncIterable) else _one_by_one(events):
        taken += 1
        try:
            text = as_json(event).encode()
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
