"""A second look at what a sample leaves open: the likeliest conditions, counted on more runs in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from secateur.cel import ExpressionError, Filter
from secateur.cel import compile as compile_source
from secateur.engines.base import Arrivals, Arriving, Population
from secateur.errors import QueryTimeout
from secateur.looking.conditions import Condition

COUNTED_RUNS = 20_000
"""Of what arrives, and of the baseline."""

SECONDS = 0.8
"""For both; if it takes longer, the samples have to do."""

WORTHWHILE = 1.5
"""How many times as many runs as were sampled there must be."""

SURE = 500.0
"""Nats of the best condition from which on no second look is needed."""


def is_open(conditions: Sequence[Condition], *sampled: Arrivals) -> bool:
    """Whether more runs could tell more."""
    if not conditions or max(each.score for each in conditions) >= SURE:
        return False
    return any(min(each.total, COUNTED_RUNS) >= WORTHWHILE * len(each.sample) for each in sampled)


async def recounted(
    engine: Arriving, conditions: Sequence[Condition], flood: Population, baseline: Population
) -> list[Condition] | None:
    """The conditions, judged by more runs; None if that takes too long."""
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
    """Those that are not too much for the language's bounds."""
    found = []
    for each in conditions:
        with suppress(ExpressionError):
            found.append((each, compile_source(each.source)))
    return found
