"""Runs of every queue of others are cancelled and come back, under its own workers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from beds import Bed
from sameness import like_every_queue, only_on_procrastinate

from patience import eventually
from secateur.engines.base import Stopping
from secateur.engines.foreign.engine import ForeignEngine
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installation import WRITES, Installation, quoted
from secateur.engines.loading import open_engine
from secateur.errors import (
    Conflict,
    IdempotencyConflict,
    LockUnavailable,
    NotFound,
    PermissionDenied,
    ReadOnly,
    RequestError,
    Unsupported,
)
from secateur.ledger.steps import SweepStep
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.requests import CancellationRequest
from secateur.runs import Run
from secateur.schema import install
from secateur.states import OPEN, Guarantee, State

pytestmark = pytest.mark.timeout(300)

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _cancels(request: pytest.FixtureRequest) -> None:
    """Before anything is installed. What the statements do on an older Postgres, test_cancelling_statements.py sees."""
    kind: type[Bed] = request.node.callspec.params["bed"]
    if request.node.callspec.params["postgres_server"] != "embedded" and kind.engine != "procrastinate":
        pytest.skip("the ledger's part is the same on every Postgres")
    if not engine_files()[kind.engine].statements.keys() >= WRITES:
        pytest.skip(f"secateur cannot cancel in {kind.engine} yet")


@pytest.fixture
async def engine(installed: Installation, database: Database) -> ForeignEngine:
    engine = await open_engine(database, name=installed.name)
    assert isinstance(engine, ForeignEngine)
    return engine


@pytest.fixture
def queue(engine: ForeignEngine) -> OpenQueue:
    return OpenQueue.over(engine, batch=7)


def request(app: str = "default", **more: Any) -> CancellationRequest:
    return CancellationRequest.parse({"app_id": app} | {name.rstrip("_"): value for name, value in more.items()})


def payloads(numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [{"number": number, "vendor": "acme" if number % 3 == 0 else "globex"} for number in numbers]


ACME = "event.data.vendor == 'acme'"


async def commit(queue: OpenQueue, asked: CancellationRequest, key: str | None = None) -> Cancellation:
    return await queue.cancellations.commit(asked, author="tester", source="python", idempotency_key=key)


async def app_of(engine: ForeignEngine) -> str:
    """What the engine calls the queue `default`."""
    [app] = {each.app_id for each in await engine.depth()}
    return app


async def rows(bed: Bed, outside: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of the engine's tables, to the last column."""
    return {
        table: [
            row[0]
            for row in await outside.fetch(
                f"select each::text from {quoted(bed.schema)}.{quoted(table)} as each order by 1"
            )
        ]
        for table in bed.tables
    }


async def started(outside: asyncpg.Connection) -> list[int]:
    return sorted(row["number"] for row in await outside.fetch("select number from bed_ran where what = 'start'"))


async def until_started(outside: asyncpg.Connection, numbers: Iterable[int]) -> None:
    wanted = set(numbers)

    async def done() -> bool:
        return set(await started(outside)) >= wanted

    await eventually(done, "the other jobs to run")


async def until_noted(outside: asyncpg.Connection, what: str) -> None:
    async def noted() -> bool:
        return bool(await outside.fetchval("select exists (select from bed_ran where what = $1)", what))

    await eventually(noted, f"a job to be {what}")


async def left(engine: ForeignEngine, runs: Iterable[str]) -> list[Run]:
    """Those of the runs that are still there: some engines delete what they cancel."""
    found = []
    for each in runs:
        with suppress(NotFound):
            found.append(await engine.run(each))
    return found


async def statuses(engine: ForeignEngine, runs: Iterable[str]) -> set[str]:
    return {str(run.status) for run in await left(engine, runs)}


WAITING = {"queued", "scheduled"}


