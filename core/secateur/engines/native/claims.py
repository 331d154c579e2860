"""A worker's side of the queue's SQL functions: claim runs, keep them alive, report how they ended.

Reports are repeated until Postgres accepts them. Every call carries the claim's token, so a repeated call does no
harm, and a call that comes too late is refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg

from secateur.backoff import Backoff, persist
from secateur.engines.native.active_runs import ActiveRun, SyncRun
from secateur.engines.native.functions import Function
from secateur.engines.native.steps import Steps
from secateur.engines.native.together import Recipient, Together
from secateur.errors import DatabaseError, PermissionDenied, Unreachable
from secateur.instants import OddTime
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.spans import note, tracer

Result = TypeVar("Result")

INSISTING = Backoff(0.1, 3.0)
"""A worker repeats a call until Postgres answers."""

MOST_RESULTS = 1_000_000
"""The most characters of step results in one call."""

TRACES_SECONDS = 2.0
"""After a claim, how long a worker may take to look up the traces in which the runs were sent."""

LONGEST_TEXT = 10_000
"""The most characters of an error's text that are stored."""

logger = logging.getLogger("secateur.worker")

_SQL = Statements.load("secateur.engines.native", "worker.sql")


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker holds; the token proves it."""

    run_id: UUID
    token: UUID
    function: Function
    run: ActiveRun | SyncRun
    """What the function gets. The function may change it, so it does not say which run this is."""
    asked_at: float
    """When the claim was requested, on the monotonic clock; the lease began later."""
    resumes: bool = False
    """Whether finished steps of an earlier attempt are stored."""
    traceparent: str | None = None
    """The trace in which the run was sent, if this process has a tracer."""

    @property
    def app_id(self) -> str:
        return self.function.app_id


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one claim. `more`: cancelled runs were in the way, so claim again at once. `drained`: nothing
    else is there, and the next enqueue will notify the workers. `unsure`: nothing else was found, but an open
    transaction may have queued something, so claim again soon."""

    claims: list[Claim]
    more: bool = False
    drained: bool = False
    unsure: bool = False
    due_in: float | None = None
    """If it is drained: seconds until the next scheduled run is due; None if none is known."""


class _Row(NamedTuple):
    """A row of `complete_and_claim`. The row of a claimed run has everything except `more` and `due_in`."""

    id: Any
    function_id: str
    event: str
    attempt: int
    max_attempts: int
    claim_token: Any
    more: bool | None
    resumes: bool
    started_at: datetime | None
    due_in: timedelta | None


