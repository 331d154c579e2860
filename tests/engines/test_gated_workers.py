"""Under the gate of every queue of others that can have one, its own workers start nothing that a commit matched.

`SECATEUR_RACED_COMMITS` sets how many commits are raced in each; `make gates` has a thousand.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from beds import Bed, every_bed

from patience import eventually
from secateur.engines.foreign.engine import ForeignEngine
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.gating import PIECES, GateKeeper
from secateur.engines.foreign.installation import Installation, quoted
from secateur.engines.loading import open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.requests import CancellationRequest

SWEEPER = Path(__file__).with_name("test_cancelling.py")

COMMITS = int(os.environ.get("SECATEUR_RACED_COMMITS", "4"))

MOST_OPEN = 10
"""With more active cancellations the race would be about something else, and an app may have 200."""

pytestmark = pytest.mark.timeout(300 + COMMITS * 3)


@pytest.fixture(autouse=True)
def _gated(request: pytest.FixtureRequest) -> None:
    """Before anything is installed. test_gates.py sees a gate on an older Postgres."""
    kind: type[Bed] = request.node.callspec.params["bed"]
    if request.node.callspec.params["postgres_server"] != "embedded":
        pytest.skip("one Postgres is enough for every engine's claims")
    if not engine_files()[kind.engine].statements.keys() >= PIECES:
        pytest.skip(f"claims of {kind.engine} cannot be gated")
    usual = next(each for each in every_bed() if each.engine == kind.engine)
    if kind is not usual and not request.node.name.startswith("test_what_the_gate_takes"):
        pytest.skip("one installation of each engine is enough for races")


@pytest.fixture
async def engine(installed: Installation, keeper: GateKeeper, database: Database) -> ForeignEngine:
    engine = await open_engine(database, name=installed.name)
    assert isinstance(engine, ForeignEngine)
    return engine


@pytest.fixture
def queue(engine: ForeignEngine) -> OpenQueue:
    return OpenQueue.over(engine, batch=7)


def payloads(numbers: Iterable[int], vendor: str) -> list[dict[str, Any]]:
    return [{"number": number, "vendor": vendor} for number in numbers]


async def app_of(engine: ForeignEngine) -> str:
    """What the engine calls the queue `default`. DBOS takes a workflow that it cancels off its queue, to `-`."""
    [app] = {each.app_id for each in await engine.depth()}
    return str(app)


async def commit(queue: OpenQueue, app: str, vendor: str) -> Cancellation:
    wanted = CancellationRequest.parse({"app_id": app, "reason": vendor, "if": f"event.data.vendor == '{vendor}'"})
    return await queue.cancellations.commit(wanted, author="tester", source="python")


async def ran(outside: asyncpg.Connection, what: str) -> list[int]:
    return sorted(row["number"] for row in await outside.fetch("select number from bed_ran where what = $1", what))


async def until_ended(outside: asyncpg.Connection, numbers: Iterable[int]) -> None:
    wanted = set(numbers)

    async def ended() -> bool:
        return set(await ran(outside, "end")) >= wanted

    await eventually(ended, "the other jobs to run")


async def rows(bed: Bed, outside: asyncpg.Connection) -> set[str]:
    """Of the engine's main table, to the last column."""
    name = f"{quoted(bed.schema)}.{quoted(bed.tables[0])}"
    return {row[0] for row in await outside.fetch(f"select each::text from {name} as each")}