async def test_what_matches_never_starts_and_comes_back_as_it_was(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    runs = await bed.enqueue(payloads(range(30)))
    later = await bed.enqueue(payloads(range(30, 36)), delay=HOUR)
    app = await app_of(engine)
    before = await rows(bed, outside)
    committed = await commit(queue, request(app, if_=ACME))
    assert committed.guarantee is Guarantee.SWEPT
    assert (committed.app_id, committed.state) == (app, State.ACTIVE)
    over = await queue.cancellations.wait(committed.id)
    assert (over.state, over.cancelled, over.requested, over.errors) == (State.COMPLETE, 12, 0, 0)
    doomed = [*runs[::3], *later[::3]]
    spared = {*runs, *later} - set(doomed)
    assert await statuses(engine, spared) == WAITING
    assert not await statuses(engine, doomed) & WAITING
    assert {run.cancellation_id for run in await left(engine, doomed)} <= {str(committed.id)}
    undone = await queue.cancellations.undo(committed.id, author="tester")
    assert undone.guarantee is Guarantee.ENDED
    undone = await queue.cancellations.wait(committed.id)
    assert (undone.restored, undone.not_restored, undone.restoring) == (12, 0, False)
    assert await rows(bed, outside) == before
    again = await commit(queue, request(app, if_=ACME))
    await queue.cancellations.wait(again.id)
    async with bed.worker():
        await until_started(outside, (number for number in range(30) if number % 3))
        assert await started(outside) == [number for number in range(30) if number % 3]
        await queue.cancellations.undo(again.id, author="tester")
        await queue.cancellations.wait(again.id)
        await until_started(outside, range(30))
    assert await started(outside) == list(range(30))


async def test_running_ones_are_asked_to_stop_or_go_on_to_their_end(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    stops = isinstance(engine, Stopping)
    await outside.execute("insert into bed_held values (1)")
    [run] = await bed.enqueue([{"number": 1, "vendor": "acme", "held": True}])
    async with bed.worker():
        await until_started(outside, [1])
        app = await app_of(engine)
        committed = await commit(queue, request(app, if_=ACME))
        swept = await queue.cancellations.wait(committed.id, until_idle=True)
        assert (swept.requested, swept.cancelled) == (1, swept.stopped)
        if not stops:
            await outside.execute("delete from bed_held")
        over = await queue.cancellations.wait(committed.id)
        # Some engines take a job away first, and then stop it.
        await until_noted(outside, "stopped" if stops else "end")
    assert over.state == State.COMPLETE
    # Of a run whose row is gone, some engines tell how it ended.
    stopped = stops if await statuses(engine, [run]) else over.stopped == 1
    assert (over.stopped, over.finished_first) == ((1, 0) if stopped else (0, 1))
    assert over.stopping == 0
    noted = {row["what"] for row in await outside.fetch("select what from bed_ran")}
    assert noted == ({"start", "stopped"} if stops else {"start", "end"})
    await queue.cancellations.undo(committed.id, author="tester")
    await queue.cancellations.wait(committed.id)
    reasons = [each.reason for each in await queue.cancellations.unrestored(committed.id)]
    assert reasons == (["it was stopped while it ran"] if stopped else [])
    if not stops:
        with pytest.raises(Unsupported, match="cannot stop runs while they run"):
            await queue.cancellations.undo(committed.id, author="tester", requeue_stopped=True)
        return
    await queue.cancellations.undo(committed.id, author="tester", requeue_stopped=True)
    assert (await queue.cancellations.wait(committed.id)).restored == over.stopped
    assert await queue.cancellations.unrestored(committed.id) == []
    assert not stopped or await statuses(engine, [run]) <= WAITING


async def test_no_run_is_both_cancelled_and_started(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    """Workers claim while two processes sweep."""
    await bed.enqueue([{**each, "seconds": 0.1} for each in payloads(range(120))])
    app = await app_of(engine)
    async with Database.connect(bed.url) as elsewhere, bed.worker(concurrency=4):
        other = OpenQueue.over(await open_engine(elsewhere, name=engine.name), batch=5)
        await until_started(outside, [0])
        committed = await commit(queue, request(app, if_=ACME))
        over, _ = await asyncio.gather(queue.cancellations.wait(committed.id), other.cancellations.wait(committed.id))
        assert over.state == State.COMPLETE
        await until_started(outside, (number for number in range(120) if number % 3))
    begun = await started(outside)
    assert len(begun) == len(set(begun))
    mine = [number for number in begun if number % 3 == 0]
    assert over.cancelled - over.stopped + len(mine) == 40
    assert 0 < len(mine) < 40


async def test_a_taken_key_is_left_and_told(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    if not bed.has_keys:
        pytest.skip(f"{bed.engine} has no keys")
    [first] = await bed.enqueue([{"number": 1, "vendor": "acme"}], key="report")
    [second] = await bed.enqueue([{"number": 2, "vendor": "acme"}])
    app = await app_of(engine)
    committed = await commit(queue, request(app, if_=ACME))
    await queue.cancellations.wait(committed.id)
    [taking] = await bed.enqueue([{"number": 3}], key="report")
    await queue.cancellations.undo(committed.id, author="tester")
    undone = await queue.cancellations.wait(committed.id)
    [left] = await queue.cancellations.unrestored(committed.id)
    assert left.run_id == first
    assert "key" in left.reason or "lock" in left.reason
    assert (undone.restored, undone.not_restored) == (1, 1)
    assert await statuses(engine, [second, taking]) <= WAITING


@like_every_queue
async def test_one_that_another_cancellation_matches_goes_over_to_it(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    runs = await bed.enqueue(payloads(range(9)))
    app = await app_of(engine)
    before = await rows(bed, outside)
    first = await commit(queue, request(app, if_=ACME))
    await queue.cancellations.wait(first.id)
    second = await commit(queue, request(app, if_="event.data.number < 5"))
    await queue.cancellations.wait(second.id)
    await queue.cancellations.undo(first.id, author="tester")
    undone = await queue.cancellations.wait(first.id)
    assert (undone.restored, undone.handed_over, undone.not_restored) == (1, 2, 0)
    assert not await statuses(engine, [runs[0], runs[3]]) & WAITING
    assert {run.cancellation_id for run in await left(engine, runs[:5])} <= {str(second.id)}
    assert {each.reason for each in await queue.cancellations.unrestored(first.id)} == {
        f"cancellation {second.id} matches it too"
    }
    await queue.cancellations.undo(second.id, author="tester")
    undone = await queue.cancellations.wait(second.id)
    assert (undone.cancelled, undone.restored) == (5, 5)
    assert await rows(bed, outside) == before


async def test_single_runs(bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection) -> None:
    runs = await bed.enqueue(payloads(range(3)))
    before = await rows(bed, outside)
    who = {"author": "tester", "source": "python"}
    cancelled = await queue.cancellations.cancel_run(runs[1], **who, idempotency_key="one")
    assert (cancelled.state, cancelled.kind, cancelled.run_id) == (State.COMPLETE, "run", runs[1])
    assert (cancelled.cancelled, cancelled.guarantee) == (1, Guarantee.SWEPT)
    repeated = await queue.cancellations.cancel_run(runs[1], **who, idempotency_key="one")
    assert repeated.id == cancelled.id
    with pytest.raises((Conflict, NotFound), match=r"has already ended|there is no run"):
        await queue.cancellations.cancel_run(runs[1], **who)
    with pytest.raises(RequestError):
        await queue.cancellations.cancel_run("", **who)
    if await left(engine, runs[1:2]):
        undone = await queue.cancellations.restore_run(runs[1], **who)
    else:
        await queue.cancellations.undo(cancelled.id, author="tester")
        undone = await queue.cancellations.wait(cancelled.id)
    assert (undone.state, undone.restored) == (State.UNDONE, 1)
    assert await rows(bed, outside) == before
    with pytest.raises(Conflict):
        await queue.cancellations.restore_run(runs[2], **who)


@like_every_queue
async def test_a_commit_happens_once_under_its_key(bed: Bed, engine: ForeignEngine, queue: OpenQueue) -> None:
    await bed.enqueue(payloads(range(3)))
    app = await app_of(engine)
    first = await commit(queue, request(app, if_=ACME), "key")
    assert (await commit(queue, request(app, if_=ACME), "key")).id == first.id
    with pytest.raises(IdempotencyConflict):
        await commit(queue, request(app), "key")
    with pytest.raises(RequestError, match="there is no"):
        await commit(queue, request("no such queue"))
    with pytest.raises(RequestError, match="has no function 'no such task'; known functions: "):
        await commit(queue, request(app, function_id="no such task"))
    assert [each.id for each in await queue.cancellations.list()] == [first.id]


@like_every_queue
async def test_a_stop_spares_what_was_not_reached(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    await bed.enqueue(payloads(range(30)))
    app = await app_of(engine)
    committed = await commit(queue, request(app, rate=8))
    step = await engine.ledger.sweep(app, committed.id, 7)
    assert (step.cancelled, step.idle) == (2, True), "a quarter of a second's"
    stopped = await queue.cancellations.stop(committed.id, author="tester")
    assert (stopped.state, stopped.cancelled) == (State.STOPPED, 2)
    assert (await engine.ledger.sweep(app, committed.id, 7)).state == State.STOPPED
    async with bed.worker(concurrency=4):

        async def done() -> bool:
            return len(await started(outside)) >= 28

        await eventually(done, "the others to run")
    assert len(await started(outside)) == 28


@like_every_queue
async def test_a_stop_does_not_wait_for_a_look_at_the_backlog(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    await bed.enqueue(payloads(range(3)))
    app = await app_of(engine)
    committed = await commit(queue, request(app, if_=ACME))
    table = await outside.fetchval(engine.installation.each("table")[0])
    async with outside.transaction():
        await outside.execute(f"lock table {table} in access exclusive mode")
        looking = asyncio.create_task(queue.cancellations.wait(committed.id))

        async def held_up() -> bool:
            waiting = (
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            return bool(await outside.fetchval(waiting))

        await eventually(held_up, "the look to be held up")
        assert (await queue.cancellations.stop(committed.id, author="tester")).state == State.STOPPED
    assert (await looking).cancelled == 0


@like_every_queue
async def test_a_standing_one_cancels_what_arrives(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    [run] = await bed.enqueue([{"number": 0, "vendor": "acme"}])
    app = await app_of(engine)
    until = await engine.clock() + HOUR
    committed = await commit(queue, request(app, if_=ACME, standing=True, started_before=until.isoformat()))
    await queue.cancellations.wait(committed.id, until_idle=True)
    [arrived] = await bed.enqueue([{"number": 3, "vendor": "acme"}])
    # It looks again some seconds later, which nobody has to wait for here.
    brought_forward = await outside.execute("update secateur.sweeps set next_at = now() where next_at is not null")
    assert brought_forward == "UPDATE 1"
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())

    async def reached() -> bool:
        return not await statuses(engine, [run, arrived]) & WAITING

    await eventually(reached, "the sweep to come round")
    sweeping.cancel()
    assert (await queue.cancellations.get(committed.id)).state == State.ACTIVE


@only_on_procrastinate("the pause between two passes is the ledger's")
async def test_a_clock_that_was_set_back_does_not_hold_up_the_next_pass(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    """Without a gate, what arrives is cancelled by the sweep alone."""
    await bed.enqueue([{"number": 0, "vendor": "acme"}])
    app = await app_of(engine)
    until = await engine.clock() + 5 * HOUR
    committed = await commit(queue, request(app, if_=ACME, standing=True, started_before=until.isoformat()))
    await queue.cancellations.wait(committed.id, until_idle=True)
    [arrived] = await bed.enqueue([{"number": 3, "vendor": "acme"}])
    await outside.execute(
        "update secateur.sweeps set pass_at = pass_at + '1 h', stepped_at = stepped_at + '1 h',"
        " next_at = next_at + '1 h'"
    )
    await queue.cancellations.wait(committed.id, until_idle=True)
    assert not await statuses(engine, [arrived]) & WAITING


@like_every_queue
async def test_the_killed_sweep_is_finished_by_another(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    runs = await bed.enqueue(payloads(range(60)))
    app = await app_of(engine)
    before = await rows(bed, outside)
    committed = await commit(queue, request(app, rate=40))
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, bed.url, engine.name, str(committed.id)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parent,
    )

    async def begun() -> bool:
        return (await queue.cancellations.get(committed.id)).cancelled >= 10

    await eventually(begun, "the sweep to be in the middle")
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    assert (await queue.cancellations.get(committed.id)).cancelled < 60
    over = await queue.cancellations.wait(committed.id)
    assert (over.state, over.cancelled) == (State.COMPLETE, 60)
    assert not await statuses(engine, runs) & WAITING
    await queue.cancellations.undo(committed.id, author="tester")
    assert (await queue.cancellations.wait(committed.id)).restored == 60
    assert await rows(bed, outside) == before


@asynccontextmanager
async def locked(engine: ForeignEngine, outside: asyncpg.Connection, run: str) -> AsyncIterator[str]:
    """Somebody else has locked the run; gives what is said of it."""
    async with outside.transaction():
        for sql in engine.installation.each("lock"):
            await outside.fetch(sql, [run])
        yield f"run {run} is locked by process {outside.get_server_pid()}"


async def waits(connection: asyncpg.Connection, process: int) -> bool:
    waiting: bool = await connection.fetchval("select pg_blocking_pids($1) <> '{}'", process)
    return waiting


@only_on_procrastinate("the locks of rows are the same for every queue")
async def test_the_holder_is_named_and_not_who_waits_in_front(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection, empty_database_url: str
) -> None:
    [run] = await bed.enqueue(payloads([0]), delay=HOUR)
    in_front = await asyncpg.connect(empty_database_url)
    [lock] = engine.installation.each("lock")
    async with locked(engine, outside, run) as said:
        waiting = asyncio.create_task(in_front.fetch(lock, [run]))
        await eventually(lambda: waits(outside, in_front.get_server_pid()), "the other one to wait")
        with pytest.raises(LockUnavailable, match=re.escape(f"{said} (")):
            await queue.cancellations.cancel_run(run, author="tester", source="python")
    await waiting
    await in_front.close()


async def test_a_run_that_somebody_has_locked_holds_up_no_other(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    """A sweep and a restore pass over it, say who has it, and come back to it."""
    runs = await bed.enqueue(payloads([0] * 9), delay=HOUR)
    app = await app_of(engine)
    made = await commit(queue, request(app))

    async def held_up(step: Callable[[str, UUID, int], Awaitable[SweepStep]]) -> str:
        while (done := await step(app, made.id, 4)).held_up is None:
            assert (done.state in OPEN, done.busy) == (True, False)
        return done.held_up

    async with locked(engine, outside, runs[3]) as said:
        assert (await held_up(engine.ledger.sweep)).startswith(said)
        assert [run.id for run in await left(engine, runs) if run.status in WAITING] == [runs[3]]
    done = await queue.cancellations.wait(made.id)
    assert (done.state, done.cancelled) == (State.COMPLETE, 9)
    await queue.cancellations.undo(made.id, author="tester", source="python")
    if await left(engine, runs):  # some delete what they cancel
        async with locked(engine, outside, runs[3]) as said:
            assert (await held_up(engine.ledger.restore)).startswith(said)
            assert [run.id for run in await left(engine, runs) if run.status not in WAITING] == [runs[3]]
    assert (await queue.cancellations.wait(made.id)).restored == 9
    assert await statuses(engine, runs) <= WAITING


@only_on_procrastinate("the record is the same for every queue")
async def test_who_holds_up_a_sweep_is_in_its_record(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    first, second = await bed.enqueue(payloads([0] * 2), delay=HOUR)
    made = await commit(queue, request(await app_of(engine)))
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())
    try:
        async with locked(engine, outside, first) as said:

            async def told() -> bool:
                now = await queue.cancellations.get(made.id)
                problems = (await engine.ledger.activity()).problems
                return now.failures > 1 and said in str(now.last_error) and said in str(problems)

            await eventually(told, "the holder to be named")
            assert await statuses(engine, [second]) == {"cancelled"}
            with pytest.raises(LockUnavailable, match=f"locked by process {outside.get_server_pid()}"):
                await queue.cancellations.cancel_run(first, author="tester", source="python")

        async def complete() -> bool:
            now = await queue.cancellations.get(made.id)
            return (now.state, now.failures, now.last_error) == (State.COMPLETE, 0, None)

        await eventually(complete, "the sweep to go on")
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


@only_on_procrastinate("transactions are the same for every queue")
async def test_it_is_not_complete_while_an_older_transaction_may_insert_a_job(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, empty_database_url: str
) -> None:
    """A transaction that had written nothing at the commit: its jobs are as old as itself."""
    await bed.enqueue(payloads([0]), delay=HOUR)
    late = (
        "insert into procrastinate_jobs (queue_name, task_name, args, scheduled_at) "
        "values ('default', 'sync', '{}', now())"
    )
    plain, prepared = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    for one in (plain, prepared):
        await one.execute("begin; select now()")
    made = await commit(queue, request(await app_of(engine)))

    async def idle() -> Cancellation:
        while not (step := await engine.ledger.sweep(made.app_id, made.id, 100)).idle:
            assert step.state == State.ACTIVE
        return await queue.cancellations.get(made.id)

    assert (await idle()).cancelled == 1
    await plain.execute(f"{late}; commit")
    assert (await idle()).cancelled == 2
    # Its triggers notify, which no transaction may that is prepared.
    await prepared.execute(f"set local session_replication_role = replica; {late}; prepare transaction 'late'")
    assert (await idle()).cancelled == 2
    await prepared.execute("commit prepared 'late'")
    done = await queue.cancellations.wait(made.id)
    assert (done.state, done.cancelled) == (State.COMPLETE, 3)
    for one in (plain, prepared):
        await one.close()


async def test_one_that_changes_meanwhile_is_decided_as_it_is_then(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    """Somebody cancels a run after the sweep has found it, and before the sweep has reached it."""
    runs = await bed.enqueue([{"number": number} for number in range(10)], delay=HOUR)
    app = await app_of(engine)
    committed = await commit(queue, request(app))
    assert (await engine.ledger.sweep(app, committed.id, 4)).cancelled == 4
    [theirs] = [run.id for run in await left(engine, runs) if run.status in WAITING][-1:]
    await bed.cancel(theirs)
    if await statuses(engine, [theirs]) & WAITING:
        pytest.skip(f"{bed.engine} has no cancel of its own")
    over = await queue.cancellations.wait(committed.id)
    assert (over.state, over.cancelled) == (State.COMPLETE, 9)
    await queue.cancellations.undo(committed.id, author="tester")
    assert (await queue.cancellations.wait(committed.id)).restored == 9
    assert await bed.state(theirs) is None or not await statuses(engine, [theirs]) & WAITING


async def test_a_role_without_the_engines_rights_is_told(
    bed: Bed, engine: ForeignEngine, watcher_url: str, outside: asyncpg.Connection
) -> None:
    await bed.enqueue(payloads(range(3)))
    app = await app_of(engine)
    await outside.execute("grant secateur_operator to secateur_watcher")
    async with Database.connect(watcher_url) as database:
        queue = OpenQueue.over(await open_engine(database, name=engine.name))
        assert queue.cancellations.can_cancel
        assert await queue.cancellations.only_reads() == "role secateur_watcher"
        for _ in range(2):
            with pytest.raises(PermissionDenied, match="docs/engines"):
                await commit(queue, request(app))
    async with Database.connect(bed.url, read_only=True) as database:
        queue = OpenQueue.over(await open_engine(database, name=engine.name), read_only=True)
        with pytest.raises(ReadOnly):
            await commit(queue, request(app))
        assert await queue.cancellations.list() == []


@like_every_queue
async def test_secateurs_own_queue_does_not_see_them(bed: Bed, engine: ForeignEngine, queue: OpenQueue) -> None:
    await bed.enqueue(payloads(range(3)))
    app = await app_of(engine)
    committed = await commit(queue, request(app, if_=ACME))
    async with Database.connect(bed.url) as database:
        await install(database)
        own = await open_engine(database, name="native")
        native = OpenQueue.over(own)
        assert await native.cancellations.list() == []
        assert await native.cancellations.activity() == type(await native.cancellations.activity())()
        assert await native.reader.depth() == []
        assert not any(each.cancellation_id for each in await native.cancellations.audit())
        with pytest.raises(NotFound):
            await native.cancellations.stop(committed.id, author="tester")
        full = f"{engine.name}/{app}"
        with pytest.raises(RequestError, match="there is no app"):
            await commit(native, request(full))
        with pytest.raises(RequestError, match="another queue"):
            await database.fetch("select secateur.enqueue($1, 'sync', '{\"name\": \"x\"}')", full)
        assert await database.fetchval("select secateur.all_apps()") == []
        assert await database.fetch("select * from secateur.open_cancellations()") == []
    [entry] = [each for each in await queue.cancellations.audit() if each.action == "commit"]
    assert (entry.app_id, entry.cancellation_id) == (app, committed.id)
    assert entry.details["guarantee"] == "swept"
    assert "install" in {each.action for each in await queue.cancellations.audit()}


@like_every_queue
async def test_what_can_no_longer_be_undone_is_forgotten(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    await bed.enqueue(payloads(range(9)))
    app = await app_of(engine)
    committed = await commit(queue, request(app, if_=ACME))
    await queue.cancellations.wait(committed.id)
    assert (await engine.prune(100)).runs == 0
    await queue.controls.set_retention(cancelled=timedelta(0), author="tester", source="python")
    assert (await engine.prune(2)).runs == 2
    assert (await engine.prune(100)).runs == 1
    assert (await queue.cancellations.get(committed.id)).pruned == 3
    assert await outside.fetchval("select count(*) from secateur.preimages") == 0
    with pytest.raises(Conflict, match="can no longer be undone"):
        await queue.cancellations.undo(committed.id, author="tester")


async def sweep(url: str, name: str, cancellation_id: str) -> None:
    async with Database.connect(url) as database:
        queue = OpenQueue.over(await open_engine(database, name=name), batch=4)
        await queue.cancellations.wait(UUID(cancellation_id))


if __name__ == "__main__":
    asyncio.run(sweep(*sys.argv[1:]))
