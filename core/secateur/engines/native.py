"""secateur's own queue, in the schema `secateur` of the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from secateur.cel import COMPILER_VERSION
from secateur.cel.values import decode_json
from secateur.database import Database
from secateur.engines.base import (
    Capabilities,
    Commit,
    DepthCheck,
    OpenCancellation,
    Pruned,
    Retention,
    RunCancellation,
    Selection,
    SweepStep,
    Unrestored,
    Verdict,
)
from secateur.errors import NotFound, ReadOnly
from secateur.runs import UNFINISHED, Count, FunctionDepth, Run, RunStatus, Scope
from secateur.statements import Statements

if TYPE_CHECKING:
    import asyncpg

    from secateur.records import AuditEntry, Cancellation

SAMPLE_RUNS = 10_000
"""About how many runs of the scope an estimate looks at."""

EXACT_IS_QUICK = 30_000
"""Up to this many runs in scope an exact count takes no longer than a sample."""

DRAWING_IS_QUICK = 100_000
"""Up to this many runs in scope a sample of events is drawn run by run; it takes a tenth of a second."""

SAMPLE_CHARACTERS = 20_000_000
"""A sample of events ends once it has read this much JSON."""

CHECK_SECONDS = 300.0
"""How long the database may count all unfinished runs for the depth's self-check."""

RATE_SECONDS = 10.0
"""The span that the statements average rates over."""

_MOMENTS = (
    *("started_after", "started_before", "created_at", "in_force_at", "completed_at", "stopped_at"),
    *("undone_at", "restored_at", "undo_until"),
)

_VERDICTS = {Verdict.MATCH: True, Verdict.NO_MATCH: False, Verdict.ERROR: None}

_SQL = Statements.load("secateur.engines", "native.sql")


