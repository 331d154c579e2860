"""What is in secateur's own queue: reads the tables of the schema `secateur`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

from secateur.bounds import require_id
from secateur.cel.values import decode_json, decode_shown
from secateur.engines.base import Selection, Source, Verdict
from secateur.engines.sampling import estimate
from secateur.errors import DatabaseError, NotFound, NotInstalled, QueryTimeout
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, Count, CountedBy, FunctionDepth, Run, RunStatus, Scope
from secateur.schema import check_installed

if TYPE_CHECKING:
    import asyncpg

SAMPLE_RUNS = 20_000
"""About how many runs of the scope an estimate looks at."""

FEWEST_SAMPLED = 500
"""Of fewer runs nothing is said: the scope is a small part of the table."""

SAMPLE_PAGES = 3_000
"""A sample reads no more of the table's pages: each may have to come from the disk."""

EXACT_IS_QUICK = 30_000
"""Up to this many runs in scope an exact count takes no longer than a sample."""

DRAWING_IS_QUICK = 100_000
"""Up to this many runs in scope a sample of events is drawn run by run; it takes a tenth of a second."""

SAMPLE_CHARACTERS = 20_000_000
"""A sample of events ends once it has read this much JSON."""

RATE_SECONDS = 10.0
"""The span that the statements average rates over."""

REPLICA_REST_SECONDS = 15.0
"""After a failure the replica is left alone for so long."""

_VERDICTS = {Verdict.MATCH: True, Verdict.NO_MATCH: False, Verdict.ERROR: None}

_AMONG = {
    UNFINISHED: "run.status in ('queued', 'scheduled', 'running')",
    (RunStatus.FAILED,): "run.status = 'failed'",
    (RunStatus.FAILED, RunStatus.CANCELLED): "(run.status = 'failed' or run.status = 'cancelled')",
}

_SQL = Statements.load("secateur.engines.native", "source.sql")

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """An open transaction to read in, and how its answers are to be taken."""

    connection: asyncpg.Connection
    as_of: datetime
    source: CountedBy
    replica_failed: str | None


