"""A claim takes what its batch needs, also in an app with thousands of functions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Literal

import asyncpg
import pytest
from flood import rows_read

from servers import Server, with_schema

pytestmark = pytest.mark.one_postgres

APP = "wide"
FUNCTIONS = 3000
NAMES = [f"function-{n:04}" for n in range(FUNCTIONS)]
FEW = [NAMES[7], NAMES[1000], NAMES[2003]]

ENQUEUE = "select count(secateur.enqueue($1, one, '{}')) from unnest($2::text[]) as one"


async def make_wide(url: str) -> None:
    """An app with 3,000 functions, every other one with a limit of two."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "select secateur.register_function($1, name, '{}', 4, case when place % 2 = 0 then 2 end)"
        " from unnest($2::text[]) with ordinality as one (name, place)",
        *(APP, NAMES),
    )
    await connection.execute("select secateur.ensure_levels($1, one, '{0}') from unnest($2::text[]) as one", APP, NAMES)
    await connection.close()


@pytest.fixture
def database_url(postgres_server: Server) -> Iterator[str]:
    """Each test's own copy of one database."""
    yield from postgres_server.borrow(with_schema, make_wide)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def claim(connection: asyncpg.Connection, functions: Sequence[str] | None, most: int = 10) -> list[str]:
    rows = await connection.fetch(
        "select function_id from secateur.claim($1, $2, $3, 'w', '1 hour')", APP, functions, most
    )
    return [row["function_id"] for row in rows]


async def search(connection: asyncpg.Connection) -> None:
    """Compares the whole list with the queue, twice, as claims do within two seconds; then no more."""
    for _ in range(2):
        await connection.execute(
            "update secateur.due_functions"
            " set empty_since = empty_since - interval '1 s', due_at = due_at - interval '1 s'"
            " where empty_since is not null or due_at < now()"
        )
        await connection.execute("update secateur.searches set after = ''")
        after = None
        while after != "":
            await connection.execute("update secateur.searches set next_at = now()")
            await connection.execute("select secateur.search_due(app_id, '{}') from secateur.apps")
            after = await connection.fetchval("select max(after) from secateur.searches")
    await connection.execute("update secateur.searches set next_at = now() + interval '50 s'")


async def noted(connection: asyncpg.Connection, app: str = APP) -> list[str]:
    """The functions on the list, marked ones too."""
    rows = await connection.fetch(
        "select noted.function_id from secateur.due_functions as noted"
        " join secateur.due_epochs as known using (app_id, epoch) where noted.app_id = $1 order by 1",
        app,
    )
    return [row["function_id"] for row in rows]


async def read_by_claim(
    connection: asyncpg.Connection, functions: Sequence[str] | None, most: int = 10, app: str = APP, seed: float = 0.5
) -> dict[str, int]:
    """Rows and index entries that a claim between two searches reads, which is then rolled back."""
    await connection.execute("update secateur.searches set next_at = now() + interval '50 s'")
    transaction = connection.transaction()
    await transaction.start()
    before = await rows_read(connection)
    # Now and then one raises floors, too.
    await connection.execute("select setseed($1)", seed)
    assert await connection.fetch("select id from secateur.claim($1, $2, $3, 'w', '1 hour')", app, functions, most)
    after = await rows_read(connection)
    await transaction.rollback()
    return {name: rows - before.get(name, 0) for name, rows in after.items()}


async def usually_read(
    connection: asyncpg.Connection, functions: Sequence[str] | None, most: int, app: str = APP
) -> dict[str, int]:
    """The median of three claims: some raise floors, by chance."""
    claims = [await read_by_claim(connection, functions, most, app, seed) for seed in (0.1, 0.5, 0.9)]
    return sorted(claims, key=lambda read: sum(read.values()))[1]


async def work_off(connection: asyncpg.Connection, app: str, names: Sequence[str]) -> None:
    """Each function gets a run, which is claimed and completed."""
    await connection.execute(ENQUEUE, app, names)
    while runs := await connection.fetch("select * from secateur.claim($1, null, 1000, 'w', '1 hour')", app):
        ids, tokens = [run["id"] for run in runs], [run["claim_token"] for run in runs]
        await connection.execute("select secateur.complete_runs($1, $2::uuid[], $3::uuid[])", app, ids, tokens)


