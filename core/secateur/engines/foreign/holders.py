"""Who holds locks on rows of another engine's queue, so that a sweep cannot go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from secateur.engines.foreign.installation import Installation
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.words.figures import number
from secateur.words.lines import one_line, shorten

PATIENCE = 0.5
"""Seconds to wait for a row: whom one waits for is all that Postgres tells of who has it."""

LOOK_SECONDS = 0.02

_SQL = Statements.load("secateur.engines.foreign", "foreign.sql")


async def holders_of(database: Database, installation: Installation, ids: Sequence[str]) -> str | None:
    """Who has locked the runs, in words; None if the first one is free by now. Changes nothing."""
    async with database.transaction() as connection:
        process = await connection.fetchval("select pg_backend_pid()")
        await connection.execute("select set_config('lock_timeout', $1, true)", f"{PATIENCE}s")
        locking = asyncio.create_task(_lock(connection, installation, ids[0]))
        try:
            holders = await _waited_for(database, process, locking)
            if not holders and locking.done() and locking.result():
                return None
        finally:
            locking.cancel()
            await asyncio.gather(locking, return_exceptions=True)
    said = f"run {one_line(shorten(ids[0], 100))} is locked by {' and '.join(holders) or 'another transaction'}"
    more = len(ids) - 1
    return f"{said}, and {number(more)} other{'s are' if more > 1 else ' is'} locked as well" if more else said


async def _lock(connection: asyncpg.Connection, installation: Installation, run_id: str) -> bool:
    try:
        for sql in installation.each("lock"):
            await connection.fetch(sql, [run_id])
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def _waited_for(database: Database, process: int, locking: asyncio.Task[bool]) -> list[str]:
    """The processes and the prepared transactions that the process waits for."""
    # If there are no more connections, nobody can look.
    try:
        async with asyncio.timeout(2 * PATIENCE):
            while not locking.done():
                row = await database.fetchrow(_SQL["waited_for"], process)
                if row is not None and (row["pids"] or row["gids"]):
                    return [
                        *(f"process {pid} (to end it: select pg_terminate_backend({pid}))" for pid in row["pids"]),
                        *(f"prepared transaction {one_line(gid)!r}" for gid in row["gids"]),
                    ]
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pass
    return []
