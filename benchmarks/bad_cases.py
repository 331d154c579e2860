"""The cases that make other queues in Postgres slow: what do they cost a claim?

Each disturbed queue takes turns with one that is the same but for the disturbance.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from benchmarks.bed import Bed, Ground, claim, complete, say, seed, timed
from benchmarks.report import because, goal
from secateur.database import Database
from secateur.requests import CancellationRequest

TITLE = "Claims in the known bad cases"

LIVE = 60_000
DRAINED = 200_000
LATER = 300_000
DOOMED = 90_000
BATCH = 10
CLAIMS = 60
WALKS = 3
"""How often the walk through cancelled runs is tried, each time in a queue of its own."""

WHY_SNAPSHOT = "the claim walks over index entries of drained runs, which nobody may remove while the snapshot is open"
WHY_LATER = "not known"

LATER_RUNS = """
select count(*) from secateur.enqueue_many(
  'bench', 'f0', array(select '{"data": {"vendor_id": "later"}}'::jsonb from generate_series(1, $1)),
  array(select clock_timestamp() + interval '1 day' from generate_series(1, $1)),
  array(select 100 from generate_series(1, $1)))
"""

DOOMED_RUNS = """
select count(*) from secateur.enqueue_many(
  $1, 'f0', array(select jsonb_build_object('data', jsonb_build_object('vendor_id', $3::text, 'pad', repeat('x', 150)))
                    from generate_series(1, $2)))
"""


async def measure(ground: Ground) -> list[str]:
    rows, goals = [], []
    async with _pair(ground, LIVE + DRAINED, LIVE) as (disturbed, plain):
        async with _open_snapshot(disturbed):
            say(f"draining {DRAINED:,} runs under an open snapshot")
            await _drain(disturbed.database, DRAINED)
            held = await _in_turns(disturbed, plain)
        rows.append(_row(f"a snapshot open since before the last {DRAINED:,} runs were drained", *held))
        goals += because(
            goal("claim under an old snapshot, against undisturbed", held[0] / held[1], most=2), WHY_SNAPSHOT
        )
    async with _pair(ground, LIVE, LIVE) as (disturbed, plain):
        await disturbed.database.execute(LATER_RUNS, LATER)
        await disturbed.database.execute("vacuum (analyze) secateur.runs")
        held = await _in_turns(disturbed, plain)
        rows.append(_row(f"{LATER:,} runs due later, of a higher priority", *held))
        goals += because(goal("claim beside runs due later, against undisturbed", held[0] / held[1], most=2), WHY_LATER)
    walks = []
    async with ground.bed() as bed:
        for place in range(WALKS):
            walks.append(await _walk(bed, f"walk{place}"))
            say(f"walk {place + 1}: {walks[-1][0]:.2f} s, {walks[-1][1]} empty claims")
    seconds = statistics.median(walk[0] for walk in walks)
    empty = round(statistics.median(walk[1] for walk in walks))
    longest = statistics.median(walk[2] for walk in walks)
    sweep = statistics.median(walk[3] for walk in walks)
    return [
        f"### One claim of {BATCH}, median of {CLAIMS}",
        "",
        "| case | claim | undisturbed | ratio |",
        "|:--|---:|---:|---:|",
        *rows,
        "",
        f"### {DOOMED:,} runs at the head that a committed cancellation matches, before any sweep, median of {WALKS}",
        "",
        "| figure | |",
        "|:--|---:|",
        f"| until the first real run is claimed | {seconds:.2f} s |",
        f"| claims before that brought nothing | {empty} |",
        f"| the longest of them | {1000 * longest:,.0f} ms |",
        f"| sweeping as many runs instead, for comparison | {sweep:.2f} s |",
        "",
        *goals,
    ]


def _row(case: str, disturbed: float, plain: float) -> str:
    return f"| {case} | {1000 * disturbed:.2f} ms | {1000 * plain:.2f} ms | {disturbed / plain:.2f} |"


@asynccontextmanager
async def _pair(ground: Ground, disturbed: int, plain: int) -> AsyncIterator[tuple[Bed, Bed]]:
    """Two queues of one function with that many runs."""
    async with ground.bed() as first, ground.bed() as second:
        await seed(first.database, disturbed, functions=1)
        await seed(second.database, plain, functions=1)
        yield first, second


async def _in_turns(disturbed: Bed, plain: Bed) -> tuple[float, float]:
    """Median seconds of a claim in each queue."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(CLAIMS):
        for bed, seconds in zip((disturbed, plain), found, strict=True):
            seconds.append(await timed(lambda database=bed.database: claim(database, BATCH)))  # type: ignore[misc]
    return statistics.median(found[0]), statistics.median(found[1])


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


async def _walk(bed: Bed, app: str) -> tuple[float, int, float, float]:
    """Seconds and claims until the first real run behind cancelled ones, the longest claim; then a sweep's seconds."""
    await bed.database.execute(DOOMED_RUNS, app, DOOMED, "doomed")
    await bed.database.execute(DOOMED_RUNS, app, 100, "fine")
    await bed.database.execute("vacuum (analyze) secateur.runs")
    request = CancellationRequest.parse({"app_id": app, "if": "event.data.vendor_id == 'doomed'"})
    await bed.cancellations.commit(request, author="bench", source="python")
    claims: list[float] = []
    found = 0
    while not found:
        # Each with the row that says "ask again", as the worker asks.
        async def ask() -> None:
            nonlocal found
            found = await bed.database.fetchval(
                "select count(id) from secateur.claim_batch($1, null, $2, 'bench', interval '1 minute')", app, BATCH
            )

        claims.append(await timed(ask))
    await bed.database.execute(DOOMED_RUNS, app, DOOMED, "swept")
    await bed.database.execute("vacuum (analyze) secateur.runs")
    request = CancellationRequest.parse({"app_id": app, "if": "event.data.vendor_id == 'swept'"})
    committed = await bed.cancellations.commit(request, author="bench", source="python")

    async def sweep() -> None:
        left = DOOMED
        while left > 0:
            left -= (await bed.engine.sweep(committed.id, 10_000)).cancelled

    return sum(claims), len(claims) - 1, max(claims), await timed(sweep)
