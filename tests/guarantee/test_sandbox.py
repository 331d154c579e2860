"""The second wall: a condition that got past the check, because the owner wrote it into the table by hand."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from operations import commit

EVALUATE = """
select * from secateur.evaluate_conditions(
  array[$1], '[{}]', 'billing', array['sync'], array[gen_random_uuid()], array['{}'::jsonb], array[now()], array[0])
"""

FORBIDDEN = (
    "(select count(*) > 0 from secateur.runs)",
    "(select count(*) > 0 from secateur.cancellations)",
    "(select count(*) > 0 from secateur.condition_vocabulary)",
    "(select count(*) > 0 from pg_authid)",
    "secateur.enqueue('billing', 'sync', '{}') is null",
    "(select true from secateur.claim('billing', null, 1, 'thief', '1 hour'))",
    "pg_read_file('/etc/passwd') is null",
    "pg_stat_file('.') is null",
    "lo_import('/etc/passwd') > 0",
)


@pytest.fixture
async def connection(database_url: str) -> Any:
    connection = await asyncpg.connect(database_url)
    yield connection
    connection.terminate()


async def enqueue(connection: asyncpg.Connection, vendor: str, priority: int = 0) -> UUID:
    event = json.dumps({"data": {"vendor_id": vendor}})
    return await connection.fetchval("select secateur.enqueue('billing', 'sync', $1, null, $2)", event, priority)


async def commit_unchecked(connection: asyncpg.Connection, condition: str) -> UUID:
    id = await commit(connection, "billing", "acme")
    await connection.execute("update secateur.cancellations set condition = $2 where id = $1", id, condition)
    return id


async def claim(connection: asyncpg.Connection) -> set[UUID]:
    return {
        row["id"] for row in await connection.fetch("select id from secateur.claim('billing', null, 50, 'w', '1 h')")
    }


async def errors(connection: asyncpg.Connection, id: UUID) -> int:
    return await connection.fetchval(
        "select sum(errors)::int from secateur.cancellation_deltas where cancellation_id = $1", id
    )


async def test_the_sandbox_owns_its_functions_and_may_do_nothing_else(connection: asyncpg.Connection) -> None:
    role = await connection.fetchrow("select * from pg_roles where rolname = 'secateur_sandbox'")
    assert not any(
        value for name, value in role.items() if name.startswith("rol") and value is True and name != "rolinherit"
    )
    owned = await connection.fetch("select proname from pg_proc where proowner = 'secateur_sandbox'::regrole")
    assert sorted(row[0] for row in owned) == ["define_match", "evaluate_conditions"]
    assert not await connection.fetchval("select count(*) from pg_class where relowner = 'secateur_sandbox'::regrole")
    assert not await connection.fetchval("select has_schema_privilege('secateur_sandbox', 'secateur', 'usage, create')")
    readable = await connection.fetch(
        "select relname from pg_class where relnamespace = 'secateur'::regnamespace and relkind in ('r', 'v')"
        " and has_table_privilege('secateur_sandbox', oid, 'select, insert, update, delete, truncate')"
        " and relname <> 'migrations'"
    )
    assert readable == []


async def test_it_reads_and_calls_nothing(connection: asyncpg.Connection) -> None:
    await enqueue(connection, "acme")
    for condition in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(EVALUATE, condition)


async def test_a_condition_that_raises_breaks_no_claim(connection: asyncpg.Connection) -> None:
    """It matches where it is true, and counts as an error where it raises."""
    fine = await enqueue(connection, "acme", priority=1)
    raising = {await enqueue(connection, "acme", priority=0) for _ in range(3)}
    id = await commit_unchecked(connection, "1 / run.priority = 1")
    await connection.fetch("select * from secateur.sweep_cancellation('billing', $1)", id)
    assert await errors(connection, id) == 3
    assert await connection.fetchval("select cancellation_id from secateur.runs where id = $1", fine) == id
    assert await claim(connection) == raising
    step = await connection.fetchrow("select * from secateur.sweep_cancellation('billing', $1)", id)
    assert step["state"] == "complete"


@pytest.mark.parametrize(
    "condition",
    [FORBIDDEN[0], "no sql at all", "1", "(", "null", "run.nothing", "'\"'::jsonb is null"],
)
async def test_a_condition_that_is_nonsense_matches_nothing_and_breaks_nothing(
    embedded_url: str, condition: str
) -> None:
    connection = await asyncpg.connect(embedded_url)
    runs = {await enqueue(connection, "acme") for _ in range(3)}
    id = await commit_unchecked(connection, condition)
    other = await commit(connection, "billing", "globex")
    doomed = await enqueue(connection, "globex")
    await connection.execute("update secateur.cancellations set started_before = now() + '1 min' where id = $1", other)
    for cancellation in (id, other):
        await connection.fetch("select * from secateur.sweep_cancellation('billing', $1)", cancellation)
    assert await errors(connection, id) == len(runs)
    assert await connection.fetchval("select cancellation_id from secateur.runs where id = $1", doomed) == other
    assert await claim(connection) == runs
    connection.terminate()
