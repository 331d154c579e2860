"""Estimates, histograms and samples of a large queue, from some of its table's pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from secateur.cel.values import decode_json
from secateur.engines.base import Selection
from secateur.engines.readings import Reading, counted, scoped
from secateur.engines.sampling import estimate
from secateur.engines.streamed import StreamedSource
from secateur.runs import UNFINISHED, Count, Histogram, Scope

SAMPLE_RUNS = 20_000
"""About how many runs of the scope an estimate looks at."""

FEWEST_SAMPLED = 500
"""A sample with fewer runs gives no estimate, because the scope is a small part of the table."""

SAMPLE_PAGES = 3_000
"""A sample reads no more of the table's pages: each may have to come from the disk."""

EXACT_IS_QUICK = 30_000
"""Up to this many runs in scope an exact count takes no longer than a sample."""

DRAWING_IS_QUICK = 100_000
"""Up to this many runs in scope a sample of events is drawn run by run; it takes a tenth of a second."""

SAMPLE_CHARACTERS = 20_000_000
"""A sample of events ends once it has read this much JSON."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a sample is drawn from."""

    total: int
    """Unfinished runs of the scope."""
    pages: int
    """Pages of the table; 0 where no pages can be drawn."""

    def percentage(self, wanted: int) -> float:
        """The percentage of the pages that holds about `wanted` of the runs. It is bounded."""
        return min(100.0, 100.0 * wanted / max(1, self.total), 100.0 * SAMPLE_PAGES / max(1, self.pages))


class SampledSource(StreamedSource):
    """Needs the statements `sample` and `sample_events_of_pages`, which draw with the clause `{sampled}`."""

    async def size(self, reading: Reading, scope: Scope) -> Size:
        """Known without counting."""
        raise NotImplementedError

    async def estimate(self, selection: Selection) -> Count | None:
        if selection.statuses is not UNFINISHED:
            return None

        async def ask(reading: Reading) -> Count | None:
            size = await self.size(reading, selection.scope)
            if size.total <= EXACT_IS_QUICK or not size.pages:
                return None
            percent = size.percentage(SAMPLE_RUNS)
            rows = await self.ask(
                reading,
                "sample",
                selection,
                [*scoped(selection), percent],
                sampled="tablesample system ($5::real)",
            )
            sampled = sum(row["total"] for row in rows)
            if sampled < FEWEST_SAMPLED:
                return None
            total = max(size.total, sampled)
            pages: dict[int, tuple[int, int]] = {}
            for row in rows:
                runs, matched = pages.get(row["page"], (0, 0))
                pages[row["page"]] = runs + row["total"], matched + row["matched"]
            guess = estimate(pages.values(), total, percent / 100)
            errors = sum(row["errors"] for row in rows)
            count = counted(rows, reading, selection, exact=False, total=total, errors=errors, scale=total / sampled)
            # Each is rounded by itself.
            errors = min(count.errors or 0, total - guess.matched)
            return replace(count, matched=guess.matched, errors=errors, low=guess.low, high=guess.high)

        return await self.read(ask)

    async def histogram(self, selection: Selection, bars: int) -> Histogram | None:
        async def ask(reading: Reading) -> Histogram | None:
            size = await self.size(reading, selection.scope)
            if size.total <= EXACT_IS_QUICK or not size.pages or selection.statuses is not UNFINISHED:
                return await self.charted(reading, selection, bars)
            return await self.charted(reading, selection, bars, size.percentage(SAMPLE_RUNS))

        return await self.read(ask)

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        where = (scope.app_id, scope.function_id, limit)

        async def ask(reading: Reading) -> list[Any]:
            size = await self.size(reading, scope)
            if size.total <= DRAWING_IS_QUICK or not size.pages:
                cursor = reading.connection.cursor(self.sql("sample_events"), *where, prefetch=500)
            else:
                sql = self.sql("sample_events_of_pages", "tablesample system ($4::real)")
                cursor = reading.connection.cursor(sql, *where, size.percentage(limit), prefetch=500)
            events: list[Any] = []
            characters = 0
            async for (text,) in cursor:
                if text is None:
                    continue
                events.append(decode_json(text))
                characters += len(text)
                if characters > SAMPLE_CHARACTERS:
                    break
            return events

        return await self.read(ask)
