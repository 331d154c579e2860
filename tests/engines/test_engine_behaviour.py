"""What every engine does alike, each on its real schema. Tests skip by capability, never by name."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import entry_points
from typing import Any
from uuid import UUID, uuid4

import pytest
from queues_under_test import QUEUES, QueueUnderTest

from secateur.cel import compile as compile_filter
from secateur.engines.base import Commit, QueueEngine, Selection, Verdict, load_engine
from secateur.errors import IdempotencyConflict, NotFound, ReadOnly, RequestError
from secateur.postgres.database import Database
from secateur.runs import RunStatus, Scope, Window

ACME = "event.data.vendor == 'acme'"
SECOND = timedelta(seconds=1)


@pytest.fixture(params=sorted(QUEUES))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def engine(name: str, database: Database) -> QueueEngine:
    return load_engine(name, database)


@pytest.fixture
def queue(name: str, database: Database) -> QueueUnderTest:
    return QUEUES[name](database)


def needs(engine: QueueEngine, *capabilities: str) -> None:
    missing = [capability for capability in capabilities if not getattr(engine.capabilities, capability)]
    if missing:
        pytest.skip(f"{engine.name}: not {', '.join(missing)}")


def select(
    function: str | None = "sync", *, condition: str | None = None, app: str = "billing", **window: Any
) -> Selection:
    return Selection(Scope(app, function), Window(**window), compile_filter(condition) if condition else None)


def commit(selection: Selection, *, key: str | None = None, request: dict[str, Any] | None = None) -> Commit:
    return Commit(
        id=uuid4(),
        selection=selection,
        request=request or {"app_id": selection.scope.app_id},
        standing=False,
        author="tester",
        source="python",
        reason="a flood",
        idempotency_key=key,
    )


async def sweep(engine: QueueEngine, id: UUID) -> str:
    for _ in range(20):
        step = await engine.sweep("billing", id, 1000)
        if step.state != "active" or step.idle:
            break
    return step.state


def test_every_registered_engine_is_tested() -> None:
    assert {entry.name for entry in entry_points(group="secateur.engines")} == set(QUEUES)


async def test_clock_is_aware_and_goes_on(engine: QueueEngine) -> None:
    first = await engine.clock()
    assert first.utcoffset() is not None
    assert await engine.clock() > first


async def test_depth_of_every_function_by_status(engine: QueueEngine, queue: QueueUnderTest) -> None:
    assert await engine.depth() == []
    for app, function in (("crm", "mail"), ("billing", "sync"), ("billing", "sync"), ("billing", "pay")):
        await queue.enqueue(app, function, {})
    await queue.enqueue("billing", "pay", {}, scheduled_for=await engine.clock() + timedelta(hours=1))
    await queue.claim("crm")
    depths = await engine.depth()
    assert [(depth.app_id, depth.function_id, depth.queued, depth.scheduled, depth.running) for depth in depths] == [
        ("billing", "pay", 1, 1, 0),
        ("billing", "sync", 2, 0, 0),
        ("crm", "mail", 0, 0, 1),
    ]
    assert [depth.oldest_started_at is None for depth in depths] == [False, False, True]
    assert all(depth.cancelling == 0 and depth.in_per_second > 0 for depth in depths)


async def test_count_by_status_and_function(engine: QueueEngine, queue: QueueUnderTest) -> None:
    for function in ("pay", "sync", "sync"):
        await queue.enqueue("billing", function, {"vendor": "acme"})
    await queue.enqueue("billing", "sync", {"vendor": "acme"}, scheduled_for=await engine.clock() + timedelta(hours=1))
    await queue.enqueue("crm", "sync", {"vendor": "acme"})
    count = await engine.count(select(None))
    assert (count.matched, count.total, count.exact) == (4, 4, True)
    assert count.by_status == {RunStatus.QUEUED: 3, RunStatus.SCHEDULED: 1, RunStatus.RUNNING: 0}
    assert count.by_function == {"pay": 1, "sync": 3}
    assert (await engine.count(select("sync"))).matched == 3
    await queue.claim("billing")
    assert (await engine.count(select(None))).by_status[RunStatus.RUNNING] == 3


async def test_only_true_matches(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "has_event")
    acme = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    globex = await queue.enqueue("billing", "sync", {"vendor": "globex"})
    other = await queue.enqueue("billing", "sync", {"customer": "acme"})
    selection = select(condition=ACME)
    count = await engine.count(selection)
    assert (count.matched, count.total) == (1, 3)
    assert await engine.count_errors(selection) == 1
    for verdict, run in ((Verdict.MATCH, acme), (Verdict.NO_MATCH, globex), (Verdict.ERROR, other)):
        assert [example.id for example in await engine.examples(selection, verdict, 5)] == [str(run)]


async def test_both_ends_of_the_window_are_outside(engine: QueueEngine, queue: QueueUnderTest) -> None:
    start = (await engine.clock()).replace(microsecond=0) - timedelta(days=1)
    for n in range(5):
        await queue.enqueue("billing", "sync", {}, started_at=start + n * SECOND)
    count = await engine.count(select(started_after=start, started_before=start + 4 * SECOND))
    assert (count.matched, count.total) == (3, 5)


async def test_a_small_scope_needs_no_estimate(engine: QueueEngine, queue: QueueUnderTest) -> None:
    await queue.enqueue("billing", "sync", {})
    assert await engine.estimate(select()) is None


async def test_arrivals_are_those_that_match(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "has_event")
    for vendor in ("acme", "acme", "globex"):
        await queue.enqueue("billing", "sync", {"vendor": vendor})
    assert await engine.arrival_rate(select(condition=ACME)) == pytest.approx(0.2)


async def test_a_run_as_it_stands(engine: QueueEngine, queue: QueueUnderTest) -> None:
    id = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    run = await engine.run(id)
    assert (run.app_id, run.function_id, run.status, run.attempt) == ("billing", "sync", RunStatus.QUEUED, 0)
    if engine.capabilities.has_event:
        assert run.event["data"] == {"vendor": "acme"}
    with pytest.raises(NotFound):
        await engine.run(uuid4())


async def test_a_commit_gates_claims_and_nothing_else(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel", "gates_claims", "has_event")
    acme = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    others = {
        await queue.enqueue("billing", "sync", {"vendor": "globex"}),
        await queue.enqueue("billing", "pay", {"vendor": "acme"}),
    }
    committed = await engine.commit(commit(select(condition=ACME)))
    late = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    assert (committed.state, committed.started_before) == ("active", committed.created_at)
    assert await queue.claim("billing") == others | {late}
    assert (await engine.run(acme)).status == RunStatus.CANCELLED
    assert (await engine.run(acme)).cancellation_id == str(committed.id)


async def test_a_commit_asks_running_runs_to_stop(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel", "can_stop_running", "has_event")
    acme = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    globex = await queue.enqueue("billing", "sync", {"vendor": "globex"})
    await queue.claim("billing")
    committed = await engine.commit(commit(select(condition=ACME)))
    assert (committed.requested, committed.stopping, committed.cancelled) == (1, 1, 0)
    assert await sweep(engine, committed.id) == "active"
    assert not await queue.may_go_on(acme)
    assert await queue.may_go_on(globex)
    assert await sweep(engine, committed.id) == "complete"
    swept = await engine.cancellation(committed.id)
    assert (swept.matched, swept.cancelled, swept.finished_first, swept.stopping) == (1, 1, 0, 0)


async def test_a_sweep_finds_the_whole_backlog(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel")
    for n in range(5):
        await queue.enqueue("billing", "sync", {}, scheduled_for=await engine.clock() + n * timedelta(hours=1))
    spared = await queue.enqueue("billing", "pay", {})
    committed = await engine.commit(commit(select()))
    assert [open.id for open in await engine.open_cancellations()] == [committed.id]
    assert await sweep(engine, committed.id) == "complete"
    assert await engine.open_cancellations() == []
    assert (await engine.cancellation(committed.id)).cancelled == 5
    assert (await engine.count(select(None))).total == 1
    assert (await engine.run(spared)).status == RunStatus.QUEUED


async def test_a_stop_ends_it_and_may_be_repeated(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel")
    runs = {await queue.enqueue("billing", "sync", {}) for _ in range(3)}
    committed = await engine.commit(commit(select()))
    stopped = await engine.stop(committed.id, "another", "python")
    again = await engine.stop(committed.id, "a third", "python")
    assert (stopped.state, stopped.stopped_by, again.stopped_by) == ("stopped", "another", "another")
    assert await sweep(engine, committed.id) == "stopped"
    assert await queue.claim("billing") == runs
    with pytest.raises(NotFound):
        await engine.stop(uuid4(), "nobody", "python")


async def test_what_only_the_database_knows_is_refused(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel")
    await queue.enqueue("billing", "sync", {})
    later = await engine.clock() + timedelta(hours=1)
    for selection, field in (
        (select(app="bulling"), "app_id"),
        (select("synk"), "function_id"),
        (select(started_before=later), "started_before"),
        (select(started_after=later), "started_after"),
    ):
        with pytest.raises(RequestError) as refused:
            await engine.commit(commit(selection))
        assert [problem.field for problem in refused.value.problems] == [field]
    assert await engine.cancellations(10) == []


async def test_a_key_commits_once(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel")
    await queue.enqueue("billing", "sync", {})
    await queue.enqueue("crm", "sync", {})
    first = await engine.commit(commit(select(), key="one"))
    assert (await engine.commit(commit(select(), key="one"))).id == first.id
    with pytest.raises(IdempotencyConflict):
        await engine.commit(commit(select(None), key="one", request={"function_id": None}))
    assert len(await engine.cancellations(10)) == 1
    other = await engine.commit(commit(select(app="crm"), key="one"))
    assert (await engine.commit(commit(select(app="crm"), key="one"))).id == other.id
    assert [one.id for one in await engine.cancellations(10)] == [other.id, first.id], "a key is its app's"


async def test_history_is_paged_newest_first(engine: QueueEngine, queue: QueueUnderTest) -> None:
    needs(engine, "can_cancel")
    await queue.enqueue("billing", "sync", {})
    ids = [(await engine.commit(commit(select()))).id for _ in range(5)][::-1]
    page = await engine.cancellations(2)
    assert [one.id for one in page] == ids[:2]
    assert [one.id for one in await engine.cancellations(10, before=page[-1].id)] == ids[2:]
    with pytest.raises(NotFound):
        await engine.cancellation(uuid4())


async def test_a_read_only_session_writes_nothing(
    engine: QueueEngine, queue: QueueUnderTest, database_url: str, name: str
) -> None:
    await queue.enqueue("billing", "sync", {})
    async with Database.connect(database_url, read_only=True) as database:
        reader = load_engine(name, database)
        assert (await reader.count(select())).total == 1
        for write in (
            reader.commit(commit(select())),
            reader.stop(uuid4(), "me", "python"),
            reader.sweep("billing", uuid4(), 10),
        ):
            with pytest.raises(ReadOnly):
                await write