class NativeEngine:
    """Reads the queue's tables, and writes through its SQL functions only."""

    name: ClassVar[str] = "native"
    capabilities: ClassVar[Capabilities] = Capabilities(
        has_event=True, can_cancel=True, can_stop_running=True, gates_claims=True
    )

    def __init__(self, database: Database) -> None:
        self._database = database

    async def clock(self) -> datetime:
        moment: datetime = await self._database.fetchval(_SQL["clock"])
        return moment

    async def depth(self) -> list[FunctionDepth]:
        return [FunctionDepth(**row) for row in await self._database.fetch(_SQL["depth"])]

    async def count(self, selection: Selection) -> Count:
        scope = _scope(selection)
        async with self._database.transaction() as connection:
            await _plan_for_parameters(connection)
            as_of = await connection.fetchval(_SQL["clock"])
            totals = await connection.fetch(_SQL["total"], *scope[:2])
            sql, parameters = _conditioned("count", selection, as_of, scope, only_matches=True)
            rows = await connection.fetch(sql, *parameters)
        total = sum(row["total"] for row in totals)
        return _count(rows, as_of, exact=True, total=total, errors=None if selection.filter else 0)

    async def count_errors(self, selection: Selection) -> int:
        if selection.filter is None:
            return 0
        async with self._database.transaction() as connection:
            await _plan_for_parameters(connection)
            as_of = await connection.fetchval(_SQL["clock"])
            sql, parameters = _conditioned("errors", selection, as_of, _scope(selection))
            errors: int = await connection.fetchval(sql, *parameters)
        return errors

    async def estimate(self, selection: Selection) -> Count | None:
        async with self._database.transaction() as connection:
            await _plan_for_parameters(connection)
            as_of = await connection.fetchval(_SQL["clock"])
            scope = _scope(selection)
            total = sum(row["total"] for row in await connection.fetch(_SQL["total"], *scope[:2]))
            if total <= EXACT_IS_QUICK:
                return None
            percent = min(100.0, 100.0 * SAMPLE_RUNS / total)
            sql, parameters = _conditioned("sample", selection, as_of, [*scope, percent])
            rows = await connection.fetch(sql, *parameters)
        sampled = sum(row["total"] for row in rows)
        if sampled < SAMPLE_RUNS // 20:
            return None
        errors = sum(row["errors"] for row in rows)
        return _count(rows, as_of, exact=False, total=total, errors=errors, scale=total / sampled)

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        async with self._database.transaction() as connection:
            await _plan_for_parameters(connection)
            as_of = await connection.fetchval(_SQL["clock"])
            sql, parameters = _conditioned(
                "examples", selection, as_of, [*_scope(selection), _VERDICTS[verdict], limit]
            )
            return [_run(row) for row in await connection.fetch(sql, *parameters)]

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        events: list[Any] = []
        size = 0
        async with self._database.transaction() as connection:
            await _plan_for_parameters(connection)
            where = (scope.app_id, scope.function_id)
            total = sum(row["total"] for row in await connection.fetch(_SQL["total"], *where))
            if total <= DRAWING_IS_QUICK:
                cursor = connection.cursor(_SQL["sample_events"], *where, limit, prefetch=500)
            else:
                percent = min(100.0, 100.0 * limit / total)
                cursor = connection.cursor(_SQL["sample_events_of_pages"], *where, limit, percent, prefetch=500)
            async for (text,) in cursor:
                events.append(decode_json(text))
                size += len(text)
                if size > SAMPLE_CHARACTERS:
                    break
        return events

    async def arrival_rate(self, selection: Selection) -> float:
        async with self._database.transaction() as connection:
            await _plan_for_parameters(connection)
            as_of = await connection.fetchval(_SQL["clock"])
            sql, parameters = _conditioned("arrivals", selection, as_of, _scope(selection), only_matches=True)
            arrived: int = await connection.fetchval(sql, *parameters)
        return arrived / RATE_SECONDS

    async def run(self, run_id: UUID) -> Run:
        row = await self._database.fetchrow(_SQL["run"], run_id)
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return _run(row)

    async def commit(self, commit: Commit) -> Cancellation:
        return (await self.commit_all([commit]))[0]

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        self._refuse_if_read_only()
        commit = commits[0]
        functions = [each.selection.scope.function_id for each in commits]
        selection, expected = commit.selection, commit.expected
        condition: str | None = None
        parameters: dict[str, str | None] = {}
        if selection.filter is not None:
            condition, parameters = selection.filter.condition.stored()
        rows = await self._database.fetch(
            _SQL["commit"],
            [each.id for each in commits],
            selection.scope.app_id,
            None if functions == [None] else functions,
            selection.filter.source if selection.filter else None,
            selection.window.started_after,
            selection.window.started_before,
            commit.standing,
            condition,
            json.dumps(parameters),
            COMPILER_VERSION,
            json.dumps(commit.request),
            commit.idempotency_key,
            commit.reason,
            commit.source,
            commit.author,
            expected.matched if expected else None,
            json.dumps(expected.by_function) if expected else None,
            commit.rate,
        )
        return [await self.cancellation(row["id"]) for row in rows]

    async def cancel_run(self, cancellation: RunCancellation) -> Cancellation:
        self._refuse_if_read_only()
        committed: UUID = await self._database.fetchval(
            _SQL["cancel_run"],
            cancellation.id,
            cancellation.run_id,
            cancellation.idempotency_key,
            cancellation.reason,
            cancellation.source,
            cancellation.author,
        )
        return await self.cancellation(committed)

    async def stop(self, cancellation_id: UUID, author: str, source: str) -> Cancellation:
        self._refuse_if_read_only()
        await self._database.fetchval(_SQL["stop"], cancellation_id, author, source)
        return await self.cancellation(cancellation_id)

    async def undo(
        self, cancellation_id: UUID, author: str, source: str, *, requeue_stopped: bool = False
    ) -> Cancellation:
        self._refuse_if_read_only()
        await self._database.fetchval(_SQL["undo"], cancellation_id, author, source, requeue_stopped)
        return await self.cancellation(cancellation_id)

    async def pause(self, scope: Scope, author: str, source: str) -> None:
        self._refuse_if_read_only()
        await self._database.execute(_SQL["pause"], scope.app_id, scope.function_id, author, source)

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        self._refuse_if_read_only()
        await self._database.execute(_SQL["resume"], scope.app_id, scope.function_id, author, source)

    async def sweep(self, cancellation_id: UUID, batch: int) -> SweepStep:
        return await self._step("sweep", cancellation_id, batch)

    async def restore(self, cancellation_id: UUID, batch: int) -> SweepStep:
        return await self._step("restore", cancellation_id, batch)

    async def _step(self, name: str, cancellation_id: UUID, batch: int) -> SweepStep:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(_SQL[name], cancellation_id, batch)
        assert row is not None  # noqa: S101 - the function always returns a row
        return SweepStep(**row)

    async def unrestored(self, cancellation_id: UUID, limit: int) -> list[Unrestored]:
        return [Unrestored(**row) for row in await self._database.fetch(_SQL["unrestored"], cancellation_id, limit)]

    async def open_cancellations(self) -> list[OpenCancellation]:
        return [OpenCancellation(**row) for row in await self._database.fetch(_SQL["open_cancellations"])]

    async def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        from secateur.records import AuditEntry

        rows = await self._database.fetch(_SQL["audit"], limit, before)
        return [AuditEntry.model_validate_json(row[0]) for row in rows]

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        self._refuse_if_read_only()
        moved: int = await self._database.fetchval(_SQL["compact_depth"], every, batch)
        return moved

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(_SQL["check_depth"], every, timeout=CHECK_SECONDS)
        return DepthCheck(row["counted"], row["drift"]) if row and row["checked"] else None

    async def prune(self, batch: int) -> Pruned:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(_SQL["prune"], batch)
        assert row is not None  # noqa: S101 - the function always returns a row
        return Pruned(**row)

    async def retention(self) -> Retention:
        row = await self._database.fetchrow(_SQL["retention"])
        assert row is not None  # noqa: S101 - the table always has its row
        return Retention(**row)

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(_SQL["set_retention"], finished, cancelled, standing, author, source)
        assert row is not None  # noqa: S101 - the function always returns a row
        return Retention(**row)

    async def cancellations(self, limit: int, before: UUID | None = None) -> Sequence[Cancellation]:
        rows = await self._database.fetch(_SQL["cancellations"], None, before, limit)
        return [_cancellation(row[0]) for row in rows]

    async def cancellation(self, cancellation_id: UUID) -> Cancellation:
        row = await self._database.fetchrow(_SQL["cancellations"], cancellation_id, None, 1)
        if row is None:
            raise NotFound(f"there is no cancellation {cancellation_id}")
        return _cancellation(row[0])

    def _refuse_if_read_only(self) -> None:
        if self._database.read_only:
            raise ReadOnly("this session is read-only: nothing can be cancelled, stopped or swept")


