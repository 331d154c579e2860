"""Samples what arrived in a queue during a time, whatever became of the runs, from some of its table's pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.cel.values import decode_json
from secateur.engines.base import Arriving
from secateur.engines.populations import Arrival, Arrivals, Population, Tally
from secateur.engines.relation import Reading
from secateur.engines.sampled import SAMPLE_PAGES, SampledSource
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, Scope

if TYPE_CHECKING:
    from secateur.cel import Filter

FEW = 1_000
"""Runs on the sampled pages below which a scope is looked for by the indexes."""

MOST_CHARACTERS = 5_000_000
"""A sample ends once it has read this much JSON."""

DRAWN = "tablesample system ($7::real) repeatable (0)"

ARRIVING: Mapping[str, str] = Statements.load("secateur.engines", "arriving.sql")

_COLUMNS = "run.event, run.function_id, run.started_at, {unfinished} as unfinished"
_COUNTS = "count(*) as runs, count(*) filter (where {unfinished}) as unfinished"


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

    async def pages(self, reading: Reading) -> int:
        """Of the table; 0 where no pages can be drawn."""
        raise NotImplementedError

    async def of_few(self, reading: Reading, question: SampleQuestion, limit: int) -> tuple[object, ...]:
        """How to draw about `limit` runs where hardly a page has one of the scope: a statement and its parameters."""
        raise NotImplementedError

    async def arrival_times(self, population: Population, limit: int) -> list[datetime]:
        await self._require_known(population)

        async def ask(reading: Reading) -> list[datetime]:
            draw = await self._drawn(reading, SampleQuestion(population, reading.as_of, "run.started_at"), limit)
            return sorted([row["started_at"] for row in await reading.connection.fetch(*draw.question)])

        return await self.read(ask)

    async def arrivals(self, population: Population, limit: int) -> Arrivals:
        await self._require_known(population)

        async def ask(reading: Reading) -> Arrivals:
            draw = await self._drawn(reading, SampleQuestion(population, reading.as_of, _COLUMNS), limit)
            sample = await _read_some(reading, *draw.question)
            total, unfinished = draw.about or (len(sample), sum(each.unfinished for each in sample))
            return Arrivals(sample, total, unfinished)

        return await self.read(ask)

    async def tally(self, population: Population, filters: Sequence[Filter], limit: int) -> Tally:
        await self._require_known(population)

        async def ask(reading: Reading) -> Tally:
            question = SampleQuestion(population, reading.as_of, "count(*)", filters)
            draw = await self._drawn(reading, question, limit)
            runs, *matched = await reading.connection.fetchrow(*draw.question)
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
        sql = self.sql(name, DRAWN)
        if asked.filter is not None:
            forms = asked.filter.over(self.variables)
            form = forms.matching if asked.matching else forms.condition
            condition, values = form.bind(len(parameters) + 1, question.as_of)
            parameters += values
            sql = sql.replace("{which}", f"({condition})" if asked.matching else f"({condition}) is not true")
        what = question.what
        for each in question.tallied:
            condition, values = each.over(self.variables).matching.bind(len(parameters) + 1, question.as_of)
            parameters += values
            what += f", count(*) filter (where {condition})"
        sql = sql.replace("{which}", "true").replace("{what}", what)
        return sql.replace("{unfinished}", self.among[UNFINISHED]), *parameters

    async def _drawn(self, reading: Reading, question: SampleQuestion, limit: int) -> _Draw:
        """How to draw about `limit` runs: from the table's pages, or by the indexes if there are few."""
        pages = await self.pages(reading)
        if not pages:
            return _Draw(await self.of_few(reading, question, limit), None)
        percent = min(100.0, 100.0 * SAMPLE_PAGES / pages)
        counting = replace(question, what=_COUNTS, tallied=())
        counted = await reading.connection.fetchrow(*self.statement("arrivals_on_pages", counting, percent, 1.0))
        if counted["runs"] < FEW and percent < 100:
            return _Draw(await self.of_few(reading, question, limit), None)
        scale = 100 / percent
        about = round(counted["runs"] * scale), round(counted["unfinished"] * scale)
        chance = limit / max(1, counted["runs"])
        return _Draw(self.statement("arrivals_on_pages", question, percent, chance), about)

    async def _require_known(self, population: Population) -> None:
        for function_id in population.function_ids or (None,):
            await self.require_known(Scope(population.app_id, function_id))


@dataclass(frozen=True, slots=True)
class _Draw:
    question: tuple[object, ...]
    """The statement that draws the sample, with its parameters."""
    about: tuple[int, int] | None
    """About how many runs there are in all, and how many of them are unfinished; None where the sample is all."""


async def _read_some(reading: Reading, *question: object) -> tuple[Arrival, ...]:
    """The arrivals by their time. It stops reading after `MOST_CHARACTERS`."""
    arrivals = []
    characters = 0
    async for text, function_id, started_at, unfinished in reading.connection.cursor(*question, prefetch=500):
        if text is None or started_at is None:
            continue
        arrivals.append(Arrival(decode_json(text), function_id, started_at, unfinished))
        characters += len(text)
        if characters > MOST_CHARACTERS:
            break
    return tuple(sorted(arrivals, key=lambda each: each.started_at))
