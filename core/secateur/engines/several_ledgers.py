"""The ledgers of several queues of one database, as if they were one.

Apps and runs are called as `secateur.engines.several` calls them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from secateur.engines.base import Source, cannot_cancel
from secateur.errors import NotFound
from secateur.ledger.commits import Commit, RunCancellation
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.ledger.steps import (
    EVERY_CANCELLATION,
    Activity,
    CancellationSearch,
    InForce,
    LedgerFigures,
    OpenCancellation,
    SweepProblem,
    SweepStep,
    Unrestored,
)
from secateur.runs import Run

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation


class Naming(Protocol):
    """What is needed of the sources."""

    async def of_app(self, app_id: str) -> tuple[Source, str]: ...

    def of_full_name(self, full_name: str) -> tuple[Source, str]: ...

    def full_name(self, source: Source, name: str) -> str: ...


class SeveralLedgers(Ledger):
    """Each call goes to the ledger of the queue that it is about; lists are of all queues."""

    def __init__(self, naming: Naming, sources: Sequence[Source]) -> None:
        self._naming = naming
        self._ledgers: Mapping[str, tuple[Source, Ledger]] = {
            each.name: (each, each.ledger) for each in sources if isinstance(each, Cancelling)
        }

    async def _of_app(self, app_id: str) -> tuple[Source, Ledger, str]:
        source, bare = await self._naming.of_app(app_id)
        if not isinstance(source, Cancelling):
            raise cannot_cancel(source)
        return source, source.ledger, bare

    async def stored_app(self, app_id: str) -> tuple[str | None, str]:
        _, ledger, bare = await self._of_app(app_id)
        return await ledger.stored_app(bare)

    def shown_app(self, installation: str | None, stored: str) -> str | None:
        for source, ledger in self._ledgers.values():
            if (bare := ledger.shown_app(installation, stored)) is not None:
                return self._naming.full_name(source, bare)
        return None

    def _of_record(self, app_id: str) -> tuple[Ledger, str]:
        """By the app as records show it: whether the queue still has that app does not matter."""
        source, bare = self._naming.of_full_name(app_id)
        if not isinstance(source, Cancelling):
            raise cannot_cancel(source)
        return source.ledger, bare

    async def _having(self, cancellation_id: UUID) -> tuple[Source, Ledger]:
        """Raises `NotFound`."""
        for source, ledger in self._ledgers.values():
            try:
                await ledger.app_of(cancellation_id)
            except NotFound:
                continue
            return source, ledger
        raise NotFound(f"there is no cancellation {cancellation_id}")

    def _named(self, source: Source, cancellation: Cancellation) -> Cancellation:
        full = self._naming.full_name(source, cancellation.app_id)
        if full != cancellation.app_id:
            cancellation.app_id = full
            if "app_id" in cancellation.request:
                cancellation.request = cancellation.request | {"app_id": full}
            if cancellation.run_id is not None:
                cancellation.run_id = self._naming.full_name(source, cancellation.run_id)
                cancellation.request = cancellation.request | {"run_id": cancellation.run_id}
        return cancellation

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        source, ledger, bare = await self._of_app(commits[0].selection.scope.app_id)
        made = [
            replace(
                each,
                selection=replace(each.selection, scope=replace(each.selection.scope, app_id=bare)),
                request=each.request | {"app_id": bare},
            )
            for each in commits
        ]
        return [self._named(source, each) for each in await ledger.commit_all(made)]

    async def cancel_run(self, cancellation: RunCancellation) -> Cancellation:
        source, bare = self._naming.of_full_name(cancellation.run_id)
        if not isinstance(source, Cancelling):
            raise cannot_cancel(source)
        return self._named(source, await source.ledger.cancel_run(replace(cancellation, run_id=bare)))

    async def taken_by(self, run_id: str) -> UUID | None:
        source, bare = self._naming.of_full_name(run_id)
        return await source.ledger.taken_by(bare) if isinstance(source, Cancelling) else None

    async def cancelled_singly(self, app_id: str, run_id: str) -> UUID | None:
        _, ledger, bare = await self._of_app(app_id)
        return await ledger.cancelled_singly(bare, self._naming.of_full_name(run_id)[1])

    async def app_of(self, cancellation_id: UUID) -> str:
        _, ledger = await self._having(cancellation_id)
        return await ledger.app_of(cancellation_id)

    async def stop(self, cancellation_id: UUID, author: str, source: str) -> Cancellation:
        queue, ledger = await self._having(cancellation_id)
        return self._named(queue, await ledger.stop(cancellation_id, author, source))

    async def undo(
        self, cancellation_id: UUID, author: str, source: str, *, requeue_stopped: bool = False
    ) -> Cancellation:
        queue, ledger = await self._having(cancellation_id)
        undone = await ledger.undo(cancellation_id, author, source, requeue_stopped=requeue_stopped)
        return self._named(queue, undone)

    async def sweep(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        ledger, bare = self._of_record(app_id)
        return await ledger.sweep(bare, cancellation_id, batch)

    async def decide(self, app_id: str, cancellation_id: UUID) -> int:
        ledger, bare = self._of_record(app_id)
        return await ledger.decide(bare, cancellation_id)

    async def restore(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        ledger, bare = self._of_record(app_id)
        return await ledger.restore(bare, cancellation_id, batch)

    async def note_sweep_failure(self, app_id: str, cancellation_id: UUID, error: str) -> None:
        ledger, bare = self._of_record(app_id)
        await ledger.note_sweep_failure(bare, cancellation_id, error)

    async def activity(self) -> Activity:
        """Those of all queues, each as of its own moment."""
        in_force: list[InForce] = []
        problems: list[SweepProblem] = []
        for source, ledger in self._ledgers.values():
            found = await ledger.activity()
            in_force += [replace(each, app_id=self._naming.full_name(source, each.app_id)) for each in found.in_force]
            problems += found.problems
        return Activity(tuple(in_force), tuple(problems[:20]))

    async def figures(self) -> LedgerFigures:
        """The sums of all queues, each as of its own moment."""
        (first, *others) = [await ledger.figures() for _, ledger in self._ledgers.values()]
        return sum(others, first)

    async def unrestored(self, cancellation_id: UUID, limit: int) -> list[Unrestored]:
        source, ledger = await self._having(cancellation_id)
        found = await ledger.unrestored(cancellation_id, limit)
        return [replace(each, run_id=self._naming.full_name(source, each.run_id)) for each in found]

    async def open_cancellations(self) -> list[OpenCancellation]:
        return [
            replace(each, app_id=self._naming.full_name(source, each.app_id))
            for source, ledger in self._ledgers.values()
            for each in await ledger.open_cancellations()
        ]

    async def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        entries: dict[int, AuditEntry] = {}
        for source, ledger in self._ledgers.values():
            for each in await ledger.audit(limit, before):
                if each.app_id is not None:
                    each.app_id = self._naming.full_name(source, each.app_id)
                entries.setdefault(each.id, each)
        return [entries[each] for each in sorted(entries, reverse=True)[:limit]]

    async def cancellations(
        self, limit: int, before: UUID | None = None, search: CancellationSearch = EVERY_CANCELLATION
    ) -> Sequence[Cancellation]:
        asked: Collection[tuple[Source, Ledger]] = self._ledgers.values()
        if search.app_id is not None:
            source, ledger, bare = await self._of_app(search.app_id)
            asked, search = [(source, ledger)], replace(search, app_id=bare)
        found = [
            self._named(source, each)
            for source, ledger in asked
            for each in await ledger.cancellations(limit, before, search)
        ]
        return sorted(found, key=lambda each: -each.serial)[:limit]

    async def cancellation(self, cancellation_id: UUID) -> Cancellation:
        source, ledger = await self._having(cancellation_id)
        return self._named(source, await ledger.cancellation(cancellation_id))

    async def touching(self, run: Run, cancellation_ids: Sequence[UUID]) -> Sequence[Cancellation]:
        source, ledger, bare = await self._of_app(run.app_id)
        here = replace(run, app_id=bare, id=self._naming.of_full_name(run.id)[1])
        return [self._named(source, each) for each in await ledger.touching(here, cancellation_ids)]

    async def only_reads(self) -> str | None:
        """None if something can be committed in one of them."""
        told = [await ledger.only_reads() for _, ledger in self._ledgers.values()]
        return None if None in told else next(iter(told), None)
