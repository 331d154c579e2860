"""Conditions that take long, in a queue of others: they hold up no claim and no stop, and count in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from beds.procrastinate import Procrastinate
from test_gates import commit

from patience import eventually
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.rules import JobRule
from secateur.engines.foreign.slow_jobs import SlowJobs
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("bed", [Procrastinate], indirect=True),
    pytest.mark.every_postgres,
]

SLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "loops": (
        "event.data.t.exists(a, event.data.l.exists(b, a == b))",
        {"t": list(range(3000)), "l": list(range(10_000, 20_000))},
    ),
    "a pattern in a long text": ("event.data.text.matches('(.*a){20}b')", {"text": "a" * 500_000}),
}


@asynccontextmanager
async def swept(queue: OpenQueue) -> AsyncIterator[None]:
    sweeping = asyncio.create_task(queue.cancellations.sweep_forever())
    try:
        yield
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)


async def claim(database: Database) -> str | None:
    """The arguments of the next job that the engine's own statement claims, in less time than a commit waits."""
    async with database.transaction(timeout=5) as connection:
        row = await connection.fetchrow("select args::text from procrastinate_fetch_job_v2(null, null)")
    return None if row is None else row["args"]


@pytest.mark.parametrize("kind", SLOW)
async def test_a_claim_leaves_what_takes_long_and_a_stop_goes_through(
    bed: Procrastinate, keeper: GateKeeper, database: Database, kind: str
) -> None:
    condition, data = SLOW[kind]
    await bed.enqueue([data] * 3)
    queue, made = await commit(database, **{"if": condition})
    assert [await claim(database) for _ in range(3)] == [None] * 3
    held_back = (await queue.cancellations.get(made.id)).undecided
    assert held_back == 1  # the engine asks for one, and always for the first one
    assert (await queue.cancellations.stop(made.id, author="tester", source="python")).state == "stopped"
    assert await claim(database) is not None


SOME = list(range(60))
LIST = list(range(18_000, 20_000))
MATCHES, MATCHES_NOT = {"t": [*SOME, LIST[-1]], "l": LIST}, {"t": SOME, "l": LIST}


@pytest.mark.one_postgres
@pytest.mark.parametrize(("gate", "resting"), [(True, False), (False, True)], ids=["gated at work", "swept at rest"])
async def test_it_is_decided_in_the_end(
    bed: Procrastinate,
    installed: Installation,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    gate: bool,
    resting: bool,
) -> None:
    """A gate leaves to the sweep what takes long; a sweep, what takes long in a batch."""
    monkeypatch.setattr("secateur.engines.foreign.batches.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("secateur.engines.foreign.slow_jobs.FOR_ONE", 60.0)
    if gate:
        await GateKeeper(database, installed).install("tester")
    jobs = [{"n": n, **data} for n in range(2) for data in (MATCHES, MATCHES_NOT)]
    await bed.enqueue([*jobs, {"n": 9}], delay=timedelta(hours=1) if resting else None)
    queue, made = await commit(database, **{"if": SLOW["loops"][0]})
    async with swept(queue), AsyncExitStack() as work:
        if not resting:
            await work.enter_async_context(bed.worker())

        async def complete() -> bool:
            now = await queue.cancellations.get(made.id)
            return now.state == "complete" and now.undecided == 0

        await eventually(complete, "the cancellation to be complete")
        if not resting:
            await eventually(lambda: over(database), "the others to have run")
    states = await database.fetch(
        "select (args ->> 't' like '%19999%') is true as matches, status::text from procrastinate_jobs"
    )
    assert {row["status"] for row in states if row["matches"]} == {"cancelled"}
    assert {row["status"] for row in states if not row["matches"]} & {"cancelled"} == set()
    assert await database.fetchval("select count(*) from secateur.slow_jobs where verdict is not false") == 0


@pytest.mark.one_postgres
@pytest.mark.parametrize(("seconds", "handed_over"), [(60.0, 1), (0.05, 2)], ids=["decided", "never decided"])
async def test_an_undo_judges_under_no_lock_what_takes_long(
    bed: Procrastinate,
    installed: Installation,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    handed_over: int,
) -> None:
    """Another cancellation's condition says who gets a job. What cannot be decided in any time stays cancelled."""
    monkeypatch.setattr("secateur.engines.foreign.slow_jobs.FOR_ONE", seconds)
    await bed.enqueue([{"n": 1}, MATCHES, {"n": 2}, MATCHES_NOT, {"n": 3}], delay=timedelta(hours=1))
    queue, made = await commit(database, **{"if": "true"})
    await queue.cancellations.wait(made.id)
    _, slow = await commit(database, **{"if": SLOW["loops"][0]})
    await queue.cancellations.wait(slow.id)
    judge, judged = SlowJobs.verdict_of_ended, 0

    async def judge_while_others_commit(self: SlowJobs, rule: JobRule, job_id: str) -> bool | None:
        nonlocal judged
        judged += 1
        _, another = await commit(database, **{"if": "event.data.n == 9"})
        assert (await queue.cancellations.stop(another.id, author="tester", source="python")).state == "stopped"
        return await judge(self, rule, job_id)

    monkeypatch.setattr(SlowJobs, "verdict_of_ended", judge_while_others_commit)
    await queue.cancellations.undo(made.id, author="tester")
    undone = await queue.cancellations.wait(made.id)
    assert (undone.restored, undone.handed_over, judged) == (5 - handed_over, handed_over, 2)
    states = await database.fetch(
        "select args ->> 't' is null as plain, (args ->> 't' like '%19999%') is true as matches, status::text"
        " from procrastinate_jobs"
    )
    assert {row["status"] for row in states if row["plain"]} == {"todo"}
    assert {row["status"] for row in states if row["matches"]} == {"cancelled"}
    await queue.cancellations.undo(slow.id, author="tester")
    assert (await queue.cancellations.wait(slow.id)).restored == handed_over


async def over(database: Database) -> bool:
    return not await database.fetchval(
        "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))"
    )
