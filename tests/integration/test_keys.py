"""The idempotency key of a run that was cancelled or failed for good is free, and an undo does not double the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import secateur
from secateur.engines.native.client import Queue
from secateur.errors import IdempotencyConflict

pytestmark = pytest.mark.one_postgres

EVENT = {"data": {"n": 1}}
CLAIM = "select id, claim_token from secateur.claim('billing', null, 1, 'w', interval '1 hour')"
HELD_BY = "select run_id from secateur.enqueue_keys where app_id = 'billing' and function_id = 'sync' and key = $1"


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def send(queue: Queue, key: str = "k", event: object = EVENT) -> UUID:
    return await queue.enqueue("billing", "sync", event, idempotency_key=key)


async def status(queue: Queue, run_id: UUID) -> str:
    return (await queue.get(run_id)).status


async def claim(queue: Queue) -> tuple[UUID, UUID]:
    row = await queue.database.fetchrow(CLAIM)
    assert row is not None
    return row["id"], row["claim_token"]


async def fail(queue: Queue) -> UUID:
    await queue.database.execute("update secateur.functions set max_attempts = 1")
    run_id, token = await claim(queue)
    assert await queue.database.fetchval("select secateur.fail('billing', $1, $2, 'no')", run_id, token) == "failed"
    return run_id


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "committed only"])
@pytest.mark.parametrize("scope", [{}, {"function_id": "sync"}, {"if": "event.data.n == 1"}])
async def test_the_key_of_a_cancelled_run_is_free(queue: Queue, swept: bool, scope: dict[str, str]) -> None:
    first = await send(queue)
    cancelled = await queue.cancel({"app_id": "billing", **scope}, wait=swept)
    again = await send(queue)
    assert again != first
    assert (await status(queue, first), await status(queue, again)) == ("cancelled", "queued")
    assert await send(queue) == again
    cancelled = await queue.cancellations.wait(cancelled.id)
    assert cancelled.cancelled == 1
    assert (await claim(queue))[0] == again


async def test_another_event_may_have_a_key_that_became_free(queue: Queue) -> None:
    await send(queue)
    with pytest.raises(IdempotencyConflict):
        await send(queue, event={"data": {"n": 2}})
    await queue.cancel({"app_id": "billing"}, wait=True)
    again = await send(queue, event={"data": {"n": 2}})
    with pytest.raises(IdempotencyConflict):
        await send(queue)
    assert await send(queue, event={"data": {"n": 2}}) == again


async def test_the_key_of_a_failed_run_is_free_and_that_of_a_completed_one_is_not(queue: Queue) -> None:
    first = await send(queue)
    assert await fail(queue) == first
    again = await send(queue)
    assert again != first
    run_id, token = await claim(queue)
    assert run_id == again
    assert await send(queue) == again, "it runs"
    assert await queue.database.fetchval("select secateur.complete('billing', $1, $2)", run_id, token)
    assert await send(queue) == again


async def test_a_run_that_waits_for_its_next_attempt_holds_its_key(queue: Queue) -> None:
    first = await send(queue)
    run = await claim(queue)
    assert await queue.database.fetchval("select secateur.fail('billing', $1, $2, 'no')", *run) == "scheduled"
    assert await send(queue) == first


async def test_a_running_run_that_was_asked_to_stop_holds_its_key_until_it_has_stopped(queue: Queue) -> None:
    first = await send(queue)
    run = await claim(queue)
    await queue.cancel({"app_id": "billing"})
    assert await send(queue) == first
    assert not await queue.database.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *run)
    assert await send(queue) != first


async def test_a_stopped_cancellation_frees_nothing(queue: Queue) -> None:
    first = await send(queue)
    stopped = await queue.cancel({"app_id": "billing"})
    await queue.stop(stopped.id)
    assert await send(queue) == first


async def test_a_single_run(queue: Queue) -> None:
    first = await send(queue)
    await queue.cancel_run(first)
    again = await send(queue)
    assert again != first
    undone = await queue.restore_run(first)
    assert (undone.restored, undone.not_restored) == (0, 1)
    (left,) = await queue.unrestored(undone.id)
    assert left.run_id == str(first)
    assert left.reason == f"its idempotency key 'k' is taken by run {again}"
    assert (await status(queue, first), await status(queue, again)) == ("cancelled", "queued")


async def test_an_undo_leaves_the_runs_whose_keys_are_taken_and_restores_all_others(queue: Queue) -> None:
    runs = {f"k{n}": await send(queue, f"k{n}") for n in range(40)}
    keyless = await queue.enqueue_many("billing", "sync", [EVENT] * 5)
    cancelled = await queue.cancel({"app_id": "billing"}, wait=True)
    again = {f"k{n}": await send(queue, f"k{n}") for n in range(0, 40, 4)}
    await queue.undo(cancelled.id)
    for _ in range(20):
        await queue.engine.ledger.restore("billing", cancelled.id, 7)
    undone = await queue.show(cancelled.id)
    assert not undone.restoring
    assert (undone.cancelled, undone.restored, undone.not_restored) == (45, 35, 10)
    left = {each.run_id: each.reason for each in await queue.unrestored(cancelled.id)}
    assert left == {str(runs[key]): f"its idempotency key '{key}' is taken by run {run}" for key, run in again.items()}
    for key, run in runs.items():
        assert await status(queue, run) == ("cancelled" if key in again else "queued")
        assert await send(queue, key) == again.get(key, run)
    assert {await status(queue, run) for run in keyless} == {"queued"}


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_a_run_comes_back_if_its_successor_ended_too(queue: Queue, end: str) -> None:
    first = await send(queue)
    cancelled = await queue.cancel({"app_id": "billing"}, wait=True)
    second = await send(queue, event={"data": {"n": 2}})
    await queue.undo(cancelled.id, wait=True)
    assert await status(queue, first) == "cancelled"
    if end == "cancelled":
        await queue.cancel_run(second)
    else:
        await fail(queue)
    undone = await queue.undo(cancelled.id, wait=True)
    assert (undone.restored, undone.not_restored) == (1, 0)
    assert (await status(queue, first), await status(queue, second)) == ("queued", end)
    assert await send(queue) == first
    with pytest.raises(IdempotencyConflict):
        await send(queue, event={"data": {"n": 2}})


async def test_a_line_of_successors_ends_at_the_last(queue: Queue) -> None:
    first = await send(queue)
    cancelled = await queue.cancel({"app_id": "billing"}, wait=True)
    second = await send(queue)
    await queue.cancel_run(second)
    third = await send(queue)
    undone = await queue.undo(cancelled.id, wait=True)
    assert (undone.restored, undone.not_restored) == (0, 1)
    await queue.restore_run(second)
    assert await status(queue, second) == "cancelled"
    await queue.cancel_run(third)
    await queue.undo(cancelled.id, wait=True)
    assert await status(queue, first) == "queued"
    await queue.restore_run(third)
    assert await status(queue, third) == "cancelled"
    assert await send(queue) == first


@pytest.mark.parametrize("batch", [1, 10])
async def test_of_several_that_one_cancellation_has_the_first_comes_back(queue: Queue, batch: int) -> None:
    first = await send(queue)
    tomorrow = await queue.database.fetchval("select now() + interval '1 day'")
    standing = await queue.cancel({"app_id": "billing", "standing": True, "started_before": tomorrow.isoformat()})
    second = await send(queue)
    await queue.engine.ledger.sweep("billing", standing.id, 100)
    third = await send(queue)
    await queue.undo(standing.id)
    for _ in range(8):
        await queue.engine.ledger.restore("billing", standing.id, batch)
    assert [await status(queue, run) for run in (first, second, third)] == ["cancelled", "cancelled", "queued"]
    await queue.cancel_run(third)
    await queue.undo(standing.id)
    for _ in range(8):
        await queue.engine.ledger.restore("billing", standing.id, batch)
    assert [await status(queue, run) for run in (first, second, third)] == ["queued", "cancelled", "cancelled"]


async def test_a_key_whose_day_is_over_is_nobodys(queue: Queue) -> None:
    first = await send(queue)
    await queue.database.execute("update secateur.enqueue_keys set at = now() - interval '25 hours'")
    second = await send(queue)
    assert second != first
    cancelled = await queue.cancel_run(first)
    undone = await queue.undo(cancelled.id, wait=True)
    assert undone.restored == 1, "both waited before"
    assert await send(queue) == second


@pytest.mark.parametrize("end", ["cancelled", "failed", "completed"])
async def test_pruning_takes_the_key_of_what_did_not_complete_along(queue: Queue, end: str) -> None:
    first = await send(queue)
    if end == "cancelled":
        await queue.cancel_run(first)
    elif end == "failed":
        await fail(queue)
    else:
        await queue.database.fetchval("select secateur.complete('billing', $1, $2)", *await claim(queue))
    await queue.database.execute("update secateur.retention set finished = '0', cancelled = '0'")
    assert (await queue.engine.prune(100)).runs == 1
    again = await send(queue)
    assert (again == first) is (end == "completed")


async def test_sending_an_event_again_under_its_key(queue: Queue) -> None:
    await queue.database.execute(
        "select secateur.register_function('billing', 'sync', triggers => array['sync'], max_attempts => 4)"
    )
    event = {"name": "sync", "id": "e1", "data": {}}
    (first,) = (await queue.send(event, idempotency_key="k")).runs
    assert [each.id for each in (await queue.send(event, idempotency_key="k")).runs] == [first.id]
    await queue.cancel({"app_id": "billing"})
    (again,) = (await queue.send(event, idempotency_key="k")).runs
    assert again.id != first.id


async def test_many_that_send_again_at_once_queue_one_run(queue: Queue, database_url: str) -> None:
    first = await send(queue)
    await queue.cancel({"app_id": "billing"})

    async def sender() -> set[UUID]:
        async with secateur.connect(database_url) as other:
            return {await send(other) for _ in range(5)}

    sent = set[UUID]().union(*await asyncio.gather(*(sender() for _ in range(6))))
    assert len(sent) == 1
    assert first not in sent


async def _restores(queue: Queue, cancellation_id: UUID) -> None:
    step = await queue.engine.ledger.restore("billing", cancellation_id, 100)
    while step.state == "restoring":
        await asyncio.sleep(0.01)
        step = await queue.engine.ledger.restore("billing", cancellation_id, 100)


async def test_an_undo_passes_over_a_run_whose_key_is_being_taken(queue: Queue, database_url: str) -> None:
    """And neither waits for the sender, however long that takes, nor forgets the run."""
    first, second = await send(queue, "k1"), await send(queue, "k2")
    cancelled = await queue.cancel({"app_id": "billing"}, wait=True)
    sender = await asyncpg.connect(database_url)
    try:
        transaction = sender.transaction()
        await transaction.start()
        await sender.fetchval("select secateur.enqueue('billing', 'sync', '{}', idempotency_key => 'k1')")
        await queue.undo(cancelled.id)
        step = await asyncio.wait_for(queue.engine.ledger.restore("billing", cancelled.id, 100), 10)
        assert (step.state, step.restored, step.idle) == ("restoring", 1, True)
        assert await status(queue, second) == "queued"
        await transaction.rollback()
        await _restores(queue, cancelled.id)
        assert await status(queue, first) == "queued"
        assert await send(queue, "k1") == first
    finally:
        await sender.close()


async def test_races_of_senders_cancellations_and_undos(queue: Queue, database_url: str) -> None:
    """Whoever comes when: of a key one run waits at most, no call fails, and every tally is the rows'."""
    keys = [f"k{n}" for n in range(8)]
    await send(queue, keys[0])

    async def sender() -> None:
        async with secateur.connect(database_url) as other:
            for _ in range(12):
                for key in keys:
                    await send(other, key)

    async def canceller() -> None:
        async with secateur.connect(database_url) as other:
            for _ in range(8):
                cancelled = await other.cancel({"app_id": "billing"}, wait=True)
                await other.undo(cancelled.id, wait=True)

    await asyncio.gather(sender(), sender(), canceller(), canceller())
    twice = await queue.database.fetch(
        "select idempotency_key, count(*) from secateur.runs where status in ('queued', 'scheduled', 'running')"
        " group by 1 having count(*) > 1"
    )
    assert not twice
    for one in await queue.cancellations.list():
        has = await queue.database.fetchval("select count(*) from secateur.runs where cancellation_id = $1", one.id)
        assert one.cancelled - one.restored - one.handed_over - one.pruned == has
    for key in keys:
        holder = await queue.database.fetchval(HELD_BY, key)
        alive: list[Any] = await queue.database.fetch(
            "select id from secateur.runs where idempotency_key = $1 and status = 'queued'", key
        )
        assert [row["id"] for row in alive] in ([holder], [])
