"""How fast does a sweep rewrite what a cancellation matches, and an undo restore it, against a bare batched UPDATE?"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from itertools import count
from uuid import UUID, uuid4

from benchmarks.bed import APP, Bed, Ground, median_ratio, say, seed, timed
from benchmarks.report import because, goal
from secateur.ledger.sweeping import SWEEP_BATCH
from secateur.requests import CancellationRequest

TITLE = "Sweep and undo"

ROUNDS = 5
SIZE = 100_000
"""Runs of each function; each round sweeps one and updates another by hand."""

WHY_SWEEP = "a sweep also decides of every run whether it matches and whose it is, and keeps tallies and the depth"
WHY_UNDO = "a restore also asks for every run whether another cancellation takes it over, and keeps tallies"

CONDITIONS = {
    "an equality": ("event.name == 'bench/run'", "event ->> 'name' = 'bench/run'"),
    "an inequality": ("event.data.vendor_id != 'nobody'", "event -> 'data' ->> 'vendor_id' <> 'nobody'"),
}
"""As an `if`, and as people write it by hand. The first a sweep decides by containment, the second it evaluates."""

# In id order behind the last batch, so that no batch walks over the dead entries of those before.
CANCEL_BY_HAND = """
with batch as (
  select id from secateur.runs
   where app_id = 'bench' and function_id = $1 and status = 'queued' and id > $2 and {condition}
   order by id limit $3
), updated as (
  update secateur.runs as run
     set status = 'cancelled', cancelled_from = run.status, cancellation_id = $4, finished_at = clock_timestamp()
    from batch where run.app_id = 'bench' and run.id = batch.id
  returning run.id
)
select id, count(*) over () as runs from updated order by id desc limit 1
"""

RESTORE_BY_HAND = """
with batch as (
  select id from secateur.runs where cancellation_id = $3 and id > $1 order by id limit $2
), updated as (
  update secateur.runs as run
     set status = run.cancelled_from, cancelled_from = null, cancellation_id = null, finished_at = null
    from batch where run.app_id = 'bench' and run.id = batch.id
  returning run.id
)
select id, count(*) over () as runs from updated order by id desc limit 1
"""

NOWHERE = UUID(int=0)

Batch = Callable[[], Awaitable[int]]
"""Does one batch; of how many runs."""


async def measure(ground: Ground) -> list[str]:
    rounds, size = ground.scaled(ROUNDS), ground.scaled(SIZE)
    rows, goals = [], []
    restored, reset = [], []
    async with ground.bed() as bed:
        # A flood comes function by function.
        await seed(
            bed.database, 2 * len(CONDITIONS) * rounds * size, functions=2 * len(CONDITIONS) * rounds, stretch=size
        )
        functions = (f"f{number}" for number in count())
        for name, (expression, condition) in CONDITIONS.items():
            swept, updated = [], []
            for number in range(rounds):
                committed = await _commit(bed, next(functions), expression)
                by_hand = ByHand(bed, next(functions), condition)
                ours, theirs = await _in_turns(size, _sweep(bed, committed), by_hand.cancel)
                swept.append(size / ours)
                updated.append(size / theirs)
                await bed.engine.ledger.undo(committed, "bench", "python")
                by_hand.begin_again()
                ours, theirs = await _in_turns(size, _restore(bed, committed), by_hand.restore)
                restored.append(size / ours)
                reset.append(size / theirs)
                say(f"{name}, round {number + 1}: swept {swept[-1]:,.0f}/s, by hand {updated[-1]:,.0f}/s")
                say(f"{name}, round {number + 1}: restored {restored[-1]:,.0f}/s, by hand {reset[-1]:,.0f}/s")
                await bed.database.execute("vacuum secateur.runs")
            rows.append(_row(f"sweep, {name}", swept, updated))
            rate = median_ratio(swept, updated)
            goals += because(goal(f"sweep rate against a batched UPDATE, {name}", rate, least=0.8), WHY_SWEEP)
    undo = median_ratio(restored, reset)
    return [
        f"### Runs per second in batches of {SWEEP_BATCH:,}, median of {rounds} rounds of {size:,} matching runs",
        "",
        "| what | secateur | batched UPDATE by hand | ratio |",
        "|:--|---:|---:|---:|",
        *rows,
        _row("undo", restored, reset),
        "",
        *goals,
        *because(goal("restore rate of an undo against a batched UPDATE", undo, least=0.8), WHY_UNDO),
    ]


def _row(what: str, ours: list[float], theirs: list[float]) -> str:
    ratio = median_ratio(ours, theirs)
    return f"| {what} | {statistics.median(ours):,.0f} | {statistics.median(theirs):,.0f} | {ratio:.2f} |"


async def _commit(bed: Bed, function: str, expression: str) -> UUID:
    request = CancellationRequest.parse({"app_id": "bench", "function_id": function, "if": expression})
    return (await bed.cancellations.commit(request, author="bench", source="python")).id


def _sweep(bed: Bed, cancellation_id: UUID) -> Batch:
    async def batch() -> int:
        return (await bed.engine.ledger.sweep(APP, cancellation_id, SWEEP_BATCH)).cancelled

    return batch


def _restore(bed: Bed, cancellation_id: UUID) -> Batch:
    async def batch() -> int:
        return (await bed.engine.ledger.restore(APP, cancellation_id, SWEEP_BATCH)).restored

    return batch


class ByHand:
    """What somebody would write in psql for all runs of a function, a batch a call."""

    def __init__(self, bed: Bed, function: str, condition: str) -> None:
        self._bed = bed
        self._statement = CANCEL_BY_HAND.replace("{condition}", condition)
        self._function = function
        self._mark = uuid4()
        self._last = NOWHERE

    def begin_again(self) -> None:
        self._last = NOWHERE

    async def cancel(self) -> int:
        return await self._batch(self._statement, self._function, self._last, SWEEP_BATCH, self._mark)

    async def restore(self) -> int:
        return await self._batch(RESTORE_BY_HAND, self._last, SWEEP_BATCH, self._mark)

    async def _batch(self, statement: str, *values: object) -> int:
        row = await self._bed.database.fetchrow(statement, *values)
        assert row is not None, "there is nothing left to update"
        self._last = row["id"]
        return int(row["runs"])


async def _in_turns(size: int, ours: Batch, theirs: Batch) -> tuple[float, float]:
    """Seconds that each side takes for `size` runs, batch by batch in turns, so that whatever else the machine does
    meets both."""
    sides, left, seconds = (ours, theirs), [size, size], [0.0, 0.0]

    async def step(side: int) -> None:
        left[side] -= await sides[side]()

    while max(left) > 0:
        for side in (0, 1):
            if left[side] > 0:
                seconds[side] += await timed(lambda side=side: step(side))  # type: ignore[misc]
    return seconds[0], seconds[1]
