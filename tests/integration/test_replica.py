"""Counts, previews and samples asked of a real streaming replica: how old they are, and what happens without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from command_line import Here

from patience import PATIENCE
from secateur.engines.base import Selection, Verdict
from secateur.engines.native.client import Queue
from secateur.engines.native.engine import NativeEngine
from secateur.errors import ReadOnly
from secateur.postgres.database import Database
from secateur.runs import Count, CountedBy, Scope, Window
from secateur.schema import install
from servers import Pair, streaming

ALL = Selection(Scope("billing"), Window())


@pytest.fixture
def pair() -> Iterator[Pair]:
    with streaming() as pair:
        yield pair


@pytest.fixture
async def database(pair: Pair) -> AsyncIterator[Database]:
    async with Database.connect(pair.primary.url) as database:
        await install(database)
        yield database


@pytest.fixture
async def replica(pair: Pair, database: Database) -> AsyncIterator[Database]:
    async with Database.connect(pair.standby.url, read_only=True) as replica:
        yield replica


async def counted(engine: NativeEngine, total: int) -> Count:
    """The replica's count, once it has followed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            count = await engine.count(ALL)
            if count.source == CountedBy.REPLICA and count.total == total:
                return count
            await asyncio.sleep(0.05)


async def test_what_reads_many_runs_is_asked_of_it(pair: Pair, database: Database, replica: Database) -> None:
    engine = NativeEngine(database, replica)
    queue = Queue(database, engine)
    await queue.enqueue_many("billing", "sync", [{"data": {"n": n}} for n in range(100)])
    async with asyncio.timeout(PATIENCE):
        while not await replica.fetchval("select to_regclass('secateur.runs') is not null"):
            await asyncio.sleep(0.05)
    count = await counted(engine, 100)
    assert (count.matched, count.exact, count.replica_failed) == (100, True, None)
    assert len(await engine.examples(ALL, Verdict.MATCH, 5)) == 5
    assert len(await engine.sample_events(ALL.scope, 50)) == 50
    assert (await engine.count(ALL, on_primary=True)).source == CountedBy.PRIMARY

    # It stands still: what it says is as old as it says.
    await replica.fetchval("select pg_wal_replay_pause()")
    before = await engine.clock()
    await queue.enqueue_many("billing", "sync", [{}] * 20)
    late = await engine.count(ALL)
    assert (late.matched, late.source) == (100, CountedBy.REPLICA)
    assert late.as_of < before
    assert (await engine.count(ALL, on_primary=True)).matched == 120
    # What is committed does not depend on it.
    cancelled = await queue.cancel({"app_id": "billing"}, wait=True)
    assert (cancelled.state, cancelled.cancelled) == ("complete", 120)
    await replica.fetchval("select pg_wal_replay_resume()")
    await counted(engine, 0)

    # It is gone: the primary counts, and says why.
    pair.standby.stop()
    alone = await engine.count(ALL)
    assert (alone.matched, alone.source) == (0, CountedBy.PRIMARY)
    assert alone.replica_failed is not None
    again = await engine.count(ALL)
    assert again.replica_failed == "it could not be read recently", "it is left alone for a while"


async def test_nothing_is_written_to_it(pair: Pair, database: Database, replica: Database) -> None:
    await counted(NativeEngine(database, replica), 0)
    with pytest.raises(ReadOnly):
        await Queue(replica, NativeEngine(replica)).enqueue("billing", "sync", {})


async def test_a_context_names_it(
    pair: Pair, database: Database, replica: Database, here: Here, tmp_path: Path
) -> None:
    await Queue(database, NativeEngine(database)).enqueue_many("billing", "sync", [{}] * 3)
    await counted(NativeEngine(database, replica), 3)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[contexts.here]\ndatabase = "{pair.primary.url}"\nreplica = "{pair.standby.url}"\n', encoding="utf-8"
    )
    flags = ("preview", "--app", "billing", "--context", "here", "--config", str(config))
    done = await asyncio.to_thread(here, *flags, "--json")
    assert (done.code, done.json["matched"], done.json["source"]) == (0, 3, "replica")
    assert "replica" in (await asyncio.to_thread(here, *flags)).out
    pair.standby.stop()
    alone = await asyncio.to_thread(here, *flags, "--json")
    assert (alone.code, alone.json["matched"], alone.json["source"]) == (0, 3, "primary")
    assert "cannot reach" in alone.json["replica_failed"]
