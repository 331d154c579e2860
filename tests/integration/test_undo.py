"""What an undo puts back, what it hands over, and what it leaves; and single runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import secateur
from patience import PATIENCE, eventually
from secateur.engines.native.client import Queue
from secateur.errors import Conflict, IdempotencyConflict, LockUnavailable, NotFound, RequestError
from secateur.records import Cancellation

pytestmark = pytest.mark.one_postgres

ACME = "event.data.vendor == 'acme'"
CLAIM = "select id, claim_token from secateur.claim('billing', null, $1, 'w', interval '1 hour')"
ROWS = """
select id, to_jsonb(run) - array['slot'] as row from secateur.runs as run order by id
"""


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def enqueue(
    queue: Queue, vendor: str = "acme", count: int = 1, function: str = "sync", **more: Any
) -> list[UUID]:
    return await queue.enqueue_many("billing", function, [{"data": {"vendor": vendor}}] * count, **more)


async def rows(queue: Queue) -> dict[UUID, str]:
    return {row["id"]: row["row"] for row in await queue.database.fetch(ROWS)}


async def statuses(queue: Queue) -> dict[str, int]:
    found = await queue.database.fetch("select status, count(*) from secateur.runs group by status")
    return dict(tuple(row) for row in found)


async def claim(queue: Queue, count: int) -> list[Any]:
    return await queue.database.fetch(CLAIM, count)


async def recount(queue: Queue) -> None:
    """Every tally and every depth is what a count of the rows gives."""
    for one in await queue.cancellations.list():
        has = await queue.database.fetchval("select count(*) from secateur.runs where cancellation_id = $1", one.id)
        assert one.cancelled - one.restored - one.handed_over - one.pruned == has
    counted = await queue.database.fetch(
        "select function_id, status, count(*) from secateur.runs"
        " where status in ('queued', 'scheduled', 'running') group by 1, 2"
    )
    for depth in await queue.engine.depth():
        found = {row[1]: row[2] for row in counted if row[0] == depth.function_id}
        assert (depth.queued, depth.scheduled, depth.running) == tuple(
            found.get(status, 0) for status in ("queued", "scheduled", "running")
        )


async def cancel(queue: Queue, **more: Any) -> Cancellation:
    return await queue.cancel({"app_id": "billing", **more}, wait=True)


async def test_what_waited_is_exactly_what_it_was(queue: Queue) -> None:
    later = [datetime.now(UTC) + timedelta(hours=1)] * 3
    await enqueue(queue, count=5, priorities=[3, 1, 2, 0, -1])
    await enqueue(queue, count=3, scheduled_for=later)
    await enqueue(queue, "globex", 4)
    for run in await claim(queue, 2):
        await queue.database.fetchval("select secateur.fail('billing', $1, $2, 'no luck', '1 hour')", *run)
    before = await rows(queue)
    cancelled = await cancel(queue, **{"if": ACME})
    assert (cancelled.state, cancelled.cancelled) == ("complete", 8)
    assert await rows(queue) != before
    undone = await queue.undo(cancelled.id, author="ops", wait=True)
    assert (undone.state, undone.restored, undone.not_restored, undone.undone_by) == ("undone", 8, 0, "ops")
    assert not undone.restoring
    assert await rows(queue) == before
    again = await queue.undo(cancelled.id, author="another", wait=True)
    assert (again.restored, again.undone_by, again.undone_at) == (8, "ops", undone.undone_at)
    assert len(await claim(queue, 50)) == 7
    await recount(queue)


@pytest.mark.parametrize("state", ["active", "stopped"])
async def test_from_other_states(queue: Queue, state: str) -> None:
    await enqueue(queue, count=3)
    held = await claim(queue, 1)
    cancelled = await queue.cancel({"app_id": "billing"})
    assert cancelled.requested == 1
    await queue.engine.ledger.sweep("billing", cancelled.id, 1)
    if state == "stopped":
        await queue.stop(cancelled.id)
    undone = await queue.undo(cancelled.id)
    assert undone.restoring
    assert undone.stopping == 0
    assert await queue.database.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *held[0])
    undone = await queue.cancellations.wait(undone.id)
    assert undone.restored == 1
    assert await statuses(queue) == {"queued": 2, "running": 1}
    await recount(queue)


async def test_what_was_stopped_while_it_ran_is_queued_again_only_if_asked(queue: Queue) -> None:
    await enqueue(queue, count=4)
    held = await claim(queue, 2)
    cancelled = await queue.cancel({"app_id": "billing"})
    for run in held:
        assert not await queue.database.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *run)
    cancelled = await queue.cancellations.wait(cancelled.id)
    undone = await queue.undo(cancelled.id, wait=True)
    assert (undone.restored, undone.not_restored) == (2, 2)
    left = await queue.cancellations.unrestored(cancelled.id)
    assert {each.run_id for each in left} == {str(run["id"]) for run in held}
    assert {each.reason.partition(":")[0] for each in left} == {"it was stopped while it ran"}
    undone = await queue.undo(cancelled.id, requeue_stopped=True, wait=True)
    assert (undone.restored, undone.not_restored, undone.requeue_stopped) == (4, 0, True)
    assert not await queue.cancellations.unrestored(cancelled.id)
    again = await claim(queue, 50)
    assert {run["id"] for run in held} < {run["id"] for run in again}
    assert not {run["claim_token"] for run in held} & {run["claim_token"] for run in again}
    await recount(queue)


async def test_hand_over_goes_to_the_oldest_that_stands(queue: Queue) -> None:
    await enqueue(queue, count=3)
    await enqueue(queue, "globex", 2)
    first = await cancel(queue)
    stopped = await queue.cancel({"app_id": "billing"})
    await queue.stop(stopped.id)
    second = await cancel(queue, **{"if": ACME})
    await cancel(queue, **{"if": "event.data.vendor in ['acme', 'initech']"})
    undone = await queue.undo(first.id, wait=True)
    assert (undone.restored, undone.handed_over, undone.not_restored) == (2, 3, 0)
    assert (await queue.cancellations.get(second.id)).cancelled == 3
    reasons = {each.reason for each in await queue.cancellations.unrestored(first.id)}
    assert reasons == {f"cancellation {second.id} matches it too"}
    await recount(queue)
    undone = await queue.undo(second.id, wait=True)
    assert (undone.restored, undone.handed_over) == (0, 3)
    await recount(queue)
    for other in await queue.cancellations.list():
        await queue.undo(other.id, wait=True)
    assert await statuses(queue) == {"queued": 5}
    assert not await queue.cancellations.unrestored(first.id)
    await recount(queue)


async def test_a_long_history_of_others(queue: Queue) -> None:
    """More than are looked at in one go, some of them in other windows, scopes and apps."""
    await enqueue(queue, count=2)
    first = await cancel(queue)
    for number in range(60):
        await cancel(queue, **{"if": f"event.data.vendor == 'vendor-{number}'"})
    await enqueue(queue, function="other")
    await cancel(queue, function_id="other")
    await cancel(queue, started_before="2020-01-01T00:00:00Z")
    owner = await cancel(queue, **{"if": ACME})
    undone = await queue.undo(first.id, wait=True)
    assert (undone.restored, undone.handed_over) == (0, 2)
    assert (await queue.cancellations.get(owner.id)).cancelled == 2


async def test_batches_go_on_where_the_last_one_ended(queue: Queue) -> None:
    await enqueue(queue, count=25)
    cancelled = await cancel(queue)
    await queue.undo(cancelled.id)
    steps = [await queue.engine.ledger.restore("billing", cancelled.id, 10) for _ in range(3)]
    assert [(step.state, step.restored) for step in steps] == [("restoring", 10), ("restoring", 10), ("undone", 5)]
    assert (await queue.engine.ledger.restore("billing", cancelled.id, 10)).restored == 0
    await recount(queue)


async def test_one_restorer_at_a_time(queue: Queue) -> None:
    await enqueue(queue, count=2)
    cancelled = await cancel(queue)
    await queue.undo(cancelled.id)
    async with queue.database.transaction() as other:
        await other.fetch("select * from secateur.restore_cancellation('billing', $1, 1)", cancelled.id)
        assert (await queue.engine.ledger.restore("billing", cancelled.id, 1)).busy
    assert (await queue.engine.ledger.restore("billing", cancelled.id, 1)).restored == 1


async def test_sweepers_restore(queue: Queue) -> None:
    await enqueue(queue, count=3)
    cancelled = await cancel(queue)
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())
    await queue.undo(cancelled.id)
    async with asyncio.timeout(PATIENCE):
        while (await queue.cancellations.get(cancelled.id)).restoring:
            await asyncio.sleep(0.02)
    sweeping.cancel()
    assert await statuses(queue) == {"queued": 3}


async def test_until_when(queue: Queue) -> None:
    await enqueue(queue)
    cancelled = await cancel(queue)
    assert cancelled.completed_at is not None
    assert cancelled.undo_until == cancelled.completed_at + timedelta(days=30)
    await queue.database.execute("update secateur.retention set cancelled = '0'")
    with pytest.raises(Conflict, match="can no longer be undone: its cancelled runs were kept until"):
        await queue.undo(cancelled.id)
    assert (await queue.cancellations.get(cancelled.id)).state == "complete"
    with pytest.raises(NotFound):
        await queue.undo(UUID(int=0))


async def test_an_undo_goes_through_beside_an_open_claim_and_misses_nothing(queue: Queue) -> None:
    """The claim cancels a run that the restore must find: it begins when the claim is over."""
    await enqueue(queue, count=2)
    cancelled = await queue.cancel({"app_id": "billing"})
    before = await queue.engine.clock()
    async with queue.database.transaction() as worker:
        await worker.fetch(CLAIM, 1)
        undone = await queue.undo(cancelled.id)
        # It waits for 4.5 s; the rest is for a busy machine.
        assert await queue.engine.clock() - before < timedelta(seconds=10)
        assert (undone.state, undone.guarantee, undone.restoring) == ("undone", "pending", True)
        assert undone.blocked_by == [await worker.fetchval("select pg_backend_pid()")]
        waited = await queue.cancellations.wait(cancelled.id, until_idle=True)
        assert (waited.guarantee, waited.restored_at) == ("pending", None)
        (entry, *_) = await queue.cancellations.audit(1)
        assert (entry.action, entry.details["guarantee"]) == ("undo", "pending")
    back = await queue.cancellations.wait(cancelled.id)
    assert (back.guarantee, back.restored, back.blocked_by) == ("ended", 1 + 1, [])


async def test_who_ends_it_and_does_not_commit_is_named(queue: Queue) -> None:
    """The record itself is somebody else's: what he makes of it decides."""
    await enqueue(queue, count=2)
    cancelled = await queue.cancel({"app_id": "billing"})
    async with queue.database.transaction() as other:
        await other.fetchval("select secateur.stop_cancellation('billing', $1, 'tester')", cancelled.id)
        with pytest.raises(LockUnavailable, match=rf"has locked cancellation {cancelled.id}; nothing was changed"):
            await queue.undo(cancelled.id)


