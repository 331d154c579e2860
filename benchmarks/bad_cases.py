"""The cases that make other queues in Postgres slow: what do they cost a claim?

Each disturbed queue takes turns with one that is the same but for the disturbance.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from benchmarks.bed import Bed, Ground, claim, complete, quantile, say, seed, timed
from benchmarks.report import because, goal
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.requests import CancellationRequest

TITLE = "Claims in the known bad cases"

LIVE = 60_000
DRAINED = 200_000
LATER = 300_000
DOOMED = 90_000
BATCH = 10
CLAIMS = 200
WALKS = 3
"""How often the walk through cancelled runs is tried, each time in a queue of its own."""

WHY_SNAPSHOT = (
    "dead entries that nobody may remove while the snapshot is open lie between the level's floor and its runs"
)
WHY_LATER = "a claim looks into the index of scheduled runs, which is larger"
WHY_DOOMED = "each claim evaluates what it passes over, and ends after 40 ms so that nobody waits for its lock"

LATER_RUNS = """
select count(*) from secateur.enqueue_many(
  'bench', 'f0', array(select '{"data": {"vendor_id": "later"}}'::jsonb from generate_series(1, $1)),
  array(select clock_timestamp() + interval '1 day' from generate_series(1, $1)),
  array(select 100 from generate_series(1, $1)))
"""

VENDOR_RUNS = """
select count(*) from secateur.enqueue_many(
  $1, 'f0', array(select jsonb_build_object('data', jsonb_build_object('vendor_id', $3::text, 'pad', repeat('x', 150)))
                    from generate_series(1, $2)))
"""


@dataclass(slots=True)
class Walk:
    """Claims from the head of a queue that begins with cancelled runs; seconds."""

    claims: list[float]
    """One by one, until as many brought something as there are to be."""
    until_found: float
    empty: int
    """Claims before the first that brought something."""
    sweep: float
    """Of sweeping as many runs instead."""


async def measure(ground: Ground) -> list[str]:
    rows, goals = [], []
    claims, live, drained, later = (ground.scaled(number) for number in (CLAIMS, LIVE, DRAINED, LATER))
    async with _pair(ground, live + drained, live) as (disturbed, plain), _open_snapshot(disturbed):
        say(f"draining {drained:,} runs under an open snapshot")
        await _drain(disturbed.database, drained)
        held = await _in_turns(disturbed, plain, claims)
    rows.append(_row(f"a snapshot open since before the last {drained:,} runs were drained", *held))
    goals += _goal("claim p50 under an old snapshot, against undisturbed", *held, WHY_SNAPSHOT)
    async with _pair(ground, live, live) as (disturbed, plain):
        await disturbed.database.execute(LATER_RUNS, later)
        await disturbed.database.execute("vacuum (analyze) secateur.runs")
        held = await _in_turns(disturbed, plain, claims)
    rows.append(_row(f"{later:,} runs due later, of a higher priority", *held))
    goals += _goal("claim p50 beside runs due later, against undisturbed", *held, WHY_LATER)
    walks = []
    doomed = ground.scaled(DOOMED)
    async with ground.bed() as bed:
        for place in range(ground.scaled(WALKS)):
            walks.append(await _walk(bed, f"walk{place}", doomed, claims))
            say(f"walk {place + 1}: {walks[-1].until_found:.2f} s, {walks[-1].empty} empty claims")
    rows.append(_row(f"{doomed:,} cancelled runs at the head, before any sweep", _all(walks), held[1]))
    found = statistics.median(walk.until_found for walk in walks)
    goals += because(goal(f"first real run behind {doomed:,} cancelled ones", found, " s", most=1), WHY_DOOMED)
    return [
        f"### One claim of {BATCH}, {claims} of them (of the last case {claims} that brought runs, and all before)",
        "",
        "| case | p50 | p99 | undisturbed p50 | p99 | p50 against undisturbed |",
        "|:--|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"### {doomed:,} runs at the head that a cancellation matches, before any sweep, median of {len(walks)}",
        "",
        "| figure | |",
        "|:--|---:|",
        f"| until the first real run is claimed | {found:.2f} s |",
        f"| claims before that brought nothing | {statistics.median(walk.empty for walk in walks):.0f} |",
        f"| the longest of all claims | {1000 * max(_all(walks)):,.0f} ms |",
        f"| sweeping as many runs instead, for comparison | {statistics.median(walk.sweep for walk in walks):.2f} s |",
        "",
        *goals,
    ]


def _all(walks: list[Walk]) -> list[float]:
    return [seconds for walk in walks for seconds in walk.claims]


def _row(case: str, disturbed: list[float], plain: list[float]) -> str:
    cells = [quantile(seconds, share) for seconds in (disturbed, plain) for share in (0.5, 0.99)]
    return f"| {case} | {' | '.join(f'{cell:.2f} ms' for cell in cells)} | {cells[0] / cells[2]:.2f} |"


def _goal(what: str, disturbed: list[float], plain: list[float], why: str) -> list[str]:
    return because(goal(what, quantile(disturbed, 0.5) / quantile(plain, 0.5), most=2), why)


@asynccontextmanager
async def _pair(ground: Ground, disturbed: int, plain: int) -> AsyncIterator[tuple[Bed, Bed]]:
    """Two queues of one function with that many runs."""
    async with ground.bed() as first, ground.bed() as second:
        await seed(first.database, disturbed, functions=1)
        await seed(second.database, plain, functions=1)
        yield first, second


async def _in_turns(disturbed: Bed, plain: Bed, claims: int) -> tuple[list[float], list[float]]:
    """Seconds of each claim in each queue."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(claims):
        for bed, seconds in zip((disturbed, plain), found, strict=True):
            seconds.append(await timed(lambda database=bed.database: claim(database, BATCH)))  # type: ignore[misc]
    return found


