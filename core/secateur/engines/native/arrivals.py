"""Samples what arrived in secateur's own queue during a time, whatever became of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from secateur.cel import Filter
from secateur.cel.values import decode_json
from secateur.engines.base import Arrival, Arrivals, Arriving, Population, Tally
from secateur.engines.native.ids_by_time import ids_around
from secateur.engines.native.source import NativeSource
from secateur.engines.relation import Reading
from secateur.engines.sampled import SAMPLE_PAGES
from secateur.postgres.statements import Statements
from secateur.runs import Scope

FEW = 1_000
"""Runs on the sampled pages below which a scope is looked for by the indexes."""

ENDED = 30_000
"""Ended runs of an app, the last ones, among which those of a small scope are looked for."""

WAITING = 20_000
"""Unfinished runs, the newest ones, among which those of a small scope are looked for."""

MOST_CHARACTERS = 5_000_000
"""A sample ends once it has read this much JSON."""

_COLUMNS = "run.event, run.function_id, run.started_at, run.status in ('queued', 'scheduled', 'running') as unfinished"

_SQL = Statements.load("secateur.engines.native", "arrivals.sql")


class NativeArrivals(NativeSource, Arriving):
    """Reads the same pages of the table each time, a few thousand at most. If there is a replica, it reads there."""

    async def arrival_times(self, population: Population, limit: int) -> list[datetime]:
        await self._require_known(population)

        async def ask(reading: Reading) -> list[datetime]:
            draw = await _drawn(reading, population, limit, "arrival_times_of_pages")
            return sorted(row["started_at"] for row in await reading.connection.fetch(*draw.question))

        return await self.read(ask)

    async def arrivals(self, population: Population, limit: int) -> Arrivals:
        await self._require_known(population)

        async def ask(reading: Reading) -> Arrivals:
            draw = await _drawn(reading, population, limit, "arrivals_of_pages")
            sample = await _read_some(reading, *draw.question)
            total, unfinished = draw.about or (len(sample), sum(each.unfinished for each in sample))
            return Arrivals(sample, total, unfinished)

        return await self.read(ask)

    async def tally(self, population: Population, filters: Sequence[Filter], limit: int) -> Tally:
        await self._require_known(population)

        async def ask(reading: Reading) -> Tally:
            draw = await _drawn(reading, population, limit, "arrivals_of_pages", filters)
            runs, *matched = await reading.connection.fetchrow(*draw.question)
            return Tally(runs, tuple(matched))

        return await self.read(ask)

    async def _require_known(self, population: Population) -> None:
        for function_id in population.function_ids or (None,):
            await self.require_known(Scope(population.app_id, function_id))


class _Question:
    """The statements about one population, each with its parameters in front of further ones."""

    def __init__(self, population: Population, reading: Reading, tallied: Sequence[Filter] = ()) -> None:
        """The statements read the runs, or with `tallied` count how many runs each of these filters matches."""
        self._population, self._as_of, self._tallied = population, reading.as_of, tallied

    def __call__(self, name: str, *more: object) -> tuple[object, ...]:
        asked = self._population
        functions = None if asked.function_ids is None else list(asked.function_ids)
        window = asked.window
        parameters: list[object] = [
            *(asked.app_id, functions, list(asked.but_functions), window.started_after, window.started_before),
            *(asked.unfinished, *more),
        ]
        sql = _SQL[name]
        if asked.filter is not None:
            form = asked.filter.matching if asked.matching else asked.filter.condition
            condition, values = form.bind(len(parameters) + 1, self._as_of)
            parameters += values
            sql = sql.replace("{which}", f"({condition})" if asked.matching else f"({condition}) is not true")
        if self._tallied and "{what}" in sql:
            counts = ["count(*)"]
            for each in self._tallied:
                condition, values = each.matching.bind(len(parameters) + 1, self._as_of)
                parameters += values
                counts.append(f"count(*) filter (where {condition})")
            sql = sql.replace("{what}", ", ".join(counts))
        return sql.replace("{which}", "true").replace("{what}", _COLUMNS), *parameters


@dataclass(frozen=True, slots=True)
class _Draw:
    question: tuple[object, ...]
    """The statement that draws the sample, with its parameters."""
    about: tuple[int, int] | None
    """About how many runs there are in all, and how many of them are unfinished; None where the sample is all."""


async def _drawn(
    reading: Reading, population: Population, limit: int, of_pages: str, tallied: Sequence[Filter] = ()
) -> _Draw:
    """How to draw about `limit` runs: by `of_pages` from the table's pages, or by the indexes if there are few."""
    percent = await _percent(reading)
    ask = _Question(population, reading, tallied)
    counted = await reading.connection.fetchrow(*ask("arrivals_on_pages", percent))
    if counted["runs"] < FEW and percent < 100:
        await reading.connection.execute(_SQL["by_index"])
        return _Draw(ask("arrivals_of_few", limit, ENDED, WAITING, *ids_around(population.window)), None)
    scale = 100 / percent
    about = round(counted["runs"] * scale), round(counted["unfinished"] * scale)
    return _Draw(ask(of_pages, percent, limit / max(1, counted["runs"])), about)


async def _percent(reading: Reading) -> float:
    pages: int = await reading.connection.fetchval(_SQL["pages"])
    return min(100.0, 100.0 * SAMPLE_PAGES / max(1, pages))


async def _read_some(reading: Reading, *question: object) -> tuple[Arrival, ...]:
    """The arrivals by their time. It stops reading after `MOST_CHARACTERS`."""
    arrivals = []
    characters = 0
    async for text, function_id, started_at, unfinished in reading.connection.cursor(*question, prefetch=500):
        arrivals.append(Arrival(decode_json(text), function_id, started_at, unfinished))
        characters += len(text)
        if characters > MOST_CHARACTERS:
            break
    return tuple(sorted(arrivals, key=lambda each: each.started_at))
