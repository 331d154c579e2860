"""The plans of statements, also of those inside functions, by auto_explain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def explained(connection: asyncpg.Connection, *, analyze: bool = False) -> AsyncIterator[list[str]]:
    """The plans of all statements in the block, which is rolled back; with `analyze`, and with what they met."""
    plans: list[str] = []

    def note(_: object, message: asyncpg.PostgresLogMessage) -> None:
        plans.append(message.message)

    transaction = connection.transaction()
    await transaction.start()
    connection.add_log_listener(note)
    await connection.execute(
        "load 'auto_explain'; set local auto_explain.log_min_duration = 0; set local client_min_messages = log;"
        "set local auto_explain.log_nested_statements = on;"
        f"set local auto_explain.log_analyze = {'on' if analyze else 'off'}; set local auto_explain.log_timing = off"
    )
    try:
        yield plans
    finally:
        await transaction.rollback()
        connection.remove_log_listener(note)
