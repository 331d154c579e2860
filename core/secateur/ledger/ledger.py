"""The records of cancellations and retries, and what the database does with them.

Each method is one short transaction of the functions in `ledger/sql`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable
from uuid import UUID

from secateur.bounds import require_id
from secateur.cel import COMPILER_VERSION
from secateur.cel.values import encode_json
from secateur.engines.words import OWN, require_fields, words_of_queue
from secateur.errors import NotFound, ReadOnly
from secateur.ledger.commits import Commit, RunCancellation
from secateur.ledger.reading import read_record
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
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import Run, RunStatus

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation

_MOMENTS = (
    *("started_after", "started_before", "created_at", "in_force_at", "completed_at", "stopped_at"),
    *("undone_at", "restored_at", "undo_until", "stepped_at", "failing_since", "last_error_at"),
)

_SQL = Statements.load("secateur.ledger", "ledger.sql")


@runtime_checkable
class Cancelling(Protocol):
    """An engine whose runs can be cancelled: what was decided about them is in a ledger."""

    @property
    def ledger(self) -> Ledger: ...


class Ledger:
    """Cancellations and retries of secateur's own queue in one database, whoever made them."""

    installation: str | None = None
    """In a subclass: the other engine's queue whose cancellations these are. No other ledger has them."""
    commits_by: ClassVar[str] = "commit_cancellations"
    """The function that only whoever may commit can call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stored_app(self, app_id: str) -> tuple[str | None, str]:
        """The installation that an app is of, and what the database calls the app."""
        return self.installation, app_id

    def shown_app(self, installation: str | None, stored: str) -> str | None:
        """What callers call that app; None if it is not of this queue."""
        return stored if installation == self.installation else None

    def read(self, document: str) -> Cancellation:
        """The record of that document, as `cancellation_documents` gives it."""
        return _cancellation(document)

    async def taken_by(self, run_id: str) -> UUID | None:
        """The cancellation that has a run of which the queue itself knows nothing any more."""
        return None

    async def cancelled_singly(self, app_id: str, run_id: str) -> UUID | None:
        """The cancellation of just this run that has asked it to stop, and waits for that; or the last undone one."""
        found: UUID | None = await self._database.fetchval(
            _SQL["cancelled_singly"], app_id, require_id("run_id", run_id)
        )
        return found

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        """Commit several that differ in ids and functions only, under one key, all or nothing.

        Once its guarantee is `in_force`, no matching run can be claimed any more. It is `pending` as long as somebody's
        open transaction holds the app's lock. Raises `RequestError` for what only the database knows (a window in the
        future, an unknown app), `IdempotencyConflict` and `ReadOnly`.

        A selection of ended runs is committed as a retry, which is in force nowhere: it queues them again by its sweep.
        """
        self.refuse_if_read_only()
        require_fields(commits[0].selection.filter, words_of_queue(OWN))
        functions = [each.selection.scope.function_id for each in commits]
        rows = await self._database.fetch(
            _SQL["commit_retry" if commits[0].is_retry else "commit"],
            [each.id for each in commits],
            None if functions == [None] else functions,
            encode_json(draft_of(commits[0])),
        )
        return [self.read(row["record"]) for row in rows]

    async def make_ready(self) -> None:
        """Let a session load what a commit needs: the first in a session takes five times as long as the next ones.

        Nothing is written and nothing is locked; the pool gives out the session that was used last.
        Raises `ReadOnly`, and `PermissionDenied` for a role that may not commit.
        """
        self.refuse_if_read_only()
        async with self._database.transaction() as connection:
            await connection.fetch(f"explain {_SQL['commit']}", [], None, "{}")
            await connection.fetch(_SQL["no_records"])

    async def cancel_run(self, cancellation: RunCancellation) -> Cancellation:
        """Cancel a run that waits, or ask one that runs to stop.

        Raises `NotFound`, `Conflict` for a run that has ended, `IdempotencyConflict` and `ReadOnly`.
        """
        self.refuse_if_read_only()
        run_id = require_id("run_id", cancellation.run_id)
        app_id = await self._database.fetchval(_SQL["app_of_run"], run_id, cancellation.idempotency_key)
        if app_id is None:
            raise NotFound(f"there is no run {run_id}")
        record: str = await self._database.fetchval(
            _SQL["cancel_run"],
            cancellation.id,
            app_id,
            run_id,
            cancellation.idempotency_key,
            cancellation.reason,
            cancellation.source,
            cancellation.author,
        )
        return self.read(record)

    async def stop(self, cancellation_id: UUID, author: str, source: str) -> Cancellation:
        """Stop matching at once. Stopping twice is harmless; raises `NotFound`, and `LockUnavailable` while somebody
        else ends it and does not commit."""
        self.refuse_if_read_only()
        app_id = await self.app_of(cancellation_id)
        return self.read(await self._database.fetchval(_SQL["stop"], app_id, cancellation_id, author, source))

    async def undo(
        self, cancellation_id: UUID, author: str, source: str, *, requeue_stopped: bool = False
    ) -> Cancellation:
        """Take a cancellation back; its runs return by `restore`. Repeatable.

        Raises `NotFound`, `Conflict` when it is too late, and `LockUnavailable` as `stop` does.
        """
        self.refuse_if_read_only()
        app_id = await self.app_of(cancellation_id)
        return self.read(
            await self._database.fetchval(_SQL["undo"], app_id, cancellation_id, author, source, requeue_stopped)
        )

    async def app_of(self, cancellation_id: UUID) -> str:
        """As the database calls it. Raises `NotFound` for the cancellation of another queue."""
        app_id: str | None = await self._database.fetchval(
            _SQL["app_of_cancellation"], cancellation_id, self.installation
        )
        if app_id is None:
            raise NotFound(f"there is no cancellation {cancellation_id}")
        return app_id

    async def sweep(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        """Rewrite up to `batch` matching rows, in one transaction; resumes wherever the last one ended."""
        return await self._step("sweep", app_id, cancellation_id, batch)

    async def decide(self, app_id: str, cancellation_id: UUID) -> int:
        """Evaluate the condition on runs that it took too long on in a claim or sweep; returns how many it decided.

        Takes seconds, and holds up nobody.
        """
        self.refuse_if_read_only()
        decided = await self._database.fetchval(_SQL["decide"], app_id, cancellation_id)
        return int(decided)

    async def restore(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        """Put back up to `batch` runs of an undone cancellation, in one transaction; resumes as `sweep` does."""
        return await self._step("restore", app_id, cancellation_id, batch)

    async def _step(self, name: str, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        self.refuse_if_read_only()
        row = await self._database.fetchrow(_SQL[name], app_id, cancellation_id, batch)
        assert row is not None  # noqa: S101 - the function always returns a row
        return SweepStep(**row)

    async def note_sweep_failure(self, app_id: str, cancellation_id: UUID, error: str) -> None:
        """Keep with the record that a batch of its sweep or its restore failed; forgotten when one is through."""
        self.refuse_if_read_only()
        await self._database.fetchval(_SQL["note_sweep_failure"], app_id, cancellation_id, error)

    async def activity(self) -> Activity:
        """What is in force, and which sweeps fail, as of one moment."""
        rows = await self._database.fetch(_SQL["activity"], self.installation)
        return Activity(
            tuple(
                InForce(row["app_id"], row["function_id"], row["count"], row["standing_until"])
                for row in rows
                if row["id"] is None
            ),
            tuple(SweepProblem(row["id"], row["error"], row["since"]) for row in rows if row["id"] is not None),
        )

    async def figures(self) -> LedgerFigures:
        """For monitoring. Reads the whole history."""
        row = await self._database.fetchrow(_SQL["figures"], self.installation, repeatable=True)
        assert row is not None  # noqa: S101 - it is of no table
        given = {name: value or 0 for name, value in row.items() if name != "states"}
        return LedgerFigures(states=json.loads(row["states"]), **given)

    async def unrestored(self, cancellation_id: UUID, limit: int) -> list[Unrestored]:
        """Up to `limit` runs that an undo left cancelled or handed over, with the reasons."""
        app_id = await self.app_of(cancellation_id)
        rows = await self._database.fetch(_SQL["unrestored"], app_id, cancellation_id, limit)
        return [Unrestored(str(row["run_id"]), row["reason"]) for row in rows]

    async def open_cancellations(self) -> list[OpenCancellation]:
        """Active cancellations, and undone ones that are being restored, oldest commit first: a sweeper's work."""
        rows = await self._database.fetch(_SQL["open_cancellations"], self.installation)
        return [OpenCancellation(**row) for row in rows]

    async def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        """Newest first; `before` is the id of the last entry of the page before."""
        from secateur.records import AuditEntry

        rows = await self._database.fetch(_SQL["audit"], limit, before, self.installation)
        return [read_record(AuditEntry, json.loads(row[0]), ["at"])[0] for row in rows]

    async def cancellations(
        self, limit: int, before: UUID | None = None, search: CancellationSearch = EVERY_CANCELLATION
    ) -> Sequence[Cancellation]:
        """Newest first; `before` continues after the last of a page."""
        rows = await self._database.fetch(
            _SQL["cancellations"],
            *(before, limit, self.installation, search.app_id, search.function_id),
            *(list(search.states) or None, search.since, search.until),
        )
        return [self.read(row["record"]) for row in rows]

    async def cancellation(self, cancellation_id: UUID) -> Cancellation:
        """Raises `NotFound`."""
        record: str | None = await self._database.fetchval(_SQL["cancellation"], cancellation_id, self.installation)
        if record is None:
            raise NotFound(f"there is no cancellation {cancellation_id}")
        return self.read(record)

    async def touching(self, run: Run, cancellation_ids: Sequence[UUID]) -> Sequence[Cancellation]:
        """These records, and every active cancellation whose scope the run is in; newest first."""
        rows = await self._database.fetch(
            _SQL["touching"], run.app_id, run.function_id, require_id("run_id", run.id), cancellation_ids
        )
        return [self.read(row["record"]) for row in rows]

    async def only_reads(self) -> str | None:
        """Why this session can commit nothing, in a word or two such as `role viewer`; None if it can."""
        row = await self._database.fetchrow(_SQL["rights"], self.commits_by)
        assert row is not None  # noqa: S101 - it asks of no table
        if row["is_standby"]:
            return "standby"
        if not row["may_commit"]:
            return f"role {row['role']}"
        return "session" if row["is_read_only"] else None

    def refuse_if_read_only(self) -> None:
        if self._database.read_only:
            raise ReadOnly("this session is read-only: it cannot cancel, stop or sweep")