async def test_the_rate_holds_for_sweeps_and_restores(queue: Queue) -> None:
    await enqueue(queue, count=40)
    started = await queue.engine.clock()
    cancelled = await cancel(queue, rate=40)
    assert (cancelled.cancelled, cancelled.rate) == (40, 40)
    assert await queue.engine.clock() - started > timedelta(seconds=0.7)
    started = await queue.engine.clock()
    await queue.undo(cancelled.id)
    assert (await queue.engine.ledger.restore("billing", cancelled.id, 1000)).restored == 10
    step = await queue.engine.ledger.restore("billing", cancelled.id, 1000)
    assert step.idle
    assert step.wait is not None
    assert 0 < step.wait <= 0.25
    await queue.cancellations.wait(cancelled.id)
    assert await queue.engine.clock() - started > timedelta(seconds=0.7)
    await recount(queue)


class TestSingleRuns:
    async def test_one_that_waits(self, queue: Queue) -> None:
        one, other = await enqueue(queue, count=2)
        before = await rows(queue)
        cancelled = await queue.cancel_run(one, reason="a typo")
        assert (cancelled.kind, cancelled.state, cancelled.cancelled, cancelled.run_id) == (
            "run",
            "complete",
            1,
            str(one),
        )
        assert [run["id"] for run in await claim(queue, 50)] == [other]
        with pytest.raises(Conflict, match="has already ended: cancelled at "):
            await queue.cancel_run(one)
        restored = await queue.restore_run(one)
        assert (restored.state, restored.restored) == ("undone", 1)
        assert (await rows(queue))[one] == before[one]
        await recount(queue)

    async def test_one_that_runs(self, queue: Queue) -> None:
        (one,) = await enqueue(queue)
        (held,) = await claim(queue, 1)
        cancelled = await queue.cancel_run(one)
        assert (cancelled.state, cancelled.stopping) == ("active", 1)
        assert not await queue.database.fetchval("select secateur.begin_step('billing', $1, $2, 'next')", *held)
        cancelled = await queue.cancellations.wait(cancelled.id)
        assert (cancelled.state, cancelled.cancelled) == ("complete", 1)
        assert (await queue.restore_run(one)).not_restored == 1
        assert (await queue.restore_run(one, requeue_stopped=True)).restored == 1
        await recount(queue)

    async def test_the_older_one_owns_it(self, queue: Queue) -> None:
        (one,) = await enqueue(queue)
        bulk = await queue.cancel({"app_id": "billing"})
        single = await queue.cancel_run(one)
        assert (single.state, single.cancelled) == ("complete", 0)
        assert (await queue.cancellations.get(bulk.id)).cancelled == 1
        with pytest.raises(Conflict, match="with other runs"):
            await queue.restore_run(one)
        undone = await queue.undo(bulk.id, wait=True)
        assert (undone.restored, undone.handed_over) == (0, 1)
        assert (await queue.restore_run(one)).restored == 1

    async def test_refused(self, queue: Queue) -> None:
        (one,) = await enqueue(queue)
        with pytest.raises(Conflict, match="nothing to restore"):
            await queue.restore_run(one)
        (held,) = await claim(queue, 1)
        await queue.database.fetchval("select secateur.complete('billing', $1, $2)", *held)
        with pytest.raises(Conflict, match="has already ended: completed at "):
            await queue.cancel_run(one)
        with pytest.raises(NotFound):
            await queue.cancel_run(UUID(int=0))

    async def test_two_at_once_under_one_key(self, queue: Queue, database_url: str) -> None:
        """Each holds the row of its own run when it finds the key free."""
        runs = await enqueue(queue, count=2)
        sql = "select id from secateur.cancel_run(gen_random_uuid(), 'billing', $1, 'k', null, 'python', 'ops')"
        first, second = [await asyncpg.connect(database_url) for _ in runs]
        async with first.transaction():
            committed = await first.fetchval(sql, runs[0])
            late = asyncio.create_task(second.fetchval(sql, runs[1]))
            waits = "select exists (select from pg_locks where pid = $1 and not granted)"
            await eventually(lambda: queue.database.fetchval(waits, second.get_server_pid()), "the other to wait")
        with pytest.raises(asyncpg.PostgresError, match="'k' was already used for another request") as refused:
            await late
        assert (refused.value.sqlstate, refused.value.column_name) == ("SC409", "idempotency_key")
        assert [one.id for one in await queue.cancellations.list()] == [committed]
        assert (await queue.get(runs[1])).status == "queued"
        for connection in (first, second):
            await connection.close()

    async def test_under_a_key(self, queue: Queue) -> None:
        one, other = await enqueue(queue, count=2)

        async def once(run_id: UUID) -> UUID:
            committed = await queue.cancellations.cancel_run(run_id, author="ops", source="python", idempotency_key="k")
            return committed.id

        committed = await once(one)
        assert await once(one) == committed
        with pytest.raises(IdempotencyConflict):
            await once(other)
        await queue.database.execute("update secateur.retention set cancelled = '0'")
        assert (await queue.engine.prune(10)).runs == 1
        assert await once(one) == committed


