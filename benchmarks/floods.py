"""Of how many floods is the right filter among the three that are suggested? `make floods` says more of each miss."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

from benchmarks.bed import Ground, say
from benchmarks.report import because, goal

TITLE = "Floods of known cause"

FLOODS = 200
GENERATORS = ("synthetic", "realistic")
RUNS = "5000"

WHY = "where much is usual beside a small flood, the end of a range cannot be told from chance"


async def measure(ground: Ground) -> list[str]:
    found: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for name in GENERATORS:
        for seed in range(ground.scaled(FLOODS) // len(GENERATORS)):
            kind, right = await asyncio.to_thread(_try, name, seed)
            of[f"{kind} ({name})"] += 1
            found[f"{kind} ({name})"] += right
        say(f"{name}: {found.total()} of {of.total()} so far")
    rows = [f"| {kind} | {found[kind]} | {of[kind]} |" for kind in of]
    share = 100 * found.total() / of.total()
    return [
        f"### {of.total()} floods, each of a seed of its own, {RUNS} runs of the flood and of the baseline sampled",
        "",
        "| kind | found | of |",
        "|:--|---:|---:|",
        *rows,
        "",
        *because(goal("floods whose cause is among the three suggestions", share, " %", least=95), WHY),
    ]


def _try(generator: str, seed: int) -> tuple[str, bool]:
    floods = str(Path(__file__).parent.parent / "tests" / "floods")
    if floods not in sys.path:
        sys.path.insert(0, floods)
    os.environ["SECATEUR_FLOOD_RUNS"] = RUNS
    test = import_module("test_floods")
    flood = import_module(generator).make_flood(seed, int(RUNS))
    return flood.kind, test.is_right(test.suggested(flood))
