"""Does a commit's time grow with the backlog? And what does the statement cost that people write by hand?"""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncpg

from benchmarks.bed import Bed, Ground, claim, quantile, say, timed
from benchmarks.load import loaded
from benchmarks.report import because, goal
from secateur.requests import CancellationRequest

TITLE = "Commit latency"

SMALL, MIDDLE = 10_000, 1_000_000
COMMITS = 100
"""Per size and round."""
ROUNDS = 5
RUNNING = 100
CLAIMERS = 2

WHY_GROWTH = "what a commit reads, by indexes, is less often in the cache beside a larger backlog"
WHY_LOAD = "a commit waits for the claims that hold the app's lock, and shares two cores with what they do"

REQUEST = CancellationRequest.parse({"app_id": "bench", "if": "event.data.vendor_id == 'v7'"})

FLOOR = "insert into public.floor values (1)"

HAND_WRITTEN = """
update secateur.runs
   set status = 'cancelled', cancelled_from = status, finished_at = now()
 where app_id = 'bench' and status in ('queued', 'scheduled') and event -> 'data' ->> 'vendor_id' = 'v7'
"""


@dataclass(slots=True)
class Sample:
    """Seconds of calls on one backlog."""

    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """While others claim."""
    floor: list[float] = field(default_factory=list)
    """Of the least that any durable write takes there and then: one row inserted, between the quiet ones."""
    by_hand: float = 0.0


async def measure(ground: Ground) -> list[str]:
    sizes = sorted({SMALL, min(MIDDLE, ground.largest), ground.largest})
    beds = {size: await ground.backlog(size) for size in sizes}
    found = {size: Sample() for size in sizes}
    for bed in beds.values():
        await claim(bed.database, RUNNING, lease="1 hour")
        await bed.database.execute("create table if not exists public.floor (n integer)")
        await _commit(bed)
    commits, rounds = ground.scaled(COMMITS), ground.scaled(ROUNDS)
    # The sizes take turns, so that whatever else the machine does meets all of them.
    for number in range(rounds):
        for size, bed in beds.items():
            for _ in range(commits):
                found[size].quiet.append(await _commit(bed))
                found[size].floor.append(await timed(lambda bed=bed: bed.database.execute(FLOOR)))  # type: ignore[misc]
            async with loaded(bed.url, CLAIMERS):
                found[size].busy += [await _commit(bed) for _ in range(commits)]
        medians = (f"{size:,}: {quantile(sample.quiet, 0.5):.2f} ms" for size, sample in found.items())
        say(f"round {number + 1}: {', '.join(medians)}")
    for size, bed in beds.items():
        found[size].by_hand = await _update_by_hand(bed)
    return [
        f"### {RUNNING} runs running, {rounds * commits} commits each; under load: while {CLAIMERS} processes claim",
        "",
        "| backlog | p50 | p99 | under load p50 | p99 | one row inserted p50 | p99 | UPDATE by hand | in commits |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(size, sample) for size, sample in found.items()),
        "",
        *_goals(found[sizes[0]], found[sizes[-1]], sizes[0], sizes[-1]),
    ]


def _row(size: int, sample: Sample) -> str:
    cells = [quantile(seconds, share) for seconds in (sample.quiet, sample.busy, sample.floor) for share in (0.5, 0.99)]
    return (
        f"| {size:,} | {' | '.join(f'{cell:.2f} ms' for cell in cells)} | {1000 * sample.by_hand:,.0f} ms "
        f"| {1000 * sample.by_hand / cells[0]:,.0f} |"
    )


def _goals(small: Sample, large: Sample, smallest: int, largest: int) -> list[str]:
    growth = quantile(large.quiet, 0.5) / quantile(small.quiet, 0.5)
    slowest, busiest = quantile(large.quiet, 0.99), quantile(large.busy, 0.99)
    floor = f"{quantile(large.floor, 0.99):.1f} ms"
    why = f"the machine: at {smallest:,} it is {quantile(small.quiet, 0.99):.1f} ms, and for one row inserted {floor}"
    return [
        *because(goal(f"commit p50 at {largest:,} against {smallest:,}", growth, most=1.5), WHY_GROWTH),
        *because(goal(f"commit p99 at {largest:,}", slowest, " ms", most=20), why),
        *because(goal(f"commit p99 at {largest:,}, under load", busiest, " ms", most=20), WHY_LOAD),
    ]


async def _commit(bed: Bed) -> float:
    """Seconds of one commit, from the Python call to its return; then stopped, so that each meets the same queue."""
    committed = []

    async def commit() -> None:
        committed.append(await bed.cancellations.commit(REQUEST, author="bench", source="python"))

    seconds = await timed(commit)
    await bed.cancellations.stop(committed[0].id, author="bench")
    return seconds


async def _update_by_hand(bed: Bed) -> float:
    """Seconds of the statement, which is taken back."""
    connection = await asyncpg.connect(bed.url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        return await timed(lambda: connection.execute(HAND_WRITTEN))
    finally:
        await transaction.rollback()
        await connection.close()