async def test_what_the_gate_takes_never_starts_and_comes_back_as_it_was(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    """Without a sweep: only the claims themselves can have met it."""
    unwanted = await bed.enqueue(payloads(range(4), "acme"))
    await require_columns_of_the_source(engine, outside)
    before = await rows(bed, outside)
    await bed.enqueue(payloads(range(4, 10), "globex"))
    cancellation = await commit(queue, await app_of(engine), "acme")
    assert cancellation.guarantee == "in_force"
    async with bed.worker(concurrency=2):
        await until_ended(outside, range(4, 10))

        async def all_met() -> bool:
            return bool(await outside.fetchval("select count(*) = 4 from secateur.preimages where taken_by = 'gate'"))

        await eventually(all_met, "the gate to meet each of them")
    assert await ran(outside, "start") == list(range(4, 10))
    assert [await engine.run(each) for each in unwanted if (await engine.run(each)).status != "cancelled"] == []
    own = await bed.state(await cancelled_by_itself(bed))
    # pgqueuer's own cancel deletes the job: see its page.
    assert {await bed.state(each) for each in unwanted} == {own or "canceled"}
    done = await queue.cancellations.wait(cancellation.id)
    assert (done.state, done.cancelled) == ("complete", 4)
    await queue.cancellations.undo(cancellation.id, author="tester")
    assert (await queue.cancellations.wait(cancellation.id)).restored == 4
    assert before - await rows(bed, outside) == set()
    async with bed.worker(concurrency=2):
        await until_ended(outside, range(4))
    assert await ran(outside, "start") == list(range(10))
    assert await failures(outside) == 0


async def require_columns_of_the_source(engine: ForeignEngine, outside: asyncpg.Connection) -> None:
    """What the gate takes of a row is what everything else reads of it."""
    here = engine.installation
    if "gate_columns" not in here.file.statements:
        return
    columns = ("app_id", "function_id", "id", "name", "data", "started_at", "priority")
    of_rows = f"(select {here.sql('gate_columns')} from {here.sql('gate_table')} as old) as run ({', '.join(columns)})"
    by_row = {row["id"]: dict(row) for row in await outside.fetch(f"select {', '.join(columns)} from {of_rows}")}
    by_source = {
        row["id"]: dict(row) for row in await outside.fetch(f"select {', '.join(columns)} from {runs_of(engine)}")
    }
    assert by_row.keys() == by_source.keys() != set()
    # It may leave out the start, which the function asks for then.
    assert {
        id: by_source[id] | {k: v for k, v in row.items() if (k, v) != ("started_at", None)}
        for id, row in by_row.items()
    } == by_source


async def cancelled_by_itself(bed: Bed) -> str:
    """A run that the engine's own API has cancelled."""
    [run] = await bed.enqueue(payloads([99], "globex"))
    await bed.cancel(run)
    return run


async def failures(outside: asyncpg.Connection) -> int:
    """Claims that the gate let through since something failed."""
    count: int = await outside.fetchval("select count(*) from secateur.gate_failures")
    return count


async def waiting(engine: ForeignEngine, outside: asyncpg.Connection, cancellation: Cancellation) -> set[int]:
    """The jobs of its window that no worker has, and those that had none when they were cancelled."""
    found = await outside.fetch(
        f"select (run.data ->> 'number')::bigint as number from {runs_of(engine)}"
        " where run.data ->> 'vendor' = $1 and run.started_at < $2"
        "   and (run.status in ('queued', 'scheduled')"
        "        or exists (select from secateur.preimages as kept"
        "                    where kept.job_id = run.id and not kept.was_running))",
        cancellation.reason,
        cancellation.started_before,
    )
    return {row["number"] for row in found}


def runs_of(engine: ForeignEngine) -> str:
    return engine.installation.source.replace("{sampled}", "") + " as run"


async def arriving(engine: ForeignEngine, outside: asyncpg.Connection, vendor: str) -> bool:
    sql = f"select exists (select from {runs_of(engine)} where run.data ->> 'vendor' = $1)"
    return bool(await outside.fetchval(sql, vendor))


async def has_begun(outside: asyncpg.Connection, number: int) -> bool:
    return bool(await outside.fetchval("select exists (select from bed_ran where number >= $1)", number))


async def few_are_active(outside: asyncpg.Connection) -> bool:
    sql = "select count(*) <= $1 from secateur.cancellations where state = 'active'"
    return bool(await outside.fetchval(sql, MOST_OPEN))


async def test_raced_commits(bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection) -> None:
    """What waits when a commit has returned never starts, however close a claim was."""
    size = 40
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())
    waited: set[int] = set()
    pending = 0
    async with bed.worker(concurrency=5), bed.worker(concurrency=5):
        # Both are at work before the first commit.
        await bed.enqueue(payloads([-1, -2], "nobody"))
        await until_ended(outside, [-1, -2])
        await bed.enqueue(payloads([-3], "nobody"), delay=timedelta(hours=1))
        app = await app_of(engine)
        for nth in range(COMMITS):
            vendor = f"v{nth}"

            jobs = payloads(range(nth * size, (nth + 1) * size), vendor)
            enqueuing = asyncio.create_task(bed.enqueue([{**job, "seconds": 0.1 * random.random()} for job in jobs]))
            await eventually(partial(arriving, engine, outside, vendor), "jobs to come")
            if nth % 2:
                first = partial(has_begun, outside, nth * size)
                await eventually(first, "the first to start")
            cancellation = await commit(queue, app, vendor)
            if cancellation.is_pending:
                pending += 1
            else:
                waited |= await waiting(engine, outside, cancellation)
            await enqueuing
            await eventually(partial(few_are_active, outside), "the sweeper to keep up")
        await bed.enqueue(payloads([-4], "nobody"))
        await until_ended(outside, [-4])
    sweeping.cancel()
    started = set(await ran(outside, "start"))
    by_gate = await outside.fetchval("select count(*) from secateur.preimages where taken_by = 'gate'")
    print(
        f"{bed.engine}: {COMMITS} commits, {pending} pending; of {COMMITS * size} jobs {len(waited)} waited,"
        f" {len(started - {-1, -2, -4})} started, {by_gate} taken by the gate; {len(waited & started)} violations"
    )
    assert waited & started == set()
    assert waited
    assert pending <= COMMITS / 2
    assert await failures(outside) == 0


async def test_the_killed_leave_nothing_half_done(
    bed: Bed, engine: ForeignEngine, queue: OpenQueue, outside: asyncpg.Connection
) -> None:
    """A worker and the process that sweeps are killed while the gate cancels; others go on."""
    await bed.enqueue(payloads(range(30), "acme"))
    cancellation = await commit(queue, await app_of(engine), "acme")

    async def begun() -> bool:
        return bool(await outside.fetchval("select count(*) from secateur.preimages"))

    with pytest.raises(AssertionError, match="the worker ended"):
        async with bed.worker(concurrency=2) as worker:
            sweeper = await asyncio.create_subprocess_exec(
                *(sys.executable, str(SWEEPER), bed.url, engine.name, str(cancellation.id)),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                cwd=SWEEPER.parent,
            )
            await eventually(begun, "one to be cancelled")
            sweeper.kill()
            worker.kill()
            await asyncio.to_thread(worker.wait)
    await sweeper.wait()
    await bed.enqueue(payloads([40], "globex"))
    async with bed.worker(concurrency=2):
        done = await queue.cancellations.wait(cancellation.id)
        await until_ended(outside, [40])
    assert (done.state, done.cancelled) == ("complete", 30)
    assert await ran(outside, "start") == [40]
    assert await outside.fetchval("select count(distinct job_id) = 30 and count(*) = 30 from secateur.preimages")
