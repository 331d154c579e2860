"""What is deleted after its time, what is spared, and that nobody is held up or misled by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from secateur.engines.native.engine import NativeEngine
from secateur.errors import RequestError
from secateur.ledger.cancellations import Cancellations
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import RunStatus

pytestmark = pytest.mark.one_postgres

DAY = timedelta(days=1)


@pytest.fixture
def cancellations(database: Database) -> Cancellations:
    return Cancellations(NativeEngine(database))


@pytest.fixture
async def another(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url, timeout=60)
    yield connection
    connection.terminate()


async def put(database: Database, runs: int) -> None:
    await database.execute(
        "select count(*) from secateur.enqueue_many('billing', 'sync',"
        " array(select '{}'::jsonb from generate_series(1, $1)))",
        runs,
    )


async def claim(database: Database, most: int) -> list[asyncpg.Record]:
    return await database.fetch("select * from secateur.claim('billing', null, $1, 'worker', '1 hour')", most)


async def finish(database: Database, most: int, ago: timedelta) -> list[UUID]:
    """Completes that many runs, with a step each, as if that had been so long ago."""
    runs = await claim(database, most)
    for run in runs:
        await database.execute(
            "insert into secateur.steps (app_id, run_id, step, result) values ('billing', $1, 'one', '1')", run["id"]
        )
        assert await database.fetchval("select secateur.complete('billing', $1, $2)", run["id"], run["claim_token"])
    ids = [run["id"] for run in runs]
    await database.execute(
        "update secateur.runs set finished_at = now() - $2::interval where id = any ($1::uuid[])", ids, ago
    )
    return ids


async def cancel_all(cancellations: Cancellations) -> UUID:
    request = CancellationRequest.parse({"app_id": "billing"})
    return (await cancellations.commit(request, author="tester", source="python")).id


async def ended(database: Database, id: UUID, ago: timedelta) -> None:
    """Makes it seem that the cancellation ended so long ago."""
    await database.execute(
        "update secateur.cancellations set completed_at = completed_at - $2::interval, stopped_at = stopped_at - $2,"
        " restored_at = restored_at - $2 where id = $1",
        id,
        ago,
    )


async def prune(database: Database, batch: int = 1000) -> tuple[int, bool]:
    row = await database.fetchrow("select * from secateur.prune('billing', $1)", batch)
    assert row is not None
    return tuple(row)


async def left(database: Database) -> dict[str, int]:
    rows = await database.fetch("select status, count(*) from secateur.runs group by status")
    return {row["status"]: row["count"] for row in rows}


async def test_finished_runs_go_after_their_time_with_what_is_theirs(database: Database) -> None:
    await put(database, 9)
    old = await finish(database, 4, 8 * DAY)
    await database.execute("update secateur.runs set status = 'failed' where id = $1", old[0])
    young = await finish(database, 3, 6 * DAY)
    assert await prune(database) == (4, False)
    assert await prune(database) == (0, False)
    assert await left(database) == {"completed": 3, "queued": 2}
    steps = await database.fetch("select run_id from secateur.steps")
    assert {row["run_id"] for row in steps} == set(young)


async def test_in_batches_oldest_first(database: Database) -> None:
    await put(database, 5)
    for days in (11, 9, 10):
        await finish(database, 1, days * DAY)
    assert await prune(database, 2) == (2, True)
    remaining = await database.fetchval(
        "select round(extract(day from now() - finished_at)) from secateur.runs where status = 'completed'"
    )
    assert remaining == 9
    assert await prune(database, 2) == (1, False)
    with pytest.raises(RequestError):
        await prune(database, 0)


async def test_what_can_still_be_undone_is_spared(database: Database, cancellations: Cancellations) -> None:
    await put(database, 3)
    id = await cancel_all(cancellations)
    assert (await cancellations.wait(id)).state == "complete"
    await database.execute("update secateur.runs set finished_at = finished_at - interval '1 year'")
    await ended(database, id, 29 * DAY)
    assert await prune(database) == (0, False)
    await ended(database, id, 2 * DAY)
    assert await prune(database, 2) == (2, True)
    assert await prune(database, 2) == (1, False)
    pruned = await database.fetchval(
        "select sum(pruned) from secateur.cancellation_deltas where cancellation_id = $1", id
    )
    assert pruned == 3
    assert await database.fetchval("select pruned_at is not null from secateur.cancellations where id = $1", id)
    assert (await cancellations.get(id)).cancelled == 3
    assert await left(database) == {}


async def test_an_active_cancellation_keeps_its_runs(database: Database, cancellations: Cancellations) -> None:
    await put(database, 3)
    running = await claim(database, 1)
    id = await cancel_all(cancellations)
    await cancellations.engine.ledger.sweep("billing", id, 100)
    await database.execute("update secateur.cancellations set created_at = created_at - interval '1 year'")
    assert await prune(database) == (0, False)
    assert (await cancellations.get(id)).state == "active"
    # The run completed, but nobody has settled its request yet: the sweep needs both.
    await database.execute(
        "update secateur.runs set status = 'completed', finished_at = now() - interval '1 year',"
        " lease_expires_at = null where id = $1",
        running[0]["id"],
    )
    assert await prune(database) == (0, False)
    assert (await cancellations.wait(id)).state == "complete"
    assert (await cancellations.get(id)).finished_first == 1
    assert await prune(database) == (1, False)
    assert await database.fetchval("select count(*) from secateur.cancel_requests") == 0


async def test_a_run_cancelled_without_a_cancellation_goes_like_a_finished_one(
    database: Database, another: asyncpg.Connection
) -> None:
    await put(database, 2)
    await another.execute("update secateur.runs set status = 'cancelled', finished_at = now() - interval '8 days'")
    assert await prune(database) == (2, False)


async def test_held_rows_are_passed_by(
    database: Database, cancellations: Cancellations, another: asyncpg.Connection
) -> None:
    await put(database, 4)
    old = await finish(database, 2, 8 * DAY)
    id = await cancel_all(cancellations)
    await cancellations.wait(id)
    await ended(database, id, 40 * DAY)
    holding = another.transaction()
    await holding.start()
    await another.execute("select from secateur.runs where id = $1 for update", old[0])
    await another.execute("select from secateur.cancellations where id = $1 for share", id)
    assert await prune(database) == (1, False)
    await holding.rollback()
    assert await prune(database) == (3, False)


async def test_an_undo_and_a_prune_do_not_meet(
    database: Database, cancellations: Cancellations, another: asyncpg.Connection
) -> None:
    await put(database, 2)
    id = await cancel_all(cancellations)
    await cancellations.wait(id)
    await ended(database, id, 40 * DAY)
    holding = another.transaction()
    await holding.start()
    await another.fetch("select * from secateur.prune('billing', 1)")
    held = await database.fetch("select from secateur.cancellations where id = $1 for no key update skip locked", id)
    assert held == []
    await holding.commit()
    assert await prune(database) == (1, False)


async def test_one_process_prunes_at_a_time(database: Database, another: asyncpg.Connection) -> None:
    await put(database, 2)
    await finish(database, 2, 8 * DAY)
    async with another.transaction():
        await another.execute("select secateur.is_alone('billing', 'prune')")
        assert await prune(database) == (0, False)
    assert await prune(database) == (2, False)


async def test_depth_is_not_touched(database: Database) -> None:
    await put(database, 5)
    await finish(database, 3, 8 * DAY)
    await prune(database)
    row = await database.fetchrow("select * from secateur.check_depth('billing')")
    assert row is not None
    assert tuple(row) == (True, 2, 0)


async def test_retention_is_set_and_audited(database: Database) -> None:
    async def set_retention(*times: timedelta | None) -> Any:
        return await database.fetchrow(
            "select finished, cancelled, standing from secateur.set_retention($1, $2, $3, 'ada', 'cli')", *times
        )

    assert tuple(await set_retention(None, None, None)) == (7 * DAY, 30 * DAY, 7 * DAY)
    assert tuple(await set_retention(DAY, None, 2 * DAY)) == (DAY, 30 * DAY, 2 * DAY)
    assert tuple(await set_retention(DAY, None, None)) == (DAY, 30 * DAY, 2 * DAY)
    with pytest.raises(RequestError) as refused:
        await set_retention(None, -DAY, None)
    assert [problem.field for problem in refused.value.problems] == ["cancelled"]
    entries = await database.fetch("select author, details from secateur.audit where action = 'retention'")
    assert len(entries) == 1
    assert entries[0]["author"] == "ada"
    await put(database, 2)
    await finish(database, 1, 2 * DAY)
    assert await prune(database) == (1, False)
    assert (await left(database)) == {str(RunStatus.QUEUED): 1}
