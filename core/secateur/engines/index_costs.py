"""What an index on a filter's field would bring and cost: measured on a sample of the table, and scaled up.

Nothing is left behind: what is written for it are temporary tables, which end with the transaction.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from secateur.cel.sql.probing import Indexed, Probe
from secateur.engines.base import Selection
from secateur.engines.indexing import SQL, IndexPlan, planned
from secateur.engines.readings import Reading, scoped
from secateur.engines.relation import RelationSource
from secateur.errors import PermissionDenied, QueryTimeout, ReadOnly
from secateur.postgres.database import Connection
from secateur.postgres.statements import fill
from secateur.runs import UNFINISHED, Count, CountedBy

SAMPLE_PAGES = 2_000
"""A sample reads no more of the table's pages."""

ROUNDS = 8
"""Rows are written so often with the index, and without it, in turn; the least time counts."""

DESCENT_SECONDS = 0.001
"""What a count takes beside the runs that it reads."""


@dataclass(frozen=True, slots=True)
class IndexCosts:
    """What it takes. Estimated from a sample."""

    bytes: int
    write_microseconds: float
    """How much longer it takes to insert a run. A claim writes an entry too; whatever ends a run writes none."""
    write_share: float
    """The same as a share of a bare insert, with all other indexes but without WAL and commit: 0.08 for 8 %."""
    build_seconds: float
    """Without the wait for older transactions."""


@dataclass(frozen=True, slots=True)
class IndexAdvice:
    """What one index would do for the count of one selection."""

    plan: IndexPlan
    exists: bool
    count: Count | None
    """As it is now; None if that took longer than it may."""
    seconds: float
    """How long the count took, or was given."""
    read: int | None
    """Runs that a count with the index reads, estimated; None where the queue's table cannot be sampled."""
    seconds_with_index: float | None
    """Estimated from reading some of these runs."""
    costs: IndexCosts | None
    """None where it could not be measured: see `why_no_costs`."""
    why_no_costs: str | None
    planner_agrees: bool | None
    """Whether the planner would use it; None where nobody could ask, because the extension hypopg is not there."""

    @property
    def helps(self) -> bool:
        """Whether the count takes half as long at most."""
        if self.planner_agrees is False or self.seconds_with_index is None:
            return False
        return self.seconds_with_index * 2 <= self.seconds


async def weigh(source: RelationSource, selection: Selection, probes: Sequence[Probe], longest: float) -> IndexAdvice:
    """What the best of these indexes would do; `probes` are the selection's, at least one.

    Counts once, for `longest` seconds at most, and reads a sample of the table. Raises `Unsupported` where the runs are
    not in one table.
    """
    count, seconds = await _counted(source, selection, longest)
    async with source.database.transaction() as connection:
        await connection.execute(source.sql("plan_for_values"))
        reading = Reading(connection, await connection.fetchval(source.sql("clock")), CountedBy.PRIMARY, None)
        sample = await _sampled(source, reading, selection, probes) if source.place is not None else None
        probe = probes[0] if sample is None else sample.best
        plan = await planned(source, connection, probe)
        there = await connection.fetch(source.sql("indexes_there"), [plan.name])
        fetched = None if sample is None else await _fetched(source, reading, selection, sample)
        agrees = await _agrees(source, reading, selection, probe, plan, exists=bool(there))
    costs, why = await _costs(source, plan, probe, sample)
    read = None if sample is None else max(sample.found, count.matched if count is not None else 0)
    expected = None if fetched is None or read is None else DESCENT_SECONDS + read * fetched
    return IndexAdvice(plan, bool(there), count, seconds, read, expected, costs, why, agrees)


async def _counted(source: RelationSource, selection: Selection, longest: float) -> tuple[Count | None, float]:
    began = time.perf_counter()
    count = None
    with suppress(TimeoutError, QueryTimeout):
        async with asyncio.timeout(longest):
            count = await source.count(selection, on_primary=True)
    return count, time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class _Sample:
    percent: float
    best: Probe
    found: int
    """Runs of the app that the best probe finds, scaled up."""
    places: list[str]
    """Of some of these; of any runs where there are hardly some."""
    any_places: list[str]


