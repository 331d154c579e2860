"""Depth by sums of deltas: always what a recount says, however it is moved about; and what the self-check does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

import secateur
from secateur.engines.native.engine import NativeEngine
from secateur.looking.depth import Trend, outlook
from secateur.postgres.database import Database
from secateur.runs import FunctionDepth
from secateur.schema import bundled, install

SUMS = """
select app_id, function_id, sum(queued)::int, sum(scheduled)::int, sum(running)::int
  from (select app_id, function_id, queued, scheduled, running from secateur.depth_totals
         union all
        select app_id, function_id, queued, scheduled, running from secateur.depth_deltas) as part
 group by app_id, function_id
having sum(queued) <> 0 or sum(scheduled) <> 0 or sum(running) <> 0
 order by 1, 2
"""

ROWS = """
select app_id, function_id,
       count(*) filter (where status = 'queued')::int,
       count(*) filter (where status = 'scheduled')::int,
       count(*) filter (where status = 'running')::int
  from secateur.runs where status in ('queued', 'scheduled', 'running')
 group by app_id, function_id
 order by 1, 2
"""

ENQUEUE = "select count(*) from secateur.enqueue_many($1, $2, array(select '{}'::jsonb from generate_series(1, $3)))"


@pytest.fixture
def engine(database: Database) -> NativeEngine:
    return NativeEngine(database)


@pytest.fixture
async def another(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url, timeout=60)
    yield connection
    connection.terminate()


async def put(database: Database, function: str, runs: int) -> None:
    await database.execute(ENQUEUE, "billing", function, runs)


async def claim(database: Database, most: int) -> list[asyncpg.Record]:
    return await database.fetch("select * from secateur.claim('billing', null, $1, 'worker', '1 hour')", most)


async def complete(database: Database, runs: list[asyncpg.Record]) -> None:
    for run in runs:
        assert await database.fetchval("select secateur.complete('billing', $1, $2)", run["id"], run["claim_token"])


async def compact(database: Database, *options: object) -> int:
    moved: int = await database.fetchval(
        f"select secateur.compact_depth({', '.join(f'${n + 1}' for n in range(1 + len(options)))})", "billing", *options
    )
    return moved


async def check(database: Database, every: timedelta = timedelta(0)) -> tuple[bool, int, int]:
    row = await database.fetchrow("select * from secateur.check_depth('billing', $1)", every)
    assert row is not None
    return tuple(row)


async def counted(database: Database) -> list[tuple[object, ...]]:
    """The rows; the sums say the same."""
    rows = [tuple(row) for row in await database.fetch(ROWS)]
    assert [tuple(row) for row in await database.fetch(SUMS)] == rows
    return rows


async def depth_of(engine: NativeEngine, function: str = "sync") -> FunctionDepth:
    (depth,) = [depth for depth in await engine.depth() if depth.function_id == function]
    return depth


async def test_moving_the_deltas_changes_nothing_that_is_shown(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 30)
    await complete(database, (await claim(database, 20))[:15])
    before = await depth_of(engine)
    assert (before.queued, before.running) == (10, 5)
    assert (before.in_per_second, before.out_per_second) == (3.0, 1.5)
    assert await compact(database) > 0
    assert await compact(database) == 0
    after = await depth_of(engine)
    assert (after.queued, after.running, after.oldest_started_at) == (10, 5, before.oldest_started_at)
    assert after.in_per_second == pytest.approx(3.0, abs=0.4)
    assert after.out_per_second == pytest.approx(1.5, abs=0.2)
    assert (before.growth_per_second, after.growth_per_second) == (1.0, pytest.approx(1.0, abs=0.2))
    assert await database.fetchval("select count(*) from secateur.depth_deltas") == 0
    await counted(database)


async def test_a_cancellation_takes_runs_that_did_not_go_out(database: Database, database_url: str) -> None:
    async with secateur.connect(database_url) as queue:
        await put(database, "sync", 40)
        await put(database, "mail", 40)
        await queue.cancel({"app_id": "billing", "function_id": "sync"}, wait=True)
        (mail, sync) = await queue.engine.depth()
        assert (sync.in_per_second, sync.out_per_second, sync.growth_per_second) == (4.0, 0.0, 0.0)
        assert (outlook(sync).trend, outlook(mail).trend) == (Trend.EMPTY, Trend.GROWING)


async def test_what_is_put_right_is_no_growth(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 50)
    await database.execute("delete from secateur.depth_deltas")
    assert await check(database) == (True, 50, 50)
    for _ in range(2):
        depth = await depth_of(engine)
        assert (depth.queued, depth.in_per_second, depth.growth_per_second) == (50, 0.0, 0.0)
        await compact(database)


async def test_sums_are_the_rows_while_everybody_writes(database: Database, engine: NativeEngine) -> None:
    async def work() -> None:
        for round in range(10):
            await put(database, f"f{round % 3}", 7)
            await complete(database, (await claim(database, 5))[:4])

    async def keep() -> None:
        while True:
            await compact(database)
            assert (await check(database))[2] == 0

    await put(database, "f0", 1)  # before, there is no app to check
    keeping = asyncio.create_task(keep())
    await asyncio.gather(*(work() for _ in range(3)))
    keeping.cancel()
    await asyncio.wait({keeping})
    assert keeping.cancelled()
    shown = [(d.app_id, d.function_id, d.queued, d.scheduled, d.running) for d in await engine.depth()]
    assert shown == await counted(database)


async def test_all_apps_are_checked_at_once(database: Database) -> None:
    for app in ("billing", "crm"):
        await database.execute("select secateur.enqueue($1, 'sync', '{}')", app)
    await database.execute("update secateur.depth_deltas set queued = 3 where app_id = 'crm'")
    rows = await database.fetch("select * from secateur.check_depth()")
    assert [tuple(row) for row in rows] == [(True, 1, 0), (True, 1, 2)]


async def test_a_rate_fades_out_second_by_second(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 1)
    await database.execute("delete from secateur.depth_deltas")
    await database.execute(
        "insert into secateur.depth_seconds (app_id, function_id, second, entered, drained)"
        " select 'billing', 'sync', now() - make_interval(secs => age), 100, 50"
        " from unnest(array[2, 5, 10.5, 20]) as past (age)"
    )
    depth = await depth_of(engine)
    assert depth.in_per_second == pytest.approx(25, abs=2)  # two whole seconds, and half of the third
    assert depth.out_per_second == pytest.approx(depth.in_per_second / 2)
    await put(database, "sync", 1)
    await compact(database)
    assert await database.fetchval("select count(*) from secateur.depth_seconds") == 4  # three old ones and the new


async def test_a_bounded_part_is_moved_at_a_time(database: Database) -> None:
    for _ in range(5):
        await put(database, "sync", 1)
    moved = [await compact(database, timedelta(0), 2) for _ in range(4)]
    assert moved[0] == 2
    assert moved[-1] in {0, 1, 2}
    assert await compact(database) >= 0
    await counted(database)


async def test_one_at_a_time_and_not_again_at_once(database: Database, another: asyncpg.Connection) -> None:
    await put(database, "sync", 1)
    async with another.transaction():
        await another.execute("select secateur.is_alone('billing', 'compact'), secateur.is_alone('billing', 'check')")
        assert await compact(database) == 0
        assert await check(database) == (False, None, None)
    assert await compact(database, timedelta(minutes=1)) > 0
    await put(database, "sync", 1)
    assert await compact(database, timedelta(minutes=1)) == 0
    assert (await check(database, timedelta(minutes=1)))[0]
    assert not (await check(database, timedelta(minutes=1)))[0]


async def test_the_self_check_finds_puts_right_and_remembers(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 5)
    await put(database, "mail", 5)
    assert (await depth_of(engine)).checked_at is None
    assert await check(database) == (True, 10, 0)
    depth = await depth_of(engine)
    assert depth.drift == 0
    assert depth.checked_at is not None
    await database.execute("delete from secateur.runs where id in (select id from secateur.runs limit 1)")
    await database.execute("update secateur.depth_deltas set scheduled = scheduled + 3 where function_id = 'mail'")
    assert await check(database) == (True, 9, 4)
    assert sum(depth.drift for depth in await engine.depth()) == 4
    await counted(database)
    assert await check(database) == (True, 9, 0)
    assert (await depth_of(engine)).drift == 0


async def test_the_self_check_lets_runs_be_claimed_that_came_past_the_functions(database: Database) -> None:
    await put(database, "sync", 1)
    await database.execute(
        "insert into secateur.runs (app_id, function_id, event, priority)"
        " select 'billing', 'sync', '{}', n % 3 from generate_series(1, 9) as n"
    )
    assert len(await claim(database, 50)) == 1 + 3
    assert await check(database) == (True, 10, 9)
    assert len(await claim(database, 50)) == 6


async def test_a_transaction_left_open_is_no_drift(database: Database, another: asyncpg.Connection) -> None:
    await put(database, "sync", 5)
    open_one = another.transaction()
    await open_one.start()
    await another.fetchval(ENQUEUE, "billing", "sync", 3)
    await another.fetch("select * from secateur.claim('billing', null, 1, 'worker', '1 hour')")
    assert await check(database) == (True, 5, 0)
    await compact(database)
    await open_one.commit()
    assert await check(database) == (True, 8, 0)
    await counted(database)


async def test_the_oldest_queued_run(database: Database, engine: NativeEngine) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for days, later in ((3, None), (2, None), (1, timedelta(hours=1))):
        await database.execute(
            "select secateur.enqueue('billing', 'sync', '{}', clock_timestamp() + $2, 0, $1)",
            start + timedelta(days=days),
            later,
        )
    assert (await depth_of(engine)).oldest_claimable_at == start + timedelta(days=2)
    await compact(database)
    assert (await depth_of(engine)).oldest_claimable_at == start + timedelta(days=2)
    await claim(database, 1)
    await compact(database)
    assert (await depth_of(engine)).oldest_claimable_at == start + timedelta(days=3)
    await claim(database, 1)
    # Nobody has moved the deltas since, but none is queued any more.
    assert (await depth_of(engine)).oldest_claimable_at is None
    await compact(database)
    assert (await depth_of(engine)).oldest_claimable_at is None


async def test_an_existing_queue_is_counted_when_installed(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        await install(database, [one for one in bundled() if one.name < "0002"])
        await database.execute("insert into secateur.apps (app_id) values ('billing')")
        await database.execute("insert into secateur.functions (app_id, function_id) values ('billing', 'sync')")
        await database.execute("""
            insert into secateur.runs
              (id, app_id, function_id, event, status, started_at, claim_token, lease_expires_at)
            select gen_random_uuid(), 'billing', 'sync', '{}', status, now(), gen_random_uuid(), now() + interval '1 h'
              from unnest(array['queued', 'queued', 'queued', 'running', 'running']) as status
        """)
        assert "0002_depth.sql" in (await install(database)).files
        assert await counted(database) == [("billing", "sync", 3, 0, 2)]
        assert (await depth_of(NativeEngine(database))).queued == 3
