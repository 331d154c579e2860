"""Enqueueing in bulk: from any iterable in Python, and by COPY into the table that the functions make."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from roles import LOGINS, refused, url_of

import secateur
from patience import PATIENCE
from secateur import Queue
from secateur.errors import Conflict, PermissionDenied, ReadOnly, RequestError, Unreachable
from secateur.postgres.database import Database
from secateur.schema import install

pytestmark = pytest.mark.one_postgres

HOUR = timedelta(hours=1)
BEGIN = "select secateur.begin_bulk()"
ENQUEUE = "select secateur.enqueue_bulk('billing', 'sync')"
NUMBERS = "select array_agg((event -> 'n')::int order by id) from secateur.runs"


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


@pytest.fixture
async def worker(logins: dict[str, asyncpg.Connection]) -> asyncpg.Connection:
    """A session with no right but those of a worker."""
    return logins["secateur_worker"]


async def claim(queue: Queue, most: int = 1000) -> list[dict[str, Any]]:
    rows = await queue.database.fetch("select * from secateur.claim('billing', null, $1, 'tester', '1 hour')", most)
    return [json.loads(row["event"]) for row in rows]


async def count(queue: Queue) -> int:
    runs: int = await queue.database.fetchval("select count(*) from secateur.runs")
    return runs


async def copy(connection: asyncpg.Connection, rows: Sequence[Sequence[object]], *more: str) -> None:
    """Rows of an event, and of the columns that are named."""
    await connection.copy_records_to_table(
        "secateur_bulk", schema_name="pg_temp", columns=["event", *more], records=[tuple(row) for row in rows]
    )


async def drift(queue: Queue) -> int:
    row = await queue.database.fetchrow("select * from secateur.check_depth('billing')")
    assert row is not None
    assert row["checked"]
    found: int = row["drift"]
    return found


class TestFromPython:
    async def test_the_order_is_kept_whatever_the_size(self, queue: Queue) -> None:
        """Several pages, chunks and sizes: in the page, in the table's own store for large values, and small again."""
        sizes = [0, 10, 1500, 7000, 0, 40_000, 100, 2500]
        events = [{"n": n, "pad": "x" * sizes[n % len(sizes)]} for n in range(1000)]
        assert await queue.enqueue_bulk("billing", "sync", iter(events)) == 1000
        assert await queue.database.fetchval(NUMBERS) == list(range(1000))
        assert await queue.database.fetchval("select count(distinct started_at) from secateur.runs") == 1
        assert await claim(queue) == events, "in their order, and whole"
        assert await drift(queue) == 0

    async def test_ids_are_of_version_7_and_a_microsecond_apart(self, queue: Queue) -> None:
        await queue.enqueue_bulk("billing", "sync", [{}] * 2500)
        rows = await queue.database.fetch("select id, started_at from secateur.runs order by id")
        started = rows[0]["started_at"]
        for nth, row in enumerate(rows):
            value = row["id"].int
            assert (row["id"].version, value >> 62 & 3) == (7, 2)
            moment = started + timedelta(microseconds=nth)
            milliseconds, microseconds = divmod(
                round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta.resolution), 1000
            )
            assert (value >> 80, (value >> 64 & 0xFFF)) == (milliseconds, microseconds * 4096 // 1000)

    async def test_from_an_asynchronous_iterable(self, queue: Queue) -> None:
        async def events() -> AsyncIterator[object]:
            for n in range(500):
                if n % 100 == 0:
                    await asyncio.sleep(0.001)
                yield {"n": n}

        assert await queue.enqueue_bulk("billing", "sync", events()) == 500
        assert await queue.database.fetchval(NUMBERS) == list(range(500))

    async def test_nothing_comes_of_nothing(self, queue: Queue) -> None:
        assert await queue.enqueue_bulk("billing", "sync", iter(())) == 0
        assert await queue.database.fetchval("select count(*) from secateur.functions") == 0

    @pytest.mark.parametrize("before", [0, 1, 20_000], ids=["at once", "early", "late"])
    @pytest.mark.parametrize(
        "error", [FileNotFoundError("no such file"), asyncpg.DataError("mine"), TimeoutError(), SystemExit(3)], ids=repr
    )
    async def test_an_error_of_the_iterable_arrives_as_it_is(
        self, queue: Queue, before: int, error: BaseException
    ) -> None:
        def events() -> Iterator[object]:
            yield from ({"n": n, "pad": "x" * 100} for n in range(before))
            raise error

        backend = await queue.database.fetchval("select pg_backend_pid()")
        with pytest.raises(type(error)) as caught:
            await queue.enqueue_bulk("billing", "sync", events())
        assert caught.value is error
        assert caught.value.__cause__ is None
        assert await count(queue) == 0
        assert await queue.enqueue_bulk("billing", "sync", [{"n": 0}]) == 1
        assert await queue.database.fetchval("select pg_backend_pid()") == backend, "on the same connection"

    async def test_interrupted_while_it_waits_for_an_event(self, queue: Queue) -> None:
        reached = asyncio.Event()

        async def events() -> AsyncIterator[object]:
            for _ in range(20_000):
                yield {"pad": "x" * 100}
            reached.set()
            await asyncio.sleep(3600)

        entering = asyncio.create_task(queue.enqueue_bulk("billing", "sync", events()))
        await reached.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert await count(queue) == 0
        assert await queue.enqueue_bulk("billing", "sync", [{}]) == 1

    async def test_a_lost_connection(self, queue: Queue, database_url: str) -> None:
        operator = await asyncpg.connect(database_url)
        copying = (
            "select pid from pg_stat_activity where datname = current_database() and application_name = 'secateur'"
        )

        async def events() -> AsyncIterator[object]:
            for n in range(60_000):
                if n == 30_000:
                    pid = await operator.fetchval(copying)
                    assert await operator.fetchval("select pg_terminate_backend($1, 5000)", pid)
                yield {"pad": "x" * 100}

        with pytest.raises(Unreachable):
            await queue.enqueue_bulk("billing", "sync", events())
        await operator.close()
        assert await count(queue) == 0
        assert await queue.enqueue_bulk("billing", "sync", [{}]) == 1

    @pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.1, 0.2, 0.3])
    async def test_interrupted_whenever(self, queue: Queue, after: float) -> None:
        entering = asyncio.create_task(queue.enqueue_bulk("billing", "sync", ({"n": n} for n in range(20_000))))
        await asyncio.sleep(after)
        entering.cancel()
        try:
            await entering
            entered = 20_000
        except asyncio.CancelledError:
            entered = 0
        async with asyncio.timeout(PATIENCE):
            assert await count(queue) == entered
            assert await queue.enqueue_bulk("billing", "sync", [{}]) == 1
        assert await drift(queue) == 0

    async def test_an_event_that_cannot_be_kept_is_named(self, queue: Queue) -> None:
        def events(last: object, before: int) -> Iterator[object]:
            yield from ({"pad": "x" * 1000} for _ in range(before))
            yield last
            yield from ({} for _ in range(10_000))

        for before in (0, 4499):
            nul = rf"event: item {before + 1:,} contains U\+0000, which Postgres cannot store"
            wrong = rf"event: item {before + 1:,} cannot be stored: Postgres refused: .*Unicode"
            with pytest.raises(RequestError, match=nul):
                await queue.enqueue_bulk("billing", "sync", events({"text": "a\0b"}, before))
            with pytest.raises(RequestError, match=wrong):
                await queue.enqueue_bulk("billing", "sync", events("\ud800", before))
            with pytest.raises(RequestError, match=f"event: item {before + 1:,} cannot be written as JSON: .*set"):
                await queue.enqueue_bulk("billing", "sync", events({1}, before))
        assert await count(queue) == 0

    async def test_an_event_is_refused_that_is_nested_too_deeply(self, queue: Queue) -> None:
        """Though it takes no room once it is compressed."""
        deep: object = "x" * 3000
        for _ in range(900):
            deep = [deep]
        with pytest.raises(RequestError, match="nested 500 levels deep at most"):
            await queue.enqueue_bulk("billing", "sync", [{}, deep])
        assert await count(queue) == 0

    async def test_memory_stays_flat(self, queue: Queue) -> None:
        def events() -> Iterator[object]:
            for _ in range(40_000):
                yield {"pad": "x" * 1000}

        await queue.enqueue_bulk("billing", "sync", [{}])
        tracemalloc.start()
        try:
            await queue.enqueue_bulk("billing", "sync", events())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 12_000_000, "of 40 MB"

    async def test_wrong_calls_are_refused(self, queue: Queue, database_url: str) -> None:
        with pytest.raises(RequestError, match="must not be empty"):
            await queue.enqueue_bulk("", "sync", [{}])
        async with secateur.connect(database_url, read_only=True) as reading:
            with pytest.raises(ReadOnly):
                await reading.enqueue_bulk("billing", "sync", [{}])

    async def test_cancelled_while_it_is_open(self, queue: Queue, database_url: str) -> None:
        """What is copied by then enters later, and what has entered is caught when it is committed."""
        connection = await asyncpg.connect(database_url)
        await queue.enqueue("billing", "sync", {"n": -1})
        async with connection.transaction():
            await connection.execute(BEGIN)
            await copy(connection, [["{}"]] * 5)
            early = await queue.cancel({"app_id": "billing"})
            await connection.execute(ENQUEUE)
            late = await queue.cancel({"app_id": "billing"})
            while not (step := await queue.engine.ledger.sweep("billing", late.id, 100)).idle:
                assert step.state == "active"
            assert (await queue.show(late.id)).state == "active", "for the bulk is open"
        await connection.close()
        assert (await queue.cancellations.wait(late.id)).cancelled == 5
        assert (await queue.cancellations.wait(early.id)).cancelled == 1
        assert await claim(queue) == []