class NativeSource(Source):
    """What reads many runs is asked of the `replica`, if there is one: a streaming copy, in a read-only session."""

    name: ClassVar[str] = "native"
    first_run: ClassVar[str | None] = """select secateur.enqueue('billing', 'invoices', '{"name": "invoice/due"}');"""

    def __init__(self, database: Database, replica: Database | None = None) -> None:
        self._database = database
        self._replica = replica
        self._replica_tried = float("-inf")

    @staticmethod
    def problem_of_run_id(run_id: str) -> str | None:
        try:
            UUID(run_id)
        except ValueError:
            return "must be a UUID"
        return None

    async def detect(self) -> str:
        return await check_installed(self._database)

    async def clock(self) -> datetime:
        moment: datetime = await self._database.fetchval(_SQL["clock"])
        return moment

    async def depth(self) -> list[FunctionDepth]:
        return [FunctionDepth(**row) for row in await self._database.fetch(_SQL["depth"])]

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        scope = _scope(selection)

        async def ask(reading: Reading) -> Count:
            totals = await reading.connection.fetch(_among(_SQL["total"], selection), *scope[:2])
            sql, parameters = _conditioned("count", selection, reading.as_of, scope, only_matches=True)
            rows = await reading.connection.fetch(sql, *parameters)
            total = sum(row["total"] for row in totals)
            return _count(rows, reading, selection, exact=True, total=total, errors=None if selection.filter else 0)

        return await self._read(ask, on_primary=on_primary)

    async def count_errors(self, selection: Selection, *, on_primary: bool = False) -> int:
        async def ask(reading: Reading) -> int:
            sql, parameters = _conditioned("errors", selection, reading.as_of, _scope(selection))
            errors: int = await reading.connection.fetchval(sql, *parameters)
            return errors

        return 0 if selection.filter is None else await self._read(ask, on_primary=on_primary)

    async def estimate(self, selection: Selection) -> Count | None:
        if selection.statuses is not UNFINISHED:
            return None
        scope = _scope(selection)

        async def ask(reading: Reading) -> Count | None:
            size = await reading.connection.fetchrow(_SQL["size"], *scope[:2])
            if size["total"] <= EXACT_IS_QUICK:
                return None
            percent = _percent(SAMPLE_RUNS, **size)
            sql, parameters = _conditioned("sample", selection, reading.as_of, [*scope, percent])
            rows = await reading.connection.fetch(sql, *parameters)
            sampled = sum(row["total"] for row in rows)
            if sampled < FEWEST_SAMPLED:
                return None
            total = max(size["total"], sampled)
            pages: dict[int, tuple[int, int]] = {}
            for row in rows:
                runs, matched = pages.get(row["page"], (0, 0))
                pages[row["page"]] = runs + row["total"], matched + row["matched"]
            guess = estimate(pages.values(), total, percent / 100)
            errors = sum(row["errors"] for row in rows)
            count = _count(rows, reading, selection, exact=False, total=total, errors=errors, scale=total / sampled)
            return replace(count, matched=guess.matched, low=guess.low, high=guess.high)

        return await self._read(ask)

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        async def ask(reading: Reading) -> list[Run]:
            wanted = [*_scope(selection), _VERDICTS[verdict], limit]
            sql, parameters = _conditioned("examples", selection, reading.as_of, wanted)
            return [_run(row) for row in await reading.connection.fetch(sql, *parameters)]

        return await self._read(ask)

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        where = (scope.app_id, scope.function_id)

        async def ask(reading: Reading) -> list[Any]:
            size = await reading.connection.fetchrow(_SQL["size"], *where)
            if size["total"] <= DRAWING_IS_QUICK:
                cursor = reading.connection.cursor(_SQL["sample_events"], *where, limit, prefetch=500)
            else:
                percent = _percent(limit, **size)
                cursor = reading.connection.cursor(_SQL["sample_events_of_pages"], *where, limit, percent, prefetch=500)
            events: list[Any] = []
            characters = 0
            async for (text,) in cursor:
                events.append(decode_json(text))
                characters += len(text)
                if characters > SAMPLE_CHARACTERS:
                    break
            return events

        return await self._read(ask)

    async def arrival_rate(self, selection: Selection) -> float:
        if selection.statuses is not UNFINISHED:
            return 0.0

        async def ask(reading: Reading) -> float:
            sql, parameters = _conditioned("arrivals", selection, reading.as_of, _scope(selection), only_matches=True)
            arrived: int = await reading.connection.fetchval(sql, *parameters)
            return arrived / RATE_SECONDS

        return await self._read(ask, on_primary=True)

    async def _read(self, ask: Callable[[Reading], Awaitable[Answer]], *, on_primary: bool = False) -> Answer:
        """The answer of the replica, if there is one; where it fails, the primary's."""
        failed: str | None = None
        if self._replica is not None and not on_primary:
            if time.monotonic() < self._replica_tried + REPLICA_REST_SECONDS:
                failed = "it could not be read recently"
            else:
                try:
                    return await _ask(self._replica, "replayed", CountedBy.REPLICA, None, ask)
                except QueryTimeout:
                    raise
                except (DatabaseError, NotInstalled) as error:
                    logger.warning("the replica cannot be read; reading the primary instead: %s", error)
                    self._replica_tried = time.monotonic()
                    failed = str(error)
        return await _ask(self._database, "clock", CountedBy.PRIMARY, failed, ask)

    async def run(self, run_id: str) -> Run:
        row = await self._database.fetchrow(_SQL["run"], require_id("run_id", run_id))
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return _run(row)

    async def runs(self, scope: Scope, status: RunStatus, limit: int, before: str | None = None) -> list[Run]:
        if not await self._database.fetchval(_SQL["is_known"], scope.app_id, scope.function_id):
            raise NotFound(f"there is no {scope}" if scope.function_id else f"there is no app {scope.app_id!r}")
        failed = status is RunStatus.FAILED
        rows = await self._database.fetch(
            _SQL["runs_failed" if failed else "runs_unfinished"],
            scope.app_id,
            scope.function_id,
            None if before is None else require_id("before", before),
            limit,
            *(() if failed else (status.value,)),
        )
        return [_run(row) for row in rows]


