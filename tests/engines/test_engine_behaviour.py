"""What every engine does alike, each on its real schema. Tests skip where a capability is missing, never by name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import entry_points
from typing import Any
from uuid import UUID, uuid4

import pytest
from queues_under_test import QUEUES, QueueUnderTest

from secateur.cel import compile as compile_filter
from secateur.engines.base import (
    DepthCheck,
    Gate,
    Pausing,
    Selection,
    Source,
    Stopping,
    Streaming,
    Upkeep,
    Verdict,
)
from secateur.engines.loading import registered
from secateur.errors import IdempotencyConflict, NotFound, NotInstalled, ReadOnly, RequestError
from secateur.ledger.commits import Commit
from secateur.ledger.ledger import Cancelling
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.runs import RunStatus, Scope, Window

ACME = "event.data.vendor == 'acme'"
SECOND = timedelta(seconds=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """With secateur's schema, and without a queue of others."""
    async with Database.connect(database_url) as database:
        yield database


@pytest.fixture(params=sorted(QUEUES))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def engine(name: str, database: Database) -> Source:
    return registered()[name](database)


@pytest.fixture
def queue(name: str, database: Database) -> QueueUnderTest:
    return QUEUES[name](database)


def needs(engine: Source, *capabilities: type) -> None:
    missing = [capability.__name__ for capability in capabilities if not isinstance(engine, capability)]
    if missing:
        pytest.skip(f"{engine.name} does not implement {', '.join(missing)}")


def select(
    function: str | None = "sync", *, condition: str | None = None, app: str = "billing", **window: Any
) -> Selection:
    return Selection(Scope(app, function), Window(**window), compile_filter(condition) if condition else None)


def a_commit(selection: Selection, *, key: str | None = None, request: dict[str, Any] | None = None) -> Commit:
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


async def commit(engine: Source, selection: Selection, **options: Any) -> Cancellation:
    (committed,) = await engine.ledger.commit_all([a_commit(selection, **options)])
    return committed


async def sweep(engine: Source, id: UUID) -> str:
    for _ in range(20):
        step = await engine.ledger.sweep("billing", id, 1000)
        if step.state != "active" or step.idle:
            break
    return step.state


def test_every_registered_engine_is_tested() -> None:
    assert {entry.name for entry in entry_points(group="secateur.engines")} == set(QUEUES)


async def test_clock_is_aware_and_goes_on(engine: Source) -> None:
    first = await engine.clock()
    assert first.utcoffset() is not None
    assert await engine.clock() > first


async def test_it_is_found_where_it_is(engine: Source) -> None:
    assert re.match(r"\d+(\.\d+)*", await engine.detect())