async def _plan_for_parameters(connection: asyncpg.Connection) -> None:
    """Plan for the values at hand: a plan for any scope would ignore the indexes of this one."""
    await connection.execute("select set_config('plan_cache_mode', 'force_custom_plan', true)")


def _scope(selection: Selection) -> list[object]:
    scope, window = selection.scope, selection.window
    return [scope.app_id, scope.function_id, window.started_after, window.started_before]


def _conditioned(
    name: str, selection: Selection, as_of: datetime, parameters: list[object], *, only_matches: bool = False
) -> tuple[str, list[object]]:
    """The statement with the generated condition in its place, and all parameters.

    `only_matches` where nothing but true matters, so that the cheaper form does.
    """
    if selection.filter is None:
        return _SQL[name].replace("{condition}", "true"), parameters
    form = selection.filter.matching if only_matches else selection.filter.condition
    condition, more = form.bind(len(parameters) + 1, selection.now or as_of)
    return _SQL[name].replace("{condition}", f"({condition})"), [*parameters, *more]


def _count(
    rows: Sequence[Any], as_of: datetime, *, exact: bool, total: int, errors: int | None, scale: float = 1
) -> Count:
    by_status = dict.fromkeys(UNFINISHED, 0)
    by_function: dict[str, int] = {}
    for row in rows:
        by_status[RunStatus(row["status"])] += row["matched"]
        by_function[row["function_id"]] = by_function.get(row["function_id"], 0) + row["matched"]
    return Count(
        matched=round(sum(by_status.values()) * scale),
        total=total,
        exact=exact,
        errors=None if errors is None else round(errors * scale),
        as_of=as_of,
        by_status={status: round(matched * scale) for status, matched in by_status.items()},
        by_function={name: round(matched * scale) for name, matched in by_function.items()},
    )


def _run(row: asyncpg.Record) -> Run:
    return Run(
        id=str(row["id"]),
        app_id=row["app_id"],
        function_id=row["function_id"],
        event=decode_json(row["event"]),
        status=RunStatus(row["status"]),
        priority=row["priority"],
        attempt=row["attempt"],
        started_at=row["started_at"],
        scheduled_for=row["scheduled_for"],
        worker=row["worker"],
        lease_expires_at=row["lease_expires_at"],
        finished_at=row["finished_at"],
        cancellation_id=str(row["cancellation_id"]) if row["cancellation_id"] else None,
    )


def _cancellation(document: str) -> Cancellation:
    from secateur.records import Cancellation  # half a second: only who reads cancellations pays it

    fields = json.loads(document)
    fields["if_"] = fields.pop("if")
    cancellation = Cancellation.model_validate(fields)
    for name in _MOMENTS:
        if (moment := getattr(cancellation, name)) is not None:
            setattr(cancellation, name, moment.astimezone(UTC))
    return cancellation
