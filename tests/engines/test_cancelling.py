"""Runs of every queue of others are cancelled and come back, under its own workers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from beds import Bed

from patience import eventually
from secateur.engines.foreign.engine import WRITES, ForeignEngine
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, find_queues, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.requests import CancellationRequest
from secateur.states import Guarantee, State

pytestmark = pytest.mark.timeout(300)

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _cancels(request: pytest.FixtureRequest) -> None:
    """Before anything is installed."""
    kind: type[Bed] = request.node.callspec.params["bed"]
    if not engine_files()[kind.engine].statements.keys() >= WRITES:
        pytest.skip(f"secateur cannot cancel in {kind.engine} yet")


@pytest.fixture
async def database(bed: Bed, empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        yield database


@pytest.fixture
async def engine(bed: Bed, database: Database) -> ForeignEngine:
    return await installed(bed, database)


@pytest.fixture
def queue(engine: ForeignEngine) -> OpenQueue:
    return OpenQueue.over(engine, batch=7)


async def installed(bed: Bed, database: Database) -> ForeignEngine:
    [found] = [each for each in await find_queues(database) if each.engine == bed.engine]
    await install_queue(database, await find_installation(database, found.name), author="tester")
    engine = await open_engine(database, name=found.name)
    assert isinstance(engine, ForeignEngine)
    return engine


def request(app: str = "default", **more: Any) -> CancellationRequest:
    return CancellationRequest.parse({"app_id": app} | {name.rstrip("_"): value for name, value in more.items()})


def payloads(numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [{"number": number, "vendor": "acme" if number % 3 == 0 else "globex"} for number in numbers]


ACME = "event.data.vendor == 'acme'"


async def commit(queue: OpenQueue, asked: CancellationRequest, key: str | None = None) -> Cancellation:
    return await queue.cancellations.commit(asked, author="tester", source="python", idempotency_key=key)


async def app_of(engine: ForeignEngine) -> str:
    """What the engine calls the queue `default`."""
    [app] = {each.app_id for each in await engine.depth()}
    return app


async def rows(engine: ForeignEngine, outside: asyncpg.Connection) -> dict[str, Any]:
    """Every row of its jobs' table, whole."""
    table = await outside.fetchval(engine.installation.sql("table"))
    found = await outside.fetch(f"select ctid, to_jsonb(job) as job from {table} as job")
    documents = [json.loads(row["job"]) for row in found]
    return {json.dumps([each.get("id"), each.get("name")]): each for each in documents}


async def started(outside: asyncpg.Connection) -> set[int]:
    return {row["number"] for row in await outside.fetch("select number from bed_ran where what = 'start'")}


async def test_what_matches_never_starts_and_comes_back_as_it_was(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    runs = await bed.enqueue(payloads(range(30)))
    later = await bed.enqueue(payloads(range(30, 36)), delay=HOUR)
    app = await app_of(engine)
    before = await rows(engine, outside)
    committed = await commit(queue, request(app, if_=ACME))
    assert committed.guarantee is Guarantee.SWEPT
    assert (committed.app_id, committed.state) == (app, State.ACTIVE)
    over = await queue.cancellations.wait(committed.id)
    assert (over.state, over.cancelled, over.requested, over.errors) == (State.COMPLETE, 12, 0, 0)
    doomed = {*runs[::3], *later[::3]}
    statuses = {each: str((await engine.run(each)).status) for each in (*runs, *later)}
    assert {each for each, status in statuses.items() if status not in ("queued", "scheduled")} == doomed
    assert {(await engine.run(each)).cancellation_id for each in doomed} == {str(committed.id)}
    async with bed.worker():

        async def done() -> bool:
            return await started(outside) >= {number for number in range(30) if number % 3}

        await eventually(done, "everything else to run")
    assert await started(outside) == {number for number in range(30) if number % 3}
    undone = await queue.cancellations.undo(committed.id, author="tester")
    assert undone.guarantee is Guarantee.ENDED
    undone = await queue.cancellations.wait(committed.id)
    assert (undone.restored, undone.not_restored, undone.restoring) == (12, 0, False)
    after = await rows(engine, outside)
    keys = {each.rpartition(":")[2] for each in doomed}  # an id may have its queue before it
    kept = [each for each in before if str(before[each].get("id")) in keys]
    assert len(kept) == 12
    assert {each: after[each] for each in kept} == {each: before[each] for each in kept}
    async with bed.worker():

        async def all_done() -> bool:
            return await started(outside) >= set(range(30))

        await eventually(all_done, "what came back to run")
    assert await outside.fetchval("select count(*) from bed_ran where what = 'start'") == 30
