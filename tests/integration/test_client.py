"""The queue's life of a run, from Python and by its SQL functions, on every Postgres found."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

import secateur
from patience import PATIENCE, eventually
from secateur import CancellationRequest, Queue, Sent
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
    places = "".join(f", ${number}" for number in range(4, 4 + len(more)))
    return await queue.database.fetchval(
        f"select secateur.{function}($1, $2, $3{places})", run["app_id"], run["id"], run["claim_token"], *more
    )


async def beat(queue: Queue, run: asyncpg.Record) -> str | None:
    return await queue.database.fetchval(
        "select (secateur.heartbeat($1, array[$2::uuid], array[$3::uuid], '1 hour')).reason",
        *(run["app_id"], run["id"], run["claim_token"]),
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
    sent = await queue.send({"name": "vendor/sync", "data": {}})
    runs = [await queue.get(run.id) for run in sent.runs]
    assert [(run.app_id, run.function_id) for run in runs] == [("billing", "vendor-syncs"), ("crm", "welcome-mail")]
    assert [(run.app_id, run.function_id) for run in sent.runs] == [(run.app_id, run.function_id) for run in runs]
    assert await queue.send({"name": "nobody/listens"}) == Sent((), ())


async def test_send_cancels_too_and_says_what(queue: Queue) -> None:
    rule = '[{"event": "user/deleted", "match": "data.user_id"}]'
    await queue.database.execute("select secateur.declare_cancel_on('billing', 'sync', $1)", rule)
    run_id = await queue.enqueue("billing", "sync", {"data": {"user_id": 5}})
    deleted = {"name": "user/deleted", "data": {"user_id": 5}}
    sent = await queue.send(deleted, idempotency_key="once")
    assert sent.runs == ()
    [cancellation] = sent.cancellations
    assert (cancellation.app_id, cancellation.function_id) == ("billing", "sync")
    assert (await queue.show(cancellation.id)).kind == "event"
    await queue.cancellations.wait(cancellation.id)
    assert await status(queue, run_id) == RunStatus.CANCELLED
    await queue.enqueue("billing", "sync", {"data": {"user_id": 5}})
    assert await queue.send(deleted, idempotency_key="once") == sent, "the one that there is"
    assert (await queue.send(deleted, idempotency_key="twice")).cancellations != sent.cancellations


# Idempotency keys.


async def test_the_same_key_enqueues_once(queue: Queue) -> None:
    first = await queue.enqueue("billing", "invoices", {"n": 1, "m": 2}, idempotency_key="a")
    later = await queue.engine.clock() + HOUR
    again = await queue.enqueue("billing", "invoices", {"m": 2, "n": 1}, scheduled_for=later, idempotency_key="a")
    assert again == first
    assert (await queue.get(first)).scheduled_for is None, "as it was asked for first"
    others = [
        await queue.enqueue("billing", "invoices", {"n": 1}, idempotency_key="b"),
        await queue.enqueue("billing", "mail", {"n": 1}, idempotency_key="a"),
        await queue.enqueue("crm", "invoices", {"n": 1}, idempotency_key="a"),
        await queue.enqueue("billing", "invoices", {"n": 1, "m": 2}),
    ]
    assert len({first, *others}) == 5
    with pytest.raises(IdempotencyConflict, match="idempotency key 'a' was already used for another event"):
        await queue.enqueue("billing", "invoices", {"n": 2}, idempotency_key="a")
    for wrong in ("", "x" * 501):
        with pytest.raises(RequestError, match="idempotency_key: must have 1 to 500 characters"):
            await queue.enqueue("billing", "invoices", {}, idempotency_key=wrong)
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 5


async def test_send_with_a_key_starts_each_function_once(queue: Queue) -> None:
    declare = "select secateur.register_function($1, $2, $3, 4)"
    await queue.database.execute(declare, "billing", "invoices", ["order/placed"])
    event = {"name": "order/placed", "data": {"n": 1}}
    sent = await queue.send(event, idempotency_key="order 1")
    await queue.database.execute(declare, "billing", "mail", ["order/placed"])
    again = await queue.send(event, idempotency_key="order 1")
    assert [run.function_id for run in again.runs] == ["invoices", "mail"]
    assert again.runs[0] == sent.runs[0]
    with pytest.raises(IdempotencyConflict):
        await queue.send(event | {"data": {}}, idempotency_key="order 1")
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 2


async def test_of_many_at_the_same_time_one_is_enqueued(queue: Queue) -> None:
    ids = await asyncio.gather(
        *(queue.enqueue("billing", "invoices", {"n": 1}, idempotency_key="a") for _ in range(20))
    )
    assert len(set(ids)) == 1
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 1


async def test_a_key_that_was_rolled_back_is_free(queue: Queue, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    enqueue = "select secateur.enqueue('billing', 'invoices', $1, idempotency_key => 'a')"
    gone = await connection.fetchval(enqueue, "{}")
    waiting = asyncio.create_task(queue.enqueue("billing", "invoices", {"n": 2}, idempotency_key="a"))
    waits = "select exists (select from pg_locks where not granted and locktype = 'transactionid')"
    await eventually(lambda: queue.database.fetchval(waits), "the second to wait for the first")
    assert not waiting.done()
    await transaction.rollback()
    assert await waiting != gone
    await connection.close()


async def test_keys_are_kept_for_a_day(queue: Queue) -> None:
    for n in range(30):
        await queue.enqueue("billing", "invoices", {"n": n}, idempotency_key=f"old {n}")
    await queue.database.execute("update secateur.enqueue_keys set at = at - interval '25 hours'")
    for n in range(3):
        await queue.enqueue("billing", "invoices", {"n": n}, idempotency_key=f"new {n}")
    keys = await queue.database.fetch("select key from secateur.enqueue_keys where key like 'new%'")
    assert len(keys) == 3
    assert await queue.database.fetchval("select count(*) from secateur.enqueue_keys") == 3


# In bulk.


async def test_bulk_takes_any_iterable_in_one_transaction(queue: Queue) -> None:
    later = await queue.engine.clock() + HOUR
    assert await queue.enqueue_bulk("billing", "invoices", ({"n": n} for n in range(5001)), priority=3) == 5001
    assert await queue.enqueue_bulk("billing", "mail", [{}] * 5, scheduled_for=later) == 5
    assert await queue.enqueue_bulk("billing", "mail", []) == 0
    numbers = "select array_agg((event -> 'n')::int order by id) from secateur.runs where function_id = 'invoices'"
    assert await queue.database.fetchval(numbers) == list(range(5001)), "in the events' order"
    assert await queue.database.fetchval("select count(distinct xmin::text) from secateur.runs") == 2
    [first, *_] = await claim(queue)
    assert (first["priority"], json.loads(first["event"])) == (3, {"n": 0})
    depth = {one.function_id: (one.queued, one.scheduled, one.running) for one in await queue.depth()}
    assert depth == {"invoices": (4991, 0, 10), "mail": (0, 5, 0)}


async def test_bulk_is_all_or_nothing(queue: Queue) -> None:
    def events(last: object) -> Iterator[object]:
        yield from ({"n": n} for n in range(4500))
        yield last

    with pytest.raises(RequestError, match="cannot be written as JSON"):
        await queue.enqueue_bulk("billing", "invoices", events({1}))
    with pytest.raises(secateur.SecateurError, match=r"contains U\+0000, which Postgres cannot store"):
        await queue.enqueue_bulk("billing", "invoices", events("a\0b"))
    with pytest.raises(RequestError, match="needs a time zone"):
        await queue.enqueue_bulk("billing", "invoices", [{}], scheduled_for=datetime(2024, 1, 21))
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 0


async def test_a_bulk_keeps_nobody_from_being_woken(queue: Queue, database_url: str) -> None:
    await queue.enqueue("billing", "invoices", {})
    await claim(queue)
    await claim(queue)  # finds nothing
    heard: list[str] = []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener("secateur_runs", lambda *notification: heard.append(notification[3]))
    half, go_on = threading.Event(), threading.Event()

    def events() -> Iterator[object]:
        yield from [{"pad": "x" * 300}] * 5000  # more than one COPY
        half.set()
        go_on.wait(PATIENCE)

    async def bulk() -> int:
        async with secateur.connect(database_url) as other:
            return await other.enqueue_bulk("billing", "invoices", events())

    entering = asyncio.create_task(asyncio.to_thread(asyncio.run, bulk()))
    await asyncio.to_thread(half.wait, 10)
    for _ in range(2):
        await queue.enqueue("billing", "invoices", {})
    await listener.fetchval("select 1")
    assert heard == ["billing"], "by the first of the two, as if there were no bulk"
    assert len(await claim(queue)) == 2
    await claim(queue)
    go_on.set()
    assert await entering == 5000
    await listener.fetchval("select 1")
    assert heard == ["billing"] * 2
    await listener.close()


async def test_whoever_takes_long_keeps_nobody_from_being_woken(queue: Queue, database_url: str) -> None:
    await queue.enqueue("billing", "invoices", {})
    await claim(queue)
    await claim(queue)  # finds nothing
    heard: list[str] = []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener("secateur_runs", lambda *notification: heard.append(notification[3]))
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select secateur.enqueue('billing', 'invoices', '{}')")
    await queue.enqueue_bulk("billing", "invoices", [{}] * 5)
    await listener.fetchval("select 1")
    assert heard == ["billing"], "though another one that has yet to commit wanted to tell it"
    await transaction.commit()
    await queue.enqueue_bulk("billing", "invoices", [{}] * 5)
    await listener.fetchval("select 1")
    assert heard == ["billing"] * 2, "nobody is told twice"
    await listener.close()
    await connection.close()


async def test_everything_about_a_queue_in_one_place(queue: Queue) -> None:
    run_id = await queue.enqueue("billing", "invoices", {"data": {"vendor": "acme"}})
    cancellation = await queue.cancel({"app_id": "billing"}, author="ann", wait=True)
    assert [one.id for one in await queue.history()] == [cancellation.id]
    assert await queue.history(before=cancellation.id) == []
    assert (await queue.show(cancellation.id)).cancelled == 1
    assert (await queue.undo(cancellation.id, author="bob", wait=True)).restored == 1
    assert list(await queue.unrestored(cancellation.id)) == []
    assert (await queue.get(run_id)).status == RunStatus.QUEUED
    kept = await queue.retention()
    changed = await queue.set_retention(finished=2 * kept.finished, author="ann")
    assert changed == await queue.retention()
    assert changed.finished == 2 * kept.finished
    acts = [(entry.action, entry.author) for entry in await queue.audit(limit=4)]
    assert acts == [("retention", "ann"), ("restore", "bob"), ("undo", "bob"), ("commit", "ann")]
    assert [(one.function_id, one.queued) for one in await queue.depth()] == [("invoices", 1)]
    with pytest.raises(RequestError):
        await queue.set_retention(finished=timedelta(-1))


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
    released = "select secateur.release('billing', array[$1::uuid], array[$2::uuid])"
    assert await queue.database.fetchval(released, run["id"], run["claim_token"]) == 1
    assert await queue.database.fetchval(released, run["id"], run["claim_token"]) == 0
    waiting = await queue.engine.run(run_id)
    assert (waiting.status, waiting.attempt) == (RunStatus.QUEUED, 0)


async def test_preview_and_cancel_hit_exactly_the_matching_runs(queue: Queue) -> None:
    vendors = ["acme_inc", "globex", "acme_inc", None]
    events = [{"data": {"vendor_id": vendor} if vendor else {}} for vendor in vendors]
    ids = await queue.enqueue_many("billing", "vendor-syncs", events)
    request = {"app_id": "billing", "function_id": "vendor-syncs", "if": "event.data.vendor_id == 'acme_inc'"}
    preview = await queue.preview(request)
    assert (preview.count.matched, preview.count.total, preview.count.errors) == (2, 4, 1)
    assert preview.error_examples[0].run_id == str(ids[3])
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
    with pytest.raises(RequestError, match="priorities: must have 2 values, not 1"):
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
