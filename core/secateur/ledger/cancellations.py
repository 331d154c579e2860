"""Cancelling runs: preview, commit, follow, stop, undo. The same steps for every engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from secateur.engines.base import Gate, Retrying, Selection, Source, Stopping, Verdict, unsupported
from secateur.engines.searching import RunSearch
from secateur.errors import (
    Conflict,
    NotFound,
    Problem,
    ReadOnly,
    RequestError,
)
from secateur.ledger.commits import Commit, RunCancellation
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.ledger.selections import added, select, selections, why_failing
from secateur.ledger.steps import InForce, SweepProblem, Unrestored
from secateur.ledger.sweeping import SWEEP_BATCH, Sweeper, sweep_of
from secateur.requests import CancellationRequest
from secateur.runs import Count, Run, RunStatus, Scope
from secateur.states import Kind
from secateur.troubles import Trouble

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation


ERRORS_EXPLAINED = 100
"""A preview evaluates at most this many failing runs to find the reasons."""

ERROR_EXAMPLES = 3
"""A preview shows at most this many of the failing runs."""


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


class Cancellations:
    """The cancellations of one queue. Raises errors of `secateur.errors`."""

    def __init__(
        self,
        engine: Source,
        *,
        read_only: bool = False,
        batch: int = SWEEP_BATCH,
        counts_at_once: int = 1,
    ) -> None:
        self.engine = engine
        self.read_only = read_only
        self._sweeper = Sweeper(engine.ledger, batch) if isinstance(engine, Cancelling) else None
        self._counting = asyncio.Semaphore(counts_at_once)

    @property
    def ledger(self) -> Ledger:
        """Raises `Unsupported` for an engine whose runs cannot be cancelled."""
        if not isinstance(self.engine, Cancelling):
            raise unsupported(self.engine, "cancel runs")
        return self.engine.ledger

    @property
    def can_cancel(self) -> bool:
        return isinstance(self.engine, Cancelling)

    @property
    def can_retry(self) -> bool:
        """Whether runs that have ended can be queued again."""
        return self.can_cancel and isinstance(self.engine, Retrying)

    @property
    def is_gated(self) -> bool:
        """Whether claims obey a cancellation; else a run that its sweep has not reached may still start."""
        return isinstance(self.engine, Gate)

    @property
    def stops_at(self) -> str | None:
        """When a running run stops that was asked to, such as `next step`; None where it runs to its end."""
        return self.engine.stops_at if isinstance(self.engine, Stopping) else None

    async def only_reads(self) -> str | None:
        """Why nothing can be committed from here, such as `role viewer`; None if that is possible, or not known."""
        return await self.ledger.only_reads() if self.can_cancel else None

    async def preview(self, request: CancellationRequest, *, on_primary: bool = False) -> Preview:
        """The exact count with the errors, and why a few of the failing runs fail.

        It takes longer than `count`, and waits and raises as that does. The figures of each function are of one
        snapshot: those of a count that was made before do not go with them.
        """
        wanted = selections(request)
        async with self._counting:
            counts = [await self.engine.count_with_errors(each, on_primary=on_primary) for each in wanted]
        await self._refuse_unknown_if_empty(request, counts)
        return await self._explain(wanted, added(counts))

    async def count(self, request: CancellationRequest, *, on_primary: bool = False) -> Count:
        """The exact count without its errors; for several functions, the sum.

        With `on_primary` the replica is not used, because something will be decided by the count. At most
        `counts_at_once` counts run at a time: the next one waits until the database has finished or cancelled one.
        Raises `RequestError` for an unknown app or function: a misspelt name is not an empty queue.
        """
        async with self._counting:
            wanted = selections(request)
            counts = [await self.engine.count(selection, on_primary=on_primary) for selection in wanted]
        await self._refuse_unknown_if_empty(request, counts)
        return added(counts)

    async def guess(self, request: CancellationRequest) -> Count | None:
        """A count from a sample, within a moment; None where the exact one is as quick."""
        wanted = selections(request)
        counts = [await self.engine.estimate(selection) for selection in wanted]
        if all(count is None for count in counts):
            return None
        return added([count or await self.engine.count(wanted[place]) for place, count in enumerate(counts)])

    async def estimate(self, request: CancellationRequest) -> Preview | None:
        """`guess`, and why a few of the failing runs fail, which may take longer than the figure itself."""
        count = await self.guess(request)
        return None if count is None else await self._explain(selections(request), count)

    async def examples(self, request: CancellationRequest, verdict: Verdict, limit: int) -> Sequence[Run]:
        """Up to `limit` unfinished runs of scope and window with that verdict."""
        return await self._examples(selections(request), verdict, limit)

    async def arrival_rate(self, request: CancellationRequest) -> float:
        """Matching runs per second that are still arriving, regardless of the end of the request's window."""
        unbounded = request.model_copy(update={"started_before": None})
        return sum([await self.engine.arrival_rate(selection) for selection in selections(unbounded)])

    async def commit(
        self,
        request: CancellationRequest,
        *,
        author: str,
        source: str,
        idempotency_key: str | None = None,
        expected: Count | None = None,
    ) -> Cancellation:
        """`commit_all` of a request that makes one cancellation. Raises `RequestError` for several functions."""
        select(request)  # refuses those before anything is committed
        (committed,) = await self.commit_all(
            request, author=author, source=source, idempotency_key=idempotency_key, expected=expected
        )
        return committed

    async def commit_all(
        self,
        request: CancellationRequest,
        *,
        author: str,
        source: str,
        idempotency_key: str | None = None,
        expected: Count | None = None,
    ) -> Sequence[Cancellation]:
        """Cancel the matching runs with one cancellation, or with one for each of its `function_ids`, all or nothing.
        A `RetryRequest` queues them again instead: it has no guarantee, and the sweep does all the work.

        If the guarantee is `in_force`, no matching run is claimed any more. If it is `pending`, an open transaction is
        in the way: `wait` or any sweeper will put it in force, and claims that begin from now on already honour it.
        `expected` is the count that was shown, for the record; a commit needs none. Under the same `idempotency_key`
        the same request is committed only once, however often it is repeated.
        """
        self._refuse_if_read_only()
        committed = await self.ledger.commit_all(
            [
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
                    rate=request.rate,
                )
                for selection in selections(request)
            ]
        )
        self._hurry()
        return committed

    async def cancel_run(
        self,
        run_id: str,
        *,
        author: str,
        source: str,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Cancellation:
        """Cancel one run: at once if it waits; a running one is asked to stop. Raises `Conflict` if it has finished."""
        self._refuse_if_read_only()
        committed = await self.ledger.cancel_run(
            RunCancellation(uuid4(), run_id, author, source, reason, idempotency_key)
        )
        self._hurry()
        return committed

    async def restore_run(
        self, run_id: str, *, author: str, source: str, requeue_stopped: bool = False
    ) -> Cancellation:
        """Undo the cancellation of a single run, and wait until it is back. Repeatable.

        Raises `Conflict` if it was cancelled together with others: then only that whole cancellation can be undone.
        """
        self._refuse_if_read_only()
        run = await self.engine.run(run_id)
        found = UUID(run.cancellation_id) if run.cancellation_id else None
        if found is None:
            found = await self.ledger.cancelled_singly(run.app_id, run_id)
        if found is None:
            raise Conflict(f"run {run_id} is {run.status}, not cancelled: there is nothing to restore")
        cancellation = await self.ledger.cancellation(found)
        if cancellation.kind != Kind.RUN:
            raise Conflict(
                f"run {run_id} was cancelled with other runs by cancellation {cancellation.id}: "
                "undo that cancellation to bring all of them back"
            )
        await self.ledger.undo(cancellation.id, author, source, requeue_stopped=requeue_stopped)
        return await self.wait(cancellation.id)

    async def stop(self, cancellation_id: UUID, *, author: str, source: str = "python") -> Cancellation:
        """Stop matching at once; what is cancelled stays cancelled. Repeatable."""
        self._refuse_if_read_only()
        return await self.ledger.stop(cancellation_id, author, source)

    async def undo(
        self, cancellation_id: UUID, *, author: str, source: str = "python", requeue_stopped: bool = False
    ) -> Cancellation:
        """Stop matching at once, and put back the runs that were waiting, in the background (see `wait`).

        With `requeue_stopped` also the runs that were stopped while running; they continue after their last finished
        step. This can also be requested later. Repeatable. Raises `Conflict` after `undo_until`.
        """
        self._refuse_if_read_only()
        undone = await self.ledger.undo(cancellation_id, author, source, requeue_stopped=requeue_stopped)
        self._hurry()
        return undone

    async def unrestored(self, cancellation_id: UUID, limit: int = 100) -> Sequence[Unrestored]:
        """Runs that an undo did not restore, with the reasons."""
        return await self.ledger.unrestored(cancellation_id, limit)

    async def audit(self, limit: int = 50, before: int | None = None) -> Sequence[AuditEntry]:
        """Who did what, newest first; `before` is the id of the last entry of the page before."""
        return await self.ledger.audit(limit, before)

    async def problems(self) -> Sequence[SweepProblem]:
        """Cancellations whose sweep or restore fails, or that nobody sweeps; oldest commit first, twenty at most."""
        return await self.ledger.sweep_problems() if self.can_cancel else ()

    async def in_force(self) -> Sequence[InForce]:
        """The functions and apps with active cancellations, those of single runs apart."""
        return await self.ledger.in_force() if self.can_cancel else ()

    async def get(self, cancellation_id: UUID) -> Cancellation:
        return await self.ledger.cancellation(cancellation_id)

    async def list(self, limit: int = 50, before: UUID | None = None) -> Sequence[Cancellation]:
        """Newest first; `before` is the last of the page before."""
        return await self.ledger.cancellations(limit, before)

    async def wait(self, cancellation_id: UUID) -> Cancellation:
        """Sweep or restore, or wait for the process that does, until there is nothing left to do for the cancellation.

        For a standing one, wait until its window has ended.
        """
        found = await self.get(cancellation_id)
        if self._sweeper is not None:
            await self._sweeper.finish(found.app_id, found.id)
        return await self.get(cancellation_id)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What fails in `sweep_forever` of this process."""
        return () if self._sweeper is None else self._sweeper.troubles

    def trouble_of(self, cancellation_id: UUID) -> Trouble | None:
        """What keeps this process from sweeping that cancellation."""
        return next((each for each in self.troubles if each.what == sweep_of(cancellation_id)), None)

    async def sweep_forever(self) -> None:
        """Sweep every open cancellation, until cancelled; see `Sweeper`. Not where nothing can be cancelled."""
        if not self.read_only and self._sweeper is not None:
            await self._sweeper.sweep_forever()

    def _hurry(self) -> None:
        if self._sweeper is not None:
            self._sweeper.hurry()

    async def _examples(self, wanted: Sequence[Selection], verdict: Verdict, limit: int) -> Sequence[Run]:
        found: list[Run] = []
        for selection in wanted:
            if len(found) < limit:
                found += await self.engine.examples(selection, verdict, limit - len(found))
        return found

    async def _explain(self, wanted: Sequence[Selection], count: Count) -> Preview:
        """The preview with messages for a few failing runs: Postgres says which, the evaluator says why.

        The most frequent reason comes first, each of them before any comes twice.
        """
        filter = wanted[0].filter
        if not count.errors or filter is None:
            return Preview(count)
        failing = await self._examples(wanted, Verdict.ERROR, ERRORS_EXPLAINED)
        reasons: dict[str, list[ErrorExample]] = {}
        for run in failing:
            message = why_failing(filter, run, count.as_of)
            reasons.setdefault(message, []).append(ErrorExample(run.id, message))
        frequent_first = sorted(reasons.values(), key=len, reverse=True)
        by_turn = (example for turn in zip_longest(*frequent_first) for example in turn if example is not None)
        return Preview(count, tuple(islice(by_turn, ERROR_EXAMPLES)))

    async def _refuse_unknown_if_empty(self, request: CancellationRequest, counts: Sequence[Count]) -> None:
        if any(count.total == 0 for count in counts):
            await self._refuse_unknown(request.scopes)

    async def _refuse_unknown(self, scopes: Sequence[Scope]) -> None:
        app_id = scopes[0].app_id
        known = await self.engine.depth()
        functions = sorted({depth.function_id for depth in known if depth.app_id == app_id})
        if not functions and not await self._exists(Scope(app_id)):
            apps = ", ".join(sorted({depth.app_id for depth in known}))
            hint = f"known apps: {apps}" if apps else None
            raise RequestError([Problem("app_id", f"there is no app {app_id!r}", suggestion=hint)])
        field = "function_id" if len(scopes) == 1 else "function_ids"
        hint = f"known functions: {', '.join(functions)}"
        unknown = [
            Problem(field, f"app {app_id!r} has no function {scope.function_id!r}", suggestion=hint)
            for scope in scopes
            if scope.function_id is not None and scope.function_id not in functions and not await self._exists(scope)
        ]
        if unknown:
            raise RequestError(unknown)

    async def _exists(self, scope: Scope) -> bool:
        """Whether the engine knows the scope. A forgotten one exists, although it has no depth."""
        try:
            await self.engine.runs(RunSearch(scope.app_id, scope.names, RunStatus.QUEUED, limit=1))
        except NotFound:
            return False
        return True

    def _refuse_if_read_only(self) -> None:
        if self.read_only:
            raise ReadOnly("this context is read-only; to cancel, start without --read-only or use another context")
