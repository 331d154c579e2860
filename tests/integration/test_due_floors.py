"""What a claim reads does not grow with the runs that were scheduled once, or with the leases that are over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest
from flood import QUIET, rows_read

pytestmark = pytest.mark.one_postgres

APP, FUNCTION = "shop", "later"
RUNS = 5000
WIDE = [FUNCTION, *(f"nobody-{n}" for n in range(20))]
"""So many names that a claim looks only into those on the list."""

SCHEDULE = """
select count(*)
  from secateur.enqueue_many($1, $2, array_fill('{}'::jsonb, array[$3::integer]),
                             array(select now() + $4::text::interval + n * $5::text::interval
                                     from generate_series(1, $3) as n))
"""
COMPLETE = "select secateur.complete_runs($1, $2::uuid[], $3::uuid[])"
CANCEL = "update secateur.runs set status = 'cancelled', cancelled_from = status, finished_at = now()"
FALL_DUE = "update secateur.runs set scheduled_for = scheduled_for - interval '1 day' where status = 'scheduled'"
HELD = ("no snapshot", "a snapshot is held")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(QUIET)
    await connection.execute("select secateur.ensure_function($1, one) from unnest($2::text[]) as one", APP, WIDE)
    yield connection
    await connection.close()


@asynccontextmanager
async def holding(url: str, held: str) -> AsyncIterator[None]:
    holder = await asyncpg.connect(url)
    try:
        if held == "a snapshot is held":
            await holder.execute("begin isolation level repeatable read")
            await holder.fetchval("select count(*) from secateur.runs")
        yield
    finally:
        await holder.close()


async def claim(
    connection: asyncpg.Connection, functions: list[str], lease: timedelta = timedelta(hours=1)
) -> list[asyncpg.Record]:
    return await connection.fetch("select * from secateur.claim_batch($1, $2, 1000, 'w', $3)", APP, functions, lease)


async def work_off(connection: asyncpg.Connection, functions: list[str], lease: timedelta = timedelta(hours=1)) -> int:
    """Claims and completes all that is due; returns how many."""
    done = 0
    while runs := [run for run in await claim(connection, functions, lease) if run["id"]]:
        await connection.execute(COMPLETE, APP, [run["id"] for run in runs], [run["claim_token"] for run in runs])
        done += len(runs)
    return done


async def read_by_claim(connection: asyncpg.Connection, functions: list[str]) -> tuple[int, int]:
    """Index entries and blocks that the third claim reads, when the floors have risen; it looks below none."""
    for _ in range(3):
        await connection.execute(
            "update secateur.due_floors set walk_at = now() + interval '50 s',"
            " next_until = case when next_until > '-infinity' then now() + interval '50 s' else next_until end"
        )
        await connection.execute("update secateur.levels set walk_at = now() + interval '50 s'")
        await connection.execute("update secateur.searches set next_at = now() + interval '50 s'")
        names = ", ".join(f"'{name}'" for name in functions)
        before = await rows_read(connection)
        # It raises the floors of levels by chance.
        await connection.execute("select setseed(0.5)")
        [[plan]] = await connection.fetch(
            "explain (analyze, buffers, format json)"
            f" select * from secateur.claim_batch('{APP}', array[{names}], 10, 'w', '1 hour')"
        )
        after = await rows_read(connection)
        root = json.loads(plan)[0]["Plan"]
        entries = {name: rows - before.get(name, 0) for name, rows in after.items()}
        blocks = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
    return sum(rows for name, rows in entries.items() if name in {"runs_scheduled", "runs_running"}), blocks


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("apart", ["1 ms", "0 s"])
@pytest.mark.parametrize("functions", [[FUNCTION], WIDE], ids=["one function", "by the list"])
async def test_runs_that_were_scheduled_once_are_not_read_again(
    connection: asyncpg.Connection, database_url: str, held: str, apart: str, functions: list[str]
) -> None:
    """Neither those that were cancelled before their time, at one time or at many, nor those that were promoted."""
    async with holding(database_url, held):
        await connection.execute(SCHEDULE, APP, FUNCTION, RUNS, "1 hour", apart)
        await connection.execute(CANCEL)
        await connection.execute(SCHEDULE, APP, FUNCTION, 1, "2 hours", apart)
        entries, blocks = await read_by_claim(connection, functions)
        assert entries <= 20
        assert blocks <= 150
        await connection.execute(SCHEDULE, APP, FUNCTION, RUNS, "1 hour", apart)
        await connection.execute(FALL_DUE)
        # The list has their old times.
        await connection.execute("update secateur.searches set next_at = now()")
        assert await work_off(connection, functions) == RUNS + 1
        await connection.execute(SCHEDULE, APP, FUNCTION, 20, "0 s", "0 s")
        entries, blocks = await read_by_claim(connection, functions)
        assert entries <= 20
        assert blocks <= 600, "among them a thousandth of what was claimed: see levels.sql"


@pytest.mark.parametrize("held", HELD)
async def test_leases_that_are_over_are_not_read_again(
    connection: asyncpg.Connection, database_url: str, held: str
) -> None:
    async with holding(database_url, held):
        await connection.execute(SCHEDULE, APP, FUNCTION, RUNS, "-1 hour", "0 s")
        assert await work_off(connection, [FUNCTION], timedelta(seconds=1)) == RUNS
        await connection.execute("select pg_sleep_until(max(claimed_at) + interval '1.3 s') from secateur.runs")
        entries, _ = await read_by_claim(connection, [FUNCTION])
        assert entries <= 20


async def test_what_is_next_is_known_soon_whatever_was_found_before(
    connection: asyncpg.Connection, database_url: str
) -> None:
    """A claim that relies on it tells its worker to ask again when it is not believed any more."""
    async with holding(database_url, "a snapshot is held"):
        await connection.execute(SCHEDULE, APP, FUNCTION, RUNS, "1 minute", "1 ms")
        await connection.execute(CANCEL)
        await connection.execute(SCHEDULE, APP, FUNCTION, 1, "1 hour", "0 s")
        [first] = await claim(connection, [FUNCTION])
        await connection.execute(SCHEDULE, APP, FUNCTION, 1, "10 minutes", "0 s")
        [last] = await claim(connection, [FUNCTION])
        assert first["scheduled_for"] == last["scheduled_for"]
        believed = await connection.fetchval("select max(next_until) - now() from secateur.due_floors")
        assert last["due_in"].total_seconds() == pytest.approx(believed.total_seconds(), abs=0.5)
        await connection.execute("select pg_sleep_until(max(next_until)) from secateur.due_floors")
        [now_known] = await claim(connection, [FUNCTION])
        waiting = "select min(scheduled_for) from secateur.runs where status = 'scheduled'"
        assert now_known["scheduled_for"] == await connection.fetchval(waiting)


async def test_a_floor_goes_when_there_is_no_need_for_it(connection: asyncpg.Connection) -> None:
    await connection.execute(SCHEDULE, APP, FUNCTION, RUNS, "-1 hour", "1 ms")
    await connection.execute("update secateur.runs set status = 'scheduled'")
    await connection.execute(CANCEL)
    await claim(connection, [FUNCTION])
    floor = "select floor_at > '-infinity' from secateur.due_floors where function_id = $1"
    assert await connection.fetchval(floor, FUNCTION)
    await connection.execute("vacuum secateur.runs")
    await connection.execute("update secateur.due_floors set walk_at = now()")
    await claim(connection, [FUNCTION])
    assert not await connection.fetchval(floor, FUNCTION)


async def test_a_function_without_a_row_has_no_floor(connection: asyncpg.Connection) -> None:
    """A hint that is missing costs nobody a run."""
    await connection.execute("delete from secateur.due_floors")
    await connection.execute(SCHEDULE, APP, FUNCTION, 3, "-1 hour", "1 ms")
    await connection.execute("update secateur.runs set status = 'scheduled'")
    assert await work_off(connection, [FUNCTION]) == 3
    await connection.execute(SCHEDULE, APP, FUNCTION, 1, "1 hour", "0 s")
    [last] = await claim(connection, [FUNCTION])
    assert last["scheduled_for"] is not None
