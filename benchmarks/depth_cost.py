"""What does keeping the depth cost those who enqueue and claim?

Against a database whose functions are the same, but write no deltas.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.resources import files

from benchmarks.bed import APP, Bed, Ground, claim, complete, median_ratio, say, seed
from benchmarks.report import because, goal
from benchmarks.runners.protocol import EVENT
from secateur.maintenance import COMPACT_BATCH, COMPACT_SECONDS
from secateur.migrations import REPEATABLE

TITLE = "What keeping the depth costs"

BACKLOG = 50_000
ROUNDS = 25

COMPACT_EVERY = timedelta(seconds=2 * COMPACT_SECONDS)
"""As often as usual while a side is measured, which is half of the time."""

WRITERS = ("enqueue_many", "grant_runs", "complete_runs")
"""The functions on the way of a run that is put in, claimed and completed."""

WHY = "a call writes one more row, and the upkeep moves it"

_FUNCTION = re.compile(r"^create or replace function secateur\.(\w+)\(.*?^\$\$;", re.MULTILINE | re.DOTALL)
_INSERT = r"insert into secateur\.depth_deltas"

_FORMS = (
    # An UPDATE whose rows are counted: the UPDATE alone.
    (rf"with \w+ as \(\s*((?:update|delete)\b[^;]*?)\breturning\b[^;)]*\)\s*{_INSERT}[^;]*;", r"\1;"),
    # A part of a larger statement: nobody reads it, so nothing is executed.
    (rf"(as \(\s*){_INSERT} \([^)]*\)\s*select", r"\1select"),
    # A statement of its own.
    (rf"^ *{_INSERT}[^;]*;", "null;"),
)


async def measure(ground: Ground) -> list[str]:
    rounds = ground.scaled(ROUNDS)
    async with ground.bed() as keeping, ground.bed() as without:
        await without.database.execute(functions_without_depth())
        rates: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in WAYS}
        for bed in (keeping, without):
            await seed(bed.database, BACKLOG, functions=1)
            await bed.database.execute("delete from secateur.depth_deltas")
        # The sides take turns, each side first as often, so that whatever else the machine does meets both; the first
        # round warms up.
        for number in range(rounds + 1):
            for name, way in WAYS.items():
                sides = [(keeping, 0), (without, 1)]
                for bed, side in sides if number % 2 else reversed(sides):
                    rate = await _rate(bed, way, kept_up=bed is keeping)
                    if number > 0:
                        rates[name][side].append(rate)
        await _check(keeping, without)
    rows, goals = [], []
    for name, (ours, bare) in rates.items():
        ratio = median_ratio(ours, bare)
        say(f"{name}: {ratio:.2f}")
        rows.append(f"| {name} | {statistics.median(ours):,.0f} | {statistics.median(bare):,.0f} | {ratio:.2f} |")
        goals += because(goal(f"{name} while the depth is kept, against without", ratio, least=0.9), WHY)
    return [
        f"### Runs per second of one connection, the upkeep beside it, median of {rounds} rounds",
        "",
        "| what | the depth is kept | without | ratio |",
        "|:--|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


def functions_without_depth() -> str:
    """The writers, without what they write of the depth. Raises `RuntimeError` where that is written otherwise."""
    sql = "\n".join(files("secateur.migrations").joinpath(name).read_text(encoding="utf-8") for name in REPEATABLE)
    texts = {found[1]: found[0] for found in _FUNCTION.finditer(sql)}
    changed = []
    for name in WRITERS:
        text = texts[name]
        for form, instead in _FORMS:
            text = re.sub(form, instead, text, flags=re.MULTILINE)
        if "depth_deltas" in text or text == texts[name]:
            raise RuntimeError(f"{name} writes the depth in another way than this benchmark can take out")
        changed.append(text)
    return "\n".join(changed)


async def _enqueue_one(bed: Bed) -> int:
    for _ in range(150):
        await bed.database.execute("select secateur.enqueue($1, 'f0', $2::jsonb)", APP, json.dumps(EVENT))
    return 150


async def _enqueue_many(bed: Bed) -> int:
    events = [json.dumps(EVENT)] * 500
    for _ in range(6):
        await bed.database.execute("select count(*) from secateur.enqueue_many($1, 'f0', $2::jsonb[])", APP, events)
    return 6 * 500


def _claims(batch: int, times: int) -> Callable[[Bed], Awaitable[int]]:
    async def work(bed: Bed) -> int:
        for _ in range(times):
            held = await claim(bed.database, batch)
            assert len(held[0]) == batch
            await complete(bed.database, held)
        return times * batch

    return work


WAYS: dict[str, Callable[[Bed], Awaitable[int]]] = {
    "enqueue one by one": _enqueue_one,
    "enqueue 500 a call": _enqueue_many,
    "claim and complete 10": _claims(10, 50),
    "claim and complete 100": _claims(100, 20),
}
"""Each puts in, or claims, that many runs in about a quarter of a second; together they leave the backlog longer."""


async def _rate(bed: Bed, way: Callable[[Bed], Awaitable[int]], *, kept_up: bool) -> float:
    """Runs per second."""
    moved = asyncio.create_task(bed.engine.compact_depth(COMPACT_EVERY, COMPACT_BATCH)) if kept_up else None
    begun = time.perf_counter()
    runs = await way(bed)
    rate = runs / (time.perf_counter() - begun)
    if moved is not None:
        await moved
    return rate


async def _check(keeping: Bed, without: Bed) -> None:
    """Raises `RuntimeError` unless one side wrote the depth and the other did not."""
    written = "select (select count(*) from secateur.depth_totals) + (select count(*) from secateur.depth_deltas)"
    if await without.database.fetchval(written) or not await keeping.database.fetchval(written):
        raise RuntimeError("the depth was written where it should not be, or not where it should be")
