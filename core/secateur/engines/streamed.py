"""Reads the runs of a relation one after the other, however many they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from secateur.engines.base import Selection
from secateur.engines.readings import Reading, scoped
from secateur.engines.relation import RelationSource
from secateur.engines.rows import run_of
from secateur.postgres.streaming import stream
from secateur.runs import CountedBy, Run


class StreamedSource(RelationSource):
    """The replica, if there is one, is not replaced where it fails: what was read before would come twice."""

    async def stream(self, selection: Selection) -> AsyncGenerator[Run, None]:
        await self.require_known(selection.scope)
        database, clock = (self._database, "clock") if self._replica is None else (self._replica, "replayed")
        async with self.reading(database, clock, CountedBy.PRIMARY, None) as reading:
            async for row in self.streamed(reading, selection):
                yield run_of(row)

    async def streamed(self, reading: Reading, selection: Selection) -> AsyncIterator[Mapping[str, Any]]:
        """The rows of the runs that match."""
        given = scoped(selection)
        sql, parameters = self.bound(self.sql("exported"), reading, selection, given, only_matches=True)
        async for row in stream(reading.connection, sql, *parameters):
            yield row
