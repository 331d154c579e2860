"""What a login without any right on secateur can do to a queue: nothing that holds it up. And who is named that can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from workers import working

import secateur
from patience import eventually
from secateur import ActiveRun, App, schema
from secateur.backoff import Backoff
from secateur.cli.describing import pending
from secateur.engines.native.client import Queue
from secateur.errors import LockUnavailable
from secateur.postgres.database import Database

pytestmark = pytest.mark.one_postgres

REQUEST = {"app_id": "billing", "if": "event.data.vendor == 'acme'"}
CLAIM = "select id from secateur.claim('billing', null, $1, 'w', interval '1 hour')"


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        await queue.enqueue_many("billing", "sync", [{"data": {"vendor": "acme"}}] * 4 + [{"data": {}}] * 2)
        yield queue


@pytest.fixture
async def stranger(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody who may log in, and nothing else."""
    admin = await asyncpg.connect(database_url)
    name = await admin.fetchval("select 'stranger_' || current_database()")
    await admin.execute(f"create role {name} login")
    connection = await asyncpg.connect(database_url.replace("postgres@", f"{name}@"))
    try:
        yield connection
    finally:
        connection.terminate()
        while await admin.fetchval("select exists (select from pg_stat_activity where usename = $1)", name):
            await asyncio.sleep(0.01)
        await admin.execute(f"drop role {name}")
        await admin.close()


async def test_advisory_locks_hold_up_nothing(queue: Queue, stranger: asyncpg.Connection) -> None:
    for number in range(7215, 7219):
        await stranger.execute(f"select pg_advisory_lock({number}, key) from generate_series(0, 50) as key")
    committed = await queue.cancel(REQUEST, wait=True)
    assert (committed.guarantee, committed.state, committed.cancelled) == ("in_force", "complete", 4)
    assert len(await queue.database.fetch(CLAIM, 9)) == 2
    await queue.pause("billing")
    await queue.resume("billing")
    assert (await queue.undo(committed.id, wait=True)).restored == 4
    assert await queue.database.fetchval("select checked from secateur.check_depth('billing')")


