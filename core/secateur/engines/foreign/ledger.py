"""The ledger of another engine's queue: the records are in secateur's tables, the runs in the engine's.

In the database its apps are called `NAME/APP`, after the queue. Callers only see `APP`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from secateur.bounds import require_id
from secateur.cel.values import encode_json
from secateur.engines.base import cannot_cancel, unsupported
from secateur.engines.foreign.batches import Batches
from secateur.engines.foreign.restores import Restores
from secateur.engines.foreign.rules import JobRule, rule_of
from secateur.engines.words import require_fields
from secateur.errors import (
    Conflict,
    DatabaseError,
    LockUnavailable,
    NotFound,
    PermissionDenied,
    Problem,
    RequestError,
    Unsupported,
)
from secateur.ledger.commits import Commit, RunCancellation
from secateur.ledger.ledger import Ledger, draft_of
from secateur.ledger.steps import (
    EVERY_CANCELLATION,
    Activity,
    CancellationSearch,
    OpenCancellation,
    SweepStep,
    Unrestored,
)
from secateur.postgres.database import Database
from secateur.runs import UNFINISHED, Run, RunStatus
from secateur.states import State
from secateur.words.shell import command_line

if TYPE_CHECKING:
    from secateur.engines.foreign.source import ForeignSource
    from secateur.records import AuditEntry, Cancellation

MOST_RULES = 1_000
"""Rules that are kept compiled."""


class ForeignLedger(Ledger):
    """Its sweep and its restore are driven from here; see `Batches` and `Restores`."""

    commits_by: ClassVar[str] = "commit_jobs"

    def __init__(self, database: Database, source: ForeignSource) -> None:
        super().__init__(database)
        self.installation = source.name
        self._source = source
        self._batches = Batches(database, source)
        self._restores = Restores(database, source)
        self._rules: dict[UUID, JobRule] = {}
        self._sweeping = asyncio.Lock()

    def _sql(self, name: str) -> str:
        return self._source.sql(name)

    def _full(self, app_id: str) -> str:
        return f"{self.installation}/{app_id}"

    def _bare(self, app_id: str) -> str:
        return app_id.removeprefix(f"{self.installation}/")

    async def stored_app(self, app_id: str) -> tuple[str | None, str]:
        return self.installation, self._full(app_id)

    def shown_app(self, installation: str | None, stored: str) -> str | None:
        return self._bare(stored) if installation == self.installation else None

    def read(self, document: str) -> Cancellation:
        cancellation = super().read(document)
        cancellation.app_id = self._bare(cancellation.app_id)
        cancellation.stops_at = self._source.installation.file.stops
        cancellation.only_watched = self._source.only_watched
        return cancellation

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        """See `Ledger.commit_all`. The guarantee is `swept`: what the sweep has not reached yet may still start.

        Raises `PermissionDenied` if this role could not cancel what it commits, and `Unsupported` for a retry, and
        where nothing may be written to the queue.
        """
        self.refuse_if_read_only()
        self._refuse_if_only_watched()
        if commits[0].is_retry:
            raise unsupported(self._source, "queue runs again")
        require_fields(commits[0].selection.filter, self._source.words)
        await self._require_known(commits)
        await self.require_rights()
        functions = [each.selection.scope.function_id for each in commits]
        draft = draft_of(commits[0])
        rows = await self._database.fetch(
            self._sql("commit"),
            self.installation,
            [each.id for each in commits],
            None if functions == [None] else functions,
            encode_json(draft | {"app_id": self._full(str(draft["app_id"]))}),
        )
        return [self.read(row["record"]) for row in rows]

    async def _require_known(self, commits: Sequence[Commit]) -> None:
        """Raises `RequestError` for an app or functions that the queue does not have, and no cancellation named."""
        scopes = [each.selection.scope for each in commits]
        named = [each.function_id for each in scopes if each.function_id is not None]
        app_id = scopes[0].app_id
        adopted = self._sql("is_adopted")
        if await self._database.fetchval(adopted, self._full(app_id), self.installation, named or None):
            return
        for scope in scopes:
            try:
                await self._source.require_known(scope)
            except NotFound as error:
                field = "app_id" if scope.function_id is None else "function_id"
                raise RequestError([Problem(field, str(error))]) from error

    async def require_rights(self) -> None:
        """Raises `PermissionDenied` if this role may not cancel in the engine's tables."""
        try:
            await self._batches.require_rights()
        except PermissionDenied as error:
            page = f"docs/engines/{self._source.installation.file.stem}.md"
            raise PermissionDenied(
                f"{error}. To cancel runs of {self.installation}, it needs the rights in {page}"
            ) from error

    async def only_reads(self) -> str | None:
        found = await super().only_reads()
        if found in (None, "session"):
            try:
                await self._batches.require_rights()
            except PermissionDenied:
                return f"role {await self._database.fetchval('select current_user::text')}"
        return found

    async def cancel_run(self, cancellation: RunCancellation) -> Cancellation:
        """See `Ledger.cancel_run`. Raises `Conflict` for one that runs, where the engine cannot stop it."""
        self.refuse_if_read_only()
        self._refuse_if_only_watched()
        run_id, key = cancellation.run_id, cancellation.idempotency_key
        self._source.require_run_id("run_id", run_id)
        before = None
        if key is not None:
            before = await self._database.fetchrow(self._sql("committed_run"), self.installation, run_id, key)
        if before is not None:
            app_id, function_id = before["app_id"], before["function_id"]
        else:
            run = await self._source.run(run_id)
            app_id, function_id = self._full(run.app_id), run.function_id
        await self.require_rights()
        try:
            record = await self._cancel_run(cancellation, app_id, function_id, repeated=before is not None)
        except LockUnavailable as error:
            raise LockUnavailable(await self._batches.holders_of([run_id]) or str(error)) from error
        return self.read(await self._database.fetchval(self._sql("record"), record))

    async def _cancel_run(
        self, cancellation: RunCancellation, app_id: str, function_id: str, *, repeated: bool
    ) -> UUID:
        run_id = cancellation.run_id
        async with self._database.transaction() as connection:
            await connection.execute(self._sql("keep_waits_short"))
            await self._batches.lock(connection, run_id)
            row = (await self._batches.states_of(connection, [run_id])).get(run_id)
            if not repeated:
                self._require_cancellable(run_id, row)
            running = row is not None and row["status"] == RunStatus.RUNNING
            made = await connection.fetchrow(
                self._sql("commit_run"),
                self.installation,
                cancellation.id,
                app_id,
                function_id,
                run_id,
                running,
                cancellation.idempotency_key,
                cancellation.reason,
                cancellation.source,
                cancellation.author,
            )
            if made["made"] and row is not None:
                await self._batches.cancel(connection, app_id, cancellation.id, [row])
            record: UUID = made["record"]
        return record

    def _require_cancellable(self, run_id: str, row: Mapping[str, str] | None) -> None:
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        if row["status"] not in UNFINISHED:
            raise Conflict(f"run {run_id} has already ended: {row['status']}")
        if row["status"] == RunStatus.RUNNING and self._source.installation.file.stops is None:
            raise Conflict(f"run {run_id} is running, and {self.installation} cannot stop it: it goes on to its end")

    async def cancelled_singly(self, app_id: str, run_id: str) -> UUID | None:
        found: UUID | None = await self._database.fetchval(self._sql("taken_singly"), self.installation, run_id)
        return found

    async def taken_by(self, run_id: str) -> UUID | None:
        """The cancellation that has the run. Some engines delete the rows of what they cancel."""
        found: UUID | None = await self._database.fetchval(self._sql("taken_by"), self.installation, run_id)
        return found

    async def undo(
        self, cancellation_id: UUID, author: str, source: str, *, requeue_stopped: bool = False
    ) -> Cancellation:
        """See `Ledger.undo`. Raises `Unsupported` for stopped runs where the engine stops none, and as a commit."""
        if (why := self._source.only_watched) is not None:
            # Committed now, it would count as undone, and not one run would come back.
            raise Unsupported(
                f"{why}: until then its runs cannot come back; to stop matching more of them: "
                f"{command_line('stop', str(cancellation_id), flags=[('--engine', self._source.name)])}"
            )
        if requeue_stopped and self._source.installation.file.stops is None:
            raise unsupported(self._source, "stop runs while they run: there are none to queue again")
        return await super().undo(cancellation_id, author, source, requeue_stopped=requeue_stopped)

    async def sweep(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        self.refuse_if_read_only()
        if self._source.only_watched is not None:
            return await self._left_alone(cancellation_id)
        # One at a time in this process: what it has found and not yet cancelled is kept between the batches.
        async with self._sweeping:
            rule = await self._rule(cancellation_id)
            return await self._batches.sweep(self._full(app_id), rule, batch)

    async def _left_alone(self, cancellation_id: UUID) -> SweepStep:
        """The step of a sweep or restore that must not write. Raises `DatabaseError` while there is something to do."""
        if cancellation_id in {each.id for each in await super().open_cancellations()}:
            raise DatabaseError(str(self._source.only_watched))
        return SweepStep(State((await self.cancellation(cancellation_id)).state))

    def _refuse_if_only_watched(self) -> None:
        if self._source.only_watched is not None:
            raise cannot_cancel(self._source)

    async def _rule(self, cancellation_id: UUID) -> JobRule:
        if (rule := self._rules.get(cancellation_id)) is None:
            document = await self._database.fetchval(self._sql("record"), cancellation_id)
            if document is None:
                raise NotFound(f"there is no cancellation {cancellation_id}")
            rule = rule_of(document, str(self.installation))
            if len(self._rules) >= MOST_RULES:
                self._rules.clear()
            self._rules[cancellation_id] = rule
        return rule

    async def decide(self, app_id: str, cancellation_id: UUID) -> int:
        self.refuse_if_read_only()
        rule = await self._rule(cancellation_id)
        return await self._batches.decide(self._full(app_id), rule)

    async def restore(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        self.refuse_if_read_only()
        if self._source.only_watched is not None:
            return await self._left_alone(cancellation_id)
        return await self._restores.restore(self._full(app_id), cancellation_id, batch)

    async def note_sweep_failure(self, app_id: str, cancellation_id: UUID, error: str) -> None:
        await super().note_sweep_failure(self._full(app_id), cancellation_id, error)

    async def activity(self) -> Activity:
        found = await super().activity()
        in_force = tuple(replace(each, app_id=self._bare(each.app_id)) for each in found.in_force)
        return replace(found, in_force=in_force)

    async def unrestored(self, cancellation_id: UUID, limit: int) -> list[Unrestored]:
        app_id = await self.app_of(cancellation_id)
        rows = await self._database.fetch(self._sql("unrestored"), app_id, cancellation_id, limit)
        return [Unrestored(**row) for row in rows]

    async def open_cancellations(self) -> list[OpenCancellation]:
        """None where nothing may be written to the queue: they wait for a process that may."""
        if self._source.only_watched is not None:
            return []
        return [
            OpenCancellation(self._bare(each.app_id), each.id, each.state)
            for each in await super().open_cancellations()
        ]

    async def cancellations(
        self, limit: int, before: UUID | None = None, search: CancellationSearch = EVERY_CANCELLATION
    ) -> Sequence[Cancellation]:
        here = search if search.app_id is None else replace(search, app_id=self._full(search.app_id))
        return await super().cancellations(limit, before, here)

    async def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        entries = await super().audit(limit, before)
        for entry in entries:
            entry.app_id = None if entry.app_id is None else self._bare(entry.app_id)
        return entries

    async def touching(self, run: Run, cancellation_ids: Sequence[UUID]) -> Sequence[Cancellation]:
        given = [require_id("cancellation_id", each) for each in cancellation_ids]
        rows = await self._database.fetch(self._sql("touching"), self._full(run.app_id), run.function_id, run.id, given)
        return [self.read(row["record"]) for row in rows]
