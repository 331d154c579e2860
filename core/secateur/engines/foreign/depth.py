"""The depth of another engine's queue: counted at each reading, since nobody keeps its sums."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import datetime
from typing import Any

from secateur.engines.base import RATE_SECONDS
from secateur.engines.foreign.installation import Installation
from secateur.postgres.database import Database
from secateur.runs import FunctionDepth, Scope

SHARE = 0.1
"""At most this part of the time is spent on counting: a large queue is looked at less often."""

SHORTEST_SPAN = 2.0
"""Seconds between two looks from which a growth can be told."""

ROWS_AT_ONCE = 250
"""Rows that are read before other tasks get their turn."""


class DepthReader:
    """Counts again only some time after the last look. Until then it answers with the last look."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looking = asyncio.Lock()
        self._last: list[FunctionDepth] = []
        self._looked_at = self._took = float("-inf")
        self._past: deque[tuple[datetime, dict[Scope, int]]] = deque()
        self._known: set[Scope] = set()
        self._counts_failed = True

    async def read(self, installation: Installation) -> list[FunctionDepth]:
        """Sorted by app and function. A function that this process has seen before stays, with an empty queue."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= self._took / SHARE:
                began = time.monotonic()
                self._last = await self._look(installation)
                self._looked_at = time.monotonic()
                self._took = self._looked_at - began
        return self._last

    async def unfinished(self, installation: Installation, scope: Scope) -> int:
        """The number at the last look, or at a first one."""
        depths = self._last or await self.read(installation)
        return sum(each.backlog + each.running for each in depths if scope.covers(each.app_id, each.function_id))

    async def _look(self, installation: Installation) -> list[FunctionDepth]:
        rates: dict[Scope, Any] = {}
        async with self._database.transaction(one_snapshot=True) as connection:
            now = await connection.fetchval("select clock_timestamp()")
            counted = {_scope(row): row for sql in installation.each("depth") for row in await connection.fetch(sql)}
            if has_rates := "rates" in installation.file.statements:
                rates = {_scope(row): row for sql in installation.each("rates") for row in await connection.fetch(sql)}
        self._known |= counted.keys() | rates.keys()
        self._counts_failed &= all(row["failed"] is not None for row in counted.values())
        backlogs = {scope: int(row["queued"] + row["scheduled"]) for scope, row in counted.items()}
        before = self._before(now)
        self._past.append((now, backlogs))
        found = []
        for number, scope in enumerate(sorted(self._known, key=lambda each: (each.app_id, each.function_id or ""))):
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
            row = counted.get(scope, {})
            growth = None
            if before is not None:
                seconds = (now - before[0]).total_seconds()
                growth = (backlogs.get(scope, 0) - before[1].get(scope, 0)) / seconds
            arrived, drained = _rates(rates.get(scope), growth) if has_rates else (None, None)
            found.append(
                FunctionDepth(
                    app_id=scope.app_id,
                    function_id=scope.function_id or "",
                    queued=row.get("queued", 0),
                    scheduled=row.get("scheduled", 0),
                    running=row.get("running", 0),
                    cancelling=0,
                    oldest_started_at=row.get("oldest_started_at"),
                    in_per_second=arrived,
                    out_per_second=drained,
                    as_of=now,
                    failed=row.get("failed", 0 if self._counts_failed else None),
                    lost=row.get("lost") or 0,
                    oldest_claimable_at=row.get("oldest_claimable_at"),
                    growth_per_second=growth,
                )
            )
        return found

    def _before(self, now: datetime) -> tuple[datetime, dict[Scope, int]] | None:
        """The oldest look of the last ten seconds, else the last one before them. None if none is old enough."""
        while len(self._past) > 1 and (now - self._past[1][0]).total_seconds() >= RATE_SECONDS:
            self._past.popleft()
        if not self._past or (now - self._past[0][0]).total_seconds() < SHORTEST_SPAN:
            return None
        return self._past[0]


def _scope(row: Any) -> Scope:
    return Scope(row["app_id"], row["function_id"])


def _rates(row: Any, growth: float | None) -> tuple[float, float | None]:
    """In and out a second; where the engine keeps no time of the end, what went out by what the backlog grew."""
    if row is None:
        return 0.0, 0.0
    arrived = row["arrived"] / RATE_SECONDS
    if row["drained"] is None:
        return arrived, None if growth is None else max(0.0, arrived - growth)
    return arrived, row["drained"] / RATE_SECONDS