async def test_it_is_not_found_in_another_database(name: str, empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        with pytest.raises(NotInstalled):
            await registered()[name](database).detect()


async def test_what_cannot_be_a_runs_id_is_refused_in_words(engine: Source) -> None:
    for odd in ("", "no id", "\x00", "9" * 400):
        if (problem := engine.problem_of_run_id(odd)) is not None:
            with pytest.raises(RequestError, match=problem):
                await engine.run(odd)
    assert engine.problem_of_run_id("") is not None


async def test_pausing_keeps_what_waits_from_being_claimed(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Pausing)
    run = await queue.enqueue("billing", "sync", {})
    await engine.pause(Scope("billing", "sync"), "tester", "python")
    await engine.pause(Scope("billing", "sync"), "tester", "python")
    assert await queue.claim("billing") == set()
    assert [depth.paused for depth in await engine.depth()] == [True]
    await engine.resume(Scope("billing", "sync"), "tester", "python")
    await engine.resume(Scope("billing", "sync"), "tester", "python")
    assert await queue.claim("billing") == {run}
    with pytest.raises(NotFound):
        await engine.pause(Scope("nothing"), "tester", "python")


async def test_the_upkeep_changes_no_figure(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Upkeep)
    for _ in range(3):
        await queue.enqueue("billing", "sync", {})
    await engine.compact_depth(timedelta(0), 1000)
    assert [depth.queued for depth in await engine.depth()] == [3]
    assert await engine.check_depth(timedelta(0)) == DepthCheck(counted=3, drift=0)
    assert (await engine.prune(10)).runs == 0
    assert (await engine.retention()).finished > timedelta(0)


async def test_depth_of_every_function_by_status(engine: Source, queue: QueueUnderTest) -> None:
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


async def test_count_by_status_and_function(engine: Source, queue: QueueUnderTest) -> None:
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


async def test_only_true_matches(engine: Source, queue: QueueUnderTest) -> None:
    acme = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    globex = await queue.enqueue("billing", "sync", {"vendor": "globex"})
    other = await queue.enqueue("billing", "sync", {"customer": "acme"})
    selection = select(condition=ACME)
    count = await engine.count(selection)
    assert (count.matched, count.total) == (1, 3)
    count = await engine.count_with_errors(selection)
    assert (count.matched, count.errors, count.total, count.by_function) == (1, 1, 3, {"sync": 1})
    for verdict, run in ((Verdict.MATCH, acme), (Verdict.NO_MATCH, globex), (Verdict.ERROR, other)):
        assert [example.id for example in await engine.examples(selection, verdict, 5)] == [str(run)]


async def test_all_that_match_can_be_read_one_by_one(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Streaming)
    acme = {str(await queue.enqueue("billing", "sync", {"vendor": "acme"})) for _ in range(5)}
    other = str(await queue.enqueue("billing", "pay", {"vendor": "globex"}))

    async def read(selection: Selection, *statuses: RunStatus) -> set[str]:
        selected = replace(selection, statuses=statuses) if statuses else selection
        return {run.id async for run in engine.stream(selected)}

    assert await read(select(None, condition=ACME)) == acme
    assert await read(select("pay")) == {other}
    assert await read(select(None), *RunStatus) == acme | {other}
    assert await read(select(None), RunStatus.QUEUED) == acme | {other}
    assert await read(select(None), RunStatus.RUNNING, RunStatus.FAILED) == set()
    with pytest.raises(NotFound):
        await read(select("nothing"))


async def test_both_ends_of_the_window_are_outside(engine: Source, queue: QueueUnderTest) -> None:
    start = (await engine.clock()).replace(microsecond=0) - timedelta(days=1)
    for n in range(5):
        await queue.enqueue("billing", "sync", {}, started_at=start + n * SECOND)
    count = await engine.count(select(started_after=start, started_before=start + 4 * SECOND))
    assert (count.matched, count.total) == (3, 5)


async def test_a_small_scope_needs_no_estimate(engine: Source, queue: QueueUnderTest) -> None:
    await queue.enqueue("billing", "sync", {})
    assert await engine.estimate(select()) is None


async def test_arrivals_are_those_that_match(engine: Source, queue: QueueUnderTest) -> None:
    for vendor in ("acme", "acme", "globex"):
        await queue.enqueue("billing", "sync", {"vendor": vendor})
    assert await engine.arrival_rate(select(condition=ACME)) == pytest.approx(0.2)


async def test_a_run_as_it_stands(engine: Source, queue: QueueUnderTest) -> None:
    id = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    run = await engine.run(str(id))
    assert (run.app_id, run.function_id, run.status, run.attempt) == ("billing", "sync", RunStatus.QUEUED, 0)
    assert run.event["data"] == {"vendor": "acme"}
    with pytest.raises(NotFound):
        await engine.run(str(uuid4()))


async def test_a_commit_gates_claims_and_nothing_else(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling, Gate)
    acme = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    others = {
        await queue.enqueue("billing", "sync", {"vendor": "globex"}),
        await queue.enqueue("billing", "pay", {"vendor": "acme"}),
    }
    committed = await commit(engine, select(condition=ACME))
    late = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    assert (committed.state, committed.started_before) == ("active", committed.created_at)
    assert await queue.claim("billing") == others | {late}
    assert (await engine.run(str(acme))).status == RunStatus.CANCELLED
    assert (await engine.run(str(acme))).cancellation_id == str(committed.id)


async def test_a_commit_asks_running_runs_to_stop(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling, Stopping)
    acme = await queue.enqueue("billing", "sync", {"vendor": "acme"})
    globex = await queue.enqueue("billing", "sync", {"vendor": "globex"})
    await queue.claim("billing")
    committed = await commit(engine, select(condition=ACME))
    assert (committed.requested, committed.stopping, committed.cancelled) == (1, 1, 0)
    assert await sweep(engine, committed.id) == "active"
    assert not await queue.may_go_on(acme)
    assert await queue.may_go_on(globex)
    assert await sweep(engine, committed.id) == "complete"
    swept = await engine.ledger.cancellation(committed.id)
    assert (swept.matched, swept.cancelled, swept.finished_first, swept.stopping) == (1, 1, 0, 0)


async def test_a_sweep_finds_the_whole_backlog(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling)
    for n in range(5):
        await queue.enqueue("billing", "sync", {}, scheduled_for=await engine.clock() + n * timedelta(hours=1))
    spared = await queue.enqueue("billing", "pay", {})
    committed = await commit(engine, select())
    assert [open.id for open in await engine.ledger.open_cancellations()] == [committed.id]
    assert await sweep(engine, committed.id) == "complete"
    assert await engine.ledger.open_cancellations() == []
    assert (await engine.ledger.cancellation(committed.id)).cancelled == 5
    assert (await engine.count(select(None))).total == 1
    assert (await engine.run(str(spared))).status == RunStatus.QUEUED


async def test_a_stop_ends_it_and_may_be_repeated(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling)
    runs = {await queue.enqueue("billing", "sync", {}) for _ in range(3)}
    committed = await commit(engine, select())
    stopped = await engine.ledger.stop(committed.id, "another", "python")
    again = await engine.ledger.stop(committed.id, "a third", "python")
    assert (stopped.state, stopped.stopped_by, again.stopped_by) == ("stopped", "another", "another")
    assert await sweep(engine, committed.id) == "stopped"
    assert await queue.claim("billing") == runs
    with pytest.raises(NotFound):
        await engine.ledger.stop(uuid4(), "nobody", "python")


async def test_what_only_the_database_knows_is_refused(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling)
    await queue.enqueue("billing", "sync", {})
    later = await engine.clock() + timedelta(hours=1)
    for selection, field in (
        (select(app="bulling"), "app_id"),
        (select("synk"), "function_id"),
        (select(started_before=later), "started_before"),
        (select(started_after=later), "started_after"),
    ):
        with pytest.raises(RequestError) as refused:
            await commit(engine, selection)
        assert [problem.field for problem in refused.value.problems] == [field]
    assert await engine.ledger.cancellations(10) == []


async def test_a_key_commits_once(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling)
    await queue.enqueue("billing", "sync", {})
    await queue.enqueue("crm", "sync", {})
    first = await commit(engine, select(), key="one")
    assert (await commit(engine, select(), key="one")).id == first.id
    with pytest.raises(IdempotencyConflict):
        await commit(engine, select(None), key="one", request={"function_id": None})
    assert len(await engine.ledger.cancellations(10)) == 1
    other = await commit(engine, select(app="crm"), key="one")
    assert (await commit(engine, select(app="crm"), key="one")).id == other.id
    assert [one.id for one in await engine.ledger.cancellations(10)] == [other.id, first.id], "a key is its app's"


async def test_history_is_paged_newest_first(engine: Source, queue: QueueUnderTest) -> None:
    needs(engine, Cancelling)
    await queue.enqueue("billing", "sync", {})
    ids = [(await commit(engine, select())).id for _ in range(5)][::-1]
    page = await engine.ledger.cancellations(2)
    assert [one.id for one in page] == ids[:2]
    assert [one.id for one in await engine.ledger.cancellations(10, before=page[-1].id)] == ids[2:]
    with pytest.raises(NotFound):
        await engine.ledger.cancellation(uuid4())


async def test_a_read_only_session_writes_nothing(
    engine: Source, queue: QueueUnderTest, database_url: str, name: str
) -> None:
    await queue.enqueue("billing", "sync", {})
    async with Database.connect(database_url, read_only=True) as database:
        reader = registered()[name](database)
        assert (await reader.count(select())).total == 1
        for write in (
            reader.ledger.commit_all([a_commit(select())]),
            reader.ledger.stop(uuid4(), "me", "python"),
            reader.ledger.sweep("billing", uuid4(), 10),
        ):
            with pytest.raises(ReadOnly):
                await write
