"""Evaluates conditions in this process, on rows that the database streams.

It answers a statement as the database would, under the same name and with the same columns. A row takes about ten
microseconds to decode and evaluate. Other tasks get their turn in between.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from secateur.cel import EvaluationError
from secateur.engines.populations import Arrival, Population
from secateur.engines.rows import run_of
from secateur.instants import OddTime

if TYPE_CHECKING:
    import asyncpg

    from secateur.cel import Filter

AT_ONCE = 0.004
"""Seconds of evaluation after which other tasks get their turn."""

PREFETCH = 500

Row: TypeAlias = Mapping[str, Any]
Judged: TypeAlias = AsyncIterator[tuple[Row, bool | None]]


async def answer(name: str, rows: Judged, parameters: Sequence[object]) -> Sequence[Row]:
    """The rows that the statement `name` would give with these parameters, from the runs that it is about."""
    return await _ANSWERS[name](rows, parameters)


async def judged(
    connection: asyncpg.Connection,
    sql: str,
    parameters: Sequence[object],
    filter: Filter,
    now: datetime,
    told: Callable[[int], None] = lambda _: None,
) -> Judged:
    """Each run that `sql` selects, with its verdict; null is an error.

    A run that is not `within` the window does not match. `told` hears now and then how many runs have been evaluated.
    """
    began, many = time.monotonic(), 0
    async for row in connection.cursor(sql, *parameters, prefetch=PREFETCH):
        try:
            verdict: bool | None = row.get("within", True) and filter.matches(run_of(row), now)
        except EvaluationError:
            verdict = None
        yield row, verdict
        many += 1
        if time.monotonic() - began > AT_ONCE:
            told(many)
            await asyncio.sleep(0)
            began = time.monotonic()


async def _tallies(rows: Judged, parameters: Sequence[object]) -> Sequence[Row]:
    """Counts by function, status and, in a sample, page."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    async for row, verdict in rows:
        group = {"function_id": row["function_id"], "status": row["status"], "page": row.get("page")}
        tally = found.setdefault(tuple(group.values()), {**group, "total": 0, "matched": 0, "errors": 0})
        tally["total"] += 1
        tally["matched"] += verdict is True
        tally["errors"] += verdict is None
    return list(found.values())


async def _examples(rows: Judged, parameters: Sequence[object]) -> Sequence[Row]:
    wanted, limit = parameters[4:6]
    return await _first(rows, wanted, limit)


async def _runs(rows: Judged, parameters: Sequence[object]) -> Sequence[Row]:
    return await _first(rows, True, parameters[7])


async def _first(rows: Judged, wanted: object, limit: object) -> Sequence[Row]:
    found: list[Row] = []
    async for row, verdict in rows:
        if verdict is wanted:
            found.append(row)
        if len(found) == limit:
            break
    return found


async def _arrivals(rows: Judged, parameters: Sequence[object]) -> Sequence[Row]:
    return [{"arrived": sum([verdict is True async for _, verdict in rows])}]


async def _histogram(rows: Judged, parameters: Sequence[object]) -> Sequence[Row]:
    bars = parameters[4]
    assert isinstance(bars, int)  # noqa: S101
    found = [(row["started_at"], verdict) async for row, verdict in rows if not isinstance(row["started_at"], OddTime)]
    if not found:
        return []
    first, last = min(at for at, _ in found), max(at for at, _ in found)
    length = max((last - first).total_seconds(), 0.000001)
    parts: dict[int, dict[str, Any]] = {}
    for at, verdict in found:
        part = min(bars, 1 + math.floor(bars * (at - first).total_seconds() / length))
        empty = {"part": part, "first": first, "last": last, "total": 0, "matched": 0, "errors": 0}
        bar = parts.setdefault(part, empty)
        bar["total"] += 1
        bar["matched"] += verdict is True
        bar["errors"] += verdict is None
    return list(parts.values())


def is_true(filter: Filter, arrival: Arrival, population: Population) -> bool:
    """Whether the filter is true of a sampled arrival. It is not if it asks for what the sample does not have."""
    run = {"app": population.app_id, "function": arrival.function_id, "started_at": arrival.started_at}
    try:
        return filter.evaluate({"event": arrival.event, "run": run}) is True
    except EvaluationError:
        return False


_ANSWERS: Mapping[str, Callable[[Judged, Sequence[object]], Awaitable[Sequence[Row]]]] = {
    "count": _tallies,
    "verdicts": _tallies,
    "sample": _tallies,
    "examples": _examples,
    "runs": _runs,
    "arrivals": _arrivals,
    "histogram": _histogram,
}