@asynccontextmanager
async def _open_snapshot(bed: Bed) -> AsyncIterator[None]:
    connection = await asyncpg.connect(bed.url)
    try:
        await connection.execute("begin isolation level repeatable read; select count(*) from secateur.apps")
        yield
    finally:
        connection.terminate()


async def _drain(database: Database, runs: int) -> None:
    drained = 0
    while drained < runs:
        held = await claim(database, min(1000, runs - drained))
        await complete(database, held)
        drained += len(held[0])


async def _walk(bed: Bed, app: str, doomed: int, claims: int) -> Walk:
    await bed.database.execute(VENDOR_RUNS, app, doomed, "doomed")
    await bed.database.execute(VENDOR_RUNS, app, claims * BATCH, "fine")
    await bed.database.execute("vacuum (analyze) secateur.runs")
    await _cancel(bed, app, "doomed")
    brought: list[int] = []
    seconds: list[float] = []

    async def ask() -> None:
        # With the row that says "ask again", as the worker asks.
        brought.append(
            await bed.database.fetchval(
                "select count(id) from secateur.claim_batch($1, null, $2, 'bench', interval '1 minute')", app, BATCH
            )
        )

    while sum(brought) < claims * BATCH:
        seconds.append(await timed(ask))
    first = next(place for place, count in enumerate(brought) if count)
    await bed.database.execute(VENDOR_RUNS, app, doomed, "swept")
    await bed.database.execute("vacuum (analyze) secateur.runs")
    committed = (await _cancel(bed, app, "swept")).id

    async def sweep() -> None:
        left = doomed
        while left > 0:
            left -= (await bed.engine.ledger.sweep(app, committed, 10_000)).cancelled

    return Walk(seconds, sum(seconds[: first + 1]), first, await timed(sweep))


async def _cancel(bed: Bed, app: str, vendor: str) -> Cancellation:
    request = CancellationRequest.parse({"app_id": app, "if": f"event.data.vendor_id == '{vendor}'"})
    return await bed.cancellations.commit(request, author="bench", source="python")
