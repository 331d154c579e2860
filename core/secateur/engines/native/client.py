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

import getpass
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID, uuid4

from secateur import bounds
from secateur.backoff import persist
from secateur.bounds import (
    LONGEST_REASON,
    optional,
    problem_of_key,
    problem_of_name,
    problem_of_text,
    require_id,
)
from secateur.engines.base import Retention
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.enqueueing import Enqueueing
from secateur.engines.native.looking import Looking
from secateur.errors import Problem, RequestError, Unreachable
from secateur.ledger.cancellations import Cancellations
from secateur.ledger.commits import COMMITTING
from secateur.ledger.selections import select
from secateur.looking.counter import Preview
from secateur.looking.listing import read_scope
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest, RetryRequest
from secateur.runs import Count

if TYPE_CHECKING:
    from secateur.records import Cancellation
    from secateur.runs import Paused

Request: TypeAlias = CancellationRequest | Mapping[str, object] | str
"""A request, or anything that `CancellationRequest.parse` reads: the API's JSON, decoded or not."""


class Queue(Enqueueing, Looking):
    """secateur's own queue in one database. Create it with `connect`; all its errors are in `secateur.errors`."""

    def __init__(self, database: Database, engine: NativeEngine) -> None:
        Enqueueing.__init__(self, database)
        Looking.__init__(self, engine, Cancellations(engine, read_only=database.read_only))

    async def preview(self, request: Request) -> Preview:
        """Count exactly how many runs the request matches right now; changes nothing."""
        return await self.reader.counter.preview(_request(request))

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
        return await self.reader.counter.preview(_retry_request(request))

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
        is_count = expected is None or isinstance(expected, Count)
        bounds.require(
            {
                "idempotency_key": optional(problem_of_key(idempotency_key), idempotency_key),
                "expected": None if is_count else "must be a count, as in (await queue.preview(request)).count",
            }
        )
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
        return await self.cancellations.stop(require_id("cancellation_id", cancellation_id), author=_author(author))

    async def undo(
        self, cancellation_id: UUID, *, author: str | None = None, requeue_stopped: bool = False, wait: bool = False
    ) -> Cancellation:
        """Undo a cancellation: the runs that were waiting wait again. This happens in the background or, with `wait`,
        before this returns. `requeue_stopped` also queues the runs again that were stopped while running. Repeatable.

        Raises `NotFound`, `Conflict` after `undo_until`, and `LockUnavailable`.
        """
        undone = await self.cancellations.undo(
            require_id("cancellation_id", cancellation_id), author=_author(author), requeue_stopped=requeue_stopped
        )
        return await self.cancellations.wait(undone.id) if wait else undone

    async def pause(self, app_id: str, function_id: str | None = None, *, author: str | None = None) -> Paused:
        """Stop claiming runs of the function, or (None) of the whole app, until `resume`; running runs continue.

        If it is not `in_force`, the open transactions that it is `blocked_by` may still start what they have claimed.
        Pausing again changes nothing, and says whether it is in force by now. Raises `NotFound` if there is no such app
        or function, `LockUnavailable` while somebody changes it, and `ReadOnly`.
        """
        return await self.engine.pause(read_scope(app_id, function_id), _author(author), "python")

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
