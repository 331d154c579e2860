"""The records that people read and audit, as tables. Migrations define the schema; a test compares the two.

Importing this module takes half a second (SQLAlchemy), so modules that only pass records on import it late.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import BigInteger, Field, SQLModel

from secateur.runs import Scope
from secateur.states import Guarantee, Kind, State
from secateur.words.blockers import blockers, unblocking


class Timestamptz(DateTime):
    """`timestamptz`: every time that secateur stores has an offset."""

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
    """The number in the names of the tables that are the app's locks."""
    created_at: datetime = Field(sa_type=Timestamptz)
    paused_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """When the app was paused; None if it is not paused."""
    paused_by: str | None = Field(default=None, sa_type=Text)
    installation: str | None = Field(default=None, sa_type=Text)
    """The other engine's queue that it belongs to; None for secateur's own."""


class FunctionTable(SQLModel, table=True):
    """A function of an app, with what the queue needs to know about it."""

    __tablename__ = "functions"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    app_id: str = Field(primary_key=True, sa_type=Text)
    function_id: str = Field(primary_key=True, sa_type=Text)
    triggers: list[str] = Field(sa_type=TextArray)
    """Names of the events that start a run of it."""
    max_attempts: int = Field(sa_type=Integer)
    created_at: datetime = Field(sa_type=Timestamptz)
    paused_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """When the function itself was paused; None if it is not paused, whatever its app is."""
    paused_by: str | None = Field(default=None, sa_type=Text)
    concurrency: int | None = Field(default=None, sa_type=Integer)
    """The maximum of concurrent runs over all workers; None is no limit."""
    cancel_on: list[dict[str, Any]] = Field(sa_type=JSONB)
    """The declarations as `secateur.declare_cancel_on` stored them; empty if there are none."""
    installation: str | None = Field(default=None, sa_type=Text)
    """That of its app."""


class CancellationFields(SQLModel):
    """The stored fields of a cancellation."""

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
    """Always set: if the request has none, the time of the commit."""
    standing: bool
    condition: str | None = Field(default=None, sa_type=Text)
    """The SQL that `if` was compiled to; None without an `if`."""
    parameters: dict[str, str | None] = Field(sa_type=JSONB)
    compiler: int = Field(sa_type=Integer)
    """Version of the compiler that wrote `condition`."""
    request: dict[str, Any] = Field(sa_type=JSONB)
    """The request as given, to tell a repeated commit from a different one under the same key."""
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    source: str = Field(sa_type=Text)
    """`tui`, `cli`, `api`, `python` or `watch`, as claimed by the client."""
    created_at: datetime = Field(sa_type=Timestamptz)
    """When it was committed: claims that began later honour it."""
    created_by: str = Field(sa_type=Text)
    """The author, as claimed by the client, not verified."""
    created_role: str = Field(sa_type=Text)
    """The database role that committed it, which is proven."""
    expected: int | None = Field(default=None, sa_type=BigInteger)
    """How many matches the author saw before the commit; None if nothing was counted."""
    expected_exact: bool | None = None
    """Whether that was an exact count, not an estimate; None if nothing was counted."""
    expected_by_function: dict[str, int] | None = Field(default=None, sa_type=JSONB)
    completed_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    stopped_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    stopped_by: str | None = Field(default=None, sa_type=Text)
    in_force_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """When the last transaction that did not see it had ended; None while it is pending."""
    rate: int | None = Field(default=None, sa_type=Integer)
    """The most runs a second that its sweep and its restore rewrite; None is as fast as possible."""
    undone_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    undone_by: str | None = Field(default=None, sa_type=Text)
    with_cancelled: bool = False
    """For a retry: whether it includes cancelled runs."""
    requeue_stopped: bool = False
    """Whether the undo also queues the runs again that were stopped while running."""
    restored_at: datetime | None = Field(default=None, sa_type=Timestamptz)
    """When every run that could be restored was back; None until then."""
    gated: bool = True
    """Whether claims obey it; else what its sweep has not reached may still start."""
    ending: bool = False
    """Stopped or undone, while a transaction that may not have seen that was open: it may still act for it."""


class CancellationTable(CancellationFields, table=True):
    """The table of `CancellationFields`."""

    __tablename__ = "cancellations"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    run_id: UUID | None = None
    job_id: str | None = Field(default=None, sa_type=Text)
    """Takes its place for a job in another engine's queue."""


