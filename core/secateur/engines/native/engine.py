"""secateur's own queue, in the schema `secateur` of the database."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

from secateur.cel import COMPILER_VERSION
from secateur.cel.sql.requirements import Requirement
from secateur.cel.values import decode_json, decode_shown
from secateur.engines.base import (
    Capabilities,
    Commit,
    DepthCheck,
    OpenCancellation,
    Pruned,
    Retention,
    RunCancellation,
    Selection,
    SweepProblem,
    SweepStep,
    Unrestored,
    Verdict,
)
from secateur.engines.reading import read_record
from secateur.engines.sampling import estimate
from secateur.errors import DatabaseError, NotFound, NotInstalled, QueryTimeout, ReadOnly, Unreachable
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, Count, FunctionDepth, Run, RunStatus, Scope, Source

if TYPE_CHECKING:
    import asyncpg

    from secateur.records import AuditEntry, Cancellation

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

CHECK_SECONDS = 300.0
"""How long the database may count all unfinished runs for the depth's self-check."""

RATE_SECONDS = 10.0
"""The span that the statements average rates over."""

_MOMENTS = (
    *("started_after", "started_before", "created_at", "in_force_at", "completed_at", "stopped_at"),
    *("undone_at", "restored_at", "undo_until", "stepped_at", "failing_since", "last_error_at"),
)

REPLICA_REST_SECONDS = 15.0
"""After a failure the replica is left alone for so long."""

_VERDICTS = {Verdict.MATCH: True, Verdict.NO_MATCH: False, Verdict.ERROR: None}

_AMONG = {
    UNFINISHED: "run.status in ('queued', 'scheduled', 'running')",
    (RunStatus.FAILED,): "run.status = 'failed'",
    (RunStatus.FAILED, RunStatus.CANCELLED): "(run.status = 'failed' or run.status = 'cancelled')",
}

_SQL = Statements.load("secateur.engines.native", "engine.sql")

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """An open transaction to read in, and how its answers are to be taken."""

    connection: asyncpg.Connection
    as_of: datetime
    source: Source
    replica_failed: str | None


