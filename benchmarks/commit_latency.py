"""Does a commit's time grow with the backlog? And what does the statement cost that people write by hand?"""

from __future__ import annotations

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

WHY_GROWTH = "not known"
WHY_LOAD = "a commit waits for the claims that hold the app's lock, and shares two cores with what they do"

REQUEST = CancellationRequest.parse({"app_id": "bench", "if": "event.data.vendor_id == 'v7'"})

HAND_WRITTEN = """
update secateur.runs
   set status = 'cancelled', cancelled_from = status, finished_at = now()
 where app_id = 'bench' and status in ('queued', 'scheduled') and event -> 'data' ->> 'vendor_id' = 'v7'
"""


async def measure(ground: Ground) -> list[str]:
    sizes = sorted({SMALL, min(MIDDLE, ground.largest), ground.largest})
    beds = {size: await ground.backlog(size) for size in sizes}
    quiet: dict[int, list[float]] = {size: [] for size in sizes}
    busy: dict[int, list[float]] = {size: [] for size in sizes}
    by_hand: dict[int, float] = {}
    for bed in beds.values():
        await claim(bed.database, RUNNING, lease="1 hour")
        await _commit(bed)
    commits, rounds = ground.scaled(COMMITS), ground.scaled(ROUNDS)
    # The sizes take turns, so that whatever else the machine does meets all of them.
    for number in range(rounds):
        for size, bed in beds.items():
            quiet[size] += [await _commit(bed) for _ in range(commits)]
            async with loaded(bed.url, CLAIMERS):
                busy[size] += [await _commit(bed) for _ in range(commits)]
        say(f"round {number + 1}: " + ", ".join(f"{size:,}: {quantile(quiet[size], 0.5):.2f} ms" for size in sizes))
    for size, bed in beds.items():
        by_hand[size] = await _update_by_hand(bed)
    return [
        f"### {RUNNING} runs running, {rounds * commits} commits each; under load: while {CLAIMERS} processes claim",
        "",
        "| backlog | p50 | p99 | under load p50 | p99 | hand-written UPDATE | against the commit |",
        "|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(size, quiet[size], busy[size], by_hand[size]) for size in sizes),
        "",
        *_goals(sizes, quiet, busy),
    ]


def _row(size: int, quiet: list[float], busy: list[float], by_hand: float) -> str:
    median = quantile(quiet, 0.5)
    cells = [median, quantile(quiet, 0.99), quantile(busy, 0.5), quantile(busy, 0.99)]
    return (
        f"| {size:,} | {' | '.join(f'{cell:.2f} ms' for cell in cells)} | {1000 * by_hand:,.0f} ms "
        f"| {1000 * by_hand / median:,.0f} |"
    )


def _goals(sizes: list[int], quiet: dict[int, list[float]], busy: dict[int, list[float]]) -> list[str]:
    smallest, largest = sizes[0], sizes[-1]
    growth = quantile(quiet[largest], 0.5) / quantile(quiet[smallest], 0.5)
    return [
        *because(goal(f"commit p50 at {largest:,} against {smallest:,}", growth, most=1.5), WHY_GROWTH),
        *because(goal(f"commit p99 at {largest:,}", quantile(quiet[largest], 0.99), " ms", most=20), WHY_GROWTH),
        *because(
            goal(f"commit p99 at {largest:,}, under load", quantile(busy[largest], 0.99), " ms", most=20), WHY_LOAD
        ),
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
