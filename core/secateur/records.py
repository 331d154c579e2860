"""The records that people read and audit, as tables. Migrations define the schema; a test compares the two.

Importing this costs half a second (SQLAlchemy), so the modules that only pass records on import it late.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import BigInteger, Field, SQLModel

from secateur.states import Guarantee, Kind, State


class Timestamptz(DateTime):
    """`timestamptz`: every time that secateur keeps has an offset."""

    def __init__(self) -> None:
        super().__init__(timezone=True)


class TextArray(ARRAY[str]):
    """`text[]`."""

    def __init__(self) -> None:
        super().__init__(Text)


class AppTable(SQLModel, table=True):
    """An app: the unit of the queue's locks."""

    __tablename__ = "apps"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    app_id: str = Field(primary_key=True, sa_type=Text)
    lock_number: int = Field(sa_type=BigInteger)
    """What the tables are called by that are the app's locks."""
    created_at: datetime = Field(sa_type=Timestamptz)
    paused_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """Since when nothing of the app is claimed; None while it is."""
    paused_by: str | None = Field(default=None, sa_type=Text)


class FunctionTable(SQLModel, table=True):
    """A function of an app, with what the queue needs to know of it."""

    __tablename__ = "functions"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    app_id: str = Field(primary_key=True, sa_type=Text)
    function_id: str = Field(primary_key=True, sa_type=Text)
    triggers: list[str] = Field(sa_type=TextArray)
    """Event names that start a run of it."""
    max_attempts: int = Field(sa_type=Integer)
    created_at: datetime = Field(sa_type=Timestamptz)
    paused_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """Since when nothing of the function itself is claimed, whether or not its app is paused too."""
    paused_by: str | None = Field(default=None, sa_type=Text)
    concurrency: int | None = Field(default=None, sa_type=Integer)
    """How many of its runs may run at once, over all workers; None is unlimited."""
    cancel_on: list[dict[str, Any]] = Field(sa_type=JSONB)
    """What `secateur.declare_cancel_on` made of the declarations; empty without any."""


class CancellationFields(SQLModel):
    """What is kept of a cancellation."""

    id: UUID = Field(primary_key=True)
    serial: int = Field(sa_type=BigInteger)
    """The order of commits within the database."""
    kind: str = Field(sa_type=Text)
    """A `secateur.states.Kind`."""
    state: str = Field(sa_type=Text)
    """A `secateur.states.State`."""
    app_id: str = Field(primary_key=True, sa_type=Text)
    function_id: str | None = Field(default=None, sa_type=Text)
    if_: str | None = Field(default=None, sa_type=Text, sa_column_kwargs={"name": "if"})
    started_after: datetime | None = Field(default=None, sa_type=Timestamptz)
    started_before: datetime = Field(sa_type=Timestamptz)
    """Always set: without one in the request, the commit's own time."""
    standing: bool
    condition: str | None = Field(default=None, sa_type=Text)
    """The SQL that `if` was compiled to; None without an `if`."""
    parameters: dict[str, str | None] = Field(sa_type=JSONB)
    compiler: int = Field(sa_type=Integer)
    """Version of the compiler that wrote `condition`."""
    request: dict[str, Any] = Field(sa_type=JSONB)
    """The request as said, to tell a repeated commit from another one under the same key."""
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    source: str = Field(sa_type=Text)
    """`tui`, `cli`, `api` or `python`, as said by the client."""
    created_at: datetime = Field(sa_type=Timestamptz)
    """When it was committed: claims that began later honour it."""
    created_by: str = Field(sa_type=Text)
    """The author, as said by the client; nobody proves it."""
    created_role: str = Field(sa_type=Text)
    """The database role that committed it, which is proven."""
    expected: int | None = Field(default=None, sa_type=BigInteger)
    """How many matches the author was shown before the commit; None where nothing was counted."""
    expected_exact: bool | None = None
    """Whether that was the exact count, not an estimate; None where nothing was counted."""
    expected_by_function: dict[str, int] | None = Field(default=None, sa_type=JSONB)
    completed_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    stopped_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    stopped_by: str | None = Field(default=None, sa_type=Text)
    in_force_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """When the last transaction was over that had not seen it; None: pending."""
    rate: int | None = Field(default=None, sa_type=Integer)
    """Runs a second that its sweep and its restore may rewrite; None is as fast as it goes."""
    undone_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    undone_by: str | None = Field(default=None, sa_type=Text)
    with_cancelled: bool = False
    """Of a retry: cancelled runs are meant as well as failed ones."""
    requeue_stopped: bool = False
    """Whether the undo also queues the runs again that were stopped while they ran."""
    restored_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """When all runs were back that could be; None while an undone one is still being restored."""


class CancellationTable(CancellationFields, table=True):
    """The table of `CancellationFields`."""

    __tablename__ = "cancellations"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    run_id: UUID | None = None


