"""The queue from Python: enqueue runs, look at them, preview and cancel them.

async with secateur.connect("postgresql://…") as queue:
    await queue.send({"name": "vendor/sync", "data": {"vendor_id": "globex"}}, idempotency_key="sync 4211")
    run_id = await queue.enqueue("billing", "invoices", {"data": {"amount": 5}}, priority=1)
    await queue.enqueue_bulk("billing", "invoices", ({"data": {"n": n}} for n in range(1_000_000)))
    run = await queue.wait(run_id)

    request = {"app_id": "billing", "if": "event.data.vendor_id == 'acme_inc'"}
    print((await queue.preview(request)).count.matched)
    cancellation = await queue.cancel(request, reason="a loop", wait=True)
    await queue.undo(cancellation.id)
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID, uuid4

from secateur import bounds
from secateur.backoff import persist
from secateur.bounds import (
    INT_MAX,
    INT_MIN,
    LONGEST_PAGE,
    LONGEST_REASON,
    optional,
    problem_of_instant,
    problem_of_key,
    problem_of_name,
    problem_of_number,
    problem_of_text,
    require_id,
)
from secateur.engines.base import Retention, Sent
from secateur.engines.native.bulk import Events, enqueue_bulk
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.events import as_json
from secateur.engines.native.sending import require_event, send_event
from secateur.errors import Problem, ReadOnly, RequestError, Unreachable
from secateur.ledger.cancellations import Cancellations, Preview
from secateur.ledger.commits import COMMITTING
from secateur.ledger.selections import select
from secateur.ledger.steps import Unrestored
from secateur.looking.history import Series
from secateur.looking.listing import read_scope, read_status
from secateur.looking.reader import Reader
from secateur.looking.suggestions import DEFAULT_FIELDS, Suggestions
from secateur.postgres.database import Database
from secateur.postgres.sqlstates import keeping_events
from secateur.postgres.statements import Statements
from secateur.requests import CancellationRequest, RetryRequest
from secateur.runs import UNFINISHED, FunctionDepth, Run
from secateur.samples import DEFAULT_RANGE

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation
    from secateur.runs import Count

Request: TypeAlias = CancellationRequest | Mapping[str, object] | str
"""A request, or anything that `CancellationRequest.parse` reads: the API's JSON, decoded or not."""

SHORTEST_LOOK = 0.02
LONGEST_LOOK = 0.5
"""`wait` looks at its run at least this often, in seconds."""

_SQL = Statements.load("secateur.engines.native", "client.sql")


