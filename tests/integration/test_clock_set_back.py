"""If the database's clock is set back, what was to be waited for may be an hour away: sweeps and claims go on at once.

Here the hour is added to what they have noted, which is the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

import secateur
from patience import eventually
from secateur import Queue
from secateur.ledger.steps import SweepStep

pytestmark = pytest.mark.one_postgres

BILLING = {"app_id": "billing"}

SET_BACK = (
    "update secateur.sweeps set pass_at = pass_at + '1 h', stepped_at = stepped_at + '1 h', next_at = next_at + '1 h'",
    "update secateur.restores set next_at = next_at + '1 h'",
    "update secateur.slow_verdicts set next_at = next_at + '1 h'",
)


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue_many("billing", "sync", [{"data": {}}] * 40)
        yield queue


async def set_back(queue: Queue) -> None:
    for sql in SET_BACK:
        await queue.database.execute(sql)


def waits(step: SweepStep) -> bool:
    return step.idle and step.wait is not None


async def test_a_sweep_with_a_rate(queue: Queue) -> None:
    sweep = queue.engine.ledger.sweep
    id = (await queue.cancel(BILLING | {"rate": 20})).id
    assert (await sweep("billing", id, 1000)).cancelled == 5
    await set_back(queue)
    step = await sweep("billing", id, 1000)
    assert step.cancelled == 5
    assert waits(step)
    step = await sweep("billing", id, 1000)
    assert step.cancelled == 0, "the rate holds as before"
    assert step.wait is not None
    assert step.wait <= 0.25


async def test_the_next_pass_of_a_standing_one(queue: Queue) -> None:
    sweep = queue.engine.ledger.sweep
    until = await queue.engine.clock() + timedelta(hours=5)
    id = (await queue.cancel(BILLING | {"standing": True, "started_before": until.isoformat()})).id
    while not waits(await sweep("billing", id, 1000)):
        pass
    await queue.enqueue_many("billing", "sync", [{"data": {}}] * 3)
    assert (await sweep("billing", id, 1000)).cancelled == 0
    await set_back(queue)
    assert (await sweep("billing", id, 1000)).cancelled == 3
    while not waits(step := await sweep("billing", id, 1000)):
        pass
    assert step.wait is not None
    assert step.wait <= 60
    stepped = "select stepped_at <= clock_timestamp() from secateur.sweeps"
    assert await queue.database.fetchval(stepped), "or the sweep would seem to have been at work for an hour to come"


@pytest.mark.parametrize("kind", ["cancellation", "retry"])
async def test_a_restore_with_a_rate(queue: Queue, kind: str) -> None:
    restore = queue.engine.ledger.restore
    if kind == "retry":
        await queue.database.execute("update secateur.runs set status = 'failed', finished_at = now()")
        done = await queue.retry(BILLING | {"rate": 20}, wait=True)
        assert done.retried == 40
    else:
        done = await queue.cancel(BILLING | {"rate": 20}, wait=True)
        assert done.cancelled == 40
    await queue.undo(done.id)
    assert (await restore("billing", done.id, 1000)).restored == 5
    assert (await restore("billing", done.id, 1000)).restored == 0
    await set_back(queue)
    assert (await restore("billing", done.id, 1000)).restored == 5
    step = await restore("billing", done.id, 1000)
    assert step.restored == 0
    assert step.wait is not None
    assert step.wait <= 0.25


async def test_a_retry_with_a_rate(queue: Queue) -> None:
    sweep = queue.engine.ledger.sweep
    await queue.database.execute("update secateur.runs set status = 'failed', finished_at = now()")
    id = (await queue.retry(BILLING | {"rate": 20})).id
    assert (await sweep("billing", id, 1000)).restored == 5
    assert (await sweep("billing", id, 1000)).restored == 0
    await set_back(queue)
    assert (await sweep("billing", id, 1000)).restored == 5


async def test_what_is_decided_with_more_time(queue: Queue) -> None:
    ledger = queue.engine.ledger
    cancellation = await queue.cancel(BILLING | {"if": "has(event.data.never)"})
    await queue.database.execute(
        "insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id, attempts, next_at)"
        " select app_id, $1, id, function_id, 2, clock_timestamp() from secateur.runs limit 3",
        cancellation.id,
    )
    await set_back(queue)
    step = await ledger.sweep("billing", cancellation.id, 1000)
    assert step.undecided == 3
    while await ledger.decide("billing", cancellation.id):
        pass
    undecided = "select count(*) from secateur.slow_verdicts where verdict is null"
    assert await queue.database.fetchval(undecided) == 0


CLAIM = "select id from secateur.claim('billing', null, $1, 'tester', '1 min')"


async def claimed(queue: Queue, most: int) -> int:
    return len(await queue.database.fetch(CLAIM, most))


async def test_new_runs_are_claimed(queue: Queue) -> None:
    """They get smaller ids than the floors have."""
    assert await claimed(queue, 100) == 40
    await queue.database.execute(
        "update secateur.levels set floor = secateur.floor_lag('-1 hour'), walk_at = walk_at + '1 h'"
    )
    await queue.enqueue_many("billing", "sync", [{"data": {}}] * 3)
    assert await claimed(queue, 100) == 3
    await queue.enqueue("billing", "sync", {"data": {}})
    await eventually(lambda: claimed(queue, 100), "the next one to be claimed")


async def test_what_is_due_and_what_is_lost_is_claimed(queue: Queue) -> None:
    assert await claimed(queue, 100) == 40
    await queue.database.execute(
        "insert into secateur.due_floors (app_id, function_id, floor_at, walk_at)"
        " select 'billing', name, now() + '1 h', now() + '1 h' from unnest(array['sync', '']) as name"
        " on conflict (app_id, function_id) do update set floor_at = excluded.floor_at, walk_at = excluded.walk_at"
    )
    await queue.database.execute("update secateur.runs set lease_expires_at = now() - interval '1 s'")
    await queue.enqueue("billing", "sync", {"data": {}}, scheduled_for=await queue.engine.clock())
    found = 0
    while found < 41:
        await eventually(lambda: claimed(queue, 100), "the others to be claimed")
        found = await queue.database.fetchval("select count(*) from secateur.runs where lease_expires_at > now()")
