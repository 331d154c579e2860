"""What does a database cost that nothing has analyzed yet?

A new database has no statistics until autovacuum comes by. Each session here plans its statements while the tables are
almost empty and keeps the plans; then the backlog arrives. A database with statistics takes turns with it.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from benchmarks.bed import Bed, Ground, claim, complete, median_ratio, say, seed, timed
from benchmarks.report import because, goal
from secateur.requests import CancellationRequest

TITLE = "A database that was never analyzed"

FIRST = 1_000
"""Runs in the queue when the statements are planned."""
BACKLOG = 100_000
BATCH = 64
CALLS = 150
WARM_UP = 7
"""Postgres settles for a plan by the sixth execution."""

HEARTBEAT = "select count(*) from secateur.heartbeat('bench', $1, $2, interval '1 minute')"
BEGIN_STEP = "select secateur.begin_step('bench', $1, $2, 'step')"
KNOWN = "select count(*) from pg_statistic where starelid = 'secateur.runs'::regclass"
CANCELLED = "event.data.vendor_id == 'acme'"

WHY = "the planner takes a wrong way into a table that it believes to be empty"


Held = tuple[list[UUID], list[UUID]]
"""Ids and tokens of claimed runs."""


@dataclass(slots=True)
class Times:
    """Seconds of each call, by what it did."""

    calls: dict[str, list[float]] = field(default_factory=dict)

    async def take(self, what: str, action: Callable[[], Awaitable[object]]) -> None:
        self.calls.setdefault(what, []).append(await timed(action))


async def measure(ground: Ground) -> list[str]:
    backlog, calls = ground.scaled(BACKLOG), ground.scaled(CALLS)
    async with ground.bed(analyzed=False) as never, ground.bed() as analyzed:
        found = {bed.url: Times() for bed in (never, analyzed)}
        for bed in (never, analyzed):
            await seed(bed.database, FIRST, analyzed=bed is analyzed)
            for _ in range(WARM_UP):
                await _round(bed, Times())
        for bed in (never, analyzed):
            await seed(bed.database, backlog, analyzed=bed is analyzed)
        for _ in range(calls):
            for bed in (never, analyzed):
                await _round(bed, found[bed.url])
        for bed in (never, analyzed):
            await _sweep(bed, found[bed.url])
        if await never.database.fetchval(KNOWN):
            raise RuntimeError("something analyzed the database that was to be left alone")
    rows, goals = [], []
    for what, seconds in found[never.url].calls.items():
        others = found[analyzed.url].calls[what]
        ratio = median_ratio(seconds, others)
        say(f"{what}: {ratio:.2f}")
        medians = " | ".join(f"{1000 * statistics.median(each):.2f} ms" for each in (seconds, others))
        rows.append(f"| {what} | {medians} | {ratio:.2f} |")
        goals += because(
            goal(f"{what} in a database never analyzed, against one with statistics", ratio, most=1.5), WHY
        )
    return [
        f"### {FIRST:,} runs when the statements were planned, {backlog:,} more since, {calls} calls of {BATCH} runs",
        "",
        "| what | never analyzed | with statistics | ratio |",
        "|:--|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


async def _round(bed: Bed, times: Times) -> None:
    """One batch through the hands of a worker."""
    held: list[Held] = []

    async def ask() -> None:
        held.append(await claim(bed.database, BATCH))

    await times.take("claim", ask)
    ids, tokens = held[0]
    await times.take("begin a step", lambda: bed.database.execute(BEGIN_STEP, ids[0], tokens[0]))
    await times.take("heartbeat", lambda: bed.database.execute(HEARTBEAT, ids, tokens))
    await times.take("complete", lambda: complete(bed.database, (ids, tokens)))


async def _sweep(bed: Bed, times: Times) -> None:
    request = CancellationRequest.parse({"app_id": "bench", "if": CANCELLED})
    committed = await bed.cancellations.commit(request, author="bench", source="python")

    async def sweep() -> None:
        step = await bed.engine.ledger.sweep("bench", committed.id, 10_000)
        while step.state == "active" and not step.idle:
            step = await bed.engine.ledger.sweep("bench", committed.id, 10_000)

    await times.take("sweep", sweep)
