"""Cancelling runs: commit, follow, stop, undo. The same steps for every engine; looking/counter.py previews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from secateur.engines.base import Gate, Retrying, Source, Stopping, cannot_cancel, queue_of
from secateur.errors import Conflict, NotFound, ReadOnly
from secateur.ledger.commits import Commit, RunCancellation
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.ledger.selections import select, selections
from secateur.ledger.steps import EVERY_CANCELLATION, Activity, CancellationSearch, LedgerFigures, Unrestored
from secateur.ledger.sweeping import SWEEP_BATCH, Sweeper, sweep_of
from secateur.runs import Count
from secateur.spans import span
from secateur.states import Kind
from secateur.troubles import Trouble

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation
    from secateur.requests import CancellationRequest


class Cancellations:
    """The cancellations of one queue. Raises errors of `secateur.errors`."""

    def __init__(
        self,
        engine: Source,
        *,
        read_only: bool = False,
        batch: int = SWEEP_BATCH,
    ) -> None:
        self.engine = engine
        self.read_only = read_only
        self._sweeper = Sweeper(engine.ledger, batch) if isinstance(engine, Cancelling) else None

    @property
    def ledger(self) -> Ledger:
        """Raises `Unsupported` for an engine whose runs cannot be cancelled."""
        if not isinstance(self.engine, Cancelling):
            raise cannot_cancel(self.engine)
        return self.engine.ledger

    @property
    def has_ledger(self) -> bool:
        """Whether there are records of cancellations to read."""
        return isinstance(self.engine, Cancelling)

    @property
    def can_cancel(self) -> bool:
        return self.has_ledger and self.engine.only_watched is None

    @property
    def can_retry(self) -> bool:
        """Whether runs that have ended can be queued again."""
        return self.can_cancel and isinstance(self.engine, Retrying)

    def is_gated(self, app_id: str) -> bool:
        """Whether claims obey a cancellation. If not, a run that its sweep has not reached may still start."""
        return isinstance(queue_of(self.engine, app_id), Gate)

    def wants_sweep(self, app_id: str) -> bool:
        """Whether the process that commits should also sweep at once.

        Until the sweep is done, matching runs may start, or workers that meet them wait as if there were nothing to do.
        """
        queue = queue_of(self.engine, app_id)
        return not isinstance(queue, Gate) or queue.starves

    def stops_at(self, app_id: str) -> str | None:
        """When a running run stops after it was asked to, such as `next step`; None if it runs to its end."""
        queue = queue_of(self.engine, app_id)
        return queue.stops_at if isinstance(queue, Stopping) else None

    async def only_reads(self) -> str | None:
        """Why nothing can be committed from here, such as `role viewer`; None if something can, or if unknown."""
        return await self.ledger.only_reads() if self.has_ledger else None

    async def commit(
        self,
        request: CancellationRequest,
        *,
        author: str,
        source: str,
        idempotency_key: str | None = None,
        expected: Count | None = None,
    ) -> Cancellation:
        """`commit_all` for a request that makes one cancellation. Raises `RequestError` for several functions."""
        select(request)  # refuses several functions before anything is committed
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

        If the guarantee is `in_force`, no matching run is claimed any more. If it is `pending`, an open transaction
        is in the way: `wait` or any sweeper will put it in force. Claims that begin from now on already honour it.
        `expected` is the count that was shown, for the record; a commit needs none. Under the same `idempotency_key`
        the same request is committed only once, however often it is repeated.
        """
        self._refuse_if_read_only()
        commits = [
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
        with span("secateur.commit", {"secateur.app": request.app_id, "secateur.kind": request.verb}) as made:
            committed = await self.ledger.commit_all(commits)
            if made is not None:
                made.set_attribute("secateur.cancellations", [str(each.id) for each in committed])
                made.set_attribute("secateur.guarantee", committed[0].guarantee)
        self._hurry()
        return committed

    async def make_ready(self) -> None:
        """Prepare a session for the next commit; writes nothing."""
        if self.can_cancel:
            await self.ledger.make_ready()

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
        """Undo the cancellation of a single run, and wait until it is back, unless the undo is pending. Repeatable.

        Raises `Conflict` if it was cancelled together with others: then only that whole cancellation can be undone.
        """
        self._refuse_if_read_only()
        found = await self._cancellation_of(run_id)
        cancellation = await self.ledger.cancellation(found)
        if cancellation.kind != Kind.RUN:
            raise Conflict(
                f"run {run_id} was cancelled with other runs by cancellation {cancellation.id}: "
                "undo that cancellation to bring all of them back"
            )
        undone = await self.ledger.undo(cancellation.id, author, source, requeue_stopped=requeue_stopped)
        if undone.is_pending:
            self._hurry()
            return undone
        return await self.wait(cancellation.id)

    async def _cancellation_of(self, run_id: str) -> UUID:
        """Raises `Conflict` if the run is not cancelled."""
        try:
            run = await self.engine.run(run_id)
        except NotFound:
            if (taken := await self.ledger.taken_by(run_id)) is None:
                raise
            return taken
        found = UUID(run.cancellation_id) if run.cancellation_id else None
        if found is None:
            found = await self.ledger.cancelled_singly(run.app_id, run_id)
        if found is None:
            raise Conflict(f"run {run_id} is {run.status}, not cancelled: there is nothing to restore")
        return found

    async def stop(self, cancellation_id: UUID, *, author: str, source: str = "python") -> Cancellation:
        """Stop matching at once; what is cancelled stays cancelled. Repeatable.

        If its guarantee is `pending`, open transactions may still cancel runs for it: any sweeper makes it final.
        """
        self._refuse_if_read_only()
        stopped = await self.ledger.stop(cancellation_id, author, source)
        self._hurry()
        return stopped

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

    async def activity(self) -> Activity:
        """What is in force, and which sweeps fail; nothing if the engine has no cancellations."""
        return await self.ledger.activity() if self.has_ledger else Activity()

    async def figures(self) -> LedgerFigures | None:
        """For monitoring; None if the engine has no cancellations. Reads the whole history."""
        return await self.ledger.figures() if self.has_ledger else None

    async def get(self, cancellation_id: UUID) -> Cancellation:
        return await self.ledger.cancellation(cancellation_id)

    async def list(
        self, limit: int = 50, before: UUID | None = None, search: CancellationSearch = EVERY_CANCELLATION
    ) -> Sequence[Cancellation]:
        """Newest first; `before` is the last of the page before."""
        return await self.ledger.cancellations(limit, before, search)

    async def wait(self, cancellation_id: UUID, *, until_idle: bool = False) -> Cancellation:
        """Sweep or restore, or wait for the process that does, until there is nothing left to do for the cancellation.

        For a standing one, wait until its window has ended. With `until_idle`, only do what can be done right now:
        do not wait for the window's end, for running runs, or for a rate.
        """
        found = await self.get(cancellation_id)
        if self._sweeper is not None:
            await self._sweeper.finish(found.app_id, found.id, until_idle=until_idle)
        return await self.get(cancellation_id)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """The failures of this process's `sweep_forever`."""
        return () if self._sweeper is None else self._sweeper.troubles

    def trouble_of(self, cancellation_id: UUID) -> Trouble | None:
        """The failure that keeps this process from sweeping that cancellation."""
        return next((each for each in self.troubles if each.what == sweep_of(cancellation_id)), None)

    async def sweep_forever(self) -> None:
        """Sweep every open cancellation, until cancelled; see `Sweeper`. Does nothing if nothing can be cancelled."""
        if not self.read_only and self._sweeper is not None:
            await self._sweeper.sweep_forever()

    def _hurry(self) -> None:
        if self._sweeper is not None:
            self._sweeper.hurry()

    def _refuse_if_read_only(self) -> None:
        if self.read_only:
            raise ReadOnly("this context is read-only; to cancel, start without --read-only or use another context")
