"""Commits while somebody's open transaction holds the app's lock: durable at once, in force when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

import secateur
from patience import eventually
from secateur.engines.native.client import Queue
from secateur.errors import RequestError

pytestmark = pytest.mark.one_postgres

CLAIM = "select id, claim_token from secateur.claim('billing', null, $1, 'w', interval '1 hour')"
REQUEST = {"app_id": "billing", "if": "event.data.vendor == 'acme'"}


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        await queue.enqueue_many("billing", "sync", [{"data": {"vendor": "acme"}}] * 6)
        yield queue


@pytest.fixture
async def blocker(database_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database_url)
    yield connection
    connection.terminate()


async def begin_step(queue: Queue, run: Any) -> bool:
    return await queue.database.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *run)


async def test_pending_and_then_in_force(queue: Queue, blocker: Any) -> None:
    (seen,) = await queue.database.fetch(CLAIM, 1)
    transaction = blocker.transaction()
    await transaction.start()
    (unseen,) = await blocker.fetch(CLAIM, 1)
    before = await queue.engine.clock()
    committed = await queue.cancel(REQUEST)
    # It has waited, although not for the transaction, which is still open.
    assert timedelta(seconds=0.2) < await queue.engine.clock() - before
    assert (committed.guarantee, committed.state, committed.in_force_at) == ("pending", "active", None)
    assert committed.blocked_by == [blocker.get_server_pid()]
    # What a claim gives out from now on, and what was seen running, is held to it already.
    assert committed.stopping == 1
    assert not await queue.database.fetch(CLAIM, 50)
    assert not await begin_step(queue, seen)
    # Asked again under its key or swept, it is still pending; and never complete.
    assert (await queue.engine.ledger.sweep("billing", committed.id, 100)).idle
    assert (await queue.cancellations.get(committed.id)).guarantee == "pending"
    await transaction.commit()
    # The commit that is over does not yet hold the run that it did not see.
    assert await queue.database.fetchval("select secateur.confirm_cancellation('billing', $1)", committed.id)
    confirmed = await queue.cancellations.get(committed.id)
    assert (confirmed.guarantee, confirmed.blocked_by) == ("in_force", [])
    assert (confirmed.requested, confirmed.stopping) == (2, 1)
    assert confirmed.in_force_at is not None
    assert confirmed.in_force_at > confirmed.created_at
    assert not await begin_step(queue, unseen)
    done = await queue.cancellations.wait(committed.id)
    assert (done.state, done.cancelled, done.stopping) == ("complete", 6, 0)


async def test_waiting_puts_it_in_force(queue: Queue, blocker: Any) -> None:
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.fetch(CLAIM, 2)
    waiting = asyncio.create_task(queue.cancel(REQUEST, wait=True))
    await eventually(queue.cancellations.list, "the commit")
    (pending,) = await queue.cancellations.list()
    assert pending.guarantee == "pending"
    assert not waiting.done()
    await transaction.rollback()
    assert (await waiting).cancelled == 6


async def test_repeated_under_its_key(queue: Queue, blocker: Any) -> None:
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.fetch(CLAIM, 2)
    first, second = await asyncio.gather(*(queue.cancel(REQUEST, idempotency_key="k") for _ in range(2)))
    assert first.id == second.id
    assert first.guarantee == second.guarantee == "pending"
    await transaction.commit()
    again = await queue.cancel(REQUEST, idempotency_key="k")
    assert (again.id, again.guarantee, again.requested) == (first.id, "in_force", 2)


async def test_a_window_in_the_future_is_refused_all_the_same(queue: Queue, blocker: Any) -> None:
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.fetch(CLAIM, 2)
    with pytest.raises(RequestError, match="is in the future"):
        await queue.cancel(REQUEST | {"started_before": "2999-01-01T00:00:00Z"})


async def test_several_functions_wait_once(queue: Queue, blocker: Any) -> None:
    """A quarter of a second, not ten of them."""
    functions = ["sync", *(f"mail-{n}" for n in range(39))]
    for function in functions[1:]:
        await queue.enqueue("billing", function, {"data": {"vendor": "acme"}})
    transaction = blocker.transaction()
    await transaction.start()
    (held,) = await blocker.fetch(CLAIM, 1)
    before = await queue.engine.clock()
    made = await queue.cancel_all(REQUEST | {"function_ids": functions})
    assert [one.guarantee for one in made] == ["pending"] * 40
    assert await queue.engine.clock() - before < timedelta(seconds=5)
    await transaction.commit()
    # Nobody works on it, and nothing is complete before it has ended.
    assert await queue.database.fetchval("select secateur.complete('billing', $1, $2)", *held)
    for one in made:
        assert (await queue.cancellations.wait(one.id)).state == "complete"


async def test_stopped_before_it_was_in_force(queue: Queue, blocker: Any) -> None:
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.fetch(CLAIM, 1)
    pending = await queue.cancel(REQUEST)
    await transaction.commit()
    stopped = await queue.stop(pending.id)
    assert (stopped.state, stopped.cancelled, stopped.in_force_at) == ("stopped", 0, None)
    assert await queue.database.fetchval("select secateur.confirm_cancellation('billing', $1)", pending.id)
    assert len(await queue.database.fetch(CLAIM, 50)) == 5
