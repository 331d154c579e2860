"""Does a commit's time grow with the backlog? And what does the statement cost that people write by hand?"""

from __future__ import annotations

from benchmarks.bed import Bed, bed, quantile, seed, timed
from secateur.requests import CancellationRequest

SIZES = (10_000, 1_000_000)
COMMITS = 200
RUNNING = 100

REQUEST = CancellationRequest.parse({"app_id": "bench", "if": "event.data.vendor_id == 'v7'"})

HAND_WRITTEN = """
update secateur.runs
   set status = 'cancelled', cancelled_from = status, finished_at = now()
 where app_id = 'bench' and status in ('queued', 'scheduled') and event -> 'data' ->> 'vendor_id' = 'v7'
"""


async def measure() -> list[str]:
    """A table: backlog, commit p50 and p99, ratio to the smallest backlog, the hand-written UPDATE's ratio."""
    rows = []
    smallest = 0.0
    for size in SIZES:
        async with bed() as ground:
            await seed(ground.database, size)
            await ground.database.execute(
                "select count(*) from secateur.claim('bench', null, $1, 'bench', interval '1 hour')", RUNNING
            )
            commits = [await _commit(ground) for _ in range(COMMITS)]
            by_hand = await _update_by_hand(ground)
        median = quantile(commits, 0.5)
        smallest = smallest or median
        rows.append(
            f"| {size:,} | {median:.2f} ms | {quantile(commits, 0.99):.2f} ms | {median / smallest:.2f} "
            f"| {1000 * by_hand / median:,.0f} |"
        )
    return [
        f"### Commit latency, {RUNNING} runs running, {COMMITS} commits each",
        "",
        "| backlog | commit p50 | p99 | p50 against the smallest backlog | hand-written UPDATE against p50 |",
        "|---:|---:|---:|---:|---:|",
        *rows,
    ]


async def _commit(ground: Bed) -> float:
    """One commit, from the Python call to its return; then stopped, so that each meets the same queue."""
    committed = []

    async def commit() -> None:
        committed.append(await ground.cancellations.commit(REQUEST, author="bench", source="python"))

    seconds = await timed(commit)
    await ground.cancellations.stop(committed[0].id, author="bench")
    return seconds


async def _update_by_hand(ground: Bed) -> float:
    return await timed(lambda: ground.database.execute(HAND_WRITTEN))