def draft_of(commit: Commit) -> dict[str, Any]:
    """What the records of a commit share, as `draft_of` in records.sql reads it."""
    selection, expected = commit.selection, commit.expected
    draft: dict[str, Any] = {
        "app_id": selection.scope.app_id,
        "started_after": _in_iso(selection.window.started_after),
        "started_before": _in_iso(selection.window.started_before),
        "parameters": {},
        "compiler": COMPILER_VERSION,
        "request": commit.request,
        "idempotency_key": commit.idempotency_key,
        "reason": commit.reason,
        "source": commit.source,
        "created_by": commit.author,
        "rate": commit.rate,
    }
    if commit.is_retry:
        draft["with_cancelled"] = RunStatus.CANCELLED in selection.statuses
    else:
        draft["standing"] = commit.standing
    if selection.filter is not None:
        draft["if"] = selection.filter.source
        draft["condition"], draft["parameters"] = selection.filter.condition.stored()
        if (requirement := selection.filter.requirement) is not None:
            draft |= {"requires": list(requirement.documents), "requires_suffices": requirement.suffices}
    if expected is not None:
        draft |= {
            "expected": expected.matched,
            "expected_exact": expected.exact,
            "expected_by_function": dict(expected.by_function),
        }
    return draft


def _in_iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _cancellation(document: str) -> Cancellation:
    from secateur.records import Cancellation  # half a second: only who reads cancellations pays it

    fields = json.loads(document)
    fields["if_"] = fields.pop("if")
    cancellation, odd = read_record(Cancellation, fields, _MOMENTS)
    cancellation.odd = odd
    return cancellation