def _rows(columns: asyncpg.Record | None) -> list[_Row]:
    """The rows of `claim_and_flush`, which returns a list for each column, or nulls."""
    if columns is None or columns["id"] is None:
        return []
    return list(map(_Row._make, zip(*columns, strict=True)))


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished step, with its result as JSON."""

    app_id: str
    run_id: UUID
    token: UUID
    step: str
    result: str


class KeptSteps(Steps):
    """The steps of one claimed run, as stored in the queue."""

    def __init__(self, claims: Claims, app_id: str, run_id: UUID, token: UUID) -> None:
        self._claims, self._app_id, self._run_id, self._token = claims, app_id, run_id, token

    async def begin(self, name: str) -> bool:
        return await self._claims.begin_step(self._app_id, self._run_id, self._token, name)

    async def finish(self, name: str, result: str) -> bool:
        return await self._claims.finish_step(Finished(self._app_id, self._run_id, self._token, name, result))


class Claims:
    """The claims of the worker called `worker`, each for `lease` at a time."""

    def __init__(self, database: Database, worker: str, lease: timedelta) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        # Runs and steps of an app that end at about the same time are reported in one call.
        self._completed = defaultdict[str, Together[Claim, bool]](lambda: Together(self._complete))
        self._finished = defaultdict[str, Together[Finished, bool]](
            lambda: Together(self._finish, most=MOST_RESULTS, size=lambda done: 1_000 + len(done.result))
        )

    def close(self) -> None:
        """Send no more reports."""
        for runs in self._completed.values():
            runs.close()
        for steps in self._finished.values():
            steps.close()

    async def register(self, function: Function) -> None:
        """Declare the functions; declarations that they no longer contain are removed. Raises `LockUnavailable` if a
        function's limit changes while an open transaction has claimed runs of the app."""
        await self._database.execute(
            _SQL["register"],
            function.app_id,
            function.id,
            list(function.triggers),
            function.max_attempts,
            function.concurrency,
            json.dumps([one.stored() for one in function.cancel_on]),
        )

    async def claim(self, app_id: str, functions: dict[str, Function], limit: int) -> Batch:
        """Claim up to `limit` runs of these functions, and report ended runs that wait to be reported.

        Not repeated automatically; raises `DatabaseError` if Postgres is away. If the answer is lost, the claimed
        runs come back when their leases expire. What it returns is on disk, but no commit had to wait for the disk.
        """
        asked_at, asked_ns = time.monotonic(), time.time_ns()
        async with self._completed[app_id].taken_along() as (ended, answer):
            tokens = [claim.token for claim in ended]
            columns = await self._database.fetchrow(
                _SQL["claim_and_flush"],
                *(app_id, _ids(ended), tokens, list(functions), limit, self._worker, self._lease),
            )
            rows = _rows(columns)
            last = rows.pop() if rows and rows[-1].id is None and rows[-1].claim_token is None else None
            refused = {row.claim_token for row in rows if row.id is None}
            if refused:
                rows = [row for row in rows if row.id is not None]
            answer([token not in refused for token in tokens])
        traces = await self._traces(app_id, rows) if rows and tracer() is not None else {}
        if rows:
            note("secateur.claim", asked_ns, {"secateur.app": app_id, "secateur.runs": len(rows)})
        found = [self._claim(row, functions[row.function_id], asked_at, traces.get(row.id)) for row in rows]
        if last is None:
            return Batch(found)
        due_in = None if last.due_in is None else last.due_in.total_seconds()
        return Batch(found, more=last.more is True, drained=not last.more, unsure=last.more is None, due_in=due_in)

    async def _traces(self, app_id: str, rows: Sequence[_Row]) -> dict[UUID, str]:
        """The trace in which each run was sent. A failure here only loses traces, never the claimed runs."""
        try:
            kept = await self._database.fetch(_SQL["traces"], app_id, [row.id for row in rows], timeout=TRACES_SECONDS)
        except DatabaseError as error:
            logger.debug("%s cannot read in which traces its runs were sent: %s", self._worker, error)
            return {}
        return {row["run_id"]: row["traceparent"] for row in kept}

    def _claim(self, row: _Row, function: Function, asked_at: float, traceparent: str | None) -> Claim:
        run = (ActiveRun if function.is_async else SyncRun)(
            id=row.id,
            app_id=function.app_id,
            function_id=function.id,
            event=None,
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            started_at=None if isinstance(row.started_at, OddTime) else row.started_at,
            steps=KeptSteps(self, function.app_id, row.id, row.claim_token),
        )
        run.decode_later(row.event)
        return Claim(row.id, row.claim_token, function, run, asked_at, row.resumes, traceparent)

    def is_fresh(self, claim: Claim) -> bool:
        """Whether the run may begin without `recall`."""
        return not claim.resumes and time.monotonic() - claim.asked_at <= self._lease.total_seconds() / 2

    async def recall(self, claim: Claim) -> bool:
        """Give the run its steps that finished in earlier attempts, and ask whether it may still begin.

        Returns False if it was cancelled, or is no longer this worker's.
        """
        if claim.resumes:
            rows = await self._insist(
                lambda: self._database.fetch(_SQL["finished_steps"], claim.app_id, claim.run_id, claim.token)
            )
            claim.run.steps.finished = {row["step"]: row["result"] for row in rows}
        # The query may have taken so long that another worker has the run by now.
        stopped = await self._insist(lambda: extend_leases(self._database, [claim], self._lease))
        if stopped:
            await self.release([claim])
        return not stopped

    async def begin_step(self, app_id: str, run_id: UUID, token: UUID, step: str) -> bool:
        """Returns False if the run must stop; if it was cancelled, that is now recorded."""
        granted: bool = await self._insist(
            lambda: self._database.fetchval(_SQL["begin_step"], app_id, run_id, token, step)
        )
        return granted

    async def finish_step(self, finished: Finished) -> bool:
        """Store the result. Returns False if this worker no longer holds the claim."""
        return await self._finished[finished.app_id](finished)

    async def _finish(self, batch: Sequence[Finished]) -> Sequence[bool]:
        columns = (
            batch[0].app_id,
            [done.run_id for done in batch],
            [done.token for done in batch],
            [done.step for done in batch],
            [done.result for done in batch],
        )
        kept: Sequence[bool] = await self._insist(lambda: self._database.fetchval(_SQL["finish_steps"], *columns))
        return kept

    async def complete(self, claim: Claim) -> bool:
        """Returns False if this worker no longer holds the claim."""
        return await self._completed[claim.app_id](claim)

    def complete_soon(self, claim: Claim, answer: Recipient[bool]) -> None:
        """The same, without waiting for the answer."""
        self._completed[claim.app_id].ask(claim, answer)

    async def _complete(self, batch: Sequence[Claim]) -> Sequence[bool]:
        tokens = [claim.token for claim in batch]
        rows = await self._insist(lambda: self._database.fetch(_SQL["complete"], batch[0].app_id, _ids(batch), tokens))
        done = {row[0]: row[1] for row in rows}
        return [done[token] for token in tokens]

    async def fail(
        self, claim: Claim, error: str, *, retry_after: timedelta | None = None, discard: bool = False
    ) -> str | None:
        """Returns the run's new status, `scheduled`, `failed` or `cancelled`; None if this worker no longer holds it.

        With `discard` it is not retried; with `retry_after` it is not retried before that time.
        """
        arguments = (claim.app_id, claim.run_id, claim.token, _storable(error), retry_after, discard)
        status: str | None = await self._insist(lambda: self._database.fetchval(_SQL["fail"], *arguments))
        return status

    async def interrupt(self, claim: Claim, why: str) -> str | None:
        """Give back a run that has begun. Returns its new status: `queued`, `cancelled`, or that of `fail` if it was
        interrupted too often; None if this worker no longer holds it."""
        arguments = (claim.app_id, claim.run_id, claim.token, _storable(why))
        status: str | None = await self._insist(lambda: self._database.fetchval(_SQL["interrupt"], *arguments))
        return status

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give back runs that have not begun; the attempt does not count."""
        await asyncio.gather(*(self._release(app_id, held) for app_id, held in _by_app(claims)))

    async def _release(self, app_id: str, claims: Sequence[Claim]) -> None:
        tokens = [claim.token for claim in claims]
        await self._insist(lambda: self._database.fetchval(_SQL["release"], app_id, _ids(claims), tokens))

    async def _insist(self, call: Callable[[], Awaitable[Result]]) -> Result:
        return await insist(self._worker, call)


async def extend_leases(database: Database, claims: Sequence[Claim], lease: timedelta) -> dict[UUID, str]:
    """A heartbeat: extend the leases, one claim per run. Returns the runs that must stop: `cancelled` or `lost`."""
    stopped: dict[UUID, str] = {}
    for app_id, held in _by_app(claims):
        tokens = [claim.token for claim in held]
        rows = await database.fetch(
            _SQL["heartbeat"], app_id, _ids(held), tokens, lease, timeout=max(lease.total_seconds() / 3, 1)
        )
        stopped.update((row["run_id"], row["reason"]) for row in rows)
    return stopped


async def insist(worker: str, call: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat the call until Postgres answers, and return the answer. Raises errors that repeating cannot cure."""

    def note(error: DatabaseError) -> None:
        if not may_pass(error):
            raise error
        level = logging.DEBUG if isinstance(error, Unreachable) else logging.WARNING
        logger.log(level, "%s keeps trying: %s", worker, error)

    return await persist(call, INSISTING, DatabaseError, note)


def may_pass(error: DatabaseError) -> bool:
    """Whether the same call may work later. This includes a full disk, so that nobody has to restart the workers."""
    refused = isinstance(error.__cause__, asyncpg.DataError | asyncpg.ProgramLimitExceededError)
    return not isinstance(error, PermissionDenied) and not refused


def _ids(claims: Sequence[Claim]) -> list[UUID]:
    return [claim.run_id for claim in claims]


def _by_app(claims: Sequence[Claim]) -> list[tuple[str, list[Claim]]]:
    apps = dict.fromkeys(claim.app_id for claim in claims)
    return [(app_id, [claim for claim in claims if claim.app_id == app_id]) for app_id in apps]


def _storable(text: str) -> str:
    """The text as Postgres can store it: without NULs and lone surrogates, and not too long."""
    readable = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return readable if len(readable) <= LONGEST_TEXT else f"{readable[: LONGEST_TEXT - 1]}…"