async def _sampled(source: RelationSource, reading: Reading, selection: Selection, probes: Sequence[Probe]) -> _Sample:
    table = (await planned(source, reading.connection, probes[0])).table
    pages = await reading.connection.fetchval(SQL["pages"], table)
    percent = min(100.0, 100.0 * SAMPLE_PAGES / max(1, pages))
    parameters: list[object] = [selection.scope.app_id, percent]
    served = []
    for number, probe in enumerate(probes):
        test, more = probe.test.bind(len(parameters) + 1, None)
        parameters += more
        places = "(array_agg({place} order by random()) filter (where %s))[1:1000]::text[] as places_%d"
        served.append(f"count(*) filter (where {test}) as found_{number}, " + places % (test, number))
    filled = {"served": ", ".join(served), "drawn": source.drawn("tablesample system ($2::float4)")}
    row = await reading.connection.fetchrow(_over(source, "sampled", filled), *parameters)
    best = min(range(len(probes)), key=lambda number: row[f"found_{number}"])
    found, anywhere = row[f"places_{best}"] or [], row["places"] or []
    scaled = round(row[f"found_{best}"] * 100 / percent)
    return _Sample(percent, probes[best], scaled, found if len(found) >= 30 else anywhere, anywhere)


def _over(source: RelationSource, name: str, places: dict[str, str]) -> str:
    return fill(
        fill(SQL[name], places),
        {"place": source.place or "", "among": source.among[UNFINISHED], "runs": source.relation},
    )


async def _fetched(source: RelationSource, reading: Reading, selection: Selection, sample: _Sample) -> float | None:
    """Seconds for each run that is read by its place and judged; None where there was no run."""
    if selection.filter is None or not sample.places:
        return None
    condition, more = source.forms(selection.filter).matching.bind(2, selection.now or reading.as_of)
    sql = _over(source, "fetched", {"condition": condition})
    took = _milliseconds(await reading.connection.fetchval(sql, sample.places, *more))
    return took / 1000 / len(sample.places)


async def _agrees(
    source: RelationSource, reading: Reading, selection: Selection, probe: Probe, plan: IndexPlan, *, exists: bool
) -> bool | None:
    connection = reading.connection
    supposed = plan.name
    if not exists:
        if not await connection.fetchval(SQL["hypothetical"]):
            return None
        supposed = await connection.fetchval(SQL["suppose"], plan.ddl.replace(" concurrently", ""))
    sql, parameters = source.asked(reading, "count", selection, scoped(selection), True, "", [probe])
    explained = "\n".join(row[0] for row in await connection.fetch(f"explain {sql}", *parameters))
    if not exists:
        await connection.fetch(SQL["suppose_nothing"])
    return supposed in explained


async def _costs(
    source: RelationSource, plan: IndexPlan, probe: Probe, sample: _Sample | None
) -> tuple[IndexCosts | None, str | None]:
    if sample is None or not sample.any_places:
        return None, "there is no sample of its runs"
    try:
        async with source.database.transaction() as connection:
            scale = 100 / sample.percent
            size, seconds = await _entries(source, connection, probe, sample.percent)
            more, share = await _writes(connection, plan, sample.any_places)
    except (PermissionDenied, ReadOnly):
        return None, "this session may not make temporary tables to measure it with"
    return IndexCosts(round(size * scale), more, share, seconds * scale), None


async def _entries(source: RelationSource, connection: Connection, probe: Probe, percent: float) -> tuple[int, float]:
    """Bytes of the index on the sample alone, and the seconds that it took."""
    expression, more = probe.expression.bind(1, None)
    share = f"tablesample system ({percent:f})"
    sql = _over(source, "entries", {"expression": expression, "drawn": source.drawn(share)})
    began = time.perf_counter()
    await connection.execute(sql, *more)
    collation = 'collate "C"' if probe.kind is Indexed.TEXT else ""
    await connection.execute(fill(SQL["entries_indexed"], {"collation": collation}))
    seconds = time.perf_counter() - began
    return await connection.fetchval(SQL["entries_size"]), seconds


async def _writes(connection: Connection, plan: IndexPlan, places: list[str]) -> tuple[float, float]:
    """How much longer it takes to write a row where the index is: in microseconds, and as a share."""
    least: dict[str, float] = {}
    await connection.execute(fill(SQL["rows_to_write"], {"table": plan.table}), places)
    for written in _WRITTEN:
        await connection.execute(fill(SQL["written"], {"table": plan.table, "written": written}))
    await connection.execute(f"create index on {_WRITTEN[1]} {plan.columns}")
    for _ in range(ROUNDS):
        for written in _WRITTEN:
            await connection.execute(fill(SQL["write_again"], {"written": written}))
            took = _milliseconds(await connection.fetchval(fill(SQL["write"], {"written": written})))
            least[written] = min(took, least.get(written, took))
    without, with_it = (least[each] for each in _WRITTEN)
    more = max(0.0, with_it - without)
    return 1000 * more / len(places), more / without


_WRITTEN = "secateur_written", "secateur_written_with_index"


def _milliseconds(explained: Any) -> float:
    plan = json.loads(explained) if isinstance(explained, str) else explained
    return float(plan[0]["Execution Time"])
