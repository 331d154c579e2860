"""What has arrived in secateur's own queue: samples of runs of a time, whatever has become of them."""

from __future__ import annotations

from datetime import datetime

from secateur.cel.values import decode_json
from secateur.engines.base import Arrival, Arrivals, Arriving
from secateur.engines.native.source import SAMPLE_PAGES, NativeSource
from secateur.engines.relation import Reading
from secateur.postgres.statements import Statements
from secateur.runs import Scope, Window

FEW = 1_000
"""Runs on the sampled pages below which a scope is looked for by the indexes."""

ENDED = 30_000
"""Ended runs of an app, the last ones, among which those of a small scope are looked for."""

MOST_CHARACTERS = 5_000_000
"""A sample ends once it has read this much JSON."""

_SQL = Statements.load("secateur.engines.native", "arrivals.sql")


class NativeArrivals(NativeSource, Arriving):
    """From the same pages of the table each time, a few thousand at most; by the replica if there is one."""

    async def arrival_times(self, scope: Scope, limit: int) -> list[datetime]:
        await self.require_known(scope)
        where = _where(scope, Window(), None)

        async def ask(reading: Reading) -> list[datetime]:
            percent = await _percent(reading)
            counted = await reading.connection.fetchrow(_SQL["arrivals_on_pages"], *where, percent)
            if counted["runs"] < FEW and percent < 100:
                rows = await reading.connection.fetch(_SQL["arrivals_of_few"], *where, limit, ENDED)
            else:
                share = limit / max(1, counted["runs"])
                rows = await reading.connection.fetch(_SQL["arrival_times_of_pages"], *where, percent, share)
            return sorted(row["started_at"] for row in rows)

        return await self.read(ask)

    async def arrivals(self, scope: Scope, window: Window, limit: int, *, beside: str | None = None) -> Arrivals:
        await self.require_known(scope)
        where = _where(scope, window, beside)

        async def ask(reading: Reading) -> Arrivals:
            percent = await _percent(reading)
            counted = await reading.connection.fetchrow(_SQL["arrivals_on_pages"], *where, percent)
            if counted["runs"] < FEW and percent < 100:
                arrivals = await _read_some(reading, "arrivals_of_few", [*where, limit, ENDED])
                return Arrivals(arrivals, len(arrivals), sum(each.unfinished for each in arrivals))
            share = limit / max(1, counted["runs"])
            arrivals = await _read_some(reading, "arrivals_of_pages", [*where, percent, share])
            scale = 100 / percent
            return Arrivals(arrivals, round(counted["runs"] * scale), round(counted["unfinished"] * scale))

        return await self.read(ask)


async def _percent(reading: Reading) -> float:
    pages: int = await reading.connection.fetchval(_SQL["pages"])
    return min(100.0, 100.0 * SAMPLE_PAGES / max(1, pages))


async def _read_some(reading: Reading, name: str, parameters: list[object]) -> tuple[Arrival, ...]:
    """In the order of arrival."""
    arrivals = []
    characters = 0
    async for text, function_id, started_at, unfinished in reading.connection.cursor(
        _SQL[name], *parameters, prefetch=500
    ):
        arrivals.append(Arrival(decode_json(text), function_id, started_at, unfinished))
        characters += len(text)
        if characters > MOST_CHARACTERS:
            break
    return tuple(sorted(arrivals, key=lambda each: each.started_at))


def _where(scope: Scope, window: Window, beside: str | None) -> list[object]:
    return [scope.app_id, scope.function_id, beside, window.started_after, window.started_before]
