"""Samples what arrived in a queue during a time, whatever became of the runs, from some of its table's pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.cel.values import decode_json
from secateur.engines.base import Arriving
from secateur.engines.populations import Arrival, Arrivals, Population, Tally
from secateur.engines.readings import Reading
from secateur.engines.sampled import SAMPLE_PAGES, SampledSource
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, Scope

if TYPE_CHECKING:
    from secateur.cel import Filter

FEW = 1_000
"""Runs on the sampled pages below which a scope is looked for by the indexes."""

MOST_BYTES = 4_000_000
"""The events of a sample take about so many bytes of the table at most."""

MOST_CHARACTERS = 2 * MOST_BYTES
"""A sample with more JSON than this is drawn again with fewer runs: its events were compressed well."""

MOST_TALLIED_BYTES = 4 * MOST_BYTES
"""The events of a tally take about so many bytes of the table at most."""

SMALLER = 0.8
"""A sample that was too large is drawn again, with this part of the runs that it had room for."""

DRAWS = 3
"""How often a sample is drawn at most; after that it is cut."""

DRAWN = "tablesample system ($7::real) repeatable (0)"

ARRIVING: Mapping[str, str] = Statements.load("secateur.engines", "arriving.sql")

_COLUMNS = "run.event, run.function_id, run.started_at, {unfinished} as unfinished"
_COUNTS = """count(*) as runs, count(*) filter (where {unfinished}) as unfinished,
       coalesce(sum(run.stored_bytes), 0)::bigint as stored_bytes"""


@dataclass(frozen=True, slots=True)
class SampleQuestion:
    """A statement about one population, with its parameters; further ones come after the first six."""

    population: Population
    as_of: datetime
    what: str
    """What to select."""
    tallied: Sequence[Filter] = ()
    """Select also how many runs each of these matches."""


class SampledArrivals(SampledSource, Arriving):
    """Reads the same pages of the table each time, a few thousand at most. If there is a replica, it reads there.

    Needs the statements of arriving.sql, and `arrivals_of_few`.
    """

    drawn_columns: str = "run.*, 0 as stored_bytes"
    """What is read of the drawn runs: all that conditions may name, and the bytes that an event takes in the table; 0
    where that is not known.
    """

    async def pages(self, reading: Reading) -> int:
        """Of the table; 0 where no pages can be drawn."""
        raise NotImplementedError

    async def of_few(self, reading: Reading, question: SampleQuestion, limit: int) -> tuple[object, ...]:
        """How to draw about `limit` runs where hardly a page has one of the scope: a statement and its parameters."""
        raise NotImplementedError

    async def arrival_times(self, population: Population, limit: int) -> list[datetime]:
        await self._require_known(population)

        async def ask(reading: Reading) -> list[datetime]:
            question = SampleQuestion(population, reading.as_of, "run.started_at")
            on_pages = await self._count(reading, question)
            drawn = await self._draw(reading, question, on_pages, limit)
            return sorted([row["started_at"] for row in await reading.connection.fetch(*drawn)])

        return await self.read(ask)

    async def arrivals(self, population: Population, limit: int) -> Arrivals:
        await self._require_known(population)

        async def ask(reading: Reading) -> Arrivals:
            question = SampleQuestion(population, reading.as_of, _COLUMNS)
            on_pages = await self._count(reading, question)
            wanted = limit if on_pages is None else on_pages.within(limit, MOST_BYTES)
            for _ in range(DRAWS):
                sample, is_cut = await _read_some(reading, *await self._draw(reading, question, on_pages, wanted))
                if not is_cut:
                    break
                # The rows come in the order of the pages: what was cut off is what arrived last.
                wanted = max(1, int(SMALLER * len(sample)))
            if on_pages is None:
                return Arrivals(sample, len(sample), sum(each.unfinished for each in sample))
            scale = 100 / on_pages.percent
            return Arrivals(sample, round(on_pages.runs * scale), round(on_pages.unfinished * scale))

        return await self.read(ask)

    async def tally(self, population: Population, filters: Sequence[Filter], limit: int) -> Tally:
        await self._require_known(population)

        async def ask(reading: Reading) -> Tally:
            question = SampleQuestion(population, reading.as_of, "count(*)", filters)
            on_pages = await self._count(reading, question)
            wanted = limit if on_pages is None else on_pages.within(limit, MOST_TALLIED_BYTES)
            drawn = await self._draw(reading, question, on_pages, wanted)
            runs, *matched = await reading.connection.fetchrow(*drawn)
            return Tally(runs, tuple(matched))

        return await self.read(ask)

    def statement(self, name: str, question: SampleQuestion, *more: object) -> tuple[object, ...]:
        """The statement about the population, with all its parameters."""
        asked = question.population
        functions = None if asked.function_ids is None else list(asked.function_ids)
        window = asked.window
        parameters: list[object] = [
            *(asked.app_id, functions, list(asked.but_functions), window.started_after, window.started_before),
            *(asked.unfinished, *more),
        ]
        sql = self.sql(name, DRAWN).replace("{drawn_columns}", self.drawn_columns)
        if asked.filter is not None:
            forms = self.forms(asked.filter)
            form = forms.matching if asked.matching else forms.condition
            condition, values = form.bind(len(parameters) + 1, question.as_of)
            parameters += values
            sql = sql.replace("{which}", f"({condition})" if asked.matching else f"({condition}) is not true")
        what = question.what
        for each in question.tallied:
            condition, values = self.forms(each).matching.bind(len(parameters) + 1, question.as_of)
            parameters += values
            what += f", count(*) filter (where {condition})"
        sql = sql.replace("{which}", "true").replace("{what}", what)
        return sql.replace("{unfinished}", self.among[UNFINISHED]), *parameters

    async def _count(self, reading: Reading, question: SampleQuestion) -> _OnPages | None:
        """None where hardly a page has a run of the population, or no pages can be drawn."""
        pages = await self.pages(reading)
        if not pages:
            return None
        percent = min(100.0, 100.0 * SAMPLE_PAGES / pages)
        counting = replace(question, what=_COUNTS, tallied=())
        found = await reading.connection.fetchrow(*self.statement("arrivals_on_pages", counting, percent, 1.0))
        return None if found["runs"] < FEW and percent < 100 else _OnPages(percent, **found)

    async def _draw(
        self, reading: Reading, question: SampleQuestion, on_pages: _OnPages | None, limit: int
    ) -> tuple[object, ...]:
        """How to draw about `limit` runs, from the pages or by the indexes: a statement and its parameters."""
        if on_pages is None:
            return await self.of_few(reading, question, limit)
        return self.statement("arrivals_on_pages", question, on_pages.percent, limit / max(1, on_pages.runs))

    async def _require_known(self, population: Population) -> None:
        for function_id in population.function_ids or (None,):
            await self.require_known(Scope(population.app_id, function_id))


@dataclass(frozen=True, slots=True)
class _OnPages:
    """What the pages have of a population."""

    percent: float
    """The part of the table's pages."""
    runs: int
    unfinished: int
    stored_bytes: int
    """Of the events, compressed if they are; 0 where that is not known."""

    def within(self, limit: int, most_bytes: int) -> int:
        """How many of the runs, up to `limit`, have about so many bytes."""
        return min(limit, max(1, self.runs * most_bytes // max(1, self.stored_bytes))) if self.stored_bytes else limit


async def _read_some(reading: Reading, *question: object) -> tuple[tuple[Arrival, ...], bool]:
    """The arrivals by their time, and whether it stopped reading because they had `MOST_CHARACTERS`."""
    arrivals = []
    characters = 0
    is_cut = False
    async for text, function_id, started_at, unfinished in reading.connection.cursor(*question, prefetch=500):
        if text is None or started_at is None:
            continue
        if is_cut := characters > MOST_CHARACTERS:
            break
        arrivals.append(Arrival(decode_json(text), function_id, started_at, unfinished is True))
        characters += len(text)
    return tuple(sorted(arrivals, key=lambda each: each.started_at)), is_cut