class Queue:
    """secateur's own queue in one database. Create it with `connect`; all its errors are in `secateur.errors`."""

    def __init__(self, database: Database, engine: NativeEngine) -> None:
        self.database = database
        self.engine = engine
        self.reader = Reader(engine)
        self.cancellations = Cancellations(engine, read_only=database.read_only)

    async def enqueue(
        self,
        app_id: str,
        function_id: str,
        event: object,
        *,
        scheduled_for: datetime | None = None,
        priority: int = 0,
        started_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> UUID:
        """Enqueue one run and return its id; a new app or function is created.

        `event` is anything that `json.dumps` accepts. A higher `priority` is claimed first. `started_at` is for
        imports. Times must be aware.

        With an `idempotency_key` the call can be repeated: for a day, the same key for the same function returns the
        run that is waiting, running or completed under that key, whatever its schedule and priority; with a different
        event it raises `IdempotencyConflict`. The key of a run that was cancelled or failed for good is free again.
        If the answer to a call is lost, the call is repeated once automatically.
        """
        self._refuse_if_read_only()
        bounds.require(
            _scope_problems(app_id, function_id)
            | {
                "scheduled_for": optional(problem_of_instant(scheduled_for), scheduled_for),
                "priority": _problem_of_priority(priority),
                "started_at": optional(problem_of_instant(started_at), started_at),
                "idempotency_key": optional(problem_of_key(idempotency_key), idempotency_key),
            }
        )
        text = as_json(event)
        with keeping_events():
            run_id: UUID = await self.database.fetchval(
                _SQL["enqueue"],
                app_id,
                function_id,
                text,
                scheduled_for,
                priority,
                started_at,
                idempotency_key,
                repeatable=idempotency_key is not None,
            )
        return run_id

    async def enqueue_many(
        self,
        app_id: str,
        function_id: str,
        events: Sequence[object],
        *,
        scheduled_for: Sequence[datetime | None] | None = None,
        priorities: Sequence[int] | None = None,
        started_at: Sequence[datetime | None] | None = None,
    ) -> list[UUID]:
        """Enqueue one run per event in one transaction, ideally thousands; returns the ids in the order of the events.

        The other sequences must be as long as `events`.
        """
        self._refuse_if_read_only()
        if isinstance(events, str | bytes) or not isinstance(events, Sequence):
            raise RequestError([Problem("events", "must be a list of events")])
        columns: dict[str, Sequence[object] | None] = {
            "scheduled_for": scheduled_for,
            "priorities": priorities,
            "started_at": started_at,
        }
        bounds.require(_scope_problems(app_id, function_id))
        for name, values in columns.items():
            if values is None:
                continue
            if isinstance(values, str | bytes) or not isinstance(values, Sequence):
                raise RequestError([Problem(name, "must be a list, or None")])
            if len(values) != len(events):
                raise RequestError([Problem(name, f"must have {len(events)} values, not {len(values)}")])
        bounds.require_instants("scheduled_for", scheduled_for or ())
        bounds.require_each("priorities", map(_problem_of_priority, priorities or ()))
        bounds.require_instants("started_at", started_at or ())
        texts = [as_json(event) for event in events]
        with keeping_events():
            rows = await self.database.fetch(_SQL["enqueue_many"], app_id, function_id, texts, *columns.values())
        return [row[0] for row in rows]

    async def enqueue_bulk(
        self,
        app_id: str,
        function_id: str,
        events: Events,
        *,
        scheduled_for: datetime | None = None,
        priority: int = 0,
    ) -> int:
        """Enqueue one run per event of an iterable, sync or async, of any length, in one transaction; returns how many.

        A megabyte of events at a time is copied into a temporary table, while the next events are taken from the
        iterable and written as JSON, so that neither side waits for the other and they are never all in memory. Then
        all runs are inserted with the same `started_at`. (For fewer than about a thousand events, `enqueue_many` is
        faster: it creates no table.) No run can be claimed before this returns, and no run exists if it raises: an
        exception of the iterable is raised unchanged; an event that cannot be stored raises `RequestError` with its
        position. A cancellation completes only after the transactions that were open at its commit, so the iterable
        should be quick.
        """
        self._refuse_if_read_only()
        bounds.require(
            _scope_problems(app_id, function_id)
            | {
                "scheduled_for": optional(problem_of_instant(scheduled_for), scheduled_for),
                "priority": _problem_of_priority(priority),
                "events": None if isinstance(events, Iterable | AsyncIterable) else "must be an iterable of events",
            }
        )
        return await enqueue_bulk(
            self.database, app_id, function_id, events, scheduled_for=scheduled_for, priority=priority
        )

    async def send(self, event: Mapping[str, object], *, idempotency_key: str | None = None) -> Sent:
        """Start a run of every function, in any app, that declares the event's name as a trigger (there may be none),
        and cancel the runs that functions declare in `cancel_on`. All in one transaction; returns the runs and the
        cancellations.

        With an `idempotency_key` the event can be sent again: as in `enqueue`, it starts one run per function that it
        triggers. Without one, an event with an `id` cancels once, but starts runs each time.
        """
        self._refuse_if_read_only()
        require_event(event)
        return await send_event(self.database, as_json(event), idempotency_key=idempotency_key)

    async def preview(self, request: Request) -> Preview:
        """Count exactly how many runs the request matches right now; changes nothing."""
        return await self.cancellations.preview(_request(request))

    async def cancel(
        self,
        request: Request,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
        author: str | None = None,
        expected: Count | None = None,
        wait: bool = False,
    ) -> Cancellation:
        """Cancel the runs that the request matches; if it names several functions, use `cancel_all`.

        Once this has returned, no matching run is claimed any more. The exception is a `guarantee` of `pending`: the
        processes in `blocked_by` have open transactions, and the cancellation is in force when these have ended.
        Any live worker, server or console rewrites the rows in the background; with `wait`, this call does it before
        it returns. If the answer to the commit is lost, it is repeated under the same key, so it happens only once.
        If an earlier commit used the key and was stopped or undone since, its `guarantee` is `ended`.
        `author` defaults to the user of this process; `expected` is the count that the author saw, for the record.
        """
        parsed = _request(request)
        select(parsed)  # refuses several functions before anything is committed
        (committed,) = await self.cancel_all(
            parsed, reason=reason, idempotency_key=idempotency_key, author=author, expected=expected, wait=wait
        )
        return committed

    async def cancel_all(
        self,
        request: Request,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
        author: str | None = None,
        expected: Count | None = None,
        wait: bool = False,
    ) -> list[Cancellation]:
        """`cancel` for a request with `function_ids`: one cancellation for each, sorted by function, all or nothing."""
        parsed = _request(request)
        if reason is not None:
            parsed = CancellationRequest.parse(parsed.body() | {"reason": reason})
        return await self._commit(parsed, idempotency_key, author, expected, wait=wait)

    async def retry(
        self,
        request: Request,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
        author: str | None = None,
        expected: Count | None = None,
        wait: bool = False,
    ) -> Cancellation:
        """Queue the matching failed runs again, and with `"with_cancelled": true` the cancelled ones too.

        Scope, window and `if` work as in a cancellation; the record, of kind `retry`, is stopped and undone like one.
        The runs are queued in the background, or with `wait` before this returns. Their attempts are counted afresh,
        and their finished steps are kept. Runs whose idempotency key is taken, or that an active cancellation matches,
        are left alone; `unrestored` lists them. An undo makes the runs that nobody has claimed exactly what they were.
        """
        parsed = _retry_request(request)
        if reason is not None:
            parsed = RetryRequest.parse(parsed.body() | {"reason": reason})
        select(parsed)  # refuses several functions before anything is committed
        (committed,) = await self._commit(parsed, idempotency_key, author, expected, wait=wait)
        return committed

    async def preview_retry(self, request: Request) -> Preview:
        """Count exactly how many runs a retry would queue right now; changes nothing."""
        return await self.cancellations.preview(_retry_request(request))

    async def _commit(
        self,
        request: CancellationRequest,
        idempotency_key: str | None,
        author: str | None,
        expected: Count | None,
        *,
        wait: bool,
    ) -> list[Cancellation]:
        """Commit under one key, and repeat that if the answer is lost."""
        author = _author(author)
        bounds.require({"idempotency_key": optional(problem_of_key(idempotency_key), idempotency_key)})
        key = str(uuid4()) if idempotency_key is None else idempotency_key
        committed = await persist(
            lambda: self.cancellations.commit_all(
                request, author=author, source="python", idempotency_key=key, expected=expected
            ),
            COMMITTING,
            Unreachable,
        )
        return [await self.cancellations.wait(each.id) if wait else each for each in committed]

    async def cancel_run(self, run_id: UUID, *, reason: str | None = None, author: str | None = None) -> Cancellation:
        """Cancel one run: at once if it waits; a running one is asked to stop. Raises `Conflict` if it has finished."""
        bounds.require({"reason": optional(problem_of_text(reason, LONGEST_REASON), reason)})
        return await self.cancellations.cancel_run(
            str(require_id("run_id", run_id)), author=_author(author), source="python", reason=reason
        )

    async def restore_run(
        self, run_id: UUID, *, author: str | None = None, requeue_stopped: bool = False
    ) -> Cancellation:
        """Undo `cancel_run`; with `requeue_stopped`, also if the run was stopped while running."""
        return await self.cancellations.restore_run(
            str(require_id("run_id", run_id)), author=_author(author), source="python", requeue_stopped=requeue_stopped
        )

    async def stop(self, cancellation_id: UUID, *, author: str | None = None) -> Cancellation:
        """Stop a cancellation: it matches no more runs; what it has cancelled stays cancelled. Repeatable."""
        return await self.cancellations.stop(_id(cancellation_id), author=_author(author))

    async def undo(
        self, cancellation_id: UUID, *, author: str | None = None, requeue_stopped: bool = False, wait: bool = False
    ) -> Cancellation:
        """Undo a cancellation: the runs that were waiting wait again. This happens in the background or, with `wait`,
        before this returns. `requeue_stopped` also queues the runs again that were stopped while running. Repeatable.

        Raises `NotFound`, `Conflict` after `undo_until`, and `LockUnavailable`.
        """
        undone = await self.cancellations.undo(
            _id(cancellation_id), author=_author(author), requeue_stopped=requeue_stopped
        )
        return await self.cancellations.wait(undone.id) if wait else undone

    async def pause(self, app_id: str, function_id: str | None = None, *, author: str | None = None) -> None:
        """Stop claiming runs of the function, or (None) of the whole app, until `resume`; running runs continue.

        Pausing again changes nothing. Raises `NotFound` if there is no such app or function, `LockUnavailable`
        if an open claim holds the app's lock for seconds, and `ReadOnly`.
        """
        await self.engine.pause(read_scope(app_id, function_id), _author(author), "python")

    async def resume(self, app_id: str, function_id: str | None = None, *, author: str | None = None) -> None:
        """Undo a pause: that of the function, or (None) that of the app. Resuming an app does not resume functions that
        were paused individually. Raises the same errors as `pause`."""
        await self.engine.resume(read_scope(app_id, function_id), _author(author), "python")

    async def forget(self, app_id: str, function_id: str | None = None, *, author: str | None = None) -> list[str]:
        """Hide a function that no longer exists, or (None) the whole app, from the depth; its history stays.

        Events no longer start its runs. It comes back when a run is enqueued, or when a worker starts with it. Returns
        the newly forgotten functions, sorted. Raises `Conflict`, naming the reason, while it has unfinished runs,
        cancellations, retries or undos; otherwise the same errors as `pause`.
        """
        return await self.engine.forget(read_scope(app_id, function_id), _author(author), "python")

    async def depth(self) -> list[FunctionDepth]:
        """Waiting and running runs of every function, with arrival and completion rates, sorted by app and function.

        A forgotten function is included only while it has unfinished runs.
        """
        return await self.reader.depth()

    async def depth_history(self, app_id: str, function_id: str | None = None, *, range: str = DEFAULT_RANGE) -> Series:
        """How deep the function's queue was, or (None) that of the app as a whole: in the last `15m`, `2h` or `48h`.

        Its points are one second, ten seconds or four minutes apart. Raises `NotFound` if there is no such app or
        function, and `RequestError` for another range.
        """
        return await self.reader.history.series(read_scope(app_id, function_id), range)

    async def history(self, limit: int = 50, before: UUID | None = None) -> Sequence[Cancellation]:
        """Cancellations, newest first; `before` is the last one of the previous page."""
        bounds.require({"limit": problem_of_number(limit, 1, LONGEST_PAGE)})
        return await self.cancellations.list(limit, before if before is None else require_id("before", before))

    async def show(self, cancellation_id: UUID) -> Cancellation:
        """One cancellation with its progress. Raises `NotFound`."""
        return await self.cancellations.get(_id(cancellation_id))

    async def unrestored(self, cancellation_id: UUID, limit: int = 100) -> Sequence[Unrestored]:
        """Runs that an undo did not restore, with the reasons."""
        bounds.require({"limit": problem_of_number(limit, 1, INT_MAX)})
        return await self.cancellations.unrestored(_id(cancellation_id), limit)

    async def audit(self, limit: int = 50, before: int | None = None) -> Sequence[AuditEntry]:
        """Who did what and when, newest first; `before` is the id of the last entry of the previous page."""
        bounds.require(
            {
                "limit": problem_of_number(limit, 1, LONGEST_PAGE),
                "before": optional(problem_of_number(before, 1, 2**63 - 1), before),
            }
        )
        return await self.cancellations.audit(limit, before)

    async def retention(self) -> Retention:
        """How long finished runs are kept."""
        return await self.engine.retention()

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str | None = None,
    ) -> Retention:
        """Change the given values and return all of them. Raises `RequestError` and `ReadOnly`."""
        lengths = {"finished": finished, "cancelled": cancelled, "standing": standing}
        bounds.require(
            {
                name: None if length is None or isinstance(length, timedelta) else "must be a timedelta"
                for name, length in lengths.items()
            }
        )
        return await self.engine.set_retention(
            finished=finished, cancelled=cancelled, standing=standing, author=_author(author), source="python"
        )

    async def runs(
        self,
        app_id: str,
        function_id: str | None = None,
        *,
        status: str = "failed",
        limit: int = 50,
        before: UUID | None = None,
    ) -> list[Run]:
        """Runs that are `failed`, `queued`, `scheduled` or `running`, newest first; `before` is the last id of the
        previous page. Raises `NotFound` for an unknown app or function, and `RequestError` for any other status."""
        bounds.require({"limit": problem_of_number(limit, 1, LONGEST_PAGE)})
        page = before if before is None else str(require_id("before", before))
        return await self.engine.runs(read_scope(app_id, function_id), read_status(status), limit, page)

    async def suggest(
        self,
        app_id: str,
        function_id: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = DEFAULT_FIELDS,
    ) -> Suggestions:
        """What stands out in what arrived from `since` to `until`, against what arrived before, and filters for it.

        By samples of some thousand runs. Without `since`, from when more began to arrive. `limit` is how many fields
        are listed. Times are aware. Raises `NotFound` for an app or function that is not known.
        """
        bounds.require(
            {
                "since": optional(problem_of_instant(since), since),
                "until": optional(problem_of_instant(until), until),
                "limit": problem_of_number(limit, 1, LONGEST_PAGE),
            }
        )
        return await self.reader.suggest(read_scope(app_id, function_id), since, until, limit)

    async def get(self, run_id: UUID) -> Run:
        """The run in its current state. Raises `NotFound`."""
        return await self.engine.run(str(require_id("run_id", run_id)))

    async def wait(self, run_id: UUID) -> Run:
        """Wait until the run has completed, failed for good or been cancelled, and return it.

        It looks at least every half second. Limit the wait with `asyncio.timeout`. Raises `NotFound` if the run does
        not exist, or no longer exists.
        """
        wanted = str(require_id("run_id", run_id))
        pause = SHORTEST_LOOK
        while (run := await self.engine.run(wanted)).status in UNFINISHED:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)
        return run

    def _refuse_if_read_only(self) -> None:
        if self.database.read_only:
            raise ReadOnly("this connection is read-only: it cannot enqueue runs")