class Cancellation(CancellationFields):
    """A committed cancellation with its tallies, which are sums of the deltas of its sweep, its restore and claims."""

    run_id: str | None = None
    """For kind `run`: the run's id, in its engine's format."""
    blocked_by: list[int] = []
    """While pending: the ids of the processes whose open transactions it, its stop or its undo is waiting for now."""
    blocked_by_prepared: list[str] = []
    """While pending: the names of the prepared transactions that it is waiting for now."""
    odd: list[str] = []
    """Fields with values that secateur never writes; they are shown as far as possible. See `ledger.reading`."""
    undo_until: datetime | None = None
    """The end of the time in which it can be undone; None while it is active, because the time starts when it ends."""
    cancelled: int = 0
    """Every run that it ever cancelled, including those restored, handed over or pruned since."""
    requested: int = 0
    """Running runs that were asked to stop."""
    finished_first: int = 0
    """The part of `requested` that ended before it could be stopped."""
    stopping: int = 0
    """The part of `requested` that is still running."""
    errors: int = 0
    """Runs of scope and window on which the sweep could not evaluate `if`; none of them was cancelled."""
    undecided: int = 0
    """Runs on which `if` takes too long: neither claimed nor cancelled until it is known whether they match."""
    stuck: int = 0
    """The part of `undecided` on which `if` took more than five seconds; they are retried ever less often."""
    restored: int = 0
    """The part of `cancelled` that an undo put back into the queue, or the part of `retried` that it took back."""
    handed_over: int = 0
    """The part of `cancelled` that an undo handed over to another cancellation that matches them too."""
    pruned: int = 0
    """The part of `cancelled` that was deleted after its retention."""
    stopped: int = 0
    """The part of `cancelled` that was stopped while running."""
    retried: int = 0
    """For a retry: runs that it queued again. For a cancellation: the part of `cancelled` that retries queued again."""
    left_alone: int = 0
    """For a retry: matching runs that it left alone: their key is taken, or an active cancellation matches them."""
    requires: list[Any] | None = None
    """Documents of which the event of every matching run contains at least one, if known."""
    requires_suffices: bool = False
    """Whether a run whose event contains one matches without evaluating `condition`."""
    stepped_at: datetime | None = None
    """When a batch of its sweep or restore last succeeded; None before the first."""
    unswept_for: float | None = None
    """Seconds since then, or since the commit; None if there is nothing left to do."""
    failures: int = 0
    """Batches that failed since the last one that succeeded."""
    failing_since: datetime | None = None
    last_error: str | None = None
    """The error of the last failed batch; None once a batch succeeds."""
    last_error_at: datetime | None = None
    swept: bool = False
    """A pass over the backlog found nothing more; it only waits for runs that are still running."""
    stops_at: str | None = "next step"
    """When a run stops that was asked to; None where its queue cannot stop one. No record has this: its queue does."""
    only_watched: str | None = None
    """Why nothing is written to its queue now, so that its sweep and an undo have to wait. This is its queue's too."""

    @property
    def blockers(self) -> list[str]:
        """What a pending cancellation is waiting for, each in words; empty once nothing is in the way."""
        return blockers(self.blocked_by, self.blocked_by_prepared)

    @property
    def unblocking(self) -> list[str]:
        """The SQL that ends each of `blockers`."""
        return unblocking(self.blocked_by, self.blocked_by_prepared)

    @property
    def scope(self) -> Scope:
        """The function, or the app, whose runs it reaches."""
        return Scope(self.app_id, self.function_id)

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
        """Whether it still matches runs (or a retry still queues them), so that it can be stopped."""
        return self.state in (State.ACTIVE, State.RETRYING)

    @property
    def is_over(self) -> bool:
        """Whether it was stopped or undone, so that it matches nothing any more."""
        return self.state in (State.STOPPED, State.UNDONE)

    @property
    def is_pending(self) -> bool:
        """Whether it is committed, stopped or undone while a transaction that does not see that is still open."""
        return self.guarantee == Guarantee.PENDING

    @property
    def guarantee(self) -> Guarantee:
        """What it promises now."""
        if self.ending:
            return Guarantee.PENDING
        if self.is_retry:
            return Guarantee.NONE
        if self.is_over:
            return Guarantee.ENDED
        pending = self.state == State.ACTIVE and self.in_force_at is None
        if pending:
            return Guarantee.PENDING
        return Guarantee.IN_FORCE if self.gated else Guarantee.SWEPT

    @property
    def restoring(self) -> bool:
        """Whether it is undone, and runs are still coming back."""
        return self.state == State.UNDONE and self.restored_at is None

    @property
    def waiting(self) -> int:
        """The part of `cancelled` that was waiting when it was cancelled and that an undo can still put back."""
        if self.is_retry:
            return max(0, self.retried - self.restored)
        gone = self.restored + self.handed_over + self.pruned + self.retried
        return max(0, self.cancelled - self.stopped - gone)

    @property
    def restored_of(self) -> tuple[int, int]:
        """How many runs an undo has handled, and how many there are in all."""
        if self.is_retry:
            return self.restored, self.retried
        left_out = 0 if self.requeue_stopped else self.stopped
        wanted = max(0, self.cancelled - self.pruned - left_out)
        return min(wanted, self.restored + self.handed_over), wanted

    @property
    def not_restored(self) -> int:
        """After an undo has finished: the part of `cancelled` that it left cancelled."""
        if self.restored_at is None:
            return 0
        if self.is_retry:
            return self.retried - self.restored
        return self.cancelled - self.restored - self.handed_over - self.pruned - self.retried


class AuditEntry(SQLModel):
    """Who did what, when and from where; written in the same transaction, and never changed."""

    id: int
    at: datetime
    action: str
    """`install`, `commit`, `stop`, `undo`, `restore`, `pause`, `resume`, `forget`, `retention`, `create_token`,
    `revoke_token` or `request`."""
    app_id: str | None = None
    function_id: str | None = None
    cancellation_id: UUID | None = None
    role: str
    """The database role that was logged in."""
    author: str | None = None
    """As given by the client."""
    address: str | None = None
    """The client's address, as the server saw it; None for a local connection."""
    application_name: str | None = None
    source: str | None = None
    details: dict[str, Any] = {}
    """The request, and counts; the content depends on the action."""
