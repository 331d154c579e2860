"""Counts the likeliest conditions on more runs, if the samples leave a question open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from secateur.cel import ExpressionError, Filter
from secateur.cel import compile as compile_source
from secateur.engines.base import Arriving
from secateur.engines.populations import Arrivals, Population
from secateur.errors import QueryTimeout
from secateur.looking.conditions import Condition

COUNTED_RUNS = 20_000
"""How many runs are counted, of what arrives and of the baseline each."""

SECONDS = 0.8
"""The time limit for both counts; after it, the search makes do with the samples."""

WORTHWHILE = 1.5
"""A second look needs at least this many times as many runs as were sampled."""

SURE = 500.0
"""If the best condition has this many nats of evidence, no second look is needed."""


def is_open(best: Sequence[Condition], *sampled: Arrivals) -> bool:
    """Whether counting more runs could change which conditions are the best."""
    if is_sure(best):
        return False
    return any(min(each.total, COUNTED_RUNS) >= WORTHWHILE * len(each.sample) for each in sampled)


def is_sure(best: Sequence[Condition]) -> bool:
    return max((each.score for each in best), default=0.0) >= SURE


async def recounted(
    engine: Arriving, conditions: Sequence[Condition], flood: Population, baseline: Population
) -> list[Condition] | None:
    """The conditions, judged by more runs; None if that takes too long, or if there are none."""
    if not conditions:
        return None
    pairs = await asyncio.to_thread(_compiled, conditions)
    filters = [filter_ for _, filter_ in pairs]
    try:
        async with asyncio.timeout(SECONDS):
            during = await engine.tally(flood, filters, COUNTED_RUNS)
            before = await engine.tally(baseline, filters, COUNTED_RUNS)
    except (TimeoutError, QueryTimeout):
        return None
    counts = zip(pairs, during.matched, before.matched, strict=True)
    return [each.counted(hits, usual, during.runs, before.runs) for (each, _), hits, usual in counts]


def _compiled(conditions: Sequence[Condition]) -> list[tuple[Condition, Filter]]:
    """Those that are within the language's bounds."""
    found = []
    for each in conditions:
        with suppress(ExpressionError):
            found.append((each, compile_source(each.source)))
    return found
