"""A retry queues failed runs again, as a cancellation is reviewed, committed, swept, audited and undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import secateur
from patience import PATIENCE
from secateur.engines.native.client import Queue
from secateur.errors import IdempotencyConflict, ReadOnly, RequestError
from secateur.records import Cancellation
from secateur.requests import CancellationRequest, RetryRequest

pytestmark = pytest.mark.one_postgres

BILLING = {"app_id": "billing"}
ACME = {"app_id": "billing", "if": "event.data.vendor == 'acme'"}
CLAIM = "select id, claim_token, attempt from secateur.claim('billing', null, $1, 'w', interval '1 hour')"
ROWS = "select id, to_jsonb(run) as row from secateur.runs as run order by id"
COUNTED = """
select function_id, status, count(*) from secateur.runs
 where status in ('queued', 'scheduled', 'running', 'failed') group by 1, 2
"""


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def claim(queue: Queue, count: int = 100) -> list[Any]:
    return await queue.database.fetch(CLAIM, count)


async def fail(
    queue: Queue, vendor: str = "acme", count: int = 1, function: str = "sync", key: str | None = None
) -> list[UUID]:
    """Runs that have failed for good, after two attempts."""
    event = {"data": {"vendor": vendor}}
    if key is None:
        ids = await queue.enqueue_many("billing", function, [event] * count)
    else:
        ids = [await queue.enqueue("billing", function, event, idempotency_key=key)]
    await queue.database.execute("update secateur.functions set max_attempts = 2")
    for _ in range(2):
        await queue.database.execute(
            "update secateur.runs set scheduled_for = now() where id = any($1) and status = 'scheduled'", ids
        )
        for run_id, token, _ in await claim(queue):
            await queue.database.fetchval("select secateur.fail('billing', $1, $2, 'no luck')", run_id, token)
    return ids


async def rows(queue: Queue) -> dict[UUID, str]:
    return {row["id"]: row["row"] for row in await queue.database.fetch(ROWS)}


async def statuses(queue: Queue, ids: list[UUID]) -> set[str]:
    return {str((await queue.get(run)).status) for run in ids}


async def recount(queue: Queue) -> None:
    """Every tally and every depth is what a count of the rows gives."""
    for one in await queue.cancellations.list():
        if one.kind != "retry":
            has = await queue.database.fetchval("select count(*) from secateur.runs where cancellation_id = $1", one.id)
            assert one.cancelled - one.restored - one.handed_over - one.pruned - one.retried == has
    counted = {(row[0], row[1]): row[2] for row in await queue.database.fetch(COUNTED)}
    for depth in await queue.engine.depth():
        shown = (depth.queued, depth.scheduled, depth.running, depth.failed)
        names = ("queued", "scheduled", "running", "failed")
        assert shown == tuple(counted.get((depth.function_id, status), 0) for status in names)


async def undo(queue: Queue, retry: Cancellation) -> Cancellation:
    return await queue.undo(retry.id, wait=True)


async def test_failed_runs_are_queued_again_with_fresh_attempts(queue: Queue) -> None:
    acme, other = await fail(queue, count=3), await fail(queue, "globex", 2)
    waiting = await queue.enqueue("billing", "sync", {"data": {"vendor": "acme"}})
    preview = await queue.preview_retry(ACME)
    assert (preview.count.matched, preview.count.total, preview.count.by_status) == (3, 5, {"failed": 3})
    retry = await queue.retry(ACME, reason="mended", author="ops", expected=preview.count, wait=True)
    assert (retry.kind, retry.state, retry.guarantee, retry.created_by) == ("retry", "complete", "none", "ops")
    assert (retry.expected, retry.retried, retry.matched, retry.left_alone) == (3, 3, 3, 0)
    assert await statuses(queue, acme) == {"queued"}
    assert await statuses(queue, other) == {"failed"}
    await recount(queue)
    claimed = await claim(queue)
    assert {(row["id"], row["attempt"]) for row in claimed} == {(run, 1) for run in (*acme, waiting)}
    assert [entry.details["kind"] for entry in await queue.audit() if entry.action == "commit"] == ["retry"]


async def test_finished_steps_are_kept(queue: Queue) -> None:
    run_id = await queue.enqueue("billing", "sync", {})
    await queue.database.execute("update secateur.functions set max_attempts = 1")
    ((_, token, _),) = await claim(queue)
    await queue.database.fetchval("select secateur.finish_step('billing', $1, $2, 'fetch', '7')", run_id, token)
    await queue.database.fetchval("select secateur.fail('billing', $1, $2, 'no')", run_id, token)
    await queue.retry(BILLING, wait=True)
    ((_, token, _),) = await claim(queue)
    steps = await queue.database.fetch("select * from secateur.finished_steps('billing', $1, $2)", run_id, token)
    assert [tuple(row) for row in steps] == [("fetch", "7")]


async def test_an_undo_makes_what_has_not_begun_exactly_what_it_was(queue: Queue) -> None:
    failed = await fail(queue, count=6)
    before = await rows(queue)
    retry = await queue.retry(BILLING, wait=True)
    begun = {row["id"] for row in await claim(queue, 2)}
    undone = await undo(queue, retry)
    assert (undone.state, undone.retried, undone.restored, undone.not_restored) == ("undone", 6, 4, 2)
    after = await rows(queue)
    assert {run for run in failed if after[run] == before[run]} == set(failed) - begun
    left = {each.run_id: each.reason for each in await queue.unrestored(retry.id)}
    assert left == dict.fromkeys(map(str, begun), "it has begun since")
    await recount(queue)
    again = await queue.retry(BILLING, wait=True)
    assert again.retried == 4


async def test_a_run_that_fails_again_is_not_retried_by_the_same_retry(queue: Queue) -> None:
    await fail(queue, count=2)
    retry = await queue.retry(BILLING)
    await queue.engine.ledger.sweep("billing", retry.id, 1)
    ((run_id, token, _),) = await claim(queue)
    await queue.database.execute("update secateur.functions set max_attempts = 1")
    await queue.database.fetchval("select secateur.fail('billing', $1, $2, 'again')", run_id, token)
    retry = await queue.cancellations.wait(retry.id)
    assert retry.retried == 2
    assert (await queue.get(run_id)).status == "failed"


async def test_batches_scopes_and_windows(queue: Queue) -> None:
    first = await fail(queue, count=5)
    between = await queue.engine.clock()
    second = await fail(queue, count=5, function="mail")
    retry = await queue.retry({**BILLING, "started_after": between.isoformat()})
    for _ in range(4):
        await queue.engine.ledger.sweep("billing", retry.id, 3)
    assert (await queue.show(retry.id)).retried == 5
    assert await statuses(queue, second) == {"queued"}
    assert await statuses(queue, first) == {"failed"}
    (one, two) = await queue.cancellations.commit_all(
        RetryRequest.parse({**BILLING, "function_ids": ["mail", "sync"]}), author="ops", source="python"
    )
    assert (one.function_id, two.function_id) == ("mail", "sync")
    assert (await queue.cancellations.wait(two.id)).retried == 5
    assert (await queue.cancellations.wait(one.id)).retried == 0


async def test_a_run_whose_key_is_taken_is_left_and_reported(queue: Queue) -> None:
    (taken,) = await fail(queue, key="k1")
    (free,) = await fail(queue, key="k2")
    heir = await queue.enqueue("billing", "sync", {}, idempotency_key="k1")
    retry = await queue.retry(ACME, wait=True)
    assert (retry.retried, retry.left_alone, retry.matched) == (1, 1, 2)
    assert await statuses(queue, [taken]) == {"failed"}
    assert [(each.run_id, each.reason) for each in await queue.unrestored(retry.id)] == [
        (str(taken), f"its idempotency key 'k1' is taken by run {heir}")
    ]
    assert await queue.enqueue("billing", "sync", {"data": {"vendor": "acme"}}, idempotency_key="k2") == free


async def test_what_an_active_cancellation_matches_is_left(queue: Queue) -> None:
    acme, globex = await fail(queue), await fail(queue, "globex")
    tomorrow = await queue.database.fetchval("select now() + interval '1 day'")
    standing = await queue.cancel({**ACME, "standing": True, "started_before": tomorrow.isoformat()})
    retry = await queue.retry(BILLING, wait=True)
    assert (retry.retried, retry.left_alone) == (1, 1)
    assert (await statuses(queue, acme), await statuses(queue, globex)) == ({"failed"}, {"queued"})
    (left,) = await queue.unrestored(retry.id)
    assert left.reason == f"cancellation {standing.id} is active and would cancel it again"
    await queue.stop(standing.id)
    assert (await queue.retry(BILLING, wait=True)).retried == 1


async def test_a_cancellation_that_comes_later_catches_retried_runs(queue: Queue) -> None:
    failed = await fail(queue, count=3)
    retry = await queue.retry(BILLING, wait=True)
    cancelled = await queue.cancel(ACME, wait=True)
    assert cancelled.cancelled == 3
    undone = await undo(queue, retry)
    assert undone.restored == 0
    assert {each.reason for each in await queue.unrestored(retry.id)} == {
        f"cancellation {cancelled.id} has cancelled it since"
    }
    await queue.undo(cancelled.id, wait=True)
    assert await statuses(queue, failed) == {"queued"}
    await recount(queue)


async def test_cancelled_runs_are_retried_only_if_asked(queue: Queue) -> None:
    failed = await fail(queue, count=2)
    waited = await queue.enqueue_many("billing", "sync", [{"data": {"vendor": "acme"}}] * 3)
    cancelled = await queue.cancel(BILLING, wait=True)
    assert (await queue.preview_retry(BILLING)).count.matched == 2
    both = {**BILLING, "with_cancelled": True}
    assert (await queue.preview_retry(both)).count.by_status == {"failed": 2, "cancelled": 3}
    before = await rows(queue)
    retry = await queue.retry(both, wait=True)
    assert (retry.retried, retry.with_cancelled) == (5, True)
    assert await statuses(queue, [*failed, *waited]) == {"queued"}
    assert (await queue.show(cancelled.id)).retried == 3
    await recount(queue)
    assert (await undo(queue, retry)).restored == 5
    assert await rows(queue) == before
    await recount(queue)
    assert (await queue.undo(cancelled.id, wait=True)).restored == 3
    await recount(queue)


async def test_both_are_undone_one_after_the_other(queue: Queue) -> None:
    waited = await queue.enqueue_many("billing", "sync", [{}] * 3, priorities=[2, 0, 1])
    before = await rows(queue)
    cancelled = await queue.cancel(BILLING, wait=True)
    retry = await queue.retry({**BILLING, "with_cancelled": True}, wait=True)
    assert (await queue.undo(cancelled.id, wait=True)).restored == 0
    await undo(queue, retry)
    cancelled = await queue.cancellations.wait(cancelled.id)
    assert (cancelled.restored, cancelled.not_restored) == (3, 0)
    assert await rows(queue) == before
    assert await statuses(queue, waited) == {"queued"}
    await recount(queue)


async def test_stopped_it_queues_nothing_more(queue: Queue) -> None:
    await fail(queue, count=5)
    retry = await queue.retry(BILLING)
    await queue.engine.ledger.sweep("billing", retry.id, 2)
    stopped = await queue.stop(retry.id)
    assert (stopped.state, stopped.retried) == ("stopped", 2)
    assert (await queue.engine.ledger.sweep("billing", retry.id, 100)).state == "stopped"
    assert (await undo(queue, stopped)).restored == 2
    await recount(queue)


async def test_its_rate_holds(queue: Queue) -> None:
    await fail(queue, count=10)
    retry = await queue.retry({**BILLING, "rate": 8})
    step = await queue.engine.ledger.sweep("billing", retry.id, 100)
    assert (step.restored, step.idle) == (2, True)
    assert step.wait == pytest.approx(0.25, abs=0.1)
    assert (await queue.engine.ledger.sweep("billing", retry.id, 100)).restored == 0


async def test_under_one_key_it_is_committed_once(queue: Queue) -> None:
    await fail(queue)
    first = await queue.retry(BILLING, idempotency_key="k", wait=True)
    again = await queue.retry(BILLING, idempotency_key="k", wait=True)
    assert (first.id, again.retried) == (again.id, 1)
    with pytest.raises(IdempotencyConflict):
        await queue.retry(ACME, idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        await queue.cancel(ACME, idempotency_key="k")


async def test_errors_are_counted_and_never_match(queue: Queue) -> None:
    await fail(queue)
    odd = await fail(queue, count=1, function="odd")
    await queue.database.execute("update secateur.runs set event = '{}' where id = any($1)", odd)
    retry = await queue.retry(ACME, wait=True)
    assert (retry.retried, retry.errors, retry.left_alone) == (1, 1, 0)


async def test_what_is_refused(queue: Queue, database_url: str) -> None:
    await queue.enqueue("billing", "sync", {})
    for body, message in (
        ({"app_id": "biling"}, "there is no app 'biling'"),
        ({**BILLING, "function_id": "snyc"}, "no function 'snyc'"),
        ({**BILLING, "started_before": "9999-01-01T00:00:00Z"}, "is in the future"),
        ({**BILLING, "if": "run.status == 'failed'"}, "status"),
        ({**BILLING, "canceled": True}, "is not a field of a retry"),
        ({**BILLING, "standing": True, "started_before": "9999-01-01T00:00:00Z"}, "standing: is for cancellations"),
    ):
        with pytest.raises(RequestError, match=message):
            await queue.retry(body)
    with pytest.raises(RequestError, match="must be a cancellation, not a retry"):
        await queue.cancel(RetryRequest.parse(BILLING))
    with pytest.raises(RequestError, match="is not a field of a cancellation"):
        CancellationRequest.parse({**BILLING, "with_cancelled": True})
    async with secateur.connect(database_url, read_only=True) as looking:
        with pytest.raises(ReadOnly):
            await looking.retry(BILLING)


async def test_sweepers_do_the_work(queue: Queue) -> None:
    failed = await fail(queue, count=3)
    sweeper = asyncio.create_task(queue.cancellations.sweep_forever())
    retry = await queue.retry(BILLING)
    async with asyncio.timeout(PATIENCE):
        while (await queue.show(retry.id)).state != "complete":
            await asyncio.sleep(0.02)
        await queue.undo(retry.id)
        while (await queue.show(retry.id)).restoring:
            await asyncio.sleep(0.02)
    sweeper.cancel()
    await asyncio.wait({sweeper})
    assert await statuses(queue, failed) == {"failed"}


async def test_an_undo_passes_over_runs_that_a_claim_holds(queue: Queue, database_url: str) -> None:
    failed = await fail(queue, count=3)
    retry = await queue.retry(BILLING, wait=True)
    worker = await asyncpg.connect(database_url)
    try:
        transaction = worker.transaction()
        await transaction.start()
        locked = "select id from secateur.runs where status = 'queued' order by id limit 1 for update"
        held = await worker.fetchval(locked)
        await queue.undo(retry.id)
        step = await asyncio.wait_for(queue.engine.ledger.restore("billing", retry.id, 100), 10)
        assert (step.restored, step.state, step.idle) == (2, "restoring", True)
        await transaction.rollback()
        undone = await queue.cancellations.wait(retry.id)
        assert undone.restored == 3
        assert await statuses(queue, failed) == {"failed"}
        assert held in failed
    finally:
        await worker.close()


async def test_races_of_retries_undos_cancellations_and_workers(queue: Queue, database_url: str) -> None:
    """Whoever comes when: no call fails, no run is in two places, and every sum is the rows'."""
    await fail(queue, count=60)
    await fail(queue, "globex", 60)
    await queue.set_retention(finished=timedelta(days=1))

    async def retrier() -> None:
        async with secateur.connect(database_url) as other:
            for round in range(5):
                retry = await other.retry({**BILLING, "with_cancelled": round % 2 == 1}, wait=True)
                await other.undo(retry.id, wait=round % 2 == 0)

    async def canceller() -> None:
        async with secateur.connect(database_url) as other:
            for _ in range(5):
                cancelled = await other.cancel(ACME, wait=True)
                await other.undo(cancelled.id, wait=True)

    async def worker() -> None:
        async with secateur.connect(database_url) as other:
            for _ in range(30):
                for run_id, token, _ in await claim(other, 3):
                    await other.database.fetchval("select secateur.fail('billing', $1, $2, 'no')", run_id, token)

    await asyncio.gather(retrier(), retrier(), canceller(), worker())
    for one in await queue.cancellations.list():
        await queue.cancellations.wait(one.id)
    await recount(queue)
    checked = await queue.engine.check_depth(timedelta(0))
    assert checked is not None
    assert checked.drift == 0
