"""What the Filter asks at every keystroke: how fast is an estimate, how far off, and how slow is the exact count?

And what does the index bring and cost that `secateur advise` would make, against what it says of it?
"""

from __future__ import annotations

import statistics

from benchmarks.bed import INCIDENT, Bed, Ground, say, timed
from benchmarks.report import because, goal
from secateur.engines.index_costs import weigh
from secateur.engines.indexing import FilterIndex, FilterIndexes
from secateur.ledger.selections import select
from secateur.requests import CancellationRequest
from secateur.runs import Count

TITLE = "Live counts"

ESTIMATES = 15

FORMS = {
    "a fifth, spread evenly": "event.data.amount >= 4000",
    "a tenth, in one stretch": f"event.data.vendor_id == '{INCIDENT}'",
    "one in a thousand": "event.data.vendor_id == 'v7'",
    "two terms": f"event.data.vendor_id == '{INCIDENT}' && event.data.amount >= 2500",
    "a list's items": "event.data.items.exists(item, item.quantity > 5)",
}

INDEXED = "event.data.vendor_id == 'v7'"
WHY_INDEX = "it reads each matching run from a page of its own"
WHY = "a tenth of a second is what reading some ten thousand runs from random pages and judging them takes"
WHY_INTERVAL = "pages are sampled, and neighbouring runs are alike"


async def measure(ground: Ground) -> list[str]:
    bed = await ground.backlog(ground.largest)
    rows = []
    slowest, inside, asked = 0.0, 0, 0
    for name, source in FORMS.items():
        row, median, hits, tries = await _form(bed, name, source, ground.scaled(ESTIMATES))
        rows.append(row)
        slowest, inside, asked = max(slowest, median), inside + hits, asked + tries
    lines = [
        f"### {ground.largest:,} runs, {ground.scaled(ESTIMATES)} estimates each",
        "",
        "| condition | matches | estimate p50 | longest | exact count | error p50 | interval | truth within it |",
        "|:--|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        *because(goal(f"estimate p50 at {ground.largest:,}, the slowest condition", slowest, " ms", most=150), WHY),
    ]
    if asked:
        share = 100 * inside / asked
        lines += because(goal("estimates whose interval holds the exact count", share, " %", least=90), WHY_INTERVAL)
    return [*lines, "", *await _indexed(bed)]


async def _indexed(bed: Bed) -> list[str]:
    """The backlog is left without the index, as it was."""
    selection = select(CancellationRequest.parse({"app_id": "bench", "if": INDEXED}))
    advice = await weigh(bed.engine, selection, bed.engine.probes(selection), 60)
    if advice.seconds_with_index is None or advice.costs is None:
        raise RuntimeError("the index was not weighed")
    indexes = FilterIndexes(bed.database)
    made: list[FilterIndex] = []
    building = await timed(lambda: _append(made, indexes.create(advice.plan)))
    counts: list[Count] = []
    times = [await timed(lambda: _append(counts, bed.engine.count(selection))) for _ in range(5)]
    await indexes.drop(advice.plan.name)
    median = statistics.median(times)
    costs = advice.costs
    return [
        f"### `{INDEXED}` with the index that `secateur advise` proposes: {counts[0].matched:,} runs",
        "",
        "| | without | with it | size | making it |",
        "|:--|---:|---:|---:|---:|",
        f"| said, from a sample | | {1000 * advice.seconds_with_index:,.0f} ms | {costs.bytes / 2**20:,.0f} MB "
        f"| {costs.build_seconds:,.0f} s |",
        f"| was | {1000 * advice.seconds:,.0f} ms | {1000 * median:,.0f} ms | {made[0].bytes / 2**20:,.0f} MB "
        f"| {building:,.0f} s |",
        "",
        *because(goal("exact count with an index, a run in a thousand", median, " s", most=1.5), WHY_INDEX),
    ]


async def _form(bed: Bed, name: str, source: str, tries: int) -> tuple[str, float, int, int]:
    """A row, the median in milliseconds, and of how many intervals how many held the truth."""
    selection = select(CancellationRequest.parse({"app_id": "bench", "if": source}))
    exact: list[Count] = []
    seconds = await timed(lambda: _append(exact, bed.engine.count(selection)))
    truth = exact[0].matched
    found: list[Count | None] = []
    times = [await timed(lambda: _append(found, bed.engine.estimate(selection))) for _ in range(tries)]
    estimates = [count for count in found if count is not None]
    median, longest = 1000 * statistics.median(times), 1000 * max(times)
    error = statistics.median(abs(count.matched - truth) / max(1, truth) for count in estimates) if estimates else 0
    bounds = [(count.low, count.high) for count in estimates if count.low is not None and count.high is not None]
    bounded = [low <= truth <= high for low, high in bounds]
    width = statistics.median((high - low) / 2 / max(1, truth) for low, high in bounds) if bounds else 0
    say(f"{name}: {median:.0f} ms, {100 * error:.1f} % off, exact {seconds:.1f} s, {sum(bounded)}/{len(bounded)} hold")
    row = (
        f"| {name} | {truth:,} | {median:.0f} ms | {longest:.0f} ms | {1000 * seconds:,.0f} ms "
        f"| {100 * error:.1f} % | ± {100 * width:.1f} % | {f'{sum(bounded)} of {len(bounded)}' if bounded else '–'} |"
    )
    return row, median, sum(bounded), len(bounded)


async def _append(found: list[Count] | list[Count | None] | list[FilterIndex], asked: object) -> None:
    found.append(await asked)  # type: ignore[misc]