@pytest.mark.parametrize("snapshot", ["no snapshot", "a snapshot is held"])
async def test_a_claim_costs_as_in_an_app_with_three_functions(
    connection: asyncpg.Connection, database_url: str, snapshot: str
) -> None:
    """At most three times as much, whether three functions have something or all; an index's dead entries count."""
    three = ["one", "two", "three"]
    await connection.execute(
        "select secateur.register_function('narrow', one, '{}', 4) from unnest($1::text[]) as one", three
    )
    await connection.execute("select secateur.limit_function($1, one, null) from unnest($2::text[]) as one", APP, NAMES)
    holder = await asyncpg.connect(database_url)
    transaction = holder.transaction(isolation="repeatable_read")
    await transaction.start()
    if snapshot == "a snapshot is held":
        await holder.fetchval("select count(*) from secateur.runs")
    await work_off(connection, APP, NAMES)
    await work_off(connection, "narrow", three)
    await search(connection)
    assert await noted(connection) == []
    enqueue_many = (
        "select count(*) from unnest($2::text[]) as one,"
        " secateur.enqueue_many($1, one, array_fill('{}'::jsonb, '{50}'))"
    )
    await connection.execute(enqueue_many, "narrow", three)
    await connection.execute(enqueue_many, APP, FEW)
    calls = [(named, size) for named in (None, NAMES) for size in (20, 100)]
    narrow = {size: sum((await usually_read(connection, three, size, "narrow")).values()) for size in (20, 100)}
    few = [(size, await usually_read(connection, named, size)) for named, size in calls]
    await connection.execute(ENQUEUE, APP, NAMES)
    many = [(size, await usually_read(connection, named, size)) for named, size in calls]
    await transaction.rollback()
    await holder.close()
    for size, read in few + many:
        # About three times, give or take a few rows: a claim begins at a random place of the list.
        assert sum(read.values()) <= 3.2 * narrow[size], (size, read, narrow)


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


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url, server_settings={"lock_timeout": "2s"})
    yield connection
    await connection.close()


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_a_run_that_is_committed_late_is_found(
    connection: asyncpg.Connection, other: asyncpg.Connection, isolation: Literal["read_committed", "repeatable_read"]
) -> None:
    """It saw its function on the list, and two searches that took it off did not see the run."""
    await connection.execute(ENQUEUE, APP, FEW[:1])
    await search(connection)
    transaction = other.transaction(isolation=isolation)
    await transaction.start()
    await other.execute(ENQUEUE, APP, FEW[:1])
    assert await claim(connection, None) == FEW[:1]
    await search(connection)
    assert await noted(connection) == []
    await transaction.commit()
    assert await claim(connection, None) == []
    await search(connection)
    assert await claim(connection, None) == FEW[:1]


async def test_a_run_that_comes_between_two_searches_is_found(connection: asyncpg.Connection) -> None:
    """Its function was found to have nothing by the first, so it is noted anew; the second leaves that."""
    await connection.execute(ENQUEUE, APP, FEW[:1])
    assert await claim(connection, None) == FEW[:1]
    await connection.execute("update secateur.due_functions set empty_since = now() where function_id = $1", FEW[0])
    await connection.execute(ENQUEUE, APP, FEW[:1])
    await search(connection)
    assert await noted(connection) == FEW[:1]
    assert await claim(connection, None) == FEW[:1]


async def test_who_queues_waits_for_nobody(
    connection: asyncpg.Connection, other: asyncpg.Connection, database_url: str
) -> None:
    """Neither for others that note the same function at the same time, nor for a search, nor the search for them."""
    searcher = await asyncpg.connect(database_url, server_settings={"lock_timeout": "2s"})
    await search(connection)
    assert await noted(connection) == []
    open_transactions = [one.transaction() for one in (connection, other)]
    for transaction in open_transactions:
        await transaction.start()
    await connection.execute(ENQUEUE, APP, FEW[:1])
    await other.execute(ENQUEUE, APP, FEW[:1])
    await search(searcher)
    for transaction in open_transactions:
        await transaction.commit()
    assert await claim(searcher, None) == FEW[:1] * 2
    await searcher.close()


async def test_nothing_is_written_of_a_function_that_is_noted(connection: asyncpg.Connection) -> None:
    await connection.execute(ENQUEUE, APP, FEW)
    await search(connection)
    entries = "select array_agg(ctid::text || xmin order by ctid) from secateur.due_functions"
    before = await connection.fetchval(entries)
    await connection.execute(ENQUEUE, APP, FEW * 10)
    await connection.execute(
        "select secateur.enqueue($1, one, '{}', now() + interval '1 hour') from unnest($2::text[]) as one", APP, FEW
    )
    assert len(await claim(connection, None)) == 10
    await search(connection)
    assert await connection.fetchval(entries) == before


