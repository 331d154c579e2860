"""How fast does a sweep rewrite what a cancellation matches, and an undo restore it, against a bare batched UPDATE?"""

from __future__ import annotations

import statistics
from uuid import UUID, uuid4

from benchmarks.bed import Bed, Ground, say, seed, timed
from benchmarks.report import because, goal
from secateur.cancellations import SWEEP_BATCH
from secateur.requests import CancellationRequest

TITLE = "Sweep and undo"

ROUNDS = 5
SIZE = 100_000
"""Runs of each function; each round sweeps one and updates another by hand."""

WHY_SWEEP = "a sweep also evaluates in the sandbox, asks which cancellation owns a run, keeps tallies and the depth"
WHY_UNDO = "a restore also asks for every run whether another cancellation takes it over, and keeps tallies"

CONDITION = "event.data.vendor_id != 'nobody'"
BY_HAND = "event -> 'data' ->> 'vendor_id' <> 'nobody'"

# In id order behind the last batch, so that no batch walks over the dead entries of those before.
CANCEL_BY_HAND = f"""
with batch as (
  select id from secateur.runs
   where app_id = 'bench' and function_id = $1 and status = 'queued' and id > $2 and {BY_HAND}
   order by id limit $3
), updated as (
  update secateur.runs as run
     set status = 'cancelled', cancelled_from = run.status, cancellation_id = $4, finished_at = clock_timestamp()
    from batch where run.id = batch.id
  returning run.id
)
select id from updated order by id desc limit 1
"""

RESTORE_BY_HAND = """
with batch as (
  select id from secateur.runs where cancellation_id = $3 and id > $1 order by id limit $2
), updated as (
  update secateur.runs as run
     set status = run.cancelled_from, cancelled_from = null, cancellation_id = null, finished_at = null
    from batch where run.id = batch.id
  returning run.id
)
select id from updated order by id desc limit 1
"""

NOWHERE = UUID(int=0)


async def measure(ground: Ground) -> list[str]:
    swept, updated, restored, reset = [], [], [], []
    async with ground.bed() as bed:
        # A flood comes function by function.
        await seed(bed.database, 2 * ROUNDS * SIZE, functions=2 * ROUNDS, stretch=SIZE)
        for number in range(ROUNDS):
            committed = await _commit(bed, f"f{2 * number}")
            swept.append(SIZE / await timed(lambda id=committed: _sweep(bed, id)))  # type: ignore[misc]
            mark = uuid4()
            name = f"f{2 * number + 1}"
            updated.append(SIZE / await timed(lambda name=name, mark=mark: _update(bed, name, mark)))  # type: ignore[misc]
            say(f"round {number + 1}: swept {swept[-1]:,.0f}/s, by hand {updated[-1]:,.0f}/s")
            if hasattr(bed.engine, "undo"):
                await bed.engine.undo(committed, "bench", "python")
                restored.append(SIZE / await timed(lambda id=committed: _restore(bed, id)))  # type: ignore[misc]
                reset.append(SIZE / await timed(lambda mark=mark: _reset(bed, mark)))  # type: ignore[misc]
                say(f"round {number + 1}: restored {restored[-1]:,.0f}/s, by hand {reset[-1]:,.0f}/s")
            await bed.database.execute("vacuum secateur.runs")
    ratio = statistics.median(ours / theirs for ours, theirs in zip(swept, updated, strict=True))
    lines = [
        f"### Runs per second in batches of {SWEEP_BATCH:,}, median of {ROUNDS} rounds of {SIZE:,} matching runs",
        "",
        "| what | secateur | batched UPDATE by hand | ratio |",
        "|:--|---:|---:|---:|",
        f"| sweep | {statistics.median(swept):,.0f} | {statistics.median(updated):,.0f} | {ratio:.2f} |",
    ]
    goals = because(goal("sweep rate against a batched UPDATE", ratio, least=0.8), WHY_SWEEP)
    if restored:
        ratio = statistics.median(ours / theirs for ours, theirs in zip(restored, reset, strict=True))
        lines.append(f"| undo | {statistics.median(restored):,.0f} | {statistics.median(reset):,.0f} | {ratio:.2f} |")
        goals += because(goal("restore rate of an undo against a batched UPDATE", ratio, least=0.8), WHY_UNDO)
    return [*lines, "", *goals]


async def _commit(bed: Bed, function: str) -> UUID:
    request = CancellationRequest.parse({"app_id": "bench", "function_id": function, "if": CONDITION})
    return (await bed.cancellations.commit(request, author="bench", source="python")).id


async def _sweep(bed: Bed, cancellation_id: UUID) -> None:
    left = SIZE
    while left > 0:
        left -= (await bed.engine.sweep(cancellation_id, SWEEP_BATCH)).cancelled


async def _restore(bed: Bed, cancellation_id: UUID) -> None:
    left = SIZE
    while left > 0:
        left -= (await bed.engine.restore(cancellation_id, SWEEP_BATCH)).cancelled


async def _update(bed: Bed, function: str, mark: UUID) -> None:
    last: UUID | None = NOWHERE
    while last is not None:
        last = await bed.database.fetchval(CANCEL_BY_HAND, function, last, SWEEP_BATCH, mark)


async def _reset(bed: Bed, mark: UUID) -> None:
    last: UUID | None = NOWHERE
    while last is not None:
        last = await bed.database.fetchval(RESTORE_BY_HAND, last, SWEEP_BATCH, mark)