class TestBySql:
    async def test_rows_of_all_kinds(self, queue: Queue, owner: asyncpg.Connection) -> None:
        now = await queue.engine.clock()
        rows = [
            ('{"n": 0}', None, None),
            ('{"n": 1}', now + HOUR, None),
            ('{"n": 2}', now - HOUR, 7),
            ('{"n": 3}', None, -4),
            ('{"n": 4}', None, 7),
            ('{"n": 5}', now + HOUR, 2),
        ]
        async with owner.transaction():
            await owner.execute(BEGIN)
            await copy(owner, rows[:4], "scheduled_for", "priority")
            await copy(owner, rows[4:], "scheduled_for", "priority")
            assert await owner.fetchval("select secateur.enqueue_bulk('billing', 'sync', null, 1)") == 6
        found = await queue.database.fetch(
            "select status, priority, scheduled_for from secateur.runs order by event -> 'n'"
        )
        statuses = ["queued", "scheduled", "queued", "queued", "queued", "scheduled"]
        priorities = [1, 1, 7, -4, 7, 2]
        assert [tuple(row) for row in found] == list(zip(statuses, priorities, (row[1] for row in rows), strict=True))
        [depth] = await queue.depth()
        assert (depth.queued, depth.scheduled) == (4, 2)
        assert await drift(queue) == 0
        assert [event["n"] for event in await claim(queue)] == [2, 4, 0, 3]

    async def test_a_schedule_for_all_but_those_that_have_one(self, queue: Queue, owner: asyncpg.Connection) -> None:
        now = await queue.engine.clock()
        async with owner.transaction():
            await owner.execute(BEGIN)
            await copy(owner, [("{}", None), ("{}", now), ("{}", None)], "scheduled_for")
            await owner.fetchval("select secateur.enqueue_bulk('billing', 'sync', $1, null)", now + HOUR)
        rows = await queue.database.fetch("select scheduled_for from secateur.runs order by id")
        assert [row[0] - now for row in rows] == [HOUR, timedelta(0), HOUR]

    async def test_imports(self, queue: Queue, owner: asyncpg.Connection) -> None:
        """Runs of earlier are found by claims, wherever these have come to; and of one moment they may be many."""
        await queue.enqueue_many("billing", "sync", [{}] * 3, priorities=[0, 0, 5])
        await queue.database.execute(
            "update secateur.levels set walk_at = now() + interval '50 s',"
            " floor = (select id from secateur.runs order by id limit 1)"
        )
        moment = datetime(2024, 1, 21, 12, 0, 0, 123456, UTC)
        async with owner.transaction():
            await owner.execute(BEGIN)
            dated = [(json.dumps({"n": n}), moment + n // 4 * HOUR, n % 2 * 5) for n in range(8)]
            await copy(owner, dated, "started_at", "priority")
            await owner.fetchval(ENQUEUE)
        assert [event.get("n") for event in await claim(queue)] == [1, 3, 5, 7, None, 0, 2, 4, 6, None, None]
        started = await queue.database.fetch("select started_at from secateur.runs where event ? 'n' order by id")
        assert [row[0] for row in started] == [moment] * 4 + [moment + HOUR] * 4

    async def test_only_imports_back_date(self, owner: asyncpg.Connection, worker: asyncpg.Connection) -> None:
        for allowed in (False, True):
            if allowed:
                await owner.execute(f"grant secateur_importer to {LOGINS['secateur_worker']}")
            async with worker.transaction():
                await worker.execute(BEGIN)
                await copy(worker, [("{}", datetime(2024, 1, 21, tzinfo=UTC)), ("{}", None)], "started_at")
                if allowed:
                    assert await worker.fetchval(ENQUEUE) == 2
                else:
                    await refused(worker, ENQUEUE)

    async def test_several_in_one_transaction(self, queue: Queue, worker: asyncpg.Connection) -> None:
        async with worker.transaction():
            for function, runs in (("sync", 3), ("mail", 2), ("sync", 1), ("bills", 0)):
                await worker.execute(BEGIN)
                await copy(worker, [["{}"]] * runs)
                assert await worker.fetchval(f"select secateur.enqueue_bulk('billing', '{function}')") == runs
            await worker.execute(BEGIN)
            await copy(worker, [["{}"]] * 100)
            await worker.execute(BEGIN)
            await copy(worker, [["{}"]] * 4)
            assert await worker.fetchval("select secateur.enqueue_bulk('billing', 'bills')") == 4, (
                "the hundred are gone"
            )
        rows = await queue.database.fetch("select function_id, count(*) from secateur.runs group by 1 order by 1")
        assert [tuple(row) for row in rows] == [("bills", 4), ("mail", 2), ("sync", 4)]
        assert await drift(queue) == 0

    async def test_a_bulk_is_begun_and_ended_in_one_transaction(self, queue: Queue, worker: asyncpg.Connection) -> None:
        with pytest.raises(Conflict, match="this transaction has not begun a bulk; call"):
            await queue.database.execute(ENQUEUE)
        await worker.execute(BEGIN)
        with pytest.raises(asyncpg.UndefinedTableError):
            await copy(worker, [["{}"]])
        async with worker.transaction():
            await worker.execute(BEGIN)
            try:
                async with worker.transaction():
                    await copy(worker, [["{}"]] * 3)
                    await worker.fetchval(ENQUEUE)
                    await worker.execute("select 1 / 0")
            except asyncpg.DivisionByZeroError:
                await copy(worker, [["{}"]])
            assert await worker.fetchval(ENQUEUE) == 1
        assert await count(queue) == 1

    async def test_an_event_is_no_null(self, worker: asyncpg.Connection) -> None:
        with pytest.raises(asyncpg.PostgresError, match="event: must be JSON, not null") as caught:
            async with worker.transaction():
                await worker.execute(BEGIN)
                await copy(worker, [["{}"], [None]])
                await worker.execute(ENQUEUE)
        assert caught.value.sqlstate == "SC422"


EVIL = """
create function pg_temp.evil() returns jsonb language plpgsql as $$
begin
  raise exception using errcode = 'P0001', message = format('it runs as %s', current_user);
end $$;
create function pg_temp.evil_trigger() returns trigger language plpgsql as $$
begin
  perform pg_temp.evil();
  return new;
end $$;
"""
COLUMNS = "event, null::timestamptz as scheduled_for, null::integer as priority, null::timestamptz as started_at"
TABLE = "temp table secateur_bulk (event jsonb, scheduled_for timestamptz, priority integer, started_at timestamptz)"
FORGERIES = {
    "view": f"create temp view secateur_bulk as select pg_temp.evil() as {COLUMNS}",
    "table": f"create {TABLE}; insert into secateur_bulk values ('{{}}')",
    "its policy": f"""
        create {TABLE};
        insert into secateur_bulk values ('{{}}');
        alter table secateur_bulk enable row level security, force row level security;
        create policy evil on secateur_bulk using (pg_temp.evil() is not null)""",
    "its column": """
        create temp table secateur_bulk (scheduled_for timestamptz, priority integer, started_at timestamptz);
        create function pg_temp.event(pg_temp.secateur_bulk) returns jsonb language sql as 'select pg_temp.evil()'""",
    "its heir": f"""
        create {TABLE};
        create temp table heir () inherits (secateur_bulk)""",
    "sequence": "create temp sequence secateur_bulk",
    "type": "create type pg_temp.secateur_bulk as (event jsonb)",
    "partitioned table": "create temp table secateur_bulk (event jsonb) partition by list (event)",
    "index": "create temp table other (n int); create index secateur_bulk on other (n)",
}


class TestWhoeverCalls:
    async def test_may_insert_and_nothing_else(self, owner: asyncpg.Connection, worker: asyncpg.Connection) -> None:
        login = LOGINS["secateur_worker"]
        async with worker.transaction():
            await worker.execute(EVIL)
            await worker.execute(BEGIN)
            for statement in (
                "select from pg_temp.secateur_bulk",
                "copy pg_temp.secateur_bulk to stdout",
                "insert into pg_temp.secateur_bulk (event) values ('{}') returning event",
                "update pg_temp.secateur_bulk set event = '{}'",
                "delete from pg_temp.secateur_bulk",
                "truncate pg_temp.secateur_bulk",
                "drop table pg_temp.secateur_bulk",
                "alter table pg_temp.secateur_bulk rename to mine",
                "alter table pg_temp.secateur_bulk add column mine jsonb default pg_temp.evil()",
                "alter table pg_temp.secateur_bulk alter column event set default pg_temp.evil()",
                f"alter table pg_temp.secateur_bulk owner to {login}",
                "create index on pg_temp.secateur_bulk ((pg_temp.evil()))",
                "create trigger evil before insert on pg_temp.secateur_bulk for each row"
                " execute function pg_temp.evil_trigger()",
                "create rule evil as on insert to pg_temp.secateur_bulk do instead nothing",
                "create temp table heir () inherits (pg_temp.secateur_bulk)",
                "create policy evil on pg_temp.secateur_bulk using (true)",
                "lock table pg_temp.secateur_bulk in access exclusive mode",
            ):
                await refused(worker, statement)
            await worker.execute(f"grant all on pg_temp.secateur_bulk to {login}")  # Postgres only warns
            for right in ("select", "update", "delete", "truncate", "references", "trigger"):
                may = "select has_table_privilege('pg_temp.secateur_bulk', $1)"
                assert not await worker.fetchval(may, right), right
            await worker.execute("insert into pg_temp.secateur_bulk (event) values ('{}')")
            assert await worker.fetchval(ENQUEUE) == 1
        assert await owner.fetchval("select count(*) from secateur.runs") == 1

    @pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
    async def test_is_not_believed_before_a_bulk(self, worker: asyncpg.Connection, forgery: str) -> None:
        """A relation of the caller's own, whose code would run with the owner's rights."""
        await worker.execute(EVIL)
        await worker.execute(forgery)
        for call in (BEGIN, ENQUEUE):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="was not made by"):
                await worker.execute(call)

    @pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
    async def test_is_not_believed_within_a_bulk(self, worker: asyncpg.Connection, forgery: str) -> None:
        """Postgres lets everybody discard what is temporary, whoever owns it."""
        async with worker.transaction():
            await worker.execute(BEGIN)
            await copy(worker, [["{}"]])
            assert await worker.fetchval(ENQUEUE) == 1, "so that plans are known from now on"
            await worker.execute(BEGIN)
            await worker.execute("discard temp")
            await worker.execute(EVIL)
            await worker.execute(forgery)
            for call in (BEGIN, ENQUEUE):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="was not made by"):
                    async with worker.transaction():
                        await worker.execute(call)

    async def test_may_be_a_role_that_was_set(self, owner: asyncpg.Connection, worker: asyncpg.Connection) -> None:
        await worker.execute("set role secateur_worker")
        async with worker.transaction():
            await worker.execute(BEGIN)
            await copy(worker, [["{}"]] * 2)
            assert await worker.fetchval(ENQUEUE) == 2

    async def test_needs_no_right_to_make_temporary_tables(
        self, owner: asyncpg.Connection, worker: asyncpg.Connection, database_url: str
    ) -> None:
        await owner.execute(
            "do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$"
        )
        await refused(worker, "create temp table mine ()")
        async with secateur.connect(url_of("secateur_worker", database_url)) as queue:
            assert await queue.enqueue_bulk("billing", "sync", [{}] * 3) == 3
        for role in ("secateur_operator", "secateur_viewer"):
            async with secateur.connect(url_of(role, database_url)) as queue:
                with pytest.raises(PermissionDenied, match="begin_bulk"):
                    await queue.enqueue_bulk("billing", "sync", [{}])


