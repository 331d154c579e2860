"""Cancelling runs: preview, commit, follow, stop. The same steps for every engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from secateur.cel import EvaluationError, Filter
from secateur.engines.base import Commit, QueueEngine, Selection, SweepStep, Verdict
from secateur.errors import DatabaseError, NotInstalled, PermissionDenied, Problem, ReadOnly, RequestError
from secateur.requests import CancellationRequest, utc
from secateur.runs import Count, Run, Scope

if TYPE_CHECKING:
    from secateur.records import Cancellation

logger = logging.getLogger(__name__)

SWEEP_BATCH = 10_000
"""Runs that one transaction of a sweep looks at: about a quarter of a second."""

SWEEP_PAUSE = 1.0
"""Seconds between two looks for something to sweep."""

SHORTEST_WAIT = 0.05
"""Seconds before a waiting caller looks again, doubling up to `SWEEP_PAUSE`."""

ERRORS_EXPLAINED = 100
"""Failing runs that a preview looks at for the reasons."""

ERROR_EXAMPLES = 3
"""Of those, the ones it shows."""


@dataclass(frozen=True, slots=True)
class ErrorExample:
    """A run on which the expression could not be evaluated, and why."""

    run_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a request would cancel now."""

    count: Count
    error_examples: tuple[ErrorExample, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """`{"matched", "total", "exact", "by_status", "errors", "error_examples", "as_of"}`."""
        return {
            "matched": self.count.matched,
            "total": self.count.total,
            "exact": self.count.exact,
            "by_status": {str(status): matched for status, matched in self.count.by_status.items()},
            "errors": self.count.errors,
            "error_examples": [
                {"run_id": example.run_id, "message": example.message} for example in self.error_examples
            ],
            "as_of": utc(self.count.as_of),
        }


class Cancellations:
    """The cancellations of one queue. Raises `secateur.errors`, each in words."""

    def __init__(self, engine: QueueEngine, *, read_only: bool = False, batch: int = SWEEP_BATCH) -> None:
        self.engine = engine
        self.read_only = read_only
        self._batch = batch
        self._committed = asyncio.Event()

    async def preview(self, request: CancellationRequest) -> Preview:
        """The exact count with the errors, and why a few of the failing runs fail. Raises like `count`."""
        return await self.with_errors(request, await self.count(request))

    async def count(self, request: CancellationRequest) -> Count:
        """The exact count, its errors left out.

        Raises `RequestError` for an app or function that is not known: a misspelt name is no empty queue.
        """
        count = await self.engine.count(select(request))
        if count.total == 0:
            await self._refuse_unknown(request.scope)
        return count

    async def with_errors(self, request: CancellationRequest, count: Count) -> Preview:
        """The preview that a count belongs to: its errors take longer than its matches."""
        selection = select(request)
        return await self._explain(selection, replace(count, errors=await self.engine.count_errors(selection)))

    async def estimate(self, request: CancellationRequest) -> Preview | None:
        """A count from a sample, within a moment; None where the exact one is as quick."""
        selection = select(request)
        count = await self.engine.estimate(selection)
        return None if count is None else await self._explain(selection, count)

    async def examples(self, request: CancellationRequest, verdict: Verdict, limit: int) -> list[Run]:
        """Up to `limit` unfinished runs of scope and window with that verdict."""
        return await self.engine.examples(select(request), verdict, limit)

    async def arrival_rate(self, request: CancellationRequest) -> float:
        """Matching runs per second that are still arriving, whatever the request's window ends with."""
        unbounded = request.model_copy(update={"started_before": None})
        return await self.engine.arrival_rate(select(unbounded))

    async def commit(
        self,
        request: CancellationRequest,
        *,
        author: str,
        source: str,
        idempotency_key: str | None = None,
        expected: Count | None = None,
    ) -> Cancellation:
        """Cancel what the request matches. Once this has returned, no matching run is claimed any more.

        `expected` is the exact count that was shown, for the record. Under the same `idempotency_key` the
        same request is committed once, however often it is asked for.
        """
        self._refuse_if_read_only()
        selection = select(request)
        committed = await self.engine.commit(
            Commit(
                id=uuid4(),
                selection=selection,
                request=request.body(),
                standing=request.standing,
                author=author,
                source=source,
                reason=request.reason,
                idempotency_key=idempotency_key,
                expected=expected,
            )
        )
        self._committed.set()
        return committed

    async def stop(self, cancellation_id: UUID, *, author: str) -> Cancellation:
        """Stop matching at once; what is cancelled stays cancelled. Repeatable."""
        self._refuse_if_read_only()
        return await self.engine.stop(cancellation_id, author)

    async def get(self, cancellation_id: UUID) -> Cancellation:
        return await self.engine.cancellation(cancellation_id)

    async def list(self, limit: int = 50, before: UUID | None = None) -> Sequence[Cancellation]:
        """Newest first; `before` is the last of the page before."""
        return await self.engine.cancellations(limit, before)

    async def wait(self, cancellation_id: UUID) -> Cancellation:
        """Sweep, or wait for whoever sweeps, until the cancellation is active no more."""
        pause = SHORTEST_WAIT
        while (step := await self.engine.sweep(cancellation_id, self._batch)).state == "active":
            if step.busy or step.idle:
                await asyncio.sleep(pause)
                pause = min(2 * pause, SWEEP_PAUSE)
        return await self.get(cancellation_id)

    async def sweep_forever(self) -> None:
        """Sweep every open cancellation, until cancelled. Any number of processes may do this at once.

        Survives a database that goes away; returns when the role has no right to sweep.
        """
        if self.read_only:
            return
        while True:
            try:
                await self._sweep_open()
            except PermissionDenied as error:
                logger.warning("this process does not sweep: %s", error)
                return
            except (DatabaseError, NotInstalled) as error:
                logger.info("sweeping pauses: %s", error)
            self._committed.clear()
            # Not `wait_for`, which loses a cancellation that arrives together with what it waits for (before 3.12).
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_PAUSE):
                    await self._committed.wait()

    async def _sweep_open(self) -> None:
        """Batches of every open cancellation in turn, until none of them has anything to do right now."""
        working = await self.engine.open_cancellations()
        while working:
            steps: dict[UUID, SweepStep] = {}
            for cancellation_id in working:
                steps[cancellation_id] = await self.engine.sweep(cancellation_id, self._batch)
            working = [
                cancellation_id
                for cancellation_id, step in steps.items()
                if step.state == "active" and not step.busy and not step.idle
            ]

    async def _explain(self, selection: Selection, count: Count) -> Preview:
        """The preview with messages for a few failing runs: Postgres says which, the evaluator says why.

        The most frequent reason comes first, each of them before any comes twice.
        """
        if not count.errors or selection.filter is None:
            return Preview(count)
        failing = await self.engine.examples(selection, Verdict.ERROR, ERRORS_EXPLAINED)
        reasons: dict[str, list[ErrorExample]] = {}
        for run in failing:
            message = why_failing(selection.filter, run, count.as_of)
            reasons.setdefault(message, []).append(ErrorExample(run.id, message))
        frequent_first = sorted(reasons.values(), key=len, reverse=True)
        by_turn = (example for turn in zip_longest(*frequent_first) for example in turn if example is not None)
        return Preview(count, tuple(islice(by_turn, ERROR_EXAMPLES)))

    async def _refuse_unknown(self, scope: Scope) -> None:
        known = await self.engine.depth()
        functions = sorted({depth.function_id for depth in known if depth.app_id == scope.app_id})
        if not functions:
            apps = ", ".join(sorted({depth.app_id for depth in known}))
            hint = f"known are: {apps}" if apps else None
            raise RequestError([Problem("app_id", f"there is no app {scope.app_id!r}", suggestion=hint)])
        if scope.function_id is not None and scope.function_id not in functions:
            message = f"app {scope.app_id!r} has no function {scope.function_id!r}"
            hint = f"known are: {', '.join(functions)}"
            raise RequestError([Problem("function_id", message, suggestion=hint)])

    def _refuse_if_read_only(self) -> None:
        if self.read_only:
            raise ReadOnly("this context is read-only: start without --read-only, or use another context, to cancel")


