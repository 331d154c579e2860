"""Finds what stands out: takes two samples of the arrivals, and contrasts them outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, TypeVar

from secateur.collector import collector_at_rest
from secateur.engines.base import Arriving, Source, unsupported
from secateur.engines.populations import Arrival, Arrivals, Population
from secateur.errors import Problem, RequestError
from secateur.looking.conditions import Condition, excess_of
from secateur.looking.contrasts import Contrast
from secateur.looking.history import DepthHistory
from secateur.looking.hot_values import also_hits, hot_fields
from secateur.looking.onsets import FEWEST_OF_MANY, onset
from secateur.looking.recounting import is_open, recounted
from secateur.looking.suggested_filters import Search, SuggestedFilter, frequent, suggested_filters
from secateur.looking.suggestions import DEFAULT_FIELDS, Baseline, Suggestion, Suggestions
from secateur.runs import NO_BOUNDS, Scope, Window

SAMPLED_RUNS = 5_000
"""How many runs of the flood, and of the baseline, are sampled."""

SAMPLED_TIMES = 20_000

FEW = FEWEST_OF_MANY
"""A smaller flood may be just the arrivals of the last second, so another beginning is searched for."""

CONVINCING = 0.5
"""In a flood of fewer than `FEW` runs, a filter is only suggested if it explains at least this part of the flood: among
so few, one value or another is always more frequent than usual."""

FEWEST_BEFORE = 50
"""The fewest runs of a baseline; fewer say too little about what is usual."""

MARGIN = 0.1
"""The time before the flood's beginning that the baseline leaves out, as a part of the flood's length. The beginning is
a guess."""

Result = TypeVar("Result")


async def suggest(
    engine: Source,
    history: DepthHistory,
    scopes: Scope | Sequence[Scope],
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = DEFAULT_FIELDS,
) -> Suggestions:
    """What stands out in what arrived from `since` to `until`, with `limit` fields.

    Without `since`, the flood begins when the queue began to grow, according to the history of its depth; if that says
    nothing, when more runs began to arrive, according to the times of the runs that are kept. Several scopes are of one
    app. Raises `Unsupported` if the engine keeps no past. Cancelling the task cancels the query in the database, or the
    search.
    """
    if not isinstance(engine, Arriving):
        raise unsupported(engine, "list what has arrived")
    runs = population(scopes)
    now = await engine.clock()
    found = since is None
    if found and (since := await _grew(history, scopes, until or now)) is None:
        since = await _more_arrived(engine, runs, until or now)
    arriving = replace(runs, window=Window(since, until))
    flood = await engine.arrivals(arriving, SAMPLED_RUNS)
    if found and since is not None and flood.total < FEW:
        further = await _more_arrived(engine, runs, until or now)
        if further is not None and further < since:
            since, arriving = further, replace(runs, window=Window(further, until))
            flood = await engine.arrivals(arriving, SAMPLED_RUNS)
    baseline, usual, before = await _baseline(engine, runs, since, until or now)
    search = await in_thread(lambda checkpoint: _search(flood, before, checkpoint))
    conditions = None
    if before.sample:
        best = await in_thread(lambda checkpoint: search.under(checkpoint).best())
        if is_open(best, flood, before):
            candidates = await in_thread(lambda checkpoint: search.under(checkpoint).candidates())
            conditions = await recounted(engine, candidates, arriving, usual)
    asked = Asked(since, until, found, limit, now)
    return await in_thread(
        lambda checkpoint: _contrasted(flood, baseline, before, asked, search.under(checkpoint), conditions)
    )


def _search(flood: Arrivals, before: Arrivals, checkpoint: Callable[[], None]) -> Search:
    return Search(Contrast([each.event for each in flood.sample], [each.event for each in before.sample]), checkpoint)


def population(scopes: Scope | Sequence[Scope], window: Window = NO_BOUNDS) -> Population:
    """The runs of the scopes. Raises `RequestError` for scopes of several apps, or none."""
    each_of = [scopes] if isinstance(scopes, Scope) else list(scopes)
    if len({scope.app_id for scope in each_of}) != 1:
        raise RequestError([Problem("app_id", "must be one app")])
    functions = sorted({scope.function_id for scope in each_of if scope.function_id is not None})
    is_whole = any(scope.function_id is None for scope in each_of)
    return Population(each_of[0].app_id, None if is_whole else tuple(functions), window)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the time when it was asked."""

    since: datetime | None
    until: datetime | None
    found: bool
    limit: int
    now: datetime


