"""The blast radius of a filter: how its matches differ from the unfinished runs of the scope that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from secateur.cel import Filter
from secateur.cel.paths import fields_read
from secateur.engines.base import Arriving, Source, unsupported
from secateur.engines.populations import Arrivals
from secateur.looking.contrasts import Contrast
from secateur.looking.hot_values import HotField, hot_fields, mixed_field
from secateur.looking.suggested_filters import Search
from secateur.looking.suggesting import SAMPLED_RUNS, in_thread, population
from secateur.runs import Scope, Window


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """Values of unfinished runs: their share of the matches (`flood_share`) and of the others (`baseline_share`)."""

    sampled: int
    """How many matches were sampled."""
    others: int
    """How many other runs were sampled."""
    fields: tuple[HotField, ...]
    """The most skewed first."""
    mixed: HotField | None
    """A field that the filter does not read, and in which most matches, but not all, have one value: 96 % one vendor,
    and 4 % two others, for example. None if the matches are of one piece."""
    as_of: datetime


async def blast_radius(
    engine: Source, scopes: Scope | Sequence[Scope], filter_: Filter, window: Window, limit: int
) -> BlastRadius:
    """Compares a sample of the matches with a sample of the other runs; `limit` is the number of fields.

    Raises `Unsupported` if the engine keeps no arrivals. Cancelling the task cancels the query or the search.
    """
    if not isinstance(engine, Arriving):
        raise unsupported(engine, "list what has arrived")
    now = await engine.clock()
    runs = replace(population(scopes, window), unfinished=True, filter=filter_)
    matches = await engine.arrivals(runs, SAMPLED_RUNS)
    others = await engine.arrivals(replace(runs, matching=False), SAMPLED_RUNS)
    return await in_thread(lambda checkpoint: _contrasted(filter_, matches, others, limit, now, checkpoint))


def _contrasted(
    filter_: Filter, matches: Arrivals, others: Arrivals, limit: int, now: datetime, checkpoint: Callable[[], None]
) -> BlastRadius:
    contrast = Contrast([each.event for each in matches.sample], [each.event for each in others.sample])
    search = Search(contrast, checkpoint)
    return BlastRadius(
        len(matches.sample),
        len(others.sample),
        tuple(hot_fields(search, limit)),
        mixed_field(search, set(fields_read(filter_.expression))),
        now,
    )