class TestSeveralFunctions:
    async def test_one_cancellation_each(self, queue: Queue) -> None:
        for function in ("sync", "mail", "other"):
            await enqueue(queue, count=2, function=function)
        request = {"app_id": "billing", "function_ids": ["sync", "mail"], "if": ACME}
        preview = await queue.preview(request)
        assert (preview.count.matched, preview.count.by_function) == (4, {"mail": 2, "sync": 2})
        made = await queue.cancel_all(request, idempotency_key="k", expected=preview.count, wait=True)
        assert [(one.function_id, one.cancelled, one.expected) for one in made] == [("mail", 2, 2), ("sync", 2, 2)]
        again = await queue.cancel_all(request, idempotency_key="k")
        assert [one.id for one in again] == [one.id for one in made]
        for others in (["sync"], ["mail"], ["mail", "other"], ["mail", "other", "sync"]):
            with pytest.raises(IdempotencyConflict):
                await queue.cancel_all(request | {"function_ids": others}, idempotency_key="k")
        with pytest.raises(RequestError, match="must name only one function here"):
            await queue.cancel(request)
        assert await statuses(queue) == {"cancelled": 4, "queued": 2}

    async def test_all_or_nothing(self, queue: Queue) -> None:
        await enqueue(queue)
        request = {"app_id": "billing", "function_ids": ["nope", "sync", "zilch"]}
        for ask in (queue.cancel_all, queue.preview):
            with pytest.raises(RequestError) as refused:
                await ask(request)
            assert [problem.field for problem in refused.value.problems] == ["function_ids"] * 2
            assert ["'nope'" in refused.value.problems[0].message, "'zilch'" in refused.value.problems[1].message]
        assert not await queue.cancellations.list()


async def test_the_audit(queue: Queue) -> None:
    (one, _) = await enqueue(queue, count=2)
    cancelled = await queue.cancel({"app_id": "billing", "if": ACME}, author="alice")
    await queue.stop(cancelled.id, author="bob")
    await queue.cancellations.undo(cancelled.id, author="carol", source="tui")
    await queue.cancellations.wait(cancelled.id)
    await queue.cancel_run(one, author="dan")
    entries = await queue.cancellations.audit(10)
    assert [(each.action, each.author, each.source) for each in entries] == [
        ("commit", "dan", "python"),
        ("restore", "carol", None),
        ("undo", "carol", "tui"),
        ("stop", "bob", "python"),
        ("commit", "alice", "python"),
        ("install", None, None),
    ]
    assert entries[4].details["request"] == {"app_id": "billing", "if": ACME}
    assert entries[4].cancellation_id == cancelled.id
    assert (entries[4].role, entries[4].application_name) == ("postgres", "secateur")
    assert [each.id for each in await queue.cancellations.audit(2, entries[3].id)] == [entries[4].id, entries[5].id]