async def _ask(
    database: Database,
    clock: str,
    source: CountedBy,
    replica_failed: str | None,
    ask: Callable[[Reading], Awaitable[Answer]],
) -> Answer:
    """Plans for the values at hand: a plan for any scope would ignore the indexes of this one."""
    async with database.transaction() as connection:
        as_of = await connection.fetchval(_SQL[clock])
        await connection.execute(_SQL["plan_for_values"])
        return await ask(Reading(connection, as_of, source, replica_failed))


def _percent(wanted: int, *, total: int, pages: int) -> float:
    """How many per cent of the table's `pages` hold about `wanted` of a scope's `total` runs, and are not too many."""
    return min(100.0, 100.0 * wanted / max(1, total), 100.0 * SAMPLE_PAGES / max(1, pages))


def _scope(selection: Selection) -> list[object]:
    scope, window = selection.scope, selection.window
    return [scope.app_id, scope.function_id, window.started_after, window.started_before]


def _conditioned(
    name: str, selection: Selection, as_of: datetime, parameters: list[object], *, only_matches: bool = False
) -> tuple[str, list[object]]:
    """The statement with the generated condition in its place, and all parameters.

    `only_matches` where nothing but true matters, so that the cheaper form does.
    """
    sql = _among(_SQL[name], selection)
    if selection.filter is None:
        return sql.replace("{condition}", "true"), parameters
    form = selection.filter.matching if only_matches else selection.filter.condition
    condition, more = form.bind(len(parameters) + 1, selection.now or as_of)
    return sql.replace("{condition}", f"({condition})"), [*parameters, *more]


def _among(sql: str, selection: Selection) -> str:
    """The statement with the statuses that are meant in their place, in the words of the index that has these."""
    return sql.replace("{among}", _AMONG[selection.statuses])


def _count(
    rows: Sequence[Any],
    reading: Reading,
    selection: Selection,
    *,
    exact: bool,
    total: int,
    errors: int | None,
    scale: float = 1,
) -> Count:
    by_status = dict.fromkeys(selection.statuses, 0)
    by_function: dict[str, int] = {}
    for row in rows:
        by_status[RunStatus(row["status"])] += row["matched"]
        by_function[row["function_id"]] = by_function.get(row["function_id"], 0) + row["matched"]
    matched = round(sum(by_status.values()) * scale)
    return Count(
        matched=matched,
        # The scope was counted a statement earlier, and runs arrive meanwhile.
        total=max(total, matched),
        exact=exact,
        errors=None if errors is None else round(errors * scale),
        as_of=reading.as_of,
        source=reading.source,
        replica_failed=reading.replica_failed,
        by_status={status: round(matched * scale) for status, matched in by_status.items()},
        by_function={name: round(matched * scale) for name, matched in by_function.items()},
    )


def _run(row: asyncpg.Record) -> Run:
    return Run(
        id=str(row["id"]),
        app_id=row["app_id"],
        function_id=row["function_id"],
        event=decode_shown(row["event"]),
        status=RunStatus(row["status"]),
        priority=row["priority"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        scheduled_for=row["scheduled_for"],
        worker=row["worker"],
        lease_expires_at=row["lease_expires_at"],
        finished_at=row["finished_at"],
        cancellation_id=str(row["cancellation_id"]) if row["cancellation_id"] else None,
        error=row["error"],
        claimed_at=row["claimed_at"],
        step=row["step"],
        step_at=row["step_at"],
        idempotency_key=row["idempotency_key"],
        lost=bool(row["lost"]),
    )