async def test_an_owner_without_the_right_is_told(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as admin:
        await admin.execute("create role an_owner login createrole")
        await admin.execute(
            "do $$ begin execute format('revoke temporary on database %1$I from public;"
            " grant create on database %1$I to an_owner', current_database()); end $$"
        )
        if await admin.fetchval("select true from pg_roles where rolname = 'secateur_audit'"):
            newer = await admin.fetchval("select current_setting('server_version_num')::int >= 160000")
            option = "admin true, inherit false, set false" if newer else "admin option"
            await admin.execute(f"grant secateur_sandbox, secateur_audit to an_owner with {option}")
        try:
            async with secateur.connect(empty_database_url.replace("postgres@", "an_owner@")) as queue:
                await install(queue.database)
                told = "an_owner, the owner of schema secateur, may not create temporary tables in .*grant temporary on"
                with pytest.raises(PermissionDenied, match=told):
                    await queue.enqueue_bulk("billing", "sync", [{}])
                name = await admin.fetchval("select quote_ident(current_database())")
                await admin.execute(f"grant temporary on database {name} to an_owner")
                assert await queue.enqueue_bulk("billing", "sync", [{}] * 3) == 3
        finally:
            await admin.execute("drop schema if exists secateur, secateur_cel, secateur_locks cascade")
            await admin.execute("drop owned by an_owner cascade")
            await admin.execute("drop role an_owner")
