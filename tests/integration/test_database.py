"""The database: errors in words, cancellation that reaches the server, read-only, life after a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from patience import eventually
from secateur.errors import (
    Conflict,
    DatabaseError,
    IdempotencyConflict,
    LockUnavailable,
    NotFound,
    NotInstalled,
    PermissionDenied,
    QueryTimeout,
    ReadOnly,
    RequestError,
    SecateurError,
    SettingsError,
    Unreachable,
)
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.postgres.sqlstates import translate


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        yield database


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(settings={"fsync": "off"}) as server:
        yield server


async def running_statements(database: Database, text: str) -> int:
    running = await database.fetchval(
        "select count(*) from pg_stat_activity where state = 'active' and query like $1 and pid <> pg_backend_pid()",
        f"%{text}%",
    )
    return int(running)


def raising(state: str, **options: str) -> str:
    """A statement that fails as our SQL functions do."""
    using = "".join(f", {name} = '{value}'" for name, value in options.items())
    return f"do $$ begin raise exception using errcode = '{state}'{using}; end $$"


async def test_answers(empty: Database) -> None:
    assert await empty.fetchval("select $1::int + 1", 1) == 2
    row = await empty.fetchrow("select 1 as a, 'x' as b")
    assert row is not None
    assert dict(row) == {"a": 1, "b": "x"}
    assert [row["n"] for row in await empty.fetch("select n from generate_series(1, 3) as n")] == [1, 2, 3]
    assert await empty.execute("create table t (n int)") == "CREATE TABLE"
    assert await empty.execute("insert into t values ($1), ($2)", 1, 2) == "INSERT 0 2"
    assert empty.description.startswith("local/test_")


async def test_sessions_compile_no_plans(empty_database_url: str) -> None:
    """Compiling takes seconds where running takes milliseconds, as when the planner may not use what is cheap."""
    async with Database.connect(empty_database_url) as database:
        await database.execute(
            "do $$ begin execute format('alter database %I set jit = on', current_database());"
            " execute format('alter database %I set jit_above_cost = 0', current_database()); end $$"
        )
    async with Database.connect(empty_database_url) as database:
        plan = await database.fetch("explain (analyze) select count(*) from generate_series(1, 10)")
        assert not [row for row in plan if "JIT" in row[0]]


async def test_sessions_are_read_committed_and_in_utc(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        await database.execute(
            "do $$ begin execute format('alter database %I set default_transaction_isolation = "
            "serializable', current_database()); end $$"
        )
    async with Database.connect(empty_database_url, application_name="a test") as database:
        assert await database.fetchval("show transaction_isolation") == "read committed"
        assert await database.fetchval("show timezone") == "UTC"
        assert await database.fetchval("show application_name") == "a test"
        async with database.transaction() as connection:
            assert await connection.fetchval("show transaction_isolation") == "read committed"


@pytest.mark.parametrize(
    ("sql", "error", "words"),
    [
        ("select * from secateur.nowhere", NotInstalled, "secateur install"),
        ("select secateur.nothing()", NotInstalled, "secateur install"),
        ("select * from elsewhere", DatabaseError, "elsewhere"),
        ("select 1 +", DatabaseError, "syntax error"),
        (raising("42501"), PermissionDenied, "lacks a right in [^;]*$"),
        (
            raising("42501", message="permission denied for schema secateur"),
            PermissionDenied,
            "schema secateur; grant one of secateur's roles to it: secateur_viewer to look",
        ),
        (
            raising("42501", message="permission denied for function pause"),
            PermissionDenied,
            "function pause; grant one of secateur's roles to it: .*secateur_operator to cancel as well",
        ),
        (raising("57014"), QueryTimeout, "nothing was changed"),
        (raising("55P03"), LockUnavailable, "nothing was changed"),
        (raising("40P01"), LockUnavailable, "nothing was changed"),
        (raising("53300"), Unreachable, "cannot reach local/"),
        (raising("SC404", message="no run of that id"), NotFound, "^no run of that id$"),
        (raising("SC409", message="has ended"), Conflict, "has ended"),
        (raising("SC409", message="used before", column="idempotency_key"), IdempotencyConflict, "used before"),
        (raising("SC423", message="held"), LockUnavailable, "held"),
    ],
)
async def test_states_in_words(empty: Database, sql: str, error: type[SecateurError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        await empty.execute(sql)
    assert type(caught.value) is error
    assert await empty.fetchval("select 1") == 1


async def test_a_refused_request_names_its_field(empty: Database) -> None:
    with pytest.raises(RequestError) as caught:
        await empty.execute(raising("SC422", message="lies in the future", column="started_before", hint="omit it"))
    (problem,) = caught.value.problems
    assert (problem.field, problem.message) == ("started_before", "lies in the future")
    assert problem.suggestion == "omit it"


async def test_our_own_mistakes_stay_loud(empty: Database) -> None:
    with pytest.raises(asyncpg.DataError):
        await empty.fetchval("select $1::int", "not a number")


async def test_errors_inside_a_transaction_roll_it_back(empty: Database) -> None:
    await empty.execute("create table t (n int)")
    with pytest.raises(DatabaseError, match="division by zero"):
        async with empty.transaction() as connection:
            await connection.execute("insert into t values (1)")
            await connection.execute("select 1 / 0")
    with pytest.raises(LookupError):
        async with empty.transaction() as connection:
            await connection.execute("insert into t values (1)")
            raise LookupError
    async with empty.transaction() as connection:
        await connection.execute("insert into t values (2)")
    assert [row["n"] for row in await empty.fetch("select n from t")] == [2]


class TestTimeout:
    async def test_of_a_statement(self, empty: Database) -> None:
        began = time.monotonic()
        with pytest.raises(QueryTimeout):
            await empty.fetchval("select pg_sleep(30)", timeout=0.2)
        assert time.monotonic() - began < 30
        assert await empty.fetchval("show statement_timeout") == "0"

    async def test_of_a_transaction(self, empty: Database) -> None:
        with pytest.raises(QueryTimeout):
            async with empty.transaction(timeout=0.2) as connection:
                await connection.execute("select pg_sleep(30)")

    async def test_of_every_statement(self, empty_database_url: str) -> None:
        async with Database.connect(empty_database_url, statement_timeout=0.2) as database:
            with pytest.raises(QueryTimeout):
                await database.fetchval("select pg_sleep(30)")
            assert await database.fetchval("select 1 from pg_sleep(0.4)", timeout=60) == 1

    @pytest.mark.parametrize("timeout", [None, 60])
    async def test_differs_from_a_cancellation_by_somebody_else(
        self, empty: Database, empty_database_url: str, timeout: float | None
    ) -> None:
        async with Database.connect(empty_database_url, application_name="the victim") as database:
            waiting = asyncio.create_task(database.fetchval("select pg_sleep(60)", timeout=timeout))
            cancelled = "select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'the victim'"
            cancelled += " and wait_event = 'PgSleep'"
            await eventually(lambda: empty.fetchval(cancelled))
            with pytest.raises(DatabaseError, match="somebody cancelled") as caught:
                await waiting
        assert type(caught.value) is (QueryTimeout if timeout is None else DatabaseError)

    @pytest.mark.parametrize(
        ("in_time", "error", "words"),
        [
            (True, DatabaseError, "somebody cancelled the statement in Postgres; nothing was changed"),
            (False, QueryTimeout, "the statement timed out; nothing was changed"),
            (None, QueryTimeout, "or because somebody cancelled it; nothing was changed"),
        ],
    )
    def test_is_not_read_from_the_server_s_sentence(
        self, in_time: bool | None, error: type[SecateurError], words: str
    ) -> None:
        for sentence in ("storniere Anfrage wegen Benutzeraufforderung", "canceling statement due to user request"):
            told = translate(asyncpg.QueryCanceledError(sentence), "local/db", in_time=in_time)
            assert type(told) is error
            assert f"{words} ({sentence})" in str(told)

    async def test_that_is_kept_commits(self, empty: Database) -> None:
        await empty.execute("create table t (n int)", timeout=60)
        assert await empty.fetchval("insert into t values (1) returning n", timeout=60) == 1
        assert await empty.fetchval("select count(*) from t") == 1


class TestCancellation:
    @pytest.mark.parametrize("timeout", [None, 60])
    async def test_reaches_the_server(self, empty_database_url: str, timeout: float | None) -> None:
        async with (
            Database.connect(empty_database_url) as observer,
            Database.connect(empty_database_url, max_size=1) as database,
        ):
            for _ in range(20):
                statement = database.fetchval("select pg_sleep(30) as napping", timeout=timeout)
                task = asyncio.create_task(statement)
                await asyncio.sleep(0.02)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await running_statements(observer, "napping") == 0
            assert await database.fetchval("select 1") == 1

    async def test_of_a_transaction_rolls_it_back(self, empty: Database) -> None:
        await empty.execute("create table t (n int)")

        async def write_and_wait() -> None:
            async with empty.transaction() as connection:
                await connection.execute("insert into t values (1)")
                await connection.execute("select pg_sleep(30) as napping")

        task = asyncio.create_task(write_and_wait())
        while not await running_statements(empty, "napping"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await running_statements(empty, "napping") == 0
        assert await empty.fetchval("select count(*) from t") == 0

    async def test_at_any_moment_leaves_no_transaction_open(self, empty_database_url: str) -> None:
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with Database.connect(empty_database_url, max_size=1) as database:

            async def read() -> None:
                async with database.transaction(timeout=5) as transaction:
                    await transaction.fetchval("select 1")

            await read()
            for turns in range(12):
                reading = asyncio.create_task(read())
                for _ in range(turns):
                    # Postgres answers in between, so that each statement of the transaction is cancelled once.
                    await asyncio.sleep(0.0005)
                reading.cancel()
                await asyncio.wait([reading])
                assert await database.fetchval("select 1") == 1
        assert complaints == []


class TestReadOnly:
    async def test_writes_are_refused(self, empty_database_url: str) -> None:
        async with Database.connect(empty_database_url, read_only=True) as database:
            assert database.read_only
            with pytest.raises(ReadOnly, match="read-only"):
                await database.execute("create table t (n int)")
            with pytest.raises(ReadOnly):
                await database.execute("create table t (n int)", timeout=60)
            with pytest.raises(ReadOnly):
                async with database.transaction() as connection:
                    await connection.execute("create table t (n int)")

    async def test_a_sequence_cannot_be_advanced_either(self, empty: Database, empty_database_url: str) -> None:
        await empty.execute("create sequence s")
        async with Database.connect(empty_database_url, read_only=True) as database:
            with pytest.raises(ReadOnly):
                await database.fetchval("select nextval('s')")

    async def test_listening_works(self, empty: Database, empty_database_url: str) -> None:
        async with Database.connect(empty_database_url, read_only=True) as database:
            payloads = database.listen("c")
            assert await anext(payloads) == ""
            await empty.execute("select pg_notify('c', 'news')")
            assert await anext(payloads) == "news"
            await payloads.aclose()


async def napping(database: Database) -> int:
    """The process of the session that sleeps in the database, once there is one."""
    asleep = "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    return int(await eventually(lambda: database.fetchval(asleep), "a statement that sleeps"))


class TestRestart:
    async def test_idle_connections_are_replaced(self, own_server: EmbeddedPostgres) -> None:
        async with Database.connect(own_server.url) as database:
            await database.execute("create table t (n int)")
            await asyncio.to_thread(own_server.restart)
            assert await database.fetchval("select count(*) from t") == 0

    async def test_a_statement_under_way_is_lost_in_words(self, own_server: EmbeddedPostgres) -> None:
        async with Database.connect(own_server.url) as database:
            task = asyncio.create_task(database.fetchval("select pg_sleep(600)"))
            async with Database.connect(own_server.url) as other:
                await napping(other)
            await asyncio.to_thread(own_server.kill)
            with pytest.raises(Unreachable):
                await task
            with pytest.raises(Unreachable, match="is the server running"):
                await database.fetchval("select 1")
            await asyncio.to_thread(own_server.start)
            assert await database.fetchval("select 1") == 1

    async def test_a_read_is_sent_again(self, own_server: EmbeddedPostgres) -> None:
        async with Database.connect(own_server.url, read_only=True) as database:
            # It naps until the table is there: the second time it is sent.
            nap = "select pg_backend_pid() from pg_sleep(case when to_regclass('awake') is null then 600 else 0 end)"
            task = asyncio.create_task(database.fetchval(nap))
            async with Database.connect(own_server.url) as other:
                pid = await napping(other)
                await other.execute("create table awake ()")
                await other.fetchval("select pg_terminate_backend($1)", pid)
            assert await task not in {None, pid}

    async def test_a_write_is_not_sent_again(self, own_server: EmbeddedPostgres) -> None:
        async with Database.connect(own_server.url) as database:
            task = asyncio.create_task(database.fetchval("select 1 from pg_sleep(600)"))
            async with Database.connect(own_server.url) as other:
                await other.fetchval("select pg_terminate_backend($1)", await napping(other))
            with pytest.raises(Unreachable):
                await task

    async def test_listening_resumes_and_says_that_it_may_have_missed_something(
        self, own_server: EmbeddedPostgres
    ) -> None:
        async with Database.connect(own_server.url) as database:
            payloads = database.listen("c")
            assert await anext(payloads) == ""
            await database.execute("select pg_notify('c', 'before')")
            assert await anext(payloads) == "before"
            await asyncio.to_thread(own_server.restart)
            assert await asyncio.wait_for(anext(payloads), 20) == ""
            await database.execute("select pg_notify('c', 'after')")
            assert await anext(payloads) == "after"
            await payloads.aclose()


class TestNoConnection:
    async def test_nobody_listens(self) -> None:
        async with Database.connect("postgresql://someone:secret@127.0.0.1:9/db") as database:
            with pytest.raises(Unreachable, match=r"cannot reach 127\.0\.0\.1/db: connection refused") as caught:
                await database.fetchval("select 1")
            assert "secret" not in str(caught.value)

    async def test_unknown_host(self) -> None:
        async with Database.connect("postgresql://nobody@no-such-host.invalid/db") as database:
            with pytest.raises(Unreachable, match=r"no-such-host\.invalid/db"):
                await database.fetchval("select 1")

    async def test_no_socket(self, tmp_path: Path) -> None:
        async with Database.connect(f"postgresql://x@/db?host={tmp_path}") as database:
            with pytest.raises(Unreachable, match="is the server running"):
                await database.fetchval("select 1")

    async def test_unknown_database(self, own_server: EmbeddedPostgres) -> None:
        async with Database.connect(own_server.database_url("nowhere")) as database:
            with pytest.raises(DatabaseError, match="the database does not exist"):
                await database.fetchval("select 1")

    async def test_wrong_password(self) -> None:
        with EmbeddedPostgres(tcp=True) as server:
            url = f"postgresql://postgres:wrong@127.0.0.1:{server.port}/postgres"
            async with Database.connect(url) as database:
                with pytest.raises(PermissionDenied, match="refused the login"):
                    await database.fetchval("select 1")

    async def test_a_silent_server(self) -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        async with (
            silent,
            Database.connect(f"postgresql://x@127.0.0.1:{port}/db?connect_timeout=1") as database,
        ):
            with pytest.raises(Unreachable, match="no answer in time"):
                await database.fetchval("select 1")

    async def test_an_address_that_makes_no_sense(self) -> None:
        with pytest.raises(SettingsError, match="postgresql://"):
            async with Database.connect("mysql://x/y"):
                pass
        with pytest.raises(SettingsError, match="sslmode must be one of"):
            async with Database.connect("postgresql://x/y?sslmode=sometimes"):
                pass


async def test_a_service_names_the_database(
    own_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").write_text(f"[prod]\nhost={own_server.socket_directory}\nuser=postgres\ndbname=template1\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSERVICE", "prod")
    async with Database.connect(None) as database:
        assert await database.fetchval("select current_database()") == "template1"
    monkeypatch.delenv("PGSERVICE")
    monkeypatch.setenv("PGHOST", str(own_server.socket_directory))
    monkeypatch.setenv("PGUSER", "postgres")
    monkeypatch.setenv("PGDATABASE", "postgres")
    async with Database.connect(None) as database:
        assert await database.fetchval("select current_database()") == "postgres"


class TestTheConnectionAtHand:
    """Calls that follow each other use one connection without asking the pool for it each time."""

    async def test_it_is_one_connection_for_all_that_come_one_after_the_other(self, empty: Database) -> None:
        pids = {await empty.fetchval("select pg_backend_pid()") for _ in range(5)}
        async with empty.transaction() as connection:
            pids.add(await connection.fetchval("select pg_backend_pid()"))
        assert len(pids) == 1

    async def test_it_stays_the_same_whoever_else_uses_another(self, empty: Database) -> None:
        own = await empty.fetchval("select pg_backend_pid()")
        for _ in range(3):
            async with empty.transaction() as connection:
                assert await connection.fetchval("select pg_backend_pid()") == own
                assert await empty.fetchval("select pg_backend_pid()") != own
        assert await empty.fetchval("select pg_backend_pid()") == own

    async def test_the_pool_closes_it_when_nobody_has_used_it_for_long(
        self, empty_database_url: str, empty: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("secateur.postgres.database.AT_HAND_SECONDS", 0.01)
        async with Database.connect(empty_database_url, application_name="idle") as database:
            for holder in database._pool._holders:
                holder._max_inactive_time = 0.01
            await database.execute("select 1")

            async def closed() -> bool:
                return not await empty.fetchval("select count(*) from pg_stat_activity where application_name = 'idle'")

            await eventually(closed, "the connection to be closed")
            assert await database.fetchval("select 1") == 1

    async def test_after_an_error_the_pool_has_it(self, empty: Database) -> None:
        await empty.execute("select 1")
        with pytest.raises(DatabaseError):
            await empty.execute(raising("XX000"))
        assert empty._pool.get_idle_size() == 1
        assert await empty.fetchval("select 1") == 1

    async def test_as_many_as_there_may_be_are_in_use_at_a_time(self, empty_database_url: str) -> None:
        async with Database.connect(empty_database_url, max_size=3) as database:
            for _ in range(2):
                pids = await asyncio.gather(
                    *(database.fetchval("select pg_backend_pid() from pg_sleep(0.02)") for _ in range(9))
                )
                assert len(set(pids)) == 3


async def test_a_connection_is_given_to_nobody_before_a_transaction_that_was_cancelled_twice_is_over(
    database_url: str,
) -> None:
    """As by two keystrokes, each of which ends the count of the text before."""
    async with Database.connect(database_url, max_size=1) as database:

        async def count() -> None:
            async with database.transaction() as connection:
                await connection.fetchval("select pg_sleep(60)")

        for moments in range(40):
            task = asyncio.create_task(count())
            for _ in range(moments):
                await asyncio.sleep(0)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            async with database.transaction(one_snapshot=True) as connection:
                assert await connection.fetchval("select 1") == 1
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_statement_that_is_cancelled_when_it_is_just_prepared_leaves_no_transaction(database_url: str) -> None:
    """Postgres is in one from then on, of which the driver knows nothing: no snapshot could be set any more."""
    async with Database.connect(database_url, max_size=1) as database:
        assert await database.fetchval("select 1") == 1
        task = asyncio.ensure_future(database.fetchval("select 2"))
        answered = None
        while answered is None or not answered.done():
            await asyncio.sleep(0)
            answered = getattr(task, "_fut_waiter", None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.transaction(one_snapshot=True) as connection:
            assert await connection.fetchval("select 3") == 3
