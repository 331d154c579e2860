"""What does a gate cost the claims of another engine, by what is active?

The engine's own statements, over one connection to each database, which take turns call by call. The goals are for the
processor time of the connections' backends, in nanoseconds where Linux tells them: it holds on a busy machine, too.
"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from benchmarks.bed import Ground, processor_seconds, say, timed
from benchmarks.report import because, goal
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

TITLE = "Gated claims of other engines"

EQUALITY = "event.data.vendor == 'nobody-{n}'"
COMPLEX = "event.data.amount > {n} + 1000000 || event.data.vendor.startsWith('nobody-{n}')"
GATES: dict[str, tuple[str, int] | None] = {
    "no gate": None,
    "nothing active": (EQUALITY, 0),
    "1 equality": (EQUALITY, 1),
    "10 equalities": (EQUALITY, 10),
    "1 complex": (COMPLEX, 1),
    "10 complex": (COMPLEX, 10),
}
GOALS = {"nothing active": 0.95, "1 equality": 0.92, "1 complex": 0.92, "10 equalities": 0.88, "10 complex": 0.88}
WARM_UP = 20
WHY = {
    "procrastinate": "these jobs do nothing, and each claim pays for the lock, the last change's number and a generated"
    " function",
    "oban": "these jobs do nothing: of such a job's time a row trigger with an empty function takes 4 %, and one whose"
    " condition keeps it from being called 6 %; the first job of a claim pays for the lock",
}
TABLES_OF_OBAN = Path(__file__).parent.parent / "tests" / "engines" / "beds" / "oban_elixir.sql"


@dataclass(frozen=True, slots=True)
class Claims:
    """An engine's own statements, on jobs that its schema holds."""

    engine: str
    batch: int
    calls: int
    seed: str
    """Makes $1 jobs."""
    claim: str
    """Gives ids."""
    finish: str
    """Of the ids $1."""


PROCRASTINATE = Claims(
    "procrastinate",
    1,
    600,
    "insert into procrastinate_jobs (queue_name, task_name, args)"
    " select 'default', 'sync', jsonb_build_object('vendor', 'v' || n, 'amount', n)"
    "   from generate_series(1, $1::int) as n",
    "select id from procrastinate_fetch_job_v2(null, null)",
    "select procrastinate_finish_job_v1(id, 'succeeded', false) from unnest($1::bigint[]) as id",
)
OBAN = Claims(
    "oban",
    20,
    200,
    "insert into oban_jobs (queue, worker, args, state)"
    " select 'default', 'sync', jsonb_build_object('vendor', 'v' || n, 'amount', n), 'available'"
    "   from generate_series(1, $1::int) as n",
    """
    with next as (
      select id from oban_jobs
       where state = 'available' and queue = 'default'
       order by priority, scheduled_at, id
       limit 20
       for update skip locked
    )
    update oban_jobs as job
       set state = 'executing', attempt = job.attempt + 1, attempted_at = timezone('UTC', now()),
           attempted_by = array['bench']
      from next
     where job.id = next.id and job.attempt < job.max_attempts
    returning job.id
    """,
    "update oban_jobs set state = 'completed', completed_at = timezone('UTC', now()) where id = any ($1::bigint[])",
)


@dataclass(slots=True)
class Place:
    """One database, with its gate, and the backend that claims in it."""

    connection: asyncpg.Connection
    pid: int
    claims: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)
    processor: float = 0.0


async def measure(ground: Ground) -> list[str]:
    if find_spec("procrastinate") is None:
        return ["The package procrastinate is not installed, so nothing is measured."]
    lines = [
        "### One connection, the median call, by what is active and matches nothing claimed",
        "",
        "| claims of | gate | claim | against none | claim and complete, jobs/s | against none | CPU a job, both "
        "| against none |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    goals: list[str] = []
    for claims in (PROCRASTINATE, OBAN):
        found = await _in_turns(ground, claims)
        none = found["no gate"]
        for name, place in found.items():
            claim, both = statistics.median(place.claims), statistics.median(place.both)
            ratios = [statistics.median(none.claims) / claim, statistics.median(none.both) / both]
            jobs = claims.batch * len(place.claims)
            processor = 1_000_000 * place.processor / jobs
            saved = none.processor / place.processor
            say(f"{claims.engine}, {name}: {ratios[0]:.2f}, {ratios[1]:.2f}, {processor:.0f} µs, {saved:.2f}")
            lines.append(
                f"| {claims.engine}, {claims.batch} | {name} | {1000 * claim:.2f} ms | {ratios[0]:.2f} "
                f"| {claims.batch / both:,.0f} | {ratios[1]:.2f} | {processor:.0f} µs | {saved:.2f} |"
            )
            if name in GOALS:
                what = (
                    f"{claims.engine}: claims of {claims.batch} and their completion a second of processor time, {name}"
                )
                goals += because(goal(what, saved, least=GOALS[name]), WHY[claims.engine])
    return [*lines, "", *goals]


async def _in_turns(ground: Ground, claims: Claims) -> dict[str, Place]:
    """A database for each gate. They take turns call by call, so that whatever else the machine does meets them all."""
    calls = ground.scaled(claims.calls)
    async with AsyncExitStack() as stack:
        found = {}
        for name, gate in GATES.items():
            url = await stack.enter_async_context(ground.empty())
            await _prepare(url, claims, gate, claims.batch * (WARM_UP + calls))
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            found[name] = Place(connection, connection.get_server_pid())
        for place in found.values():
            for _ in range(WARM_UP):
                await _claim_and_finish(place, claims)
            place.claims.clear()
            place.both.clear()
        begun = {place.pid: _processor(place.pid) for place in found.values()}
        turns = list(found.values())
        for _ in range(calls):
            for place in turns:
                await _claim_and_finish(place, claims)
            turns.append(turns.pop(0))
        for place in found.values():
            place.processor = _processor(place.pid) - begun[place.pid]
        return found


def _processor(pid: int) -> float:
    """Seconds of a process with one thread."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return processor_seconds([pid])[pid]


async def _prepare(url: str, claims: Claims, gate: tuple[str, int] | None, jobs: int) -> None:
    async with Database.connect(url) as database:
        await database.execute(_schema(claims))
        await database.execute(claims.seed, jobs)
        await database.execute("vacuum analyze")
        if gate is None:
            return
        installation = await find_installation(database, claims.engine)
        await install_queue(database, installation, author="bench")
        await GateKeeper(database, installation).install("bench")
        queue = OpenQueue.over(await open_engine(database, name=claims.engine))
        condition, active = gate
        for n in range(active):
            request = CancellationRequest.parse({"app_id": "default", "if": condition.replace("{n}", str(n))})
            await queue.cancellations.commit(request, author="bench", source="python")


def _schema(claims: Claims) -> str:
    if claims is OBAN:
        return TABLES_OF_OBAN.read_text(encoding="utf-8")
    from procrastinate.schema import SchemaManager

    return SchemaManager.get_schema()


async def _claim_and_finish(place: Place, claims: Claims) -> None:
    held: list[int] = []

    async def claim() -> None:
        held.extend(row["id"] for row in await place.connection.fetch(claims.claim))

    seconds = await timed(claim)
    assert len(held) == claims.batch
    place.claims.append(seconds)
    place.both.append(seconds + await timed(lambda: place.connection.execute(claims.finish, held)))