class NativeEngine:
    """Reads the queue's tables, and writes through its SQL functions only.

    What reads many runs is asked of the `replica`, if there is one: a streaming copy, in a read-only session.
    """

    name: ClassVar[str] = "native"
    capabilities: ClassVar[Capabilities] = Capabilities(
        has_event=True, can_cancel=True, can_stop_running=True, gates_claims=True, can_retry=True
    )

    def __init__(self, database: Database, replica: Database | None = None) -> None:
        self._database = database
        self._replica = replica
        self._replica_tried = float("-inf")

    async def clock(self) -> datetime:
        moment: datetime = await self._database.fetchval(_SQL["clock"])
        return moment

    async def depth(self) -> list[FunctionDepth]:
        return [FunctionDepth(**row) for row in await self._database.fetch(_SQL["depth"])]

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        scope = _scope(selection)

        async def ask(place: Place) -> Count:
            totals = await place.connection.fetch(_among(_SQL["total"], selection), *scope[:2])
            sql, parameters = _conditioned("count", selection, place.as_of, scope, only_matches=True)
            rows = await place.connection.fetch(sql, *parameters)
            total = sum(row["total"] for row in totals)
            return _count(rows, place, selection, exact=True, total=total, errors=None if selection.filter else 0)

        return await self._read(ask, on_primary=on_primary)

    async def count_errors(self, selection: Selection, *, on_primary: bool = False) -> int:
        async def ask(place: Place) -> int:
            sql, parameters = _conditioned("errors", selection, place.as_of, _scope(selection))
            errors: int = await place.connection.fetchval(sql, *parameters)
            return errors

        return 0 if selection.filter is None else await self._read(ask, on_primary=on_primary)

    async def estimate(self, selection: Selection) -> Count | None:
        if selection.statuses is not UNFINISHED:
            return None
        scope = _scope(selection)

        async def ask(place: Place) -> Count | None:
            size = await place.connection.fetchrow(_SQL["size"], *scope[:2])
            if size["total"] <= EXACT_IS_QUICK:
                return None
            percent = _percent(SAMPLE_RUNS, **size)
            sql, parameters = _conditioned("sample", selection, place.as_of, [*scope, percent])
            rows = await place.connection.fetch(sql, *parameters)
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
            count = _count(rows, place, selection, exact=False, total=total, errors=errors, scale=total / sampled)
            return replace(count, matched=guess.matched, low=guess.low, high=guess.high)

        return await self._read(ask)

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        async def ask(place: Place) -> list[Run]:
            wanted = [*_scope(selection), _VERDICTS[verdict], limit]
            sql, parameters = _conditioned("examples", selection, place.as_of, wanted)
            return [_run(row) for row in await place.connection.fetch(sql, *parameters)]

        return await self._read(ask)

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        where = (scope.app_id, scope.function_id)

        async def ask(place: Place) -> list[Any]:
            size = await place.connection.fetchrow(_SQL["size"], *where)
            if size["total"] <= DRAWING_IS_QUICK:
                cursor = place.connection.cursor(_SQL["sample_events"], *where, limit, prefetch=500)
            else:
                percent = _percent(limit, **size)
                cursor = place.connection.cursor(_SQL["sample_events_of_pages"], *where, limit, percent, prefetch=500)
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

        async def ask(place: Place) -> float:
            sql, parameters = _conditioned("arrivals", selection, place.as_of, _scope(selection), only_matches=True)
            arrived: int = await place.connection.fetchval(sql, *parameters)
            return arrived / RATE_SECONDS

        return await self._read(ask, on_primary=True)

    async def _read(self, ask: Callable[[Place], Awaitable[Answer]], *, on_primary: bool = False) -> Answer:
        """The answer of the replica, if there is one; where it fails, the primary's."""
        failed: str | None = None
        if self._replica is not None and not on_primary:
            if time.monotonic() < self._replica_tried + REPLICA_REST_SECONDS:
                failed = "it could not be read recently"
            else:
                try:
                    return await _ask(self._replica, "replayed", Source.REPLICA, None, ask)
                except QueryTimeout:
                    raise
                except (DatabaseError, NotInstalled) as error:
                    logger.warning("the replica cannot be read; reading the primary instead: %s", error)
                    self._replica_tried = time.monotonic()
                    failed = str(error)
        return await _ask(self._database, "clock", Source.PRIMARY, failed, ask)

    async def run(self, run_id: UUID) -> Run:
        row = await self._database.fetchrow(_SQL["run"], run_id)
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return _run(row)

    async def runs(self, scope: Scope, status: RunStatus, limit: int, before: UUID | None = None) -> list[Run]:
        if not await self._database.fetchval(_SQL["is_known"], scope.app_id, scope.function_id):
            raise NotFound(f"there is no {scope}" if scope.function_id else f"there is no app {scope.app_id!r}")
        failed = status is RunStatus.FAILED
        rows = await self._database.fetch(
            _SQL["runs_failed" if failed else "runs_unfinished"],
            scope.app_id,
            scope.function_id,
            before,
            limit,
            *(() if failed else (status.value,)),
        )
        return [_run(row) for row in rows]

    async def cancelled_singly(self, app_id: str, run_id: UUID) -> UUID | None:
        found: UUID | None = await self._database.fetchval(_SQL["cancelled_singly"], app_id, run_id)
        return found

    async def commit(self, commit: Commit) -> Cancellation:
        return (await self.commit_all([commit]))[0]

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        self._refuse_if_read_only()
        commit = commits[0]
        functions = [each.selection.scope.function_id for each in commits]
        selection, expected = commit.selection, commit.expected
        condition: str | None = None
        parameters: dict[str, str | None] = {}
        requirement: Requirement | None = None
        if selection.filter is not None:
            condition, parameters = selection.filter.condition.stored()
            requirement = selection.filter.requirement
        retries = selection.statuses is not UNFINISHED
        rows = await self._database.fetch(
            _SQL["commit_retry" if retries else "commit"],
            [each.id for each in commits],
            selection.scope.app_id,
            None if functions == [None] else functions,
            selection.filter.source if selection.filter else None,
            selection.window.started_after,
            selection.window.started_before,
            RunStatus.CANCELLED in selection.statuses if retries else commit.standing,
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
            requirement.stored() if requirement else None,
            requirement is not None and requirement.suffices,
            expected.exact if expected else None,
        )
        return [await self._written(row["id"]) for row in rows]

    async def cancel_run(self, cancellation: RunCancellation) -> Cancellation:
        self._refuse_if_read_only()
        app_id = await self._database.fetchval(_SQL["app_of_run"], cancellation.run_id, cancellation.idempotency_key)
        if app_id is None:
            raise NotFound(f"there is no run {cancellation.run_id}")
        committed: UUID = await self._database.fetchval(
            _SQL["cancel_run"],
            cancellation.id,
            app_id,
            cancellation.run_id,
            cancellation.idempotency_key,
            cancellation.reason,
            cancellation.source,
            cancellation.author,
        )
        return await self._written(committed)

    async def stop(self, cancellation_id: UUID, author: str, source: str) -> Cancellation:
        self._refuse_if_read_only()
        app_id = await self._app_of(cancellation_id)
        await self._database.fetchval(_SQL["stop"], app_id, cancellation_id, author, source)
        return await self._written(cancellation_id)

    async def undo(
        self, cancellation_id: UUID, author: str, source: str, *, requeue_stopped: bool = False
    ) -> Cancellation:
        self._refuse_if_read_only()
        app_id = await self._app_of(cancellation_id)
        await self._database.fetchval(_SQL["undo"], app_id, cancellation_id, author, source, requeue_stopped)
        return await self._written(cancellation_id)

    async def pause(self, scope: Scope, author: str, source: str) -> None:
        self._refuse_if_read_only()
        await self._database.execute(_SQL["pause"], scope.app_id, scope.function_id, author, source)

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        self._refuse_if_read_only()
        await self._database.execute(_SQL["resume"], scope.app_id, scope.function_id, author, source)

    async def forget(self, scope: Scope, author: str, source: str) -> list[str]:
        self._refuse_if_read_only()
        return list(await self._database.fetchval(_SQL["forget"], scope.app_id, scope.function_id, author, source))

    async def _written(self, cancellation_id: UUID) -> Cancellation:
        """Reads back what was just written. Should that fail, the error must not deny what was done."""
        try:
            return await self.cancellation(cancellation_id)
        except DatabaseError as error:
            done = f"the change was made, but cancellation {cancellation_id} could not be read afterwards"
            raise Unreachable(done) from error

    async def _app_of(self, cancellation_id: UUID) -> str:
        app_id: str | None = await self._database.fetchval(_SQL["app_of_cancellation"], cancellation_id)
        if app_id is None:
            raise NotFound(f"there is no cancellation {cancellation_id}")
        return app_id

    async def sweep(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        return await self._step("sweep", app_id, cancellation_id, batch)

    async def decide(self, app_id: str, cancellation_id: UUID) -> int:
        self._refuse_if_read_only()
        decided = await self._database.fetchval(_SQL["decide"], app_id, cancellation_id)
        return int(decided)

    async def restore(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        return await self._step("restore", app_id, cancellation_id, batch)

    async def _step(self, name: str, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(_SQL[name], app_id, cancellation_id, batch)
        assert row is not None  # noqa: S101 - the function always returns a row
        return SweepStep(**row)

    async def note_sweep_failure(self, app_id: str, cancellation_id: UUID, error: str) -> None:
        self._refuse_if_read_only()
        await self._database.fetchval(_SQL["note_sweep_failure"], app_id, cancellation_id, error)

    async def sweep_problems(self) -> list[SweepProblem]:
        return [SweepProblem(**row) for row in await self._database.fetch(_SQL["sweep_problems"])]

    async def unrestored(self, cancellation_id: UUID, limit: int) -> list[Unrestored]:
        app_id = await self._app_of(cancellation_id)
        rows = await self._database.fetch(_SQL["unrestored"], app_id, cancellation_id, limit)
        return [Unrestored(**row) for row in rows]

    async def open_cancellations(self) -> list[OpenCancellation]:
        return [OpenCancellation(**row) for row in await self._database.fetch(_SQL["open_cancellations"])]

    async def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        from secateur.records import AuditEntry

        rows = await self._database.fetch(_SQL["audit"], limit, before)
        return [read_record(AuditEntry, json.loads(row[0]), ["at"])[0] for row in rows]

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        self._refuse_if_read_only()
        moved: int = await self._database.fetchval(_SQL["compact_depth"], every, batch)
        return moved

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        self._refuse_if_read_only()
        found = await self._of_each_app("check_depth", every, seconds=CHECK_SECONDS)
        checked = [row for row in found if row["checked"]]
        if not checked:
            return None
        return DepthCheck(sum(row["counted"] for row in checked), sum(row["drift"] for row in checked))

    async def prune(self, batch: int) -> Pruned:
        self._refuse_if_read_only()
        pruned = await self._of_each_app("prune", batch)
        return Pruned(sum(row["runs"] for row in pruned), any(row["more"] for row in pruned))

    async def _of_each_app(self, name: str, *arguments: object, seconds: float | None = None) -> list[asyncpg.Record]:
        """The statement's rows for all apps, asked for one app at a time."""
        return [
            row
            for app_id in await self._database.fetchval(_SQL["all_apps"])
            for row in await self._database.fetch(_SQL[name], app_id, *arguments, timeout=seconds)
        ]

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
            raise ReadOnly("this session is read-only: it cannot cancel, stop or sweep")


async def _ask(
    database: Database,
    clock: str,
    source: Source,
    replica_failed: str | None,
    ask: Callable[[Place], Awaitable[Answer]],
) -> Answer:
    """Plans for the values at hand: a plan for any scope would ignore the indexes of this one."""
    async with database.transaction() as connection:
        as_of = await connection.fetchval(_SQL[clock])
        await connection.execute(_SQL["plan_for_values"])
        return await ask(Place(connection, as_of, source, replica_failed))


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
    place: Place,
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
        as_of=place.as_of,
        source=place.source,
        replica_failed=place.replica_failed,
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


def _cancellation(document: str) -> Cancellation:
    from secateur.records import Cancellation  # half a second: only who reads cancellations pays it

    fields = json.loads(document)
    fields["if_"] = fields.pop("if")
    cancellation, odd = read_record(Cancellation, fields, _MOMENTS)
    cancellation.odd = odd
    return cancellation