COMES_BACK = {
    "released": "select secateur.release($1, array[$2::uuid], array[$3::uuid])",
    "interrupted": "select secateur.interrupt($1, $2, $3, 'a deploy')",
    "failed": "select secateur.fail($1, $2, $3, 'no luck', '0 s')",
    "its lease over": "update secateur.runs set lease_expires_at = now() - interval '1 s'"
    " where app_id = $1 and id = $2 and claim_token = $3",
}


@pytest.mark.parametrize("way", sorted(COMES_BACK))
async def test_what_comes_back_is_noted(connection: asyncpg.Connection, way: str) -> None:
    """By whoever brings it back: no search is needed to find it."""
    await connection.execute(ENQUEUE, APP, FEW[:1])
    [run] = await connection.fetch("select * from secateur.claim($1, null, 1, 'w', '1 hour')", APP)
    await search(connection)
    assert await noted(connection) == []
    await connection.execute(COMES_BACK[way], APP, run["id"], run["claim_token"])
    assert await claim(connection, None) == FEW[:1]


async def test_what_an_undo_or_a_retry_brings_back_is_noted(connection: asyncpg.Connection) -> None:
    await connection.execute(ENQUEUE, APP, FEW[:1])
    id = await connection.fetchval("select id from secateur.runs where app_id = $1", APP)
    cancellation = await connection.fetchval(
        "select id from secateur.cancel_run(gen_random_uuid(), $1, $2, null, null, 'python', 'me')", APP, id
    )
    await search(connection)
    assert await noted(connection) == []
    await connection.execute("select secateur.undo_cancellation($1, $2, 'me')", APP, cancellation)
    await connection.execute("select secateur.restore_cancellation($1, $2)", APP, cancellation)
    [run] = await connection.fetch("select * from secateur.claim($1, null, 1, 'w', '1 hour')", APP)
    await connection.execute("select secateur.fail($1, $2, $3, 'no', null, true)", APP, id, run["claim_token"])
    await search(connection)
    assert await noted(connection) == []
    retry = await connection.fetchval(
        "select id from secateur.commit_retries(array[gen_random_uuid()], array[$1], jsonb_build_object("
        " 'app_id', $2::text, 'parameters', '{}'::jsonb, 'compiler', 1, 'request', '{}'::jsonb, 'source', 'python',"
        " 'created_by', 'me'))",
        *(FEW[0], APP),
    )
    await connection.execute("select secateur.sweep_cancellation($1, $2)", APP, retry)
    assert await claim(connection, None) == FEW[:1]


async def test_what_falls_due_is_found(connection: asyncpg.Connection) -> None:
    """Without a search; and a claim that finds nothing says when the first of them will be due."""
    later = "select secateur.enqueue($1, $2, '{}', clock_timestamp() + $3::interval)"
    due = "select min(scheduled_for) from secateur.runs where app_id = $1"
    await search(connection)
    for wait in ("2 hours", "1 hour", "3 hours", "0.5 s"):
        await connection.execute(later.replace("$3", f"'{wait}'"), APP, FEW[0])
        [last] = await connection.fetch("select * from secateur.claim_batch($1, null, 10, 'w', '1 hour')", APP)
        assert last["scheduled_for"] == await connection.fetchval(due, APP)
    await connection.fetchval(f"select pg_sleep_until(({due}))", APP)
    assert await claim(connection, None) == FEW[:1]
    await search(connection)
    assert set(await noted(connection)) == {FEW[0]}
    [last] = await connection.fetch("select * from secateur.claim_batch($1, $2, 10, 'w', '1 hour')", APP, NAMES)
    left = await connection.fetchval(f"{due} and status = 'scheduled'", APP)
    assert last["scheduled_for"] == left


async def test_the_list_is_written_anew_before_dead_entries_outnumber_it(connection: asyncpg.Connection) -> None:
    epoch = "select epoch from secateur.due_epochs where app_id = $1"
    await connection.execute(ENQUEUE, APP, FEW)
    before = await connection.fetchval(epoch, APP)
    for _ in range(5):
        await work_off(connection, APP, NAMES[100:200])
        await search(connection)
        assert await noted(connection) == []
    assert await connection.fetchval(epoch, APP) - before in range(3, 11)
    await connection.execute(ENQUEUE, APP, FEW)
    assert sorted(await claim(connection, None)) == FEW