def select(request: CancellationRequest) -> Selection:
    """What the request means. Raises `secateur.cel.ExpressionError` for its `if`."""
    return Selection(request.scope, request.window, request.compile())


def why_failing(filter: Filter, run: Run, now: datetime) -> str:
    """Why the filter could not be evaluated on the run."""
    try:
        filter.matches(run, now)
    except EvaluationError as error:
        return str(error)
    return "could not be evaluated"


def cancellation_json(cancellation: Cancellation) -> dict[str, Any]:
    """A cancellation as the CLI and the API write it, to the letter."""
    return {
        "id": str(cancellation.id),
        "state": cancellation.state,
        "kind": cancellation.kind,
        "app_id": cancellation.app_id,
        "function_id": cancellation.function_id,
        "if": cancellation.if_,
        "started_after": utc(cancellation.started_after) if cancellation.started_after else None,
        "started_before": utc(cancellation.started_before),
        "standing": cancellation.standing,
        "created_at": utc(cancellation.created_at),
        "created_by": cancellation.created_by,
        "reason": cancellation.reason,
        "source": cancellation.source,
        "counts": {
            "expected": cancellation.expected,
            "matched": cancellation.matched,
            "cancelled": cancellation.cancelled,
            "requested": cancellation.requested,
            "finished_first": cancellation.finished_first,
            "errors": cancellation.errors,
        },
    }
