"""A claim takes what its batch needs, also in an app with thousands of functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from flood import rows_read

APP = "wide"
FUNCTIONS = 3000
NAMES = [f"function-{n:04}" for n in range(FUNCTIONS)]
FEW = [NAMES[7], NAMES[1000], NAMES[2003]]

ENQUEUE = "select count(secateur.enqueue($1, one, '{}')) from unnest($2::text[]) as one"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """An app with 3,000 functions, every other one with a limit of two."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "select secateur.register_function($1, name, '{}', 4, case when place % 2 = 0 then 2 end)"
        " from unnest($2::text[]) with ordinality as one (name, place)",
        *(APP, NAMES),
    )
    await connection.execute("select secateur.ensure_levels($1, one, '{0}') from unnest($2::text[]) as one", APP, NAMES)
    yield connection
    await connection.close()


async def claim(connection: asyncpg.Connection, functions: Sequence[str] | None, most: int = 10) -> list[str]:
    rows = await connection.fetch(
        "select function_id from secateur.claim($1, $2, $3, 'w', '1 hour')", APP, functions, most
    )
    return [row["function_id"] for row in rows]


async def read_by_claim(connection: asyncpg.Connection, functions: Sequence[str] | None) -> dict[str, int]:
    """Rows and index entries that a claim of ten reads, which is then rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    before = await rows_read(connection)
    assert await claim(connection, functions)
    after = await rows_read(connection)
    await transaction.rollback()
    return {name: rows - before.get(name, 0) for name, rows in after.items()}


@pytest.mark.parametrize("named", [True, False])
async def test_where_all_have_a_run_a_claim_reads_some(connection: asyncpg.Connection, named: bool) -> None:
    """No run and no slot is locked, or looked at, of functions that the batch has no room for."""
    await connection.execute(ENQUEUE, APP, NAMES)
    read = await read_by_claim(connection, NAMES if named else None)
    of_runs = {name: rows for name, rows in read.items() if name.startswith(("runs_", "slots_"))}
    assert 0 < sum(of_runs.values()) < 300, of_runs


async def test_where_few_have_a_run_they_are_found(connection: asyncpg.Connection) -> None:
    for functions in (None, NAMES):
        assert await claim(connection, functions) == []
        await connection.execute(ENQUEUE, APP, FEW)
        assert sorted(await claim(connection, functions)) == FEW


async def test_what_is_due_is_found_and_what_is_paused_is_not(connection: asyncpg.Connection) -> None:
    due, paused, later = FEW
    for function, schedule in ((due, "0.1 s"), (paused, "0.1 s"), (later, "1 hour")):
        await connection.execute(
            "select secateur.enqueue($1, $2, '{}', clock_timestamp() + $3::text::interval)", APP, function, schedule
        )
    await connection.execute("select secateur.pause($1, $2, 'me', 'python')", APP, paused)
    await connection.execute("select pg_sleep_until(max(scheduled_for)) from secateur.runs where function_id = $1", due)
    assert await claim(connection, None) == [due]
    [last] = await connection.fetch("select * from secateur.claim_batch($1, null, 10, 'w', '1 hour')", APP)
    waits = await connection.fetchval("select scheduled_for from secateur.runs where function_id = $1", later)
    assert (last["id"], last["more"], last["scheduled_for"]) == (None, False, waits)


async def test_a_limited_function_without_a_slot_takes_nobodys_place(connection: asyncpg.Connection) -> None:
    """Hundreds wait for a slot; what else is there is found behind them."""
    limited = NAMES[1::2]
    for _ in range(3):
        await connection.execute(ENQUEUE, APP, limited)
    claimed = []
    while batch := await claim(connection, None, 1000):
        claimed += batch
    assert sorted(claimed) == sorted([*limited, *limited])
    await connection.execute(ENQUEUE, APP, [NAMES[0]])
    assert await claim(connection, None, 1) == [NAMES[0]]


async def test_all_have_their_turn(connection: asyncpg.Connection) -> None:
    """Which functions are looked into is left to chance, so none waits for those that always have something."""
    unlimited = NAMES[:200:2]
    await connection.execute(ENQUEUE, APP, unlimited * 3)
    claimed = []
    while batch := await claim(connection, None, 10):
        assert len(batch) == 10
        claimed += batch
    assert sorted(claimed) == sorted(unlimited * 3)


async def test_what_others_hold_is_not_the_end_of_the_queue(connection: asyncpg.Connection, database_url: str) -> None:
    """Where only some functions were looked into and gave nothing, the worker is told to ask again."""
    await connection.execute(ENQUEUE, APP, NAMES[:40])
    async with connection.transaction():
        await connection.execute("select from secateur.runs where status = 'queued' for update")
        other = await asyncpg.connect(database_url)
        try:
            [last] = await other.fetch("select * from secateur.claim_batch($1, null, 10, 'w', '1 hour')", APP)
        finally:
            await other.close()
    assert (last["id"], last["more"]) == (None, True)
