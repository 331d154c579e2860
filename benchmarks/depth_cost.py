"""What does keeping the depth cost those who enqueue and claim?

Against a database whose functions are the same, but write no deltas.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.bed import APP, Bed, Ground, claim, complete, say, seed, timed
from benchmarks.report import because, goal
from benchmarks.runners.protocol import EVENT
from secateur.engines.upkeep import COMPACT_BATCH, COMPACT_SECONDS
from secateur.schema import REPEATABLE, definition

TITLE = "What keeping the depth costs"

BACKLOG = 50_000

PAUSE = 2 * COMPACT_SECONDS
"""Between two moves of deltas into the totals: as usual, of the half of the time in which their side is measured."""

WRITERS = ("enter_runs", "grant_runs", "complete_runs")
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
    rows, goals = [], []
    async with ground.bed() as keeping, ground.bed() as without:
        await without.database.execute(functions_without_depth())
        for bed in (keeping, without):
            await seed(bed.database, BACKLOG, functions=1)
            await bed.database.execute("delete from secateur.depth_deltas")
        for way in WAYS:
            kept, bare = await _in_turns(keeping, without, way, ground.scaled(way.calls))
            ratio = bare / kept
            say(f"{way.name}: {ratio:.2f}")
            rows.append(f"| {way.name} | {way.runs / kept:,.0f} | {way.runs / bare:,.0f} | {ratio:.2f} |")
            goals += because(goal(f"{way.name} while the depth is kept, against without", ratio, least=0.9), WHY)
        await _check(keeping, without)
    return [
        "### Runs per second of one connection, the upkeep beside it, from the median call",
        "",
        "| what | the depth is kept | without | ratio |",
        "|:--|---:|---:|---:|",
        *rows,
        "",
        *goals,
    ]


def functions_without_depth() -> str:
    """The writers, without what they write of the depth. Raises `RuntimeError` where that is written otherwise."""
    sql = "\n".join(definition(name) for name in REPEATABLE)
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


@dataclass(frozen=True, slots=True)
class Way:
    """A call that puts in, or claims, `runs` runs."""

    name: str
    runs: int
    calls: int
    """Of each side."""
    call: Callable[[Bed, int], Awaitable[object]]


async def _enqueue(bed: Bed, runs: int) -> None:
    if runs == 1:
        await bed.database.execute("select secateur.enqueue($1, 'f0', $2::jsonb)", APP, json.dumps(EVENT))
    else:
        events = [json.dumps(EVENT)] * runs
        await bed.database.execute("select count(*) from secateur.enqueue_many($1, 'f0', $2::jsonb[])", APP, events)


async def _claim(bed: Bed, runs: int) -> None:
    held = await claim(bed.database, runs)
    assert len(held[0]) == runs
    await complete(bed.database, held)


WAYS = (
    Way("enqueue one by one", 1, 3000, _enqueue),
    Way("enqueue 500 a call", 500, 300, _enqueue),
    Way("claim and complete 10", 10, 1500, _claim),
    Way("claim and complete 100", 100, 600, _claim),
)


async def _in_turns(keeping: Bed, without: Bed, way: Way, calls: int) -> tuple[float, float]:
    """Seconds of the median call of each side. They take turns call by call, each first as often as the other, so that
    whatever else the machine does meets both."""
    found: dict[str, list[float]] = {keeping.url: [], without.url: []}
    upkeep = asyncio.create_task(_keep_up(keeping))
    for number in range(calls):
        for bed in (keeping, without) if number % 2 else (without, keeping):
            found[bed.url].append(await timed(lambda bed=bed: way.call(bed, way.runs)))  # type: ignore[misc]
    upkeep.cancel()
    with suppress(asyncio.CancelledError):
        await upkeep
    return statistics.median(found[keeping.url]), statistics.median(found[without.url])


async def _keep_up(bed: Bed) -> None:
    while True:
        await bed.engine.compact_depth(timedelta(0), COMPACT_BATCH)
        await asyncio.sleep(PAUSE)


async def _check(keeping: Bed, without: Bed) -> None:
    """Raises `RuntimeError` unless one side wrote the depth and the other did not."""
    written = "select (select count(*) from secateur.depth_totals) + (select count(*) from secateur.depth_deltas)"
    if await without.database.fetchval(written) or not await keeping.database.fetchval(written):
        raise RuntimeError("the depth was written where it should not be, or not where it should be")
