"""The upkeep that every writing process does: in the background, by turns, and through failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

import secateur.engines.upkeep
from patience import PATIENCE, eventually
from secateur.engines.native.engine import NativeEngine
from secateur.engines.upkeep import Maintenance
from secateur.errors import ReadOnly
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install

pytestmark = pytest.mark.one_postgres

WAITING = "select count(*) from secateur.depth_deltas"


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPACT_SECONDS", "PRUNE_SECONDS", "CHECK_SECONDS"):
        monkeypatch.setattr(secateur.engines.upkeep, name, 0.05)


@asynccontextmanager
async def kept_up(*databases: Database) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(Maintenance(NativeEngine(one)).keep_up_forever()) for one in databases]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def put(database: Database, runs: int) -> None:
    await database.execute(
        "select count(*) from secateur.enqueue_many('billing', 'sync',"
        " array(select '{}'::jsonb from generate_series(1, $1)))",
        runs,
    )


async def test_several_processes_keep_one_queue(database: Database, database_url: str) -> None:
    await put(database, 30)
    await database.execute("select * from secateur.claim('billing', null, 20, 'worker', '1 hour')")
    await database.execute(
        "select secateur.complete(app_id, id, claim_token) from secateur.runs where status = 'running' order by id"
    )
    await database.execute(
        "update secateur.runs set finished_at = now() - interval '8 days' where status = 'completed'"
    )
    async with Database.connect(database_url) as other, kept_up(database, other, other):

        async def is_done() -> bool:
            left = await database.fetchval("select count(*) from secateur.runs where status = 'completed'")
            checked = await database.fetchval("select count(*) from secateur.depth_checks")
            return (await database.fetchval(WAITING), left, checked) == (0, 0, 1)

        await eventually(is_done)
    row = await database.fetchrow("select * from secateur.check_depth('billing')")
    assert row is not None
    assert tuple(row) == (True, 10, 0)


async def test_it_outlives_a_server_that_was_away() -> None:
    with EmbeddedPostgres(settings={"fsync": "off"}) as server:
        async with Database.connect(server.url) as database:
            await install(database)
            async with kept_up(database) as tasks:
                await put(database, 1)
                await eventually(lambda: database.fetchval(f"select ({WAITING}) = 0"))
                server.restart()
                async with Database.connect(server.url) as fresh:
                    await put(fresh, 1)
                await eventually(lambda: database.fetchval(f"select ({WAITING}) = 0", repeatable=True))
                assert not tasks[0].done()


async def test_a_role_without_the_right_gives_up(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await database.execute("create role keeps_nothing login; grant usage on schema secateur to keeps_nothing")
    try:
        async with Database.connect(database_url.replace("postgres@", "keeps_nothing@")) as poor:
            async with asyncio.timeout(PATIENCE):
                await Maintenance(NativeEngine(poor)).keep_up_forever()
        assert "leaves it to others" in caplog.text
    finally:
        await database.execute("drop owned by keeps_nothing; drop role keeps_nothing")


async def test_nothing_is_done_in_a_read_only_session(database: Database, database_url: str) -> None:
    await put(database, 1)
    async with Database.connect(database_url, read_only=True) as reader:
        engine = NativeEngine(reader)
        await Maintenance(engine, read_only=True).keep_up_forever()
        second = timedelta(seconds=1)
        for write in (engine.compact_depth(second, 1), engine.check_depth(second), engine.prune(1)):
            with pytest.raises(ReadOnly):
                await write
        with pytest.raises(ReadOnly):
            await engine.set_retention(finished=second, author="me", source="python")
    assert await database.fetchval(WAITING) == 1


async def test_retention_by_the_engine(database: Database) -> None:
    engine = NativeEngine(database)
    before = await engine.retention()
    after = await engine.set_retention(finished=timedelta(days=2), author="ada", source="cli")
    assert after == await engine.retention()
    assert (after.finished, after.cancelled) == (timedelta(days=2), before.cancelled)
