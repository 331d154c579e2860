"""What the person on call asks first: what is the flood made of? How long does it take to say?"""

from __future__ import annotations

import statistics
import time

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
    whole = latest - earliest
    rows = []
    slowest = 0.0
    for name, since, until in (
        (f"half of what arrives is of `{INCIDENT}`", earliest + 0.6 * whole, earliest + 0.8 * whole),
        # The samples leave it open, so that the likeliest conditions are counted on more runs.
        (f"3 % of what arrives are of `{INCIDENT}`", earliest + 0.3 * whole, earliest + 0.62 * whole),
        ("when it began is looked for, and it has not grown", None, latest),
    ):
        found: list[Suggestions] = []

        async def ask() -> None:
            found.append(await suggest(bed.engine, DepthHistory(bed.engine), scope, since, until))  # noqa: B023

        begun = time.process_time()
        times = [1000 * await timed(ask) for _ in range(ground.scaled(TRIES))]
        own = 1000 * (time.process_time() - begun) / len(times)
        median = statistics.median(times)
        slowest = max(slowest, median)
        first = found[-1].suggestions[0].if_ if found[-1].suggestions else "–"
        say(f"{name}: {median:.0f} ms; {first}")
        rows.append(f"| {name} | {median:,.0f} ms | {max(times):,.0f} ms | {own:,.0f} ms | `{first}` |")
    return [
        f"### {ground.largest:,} runs, a tenth of them of `{INCIDENT}`",
        "",
        "| | p50 | longest | processor time of secateur | first suggestion |",
        "|:--|---:|---:|---:|:--|",
        *rows,
        "",
        *because(goal(f"suggestions p50 at {ground.largest:,}", slowest, " ms", most=2000), WHY),
    ]