async def _grew(history: DepthHistory, scopes: Scope | Sequence[Scope], end: datetime) -> datetime | None:
    """For several functions, the latest of these times: from then on, each of the floods is under way."""
    each_of = [scopes] if isinstance(scopes, Scope) else scopes
    found = [since for scope in each_of if (since := await history.began_growing(scope)) is not None and since < end]
    return max(found, default=None)


async def _more_arrived(engine: Arriving, runs: Population, end: datetime) -> datetime | None:
    times = [each.timestamp() for each in await engine.arrival_times(runs, SAMPLED_TIMES) if each < end]
    began = onset(times, end.timestamp())
    # Windows are exclusive; but a run that arrived exactly then belongs to the flood.
    return None if began is None else datetime.fromtimestamp(began, UTC) - timedelta(milliseconds=1)


async def _baseline(
    engine: Arriving, runs: Population, since: datetime | None, end: datetime
) -> tuple[Baseline, Population, Arrivals]:
    if since is not None:
        edge = since - MARGIN * (end - since) if end > since else since
        usual = replace(runs, window=Window(None, edge))
        before = await engine.arrivals(usual, SAMPLED_RUNS)
        if len(before.sample) >= FEWEST_BEFORE:
            return Baseline.BEFORE, usual, before
    if runs.function_ids is not None:
        beside = Population(runs.app_id, window=Window(since, None), but_functions=runs.function_ids)
        others = await engine.arrivals(beside, SAMPLED_RUNS)
        if len(others.sample) >= FEWEST_BEFORE:
            return Baseline.OTHERS, beside, others
    return Baseline.NONE, runs, Arrivals((), 0, 0)


async def in_thread(search: Callable[[Callable[[], None]], Result]) -> Result:
    """Runs the search outside the event loop; cancelling the task ends the search at its next checkpoint."""
    stopped = Event()

    def checkpoint() -> None:
        if stopped.is_set():
            raise InterruptedError("nobody waits for the suggestions any more")

    def work() -> Result:
        # A list for each value of each field: the garbage collector would take a quarter of the time.
        with collector_at_rest():
            return search(checkpoint)

    try:
        return await asyncio.to_thread(work)
    finally:
        stopped.set()


def _contrasted(
    flood: Arrivals,
    baseline: Baseline,
    before: Arrivals,
    asked: Asked,
    search: Search,
    conditions: Sequence[Condition] | None,
) -> Suggestions:
    usual = before.sample
    variables = [_variables(each) for each in flood.sample], [_variables(each) for each in usual]
    suggested = suggested_filters(search, *variables, conditions) if usual else frequent(search, variables[0])
    if asked.found and usual and flood.total < FEW:
        suggested = [each for each in suggested if _explains(each)]
    suggestions = tuple(
        Suggestion(
            each.filter.source,
            each.flood_share,
            each.baseline_share,
            each.precision,
            each.recall,
            round(
                _matched(each.extent.flood, flood)
                + (_matched(each.extent.baseline, before) if baseline is Baseline.BEFORE else 0)
            ),
            tuple(also_hits(search, each)),
        )
        for each in suggested[: asked.limit]
    )
    fields = tuple(hot_fields(search, asked.limit))
    return Suggestions(
        asked.since, asked.until, asked.found, baseline, len(usual), len(flood.sample), suggestions, fields, asked.now
    )


def _explains(filter_: SuggestedFilter) -> bool:
    return excess_of(filter_.flood_share, filter_.baseline_share or 0.0) >= CONVINCING


def _variables(arrival: Arrival) -> dict[str, Any]:
    return {"event": arrival.event}


def _matched(matches: int, arrivals: Arrivals) -> float:
    """About how many of all unfinished arrivals match, extrapolated from the sample."""
    unfinished = hits = 0
    for number, each in enumerate(arrivals.sample):
        if each.unfinished:
            unfinished += 1
            hits += matches >> number & 1
    return arrivals.unfinished * hits / unfinished if unfinished else 0.0
