"""What the person on call asks first: what is the flood made of? How long does it take to say?"""

from __future__ import annotations

import statistics

from benchmarks.bed import INCIDENT, Ground, say, timed
from benchmarks.report import because, goal
from secateur.looking.history import DepthHistory
from secateur.looking.suggesting import suggest
from secateur.looking.suggestions import Suggestions
from secateur.runs import Scope

TITLE = "Suggestions"

TRIES = 7

WHY = "a few thousand events are read from random pages, and some hundred thousand conditions compared"


async def measure(ground: Ground) -> list[str]:
    bed = await ground.backlog(ground.largest)
    scope = Scope("bench")
    earliest, latest = await bed.database.fetchrow("select min(started_at), max(started_at) from secateur.runs") or ()
    middle = earliest + (latest - earliest) / 2
    rows = []
    slowest = 0.0
    for name, since in {
        "when it began is found": None,
        "when it began is given": middle,
    }.items():
        found: list[Suggestions] = []

        async def ask() -> None:
            found.append(await suggest(bed.engine, DepthHistory(bed.engine), scope, since))  # noqa: B023

        times = [1000 * await timed(ask) for _ in range(ground.scaled(TRIES))]
        median = statistics.median(times)
        slowest = max(slowest, median)
        first = found[-1].suggestions[0].if_ if found[-1].suggestions else "–"
        say(f"{name}: {median:.0f} ms; {first}")
        rows.append(f"| {name} | {median:,.0f} ms | {max(times):,.0f} ms | {found[-1].sampled:,} | `{first}` |")
    return [
        f"### {ground.largest:,} runs, a tenth of them of `{INCIDENT}`",
        "",
        "| | p50 | longest | sampled | first suggestion |",
        "|:--|---:|---:|---:|:--|",
        *rows,
        "",
        *because(goal(f"suggestions p50 at {ground.largest:,}", slowest, " ms", most=2000), WHY),
    ]