async def test_nobody_without_rights_holds_up_an_install(
    database_url: str, stranger: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by advisory locks, nor by a lock of the table that installers lock."""
    monkeypatch.setattr(schema, "GIVING_WAY", Backoff(0, 0, attempts=1))
    await stranger.execute("select pg_advisory_lock(7215, key) from generate_series(0, 9) as key")
    async with stranger.transaction(), Database.connect(database_url) as database:
        for mode in ("access share", "share", "exclusive"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with stranger.transaction():
                    await stranger.execute(f"lock table secateur.migrations in {mode} mode")
        await database.execute("drop function secateur.forget(text, text, text, text)")
        assert not (await schema.install(database)).is_complete


async def test_an_install_names_whom_it_waits_for(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "GIVING_WAY", Backoff(0, 0, attempts=1))
    async with Database.connect(database_url) as database, Database.connect(database_url) as other:
        await database.execute("drop function secateur.forget(text, text, text, text)")
        async with other.transaction() as holder:
            await holder.execute("lock table secateur.migrations in share row exclusive mode")
            pid = await holder.fetchval("select pg_backend_pid()")
            with pytest.raises(
                LockUnavailable, match=rf"process {pid} \(postgres, in a transaction since 20.*nothing was"
            ):
                await schema.install(database)


async def test_an_install_names_the_holder_and_not_who_waits_in_front(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "GIVING_WAY", Backoff(0, 0, attempts=1))
    lock = "begin; lock table secateur.migrations in share row exclusive mode"
    holder, in_front = [await asyncpg.connect(database_url) for _ in range(2)]
    async with Database.connect(database_url) as database:
        await database.execute("drop function secateur.forget(text, text, text, text)")
        await holder.execute(lock)
        waiting = asyncio.create_task(in_front.execute(lock))

        async def waits() -> bool:
            waiting: bool = await holder.fetchval("select pg_blocking_pids($1) <> '{}'", in_front.get_server_pid())
            return waiting

        await eventually(waits, "the other one to wait")
        with pytest.raises(LockUnavailable) as refused:
            await schema.install(database)
        assert f"process {holder.get_server_pid()} (postgres" in str(refused.value)
        assert str(in_front.get_server_pid()) not in str(refused.value)
        await holder.execute("rollback")
        await asyncio.gather(waiting, return_exceptions=True)
    for connection in (holder, in_front):
        await connection.close()


async def test_an_apps_locks_are_out_of_reach(queue: Queue, stranger: asyncpg.Connection) -> None:
    tables = await queue.database.fetch("select tablename from pg_tables where schemaname = 'secateur_locks'")
    assert len(tables) == 2
    for table in tables:
        for mode in ("access share", "row share", "access exclusive"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await stranger.execute(f"begin; lock table secateur_locks.{table['tablename']} in {mode} mode")
            await stranger.execute("rollback")
    for call in ("share_app('billing')", "take_lock('billing', 'app', 'exclusive')", "make_locks(1)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await stranger.execute(f"select secateur.{call}")


async def test_a_dump_is_in_nobodys_way(queue: Queue, database_url: str) -> None:
    """It holds every table in ACCESS SHARE mode, for as long as it takes."""
    dump = await asyncpg.connect(database_url)
    async with dump.transaction():
        for (table,) in await dump.fetch("select tablename from pg_tables where schemaname = 'secateur_locks'"):
            await dump.execute(f"lock table secateur_locks.{table} in access share mode")
        committed = await queue.cancel(REQUEST)
        assert committed.guarantee == "in_force"
        await queue.stop(committed.id)
    await dump.close()


async def test_what_is_notified_is_a_hint(database_url: str, queue: Queue, stranger: asyncpg.Connection) -> None:
    """Whatever somebody else writes on our channels."""
    done: list[ActiveRun] = []
    app = App("billing")

    @app.function(id="sync")
    async def sync(run: ActiveRun) -> None:
        done.append(run)

    async with working(database_url, app):
        for channel in ("secateur_runs", "secateur_cancellations"):
            for payload in ("", "nobody", "billing", "{}", "'; drop", "\x1b[2J", "ä" * 3000, "null"):
                await stranger.execute("select pg_notify($1, $2)", channel, payload)
        await queue.enqueue("billing", "sync", {"data": {}})

        async def all_done() -> bool:
            return len(done) == 7

        await eventually(all_done, "all runs to be done")


async def test_a_prepared_transaction_is_named(queue: Queue, database_url: str) -> None:
    """It has no process; its locks outlive the session, and the server."""
    gid = "it's a claim"
    session = await asyncpg.connect(database_url)
    await session.execute("begin")
    assert len(await session.fetch(CLAIM, 1)) == 1
    await session.execute("prepare transaction 'it''s a claim'")
    await session.close()
    try:
        committed = await queue.cancel(REQUEST)
        assert (committed.guarantee, committed.blocked_by, committed.blocked_by_prepared) == ("pending", [], [gid])
        assert committed.unblocking == ["rollback prepared 'it''s a claim'"]
        assert pending(committed)[0].startswith(f"Pending: prepared transaction {gid!r} is in the way.")
        paused = await queue.pause("billing", "sync")
        assert (paused.in_force, paused.blocked_by, paused.blocked_by_prepared) == (False, [], [gid])
        assert paused.unblocking == committed.unblocking
        await queue.resume("billing", "sync")
        for ending, state in ((queue.stop, "stopped"), (queue.undo, "undone")):
            ended = await ending(committed.id)
            assert (ended.state, ended.guarantee, ended.blocked_by_prepared) == (state, "pending", [gid])
        assert len(await queue.database.fetch(CLAIM, 50)) == 5, "claims from then on obey"
        assert (await queue.cancellations.wait(committed.id, until_idle=True)).is_pending
    finally:
        await queue.database.execute("rollback prepared 'it''s a claim'")
    shown = await queue.cancellations.wait(committed.id)
    assert (shown.state, shown.guarantee, shown.blocked_by_prepared) == ("undone", "ended", [])


async def test_a_prepared_sweep_is_named(queue: Queue, database_url: str) -> None:
    committed = await queue.cancel(REQUEST)
    session = await asyncpg.connect(database_url)
    await session.execute("begin")
    await session.fetch("select * from secateur.sweep_cancellation('billing', $1, 1)", committed.id)
    await session.execute("prepare transaction 'a sweep'")
    await session.close()
    try:
        stopped = await queue.stop(committed.id)
        assert (stopped.guarantee, stopped.blocked_by, stopped.blocked_by_prepared) == ("pending", [], ["a sweep"])
    finally:
        await queue.database.execute("rollback prepared 'a sweep'")


async def test_a_lock_that_is_not_there_is_made(queue: Queue, database_url: str) -> None:
    """An app came here from another server, or from a dump of one schema alone."""
    await queue.database.execute("drop schema secateur_locks cascade")

    async def claim() -> list[Any]:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetch(CLAIM, 1)
        finally:
            await connection.close()

    claimed = await asyncio.gather(*(claim() for _ in range(5)))
    assert [len(runs) for runs in claimed] == [1] * 5
    committed = await queue.cancel(REQUEST)
    assert committed.guarantee == "in_force"
    made = "select count(*) from pg_tables where schemaname = 'secateur_locks'"
    assert await queue.database.fetchval(made) == 2


async def test_a_stop_waits_for_the_sweeps_in_turn_and_not_for_ever(queue: Queue, database_url: str) -> None:
    """Somebody sweeps in a transaction that stays open: the stop goes through, and is final when that is over."""
    committed = await queue.cancel(REQUEST)
    sweeping = await asyncpg.connect(database_url)
    transaction = sweeping.transaction()
    await transaction.start()
    await sweeping.fetch("select * from secateur.sweep_cancellation('billing', $1, 1)", committed.id)
    stopped = await queue.stop(committed.id)
    assert (stopped.state, stopped.guarantee) == ("stopped", "pending")
    assert stopped.blocked_by == [sweeping.get_server_pid()]
    # A sweep gives way to a stop that waits.
    stopping = asyncio.create_task(queue.stop(committed.id))
    waiting = "select count(*) from pg_locks where not granted and mode = 'ExclusiveLock' and locktype = 'relation'"

    async def waits() -> bool:
        return bool(await queue.database.fetchval(waiting))

    await eventually(waits, "the stop to wait")
    step = await queue.engine.ledger.sweep("billing", committed.id, 1)
    assert (step.idle, step.cancelled) == (True, 0)
    await transaction.rollback()
    assert (await stopping).guarantee == "ended"
    await sweeping.close()