@asynccontextmanager
async def connect(
    url: str | None = None, *, read_only: bool = False, application_name: str = "secateur"
) -> AsyncIterator[Queue]:
    """The queue in the database `url`; None means libpq's environment variables. Connects on first use."""
    async with Database.connect(url, read_only=read_only, application_name=application_name) as database:
        yield Queue(database, NativeEngine(database))


def _retry_request(request: Request) -> RetryRequest:
    if isinstance(request, CancellationRequest):
        request = request.body()
    return RetryRequest.parse(dict(request) if isinstance(request, Mapping) else request)


def _request(request: Request) -> CancellationRequest:
    if isinstance(request, RetryRequest):
        raise RequestError([Problem("request", "must be a cancellation, not a retry")])
    if isinstance(request, CancellationRequest):
        return request
    return CancellationRequest.parse(dict(request) if isinstance(request, Mapping) else request)


def _scope_problems(app_id: object, function_id: object) -> dict[str, str | None]:
    """Check the names of the function that a run is enqueued for; the function may be new."""
    return {"app_id": problem_of_name(app_id), "function_id": problem_of_name(function_id)}


def _problem_of_priority(priority: object) -> str | None:
    return problem_of_number(priority, INT_MIN, INT_MAX)


def _id(cancellation_id: object) -> UUID:
    return require_id("cancellation_id", cancellation_id)


def _author(given: str | None) -> str:
    """The given author, or the user of this process. Raises `RequestError`."""
    if given is None:
        return _user()
    bounds.require({"author": problem_of_name(given)})
    return given


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