class Cancellation(CancellationFields):
    """A committed cancellation with its tallies, which are sums of the deltas of its sweep, its restore and claims."""

    run_id: str | None = None
    """Of kind `run`: which one, as its engine writes it."""
    blocked_by: list[int] = []
    """While pending: the process ids whose open transactions it waits for, as of now."""
    blocked_by_prepared: list[str] = []
    """While pending: the prepared transactions that it waits for, by the names they were prepared under; as of now."""
    odd: list[str] = []
    """Fields that hold what secateur does not write, and are shown as far as they can be: see `ledger.reading`."""
    undo_until: datetime | None = None
    """Until when it can be undone; None while it is active: as long as it is, and the retention after that."""
    cancelled: int = 0
    """Every run that was its own at some time, also those that were restored, handed over or pruned since."""
    requested: int = 0
    """Running runs that were asked to stop."""
    finished_first: int = 0
    """Of those, the ones that ended before they could be stopped."""
    stopping: int = 0
    """Of those, the ones still running."""
    errors: int = 0
    """Runs of scope and window that the sweep could not evaluate `if` on; none of them was cancelled."""
    undecided: int = 0
    """Runs that `if` takes too long on: neither claimed nor cancelled until it is known whether they match."""
    stuck: int = 0
    """Of those, the ones on which it took more than five seconds: tried again ever more seldom."""
    restored: int = 0
    """Of `cancelled`, those that an undo put back into the queue; of `retried`, those that it took back."""
    handed_over: int = 0
    """Of `cancelled`, those that another cancellation has since an undo, because it matches them too."""
    pruned: int = 0
    """Of `cancelled`, those that were deleted when their time was over."""
    stopped: int = 0
    """Of `cancelled`, those that were stopped while they ran."""
    retried: int = 0
    """Of a retry: runs that it queued again. Of a cancellation: those of `cancelled` that retries have queued again."""
    left_alone: int = 0
    """Of a retry: runs that match, and that it left: their key is taken, or an active cancellation matches them too."""
    requires: list[Any] | None = None
    """What the event of every matching run contains one of, where that is known."""
    requires_suffices: bool = False
    """Whether a run whose event does is matched without `condition`."""
    stepped_at: datetime | None = None
    """When a batch of its sweep or its restore was last through; None before the first."""
    unswept_for: float | None = None
    """Seconds since then, or since the commit; None where there is nothing left to do."""
    failures: int = 0
    """Batches that failed since the last one that was through."""
    failing_since: datetime | None = None
    last_error: str | None = None
    """Why the last one did, in the words of the process that tried; None since one was through."""
    last_error_at: datetime | None = None
    swept: bool = False
    """A pass over the backlog found nothing more: only running runs that were asked to stop are waited for."""

    @property
    def blockers(self) -> list[str]:
        """Whom a pending one waits for, each in words; empty once nobody is in the way."""
        return [
            *(f"process {pid}" for pid in self.blocked_by),
            *(f"prepared transaction {gid!r}" for gid in self.blocked_by_prepared),
        ]

    @property
    def unblocking(self) -> list[str]:
        """The SQL that ends each of `blockers`."""
        return [
            *(f"select pg_terminate_backend({pid})" for pid in self.blocked_by),
            *("rollback prepared '" + gid.replace("'", "''") + "'" for gid in self.blocked_by_prepared),
        ]

    @property
    def matched(self) -> int:
        """Runs reached so far; once complete, `cancelled + finished_first`, or of a retry `retried + left_alone`."""
        if self.is_retry:
            return self.retried + self.left_alone
        return self.cancelled + self.finished_first + self.stopping

    @property
    def is_retry(self) -> bool:
        return self.kind == Kind.RETRY

    @property
    def is_active(self) -> bool:
        """Whether it still matches runs, or a retry still queues them: it can be stopped."""
        return self.state in (State.ACTIVE, State.RETRYING)

    @property
    def is_over(self) -> bool:
        """Whether it was stopped or undone: it matches nothing any more."""
        return self.state in (State.STOPPED, State.UNDONE)

    @property
    def is_pending(self) -> bool:
        """Whether it is committed, but a transaction that had not seen it is still open."""
        return self.guarantee == Guarantee.PENDING

    @property
    def guarantee(self) -> Guarantee:
        """What it promises now."""
        if self.is_retry:
            return Guarantee.NONE
        if self.is_over:
            return Guarantee.ENDED
        pending = self.state == State.ACTIVE and self.in_force_at is None
        return Guarantee.PENDING if pending else Guarantee.IN_FORCE

    @property
    def restoring(self) -> bool:
        """Whether it is undone, and runs are still coming back."""
        return self.state == State.UNDONE and self.restored_at is None

    @property
    def waiting(self) -> int:
        """Of `cancelled`, those that waited when they were cancelled and that an undo can still put back."""
        if self.is_retry:
            return max(0, self.retried - self.restored)
        gone = self.restored + self.handed_over + self.pruned + self.retried
        return max(0, self.cancelled - self.stopped - gone)

    @property
    def restored_of(self) -> tuple[int, int]:
        """How many runs an undo has dealt with, and of how many."""
        if self.is_retry:
            return self.restored, self.retried
        left_out = 0 if self.requeue_stopped else self.stopped
        wanted = max(0, self.cancelled - self.pruned - left_out)
        return min(wanted, self.restored + self.handed_over), wanted

    @property
    def not_restored(self) -> int:
        """Once an undo is through: of `cancelled`, those that it left cancelled."""
        if self.restored_at is None:
            return 0
        if self.is_retry:
            return self.retried - self.restored
        return self.cancelled - self.restored - self.handed_over - self.pruned - self.retried


class AuditEntry(SQLModel):
    """Who did what, when and from where; written in the transaction that did it, and never changed."""

    id: int
    at: datetime
    action: str
    """`install`, `commit`, `stop`, `undo`, `restore`, `pause`, `resume`, `forget` or `retention`."""
    app_id: str | None = None
    function_id: str | None = None
    cancellation_id: UUID | None = None
    role: str
    """The database role that was logged in."""
    author: str | None = None
    """As given by the client."""
    address: str | None = None
    """The client's, as the server saw it; None is a local connection."""
    application_name: str | None = None
    source: str | None = None
    details: dict[str, Any] = {}
    """What was asked for, and counts; what there is depends on the action."""
