"""Failed runs are counted and listed with their errors; lost ones are told apart; `oldest` is what can be claimed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

import secateur
from patience import eventually
from secateur.engines.native.client import Queue
from secateur.errors import NotFound, RequestError
from secateur.runs import FunctionDepth

pytestmark = pytest.mark.one_postgres

CLAIM = "select id, claim_token from secateur.claim('billing', $1, $2, 'w', $3)"
HOUR = timedelta(hours=1)
LEASES_OVER = "select bool_and(lease_expires_at < clock_timestamp()) from secateur.runs where status = 'running'"


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def claim(queue: Queue, count: int, function: str = "sync", lease: timedelta = HOUR) -> list[Any]:
    return await queue.database.fetch(CLAIM, [function], count, lease)


async def fail(queue: Queue, count: int, function: str = "sync", error: str = "KeyError: 'vendor'") -> list[UUID]:
    """Enqueues runs that fail for good."""
    await queue.enqueue_many("billing", function, [{"data": {"n": n}} for n in range(count)])
    await queue.database.execute("update secateur.functions set max_attempts = 1")
    ended = []
    for run_id, token in await claim(queue, count, function):
        await queue.database.fetchval("select secateur.fail('billing', $1, $2, $3)", run_id, token, error)
        ended.append(run_id)
    return sorted(ended)


async def depth(queue: Queue, function: str = "sync") -> FunctionDepth:
    (found,) = [each for each in await queue.depth() if each.function_id == function]
    return found


async def settled(queue: Queue) -> FunctionDepth:
    """The depth; but for the oldest the same before its deltas are moved, and without drift."""
    before = await depth(queue)
    await queue.engine.compact_depth(timedelta(0), 1000)
    after = await depth(queue)
    assert (after.queued, after.scheduled, after.running, after.failed, after.lost) == (
        *(before.queued, before.scheduled, before.running, before.failed, before.lost),
    )
    checked = await queue.engine.check_depth(timedelta(0))
    assert checked is not None
    assert checked.drift == 0
    return after


async def test_the_error_is_seen(queue: Queue) -> None:
    (failed,) = await fail(queue, 1, error="KeyError: 'vendor'")
    run = await queue.get(failed)
    assert (run.status, run.error, run.attempt) == ("failed", "KeyError: 'vendor'", 1)
    assert run.finished_at is not None
    assert run.claimed_at is not None
    assert run.claimed_at < run.finished_at


async def test_failed_runs_are_counted(queue: Queue) -> None:
    await fail(queue, 3)
    assert (await settled(queue)).failed == 3
    await queue.enqueue("billing", "sync", {})
    await claim(queue, 1, lease=timedelta(milliseconds=1))
    await eventually(lambda: queue.database.fetchval(LEASES_OVER), "the end of the lease")
    assert await claim(queue, 1) == [], "its only attempt is over"
    assert (await settled(queue)).failed == 4
    await queue.set_retention(finished=timedelta(0))
    await queue.engine.prune(2)
    assert (await settled(queue)).failed == 2


async def test_the_check_of_the_depth_finds_failed_runs(queue: Queue) -> None:
    await fail(queue, 2)
    await queue.database.execute("update secateur.runs set status = 'completed' where status = 'failed'")
    checked = await queue.engine.check_depth(timedelta(0))
    assert checked is not None
    assert (checked.counted, checked.drift) == (0, 2)
    assert (await settled(queue)).failed == 0


async def test_failed_runs_are_listed_page_by_page(queue: Queue) -> None:
    failed = [*await fail(queue, 5), *await fail(queue, 5, "mail")]
    await queue.enqueue_many("billing", "sync", [{}] * 3)
    await queue.enqueue_many("shop", "sync", [{}])
    newest_first = sorted(failed, reverse=True)
    listed = await queue.runs("billing")
    assert [UUID(run.id) for run in listed] == newest_first
    assert {run.error for run in listed} == {"KeyError: 'vendor'"}
    pages: list[UUID] = []
    while page := await queue.runs("billing", limit=3, before=pages[-1] if pages else None):
        pages += [UUID(run.id) for run in page]
    assert pages == newest_first
    assert len(await queue.runs("billing", "mail")) == 5
    assert len(await queue.runs("billing", "sync", status="queued")) == 3
    assert await queue.runs("shop") == []


async def test_other_statuses(queue: Queue) -> None:
    first, second = await queue.enqueue_many("billing", "sync", [{}] * 2)
    later = await queue.enqueue("billing", "sync", {}, scheduled_for=(await queue.engine.clock()) + HOUR)
    await claim(queue, 1)
    found = {status: [UUID(run.id) for run in await queue.runs("billing", status=status)] for status in STATUSES}
    assert found == {"failed": [], "queued": [second], "scheduled": [later], "running": [first]}


STATUSES = ("failed", "queued", "scheduled", "running")


async def test_what_cannot_be_listed(queue: Queue) -> None:
    await queue.enqueue("billing", "sync", {})
    with pytest.raises(
        RequestError, match="must be one of queued, scheduled, running, completed, failed, cancelled, any"
    ):
        await queue.runs("billing", status="ended")
    with pytest.raises(NotFound, match="there is no app 'biling'"):
        await queue.runs("biling")
    with pytest.raises(NotFound, match="'billing' has no function 'snyc'"):
        await queue.runs("billing", "snyc")
    with pytest.raises(RequestError, match=r"U\+0000"):
        await queue.runs("bil\0ling")


async def test_runs_without_a_living_worker_are_told_apart(queue: Queue) -> None:
    await queue.enqueue_many("billing", "sync", [{}] * 8)
    await claim(queue, 6, lease=timedelta(milliseconds=1))
    await eventually(lambda: queue.database.fetchval(LEASES_OVER), "the end of the leases")
    (held, *_) = await claim_without_recovery(queue)
    found = await settled(queue)
    assert (found.running, found.lost) == (8, 6)
    lost = [run for run in await queue.runs("billing", status="running") if run.lost]
    assert len(lost) == 6
    assert not (await queue.get(held)).lost
    assert (await queue.get(UUID(lost[0].id))).lost
    await claim(queue, 10)
    assert (await depth(queue)).lost == 0


async def claim_without_recovery(queue: Queue) -> list[UUID]:
    """Two runs that are held; a claim would take back those whose lease is over."""
    rows = await queue.database.fetch(
        "update secateur.runs set status = 'running', claim_token = gen_random_uuid(),"
        " lease_expires_at = now() + interval '1 hour' where status = 'queued' returning id"
    )
    await queue.database.execute(
        "insert into secateur.depth_deltas (app_id, function_id, queued, running) values ('billing', 'sync', -2, 2)"
    )
    return [row["id"] for row in rows]


async def test_the_oldest_is_as_old_as_it_can_be_claimed(queue: Queue) -> None:
    now = await queue.engine.clock()
    await queue.enqueue("billing", "sync", {}, started_at=now - 50 * HOUR, scheduled_for=now + HOUR)
    assert (await settled(queue)).oldest_claimable_at is None
    due = now - timedelta(minutes=2)
    await queue.database.execute("update secateur.runs set scheduled_for = $1", due)
    assert (await settled(queue)).oldest_started_at == now - 50 * HOUR
    assert (await settled(queue)).oldest_claimable_at == due, "it is due, whether or not somebody has promoted it"
    promoted = "update secateur.runs set status = 'queued'"
    await queue.database.execute(promoted)
    await queue.database.execute(
        "insert into secateur.depth_deltas (app_id, function_id, queued, scheduled) values ('billing', 'sync', 1, -1)"
    )
    found = await settled(queue)
    assert (found.oldest_started_at, found.oldest_claimable_at) == (now - 50 * HOUR, due)
    earlier = now - timedelta(minutes=5)
    await queue.enqueue("billing", "sync", {}, started_at=earlier)
    assert (await settled(queue)).oldest_claimable_at == earlier
