"""The queue's life of a run, from Python and by its SQL functions, on every Postgres found."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

import secateur
from secateur import CancellationRequest, Queue
from secateur.errors import IdempotencyConflict, ReadOnly, RequestError, SettingsError, Unreachable
from secateur.runs import RunStatus

HOUR = timedelta(hours=1)


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def claim(
    queue: Queue, app_id: str = "billing", *, most: int = 10, lease: timedelta = HOUR
) -> list[asyncpg.Record]:
    return await queue.database.fetch("select * from secateur.claim($1, null, $2, 'tester', $3)", app_id, most, lease)


async def call(queue: Queue, function: str, run: asyncpg.Record, *more: object) -> Any:
    places = "".join(f", ${number}" for number in range(3, 3 + len(more)))
    return await queue.database.fetchval(
        f"select secateur.{function}($1, $2{places})", run["id"], run["claim_token"], *more
    )


async def beat(queue: Queue, run: asyncpg.Record) -> str | None:
    return await queue.database.fetchval(
        "select (secateur.heartbeat(array[$1::uuid], array[$2::uuid], '1 hour')).reason", run["id"], run["claim_token"]
    )


async def make_due(queue: Queue) -> None:
    await queue.database.execute(
        "update secateur.runs set scheduled_for = clock_timestamp() where status = 'scheduled'"
    )


async def end_leases(queue: Queue) -> None:
    await queue.database.execute(
        "update secateur.runs set lease_expires_at = clock_timestamp() - interval '1 s' where status = 'running'"
    )


async def status(queue: Queue, run_id: UUID) -> RunStatus:
    return (await queue.engine.run(run_id)).status


async def test_enqueue_claim_complete(queue: Queue) -> None:
    event = {"name": "vendor/sync", "data": {"vendor_id": "acme_inc", "amount": 1e2, "note": "naïve \U0001f333"}}
    run_id = await queue.enqueue("billing", "vendor-syncs", event)
    waiting = await queue.engine.run(run_id)
    assert (waiting.status, waiting.attempt, waiting.event) == (RunStatus.QUEUED, 0, event)
    [run] = await claim(queue)
    assert (run["id"], run["function_id"], run["attempt"]) == (run_id, "vendor-syncs", 1)
    assert json.loads(run["event"]) == event
    assert await claim(queue) == []
    assert await call(queue, "begin_step", run, "fetch") is True
    assert await call(queue, "complete", run) is True
    assert await call(queue, "complete", run) is True, "repeating it does no harm"
    ended = await queue.engine.run(run_id)
    assert ended.status == RunStatus.COMPLETED
    assert ended.finished_at is not None


async def test_many_at_once_keep_their_order(queue: Queue) -> None:
    ids = await queue.enqueue_many("billing", "invoices", [{"data": {"n": n}} for n in range(3)], priorities=[0, 5, 0])
    assert len(set(ids)) == 3
    claimed = await claim(queue)
    assert [run["id"] for run in claimed] == [ids[1], ids[0], ids[2]], "priority first, then age"
    assert await queue.enqueue_many("billing", "invoices", []) == []


async def test_a_scheduled_run_waits_for_its_time(queue: Queue) -> None:
    now = await queue.engine.clock()
    later = await queue.enqueue("billing", "invoices", {}, scheduled_for=now + HOUR)
    soon = await queue.enqueue("billing", "invoices", {}, scheduled_for=now - HOUR)
    assert await status(queue, later) == RunStatus.SCHEDULED
    assert [run["id"] for run in await claim(queue)] == [soon]
    await make_due(queue)
    assert [run["id"] for run in await claim(queue)] == [later]


async def test_started_at_may_be_given(queue: Queue) -> None:
    moment = datetime(2024, 1, 21, 12, 0, 0, 123456, UTC)
    run_id = await queue.enqueue("billing", "invoices", {}, started_at=moment)
    assert (await queue.engine.run(run_id)).started_at == moment
    assert run_id.int >> 80 == int(moment.timestamp() * 1000), "ids sort by time"


async def test_send_starts_every_function_with_the_trigger(queue: Queue) -> None:
    declare = "select secateur.register_function($1, $2, $3, 4)"
    await queue.database.execute(declare, "billing", "vendor-syncs", ["vendor/sync"])
    await queue.database.execute(declare, "crm", "welcome-mail", ["user/created", "vendor/sync"])
    await queue.database.execute(declare, "crm", "contact-import", ["contact/created"])
    ids = await queue.send({"name": "vendor/sync", "data": {}})
    runs = [await queue.engine.run(run_id) for run_id in ids]
    assert [(run.app_id, run.function_id) for run in runs] == [("billing", "vendor-syncs"), ("crm", "welcome-mail")]
    assert await queue.send({"name": "nobody/listens"}) == []


async def test_failed_attempts_are_retried_with_back_off_up_to_the_limit(queue: Queue) -> None:
    await queue.database.execute("select secateur.register_function('billing', 'invoices', '{}', 3)")
    run_id = await queue.enqueue("billing", "invoices", {})
    for attempt, wait in ((1, 1), (2, 2)):
        [run] = await claim(queue)
        assert run["attempt"] == attempt
        assert await call(queue, "fail", run, f"the {attempt}. time") == "scheduled"
        retried = await queue.engine.run(run_id)
        assert retried.scheduled_for is not None
        delay = (retried.scheduled_for - await queue.engine.clock()).total_seconds()
        assert 0.5 * wait < delay <= 1.25 * wait
        assert await claim(queue) == []
        await make_due(queue)
    [run] = await claim(queue)
    assert await call(queue, "fail", run, "the last time") == "failed"
    assert await status(queue, run_id) == RunStatus.FAILED
    assert await queue.database.fetchval("select error from secateur.runs") == "the last time"
    assert await claim(queue) == []


async def test_an_expired_lease_is_claimed_again_and_its_token_refused(queue: Queue) -> None:
    run_id = await queue.enqueue("billing", "invoices", {})
    [stale] = await claim(queue)
    assert await beat(queue, stale) is None
    await end_leases(queue)
    [fresh] = await claim(queue)
    assert (fresh["id"], fresh["attempt"]) == (run_id, 2)
    assert fresh["claim_token"] != stale["claim_token"]
    assert await call(queue, "begin_step", stale, "fetch") is False
    assert await call(queue, "complete", stale) is False
    assert await call(queue, "fail", stale, "too late") is None
    assert await beat(queue, stale) == "lost"
    assert (await queue.engine.run(run_id)).status == RunStatus.RUNNING
    assert await call(queue, "begin_step", fresh, "fetch") is True
    assert await beat(queue, fresh) is None
    assert await call(queue, "complete", fresh) is True


async def test_a_released_run_was_never_attempted(queue: Queue) -> None:
    run_id = await queue.enqueue("billing", "invoices", {})
    [run] = await claim(queue)
    released = "select secateur.release(array[$1::uuid], array[$2::uuid])"
    assert await queue.database.fetchval(released, run["id"], run["claim_token"]) == 1
    assert await queue.database.fetchval(released, run["id"], run["claim_token"]) == 0
    waiting = await queue.engine.run(run_id)
    assert (waiting.status, waiting.attempt) == (RunStatus.QUEUED, 0)


async def test_preview_and_cancel_hit_exactly_the_matching_runs(queue: Queue) -> None:
    vendors = ["acme_inc", "globex", "acme_inc", None]
    events = [{"data": {"vendor_id": vendor} if vendor else {}} for vendor in vendors]
    ids = await queue.enqueue_many("billing", "vendor-syncs", events)
    request = {"app_id": "billing", "function_id": "vendor-syncs", "if": "event.data.vendor_id == 'acme_inc'"}
    preview = (await queue.preview(request)).as_json()
    assert (preview["matched"], preview["total"], preview["errors"]) == (2, 4, 1)
    assert preview["error_examples"][0]["run_id"] == str(ids[3])
    cancellation = await queue.cancel(request, reason="a loop", author="jo", wait=True)
    assert (cancellation.state, cancellation.created_by, cancellation.reason) == ("complete", "jo", "a loop")
    assert (cancellation.source, cancellation.cancelled) == ("python", 2)
    assert [await status(queue, run_id) for run_id in ids] == ["cancelled", "queued", "cancelled", "queued"]
    assert {run["id"] for run in await claim(queue)} == {ids[1], ids[3]}


async def test_a_running_run_stops_at_its_next_step(queue: Queue) -> None:
    run_id = await queue.enqueue("billing", "vendor-syncs", {"data": {}})
    [run] = await claim(queue)
    cancellation = await queue.cancel(CancellationRequest(app_id="billing"))
    assert await beat(queue, run) == "cancelled"
    assert await call(queue, "begin_step", run, "fetch") is False
    assert await status(queue, run_id) == RunStatus.CANCELLED
    assert await call(queue, "complete", run) is False
    assert (await queue.cancellations.wait(cancellation.id)).cancelled == 1


async def test_the_same_key_commits_once(queue: Queue) -> None:
    await queue.enqueue("billing", "invoices", {})
    request = '{"app_id": "billing"}'
    first = await queue.cancel(request, idempotency_key="once")
    assert (await queue.cancel(request, idempotency_key="once")).id == first.id
    with pytest.raises(IdempotencyConflict):
        await queue.cancel({"app_id": "billing", "if": "true"}, idempotency_key="once")


@pytest.mark.parametrize(
    ("event", "why"),
    [({"data": {1, 2}}, "set"), ({"data": float("nan")}, "JSON"), ({"data": b"x"}, "bytes")],
    ids=["set", "nan", "bytes"],
)
async def test_what_is_not_json_is_refused_in_words(queue: Queue, event: object, why: str) -> None:
    with pytest.raises(RequestError, match=rf"event: cannot be written as JSON: .*{why}"):
        await queue.enqueue("billing", "invoices", event)


async def test_wrong_requests_are_refused_in_words(queue: Queue) -> None:
    naive = datetime(2024, 1, 21)
    with pytest.raises(RequestError, match="scheduled_for: needs a time zone"):
        await queue.enqueue("billing", "invoices", {}, scheduled_for=naive)
    with pytest.raises(RequestError, match="priorities: has 1 values for 2 events"):
        await queue.enqueue_many("billing", "invoices", [{}, {}], priorities=[1])
    with pytest.raises(RequestError, match="must not be empty"):
        await queue.enqueue("", "invoices", {})
    with pytest.raises(RequestError, match="name"):
        await queue.send({"data": {}})
    with pytest.raises(RequestError, match="app_id: is required"):
        await queue.cancel({})
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 0


async def test_read_only_refuses_every_write(database_url: str) -> None:
    async with secateur.connect(database_url) as queue:
        await queue.enqueue("billing", "invoices", {})
    async with secateur.connect(database_url, read_only=True) as queue:
        for write in (
            queue.enqueue("billing", "invoices", {}),
            queue.send({"name": "x"}),
            queue.cancel({"app_id": "billing"}),
        ):
            with pytest.raises(ReadOnly):
                await write
        assert (await queue.preview({"app_id": "billing"})).count.matched == 1


async def test_says_what_is_wrong_with_an_address() -> None:
    with pytest.raises(SettingsError, match="postgresql://"):
        async with secateur.connect("mysql://nowhere"):
            pass
    async with secateur.connect("postgresql://postgres@127.0.0.1:1/nowhere") as queue:
        with pytest.raises(Unreachable, match="refused"):
            await queue.enqueue("billing", "invoices", {})


async def test_an_unknown_run_is_not_found(queue: Queue) -> None:
    with pytest.raises(secateur.SecateurError, match="there is no run"):
        await queue.engine.run(uuid4())
