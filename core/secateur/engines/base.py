"""What the services and screens ask of a job queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from uuid import UUID

from secateur.cel import Filter
from secateur.errors import UsageError
from secateur.postgres.database import Database
from secateur.runs import UNFINISHED, Count, FunctionDepth, Run, RunStatus, Scope, Window

if TYPE_CHECKING:
    from secateur.records import AuditEntry, Cancellation


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do; screens and the conformance suite go by these, never by its name."""

    has_event: bool
    """Runs keep their event as JSON, so that `if` can be used."""
    can_cancel: bool
    can_stop_running: bool
    """A running run can be asked to stop."""
    gates_claims: bool
    """A commit guarantees that no matching run is claimed afterwards."""
    can_retry: bool = False
    """Failed and cancelled runs can be queued again by `commit_all` of a selection of these."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a request means: scope, window and, compiled, its `if`."""

    scope: Scope
    window: Window
    filter: Filter | None = None
    """None selects every run of scope and window."""
    now: datetime | None = None
    """The value of `now` in the expression; None takes the database's clock."""
    statuses: tuple[RunStatus, ...] = UNFINISHED
    """`UNFINISHED`, or ended ones: what a retry means."""


@dataclass(frozen=True, slots=True)
class DepthCheck:
    """What a comparison of the depth's sums with the rows found."""

    counted: int
    """Unfinished runs."""
    drift: int
    """How many of them the sums were off, without regard to the sign, before that was put right."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one batch of pruning did. `more`: ask again, there seem to be others."""

    runs: int
    more: bool


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, and how far ahead they may lie."""

    finished: timedelta
    """Completed and failed runs, after they ended."""
    cancelled: timedelta
    """The runs of a cancellation, after it ended: as long as it can be undone."""
    standing: timedelta
    """How far ahead the window of a standing cancellation may end."""


class Verdict(StrEnum):
    """What the expression says of a run."""

    MATCH = "match"
    NO_MATCH = "no_match"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Commit:
    """A cancellation about to be committed; `id` is made by the caller, before sending."""

    id: UUID
    selection: Selection
    request: dict[str, Any]
    """The request as given: a repeated commit is told from another one by it."""
    standing: bool
    author: str
    source: str
    """`tui`, `cli`, `api` or `python`."""
    reason: str | None = None
    idempotency_key: str | None = None
    expected: Count | None = None
    """The count that the operator saw, exact or not; recorded, never used to decide. None: nothing was counted."""
    rate: int | None = None
    """Runs a second that the sweep, and later a restore, may rewrite."""


@dataclass(frozen=True, slots=True)
class RunCancellation:
    """The cancellation of a single run, about to be committed; `id` is made by the caller."""

    id: UUID
    run_id: UUID
    author: str
    source: str
    reason: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Unrestored:
    """A run that an undo did not put back into the queue, and why."""

    run_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class OpenCancellation:
    """One that a sweeper has to look after: its state is one of `secateur.states.OPEN`."""

    app_id: str
    id: UUID
    state: str


@dataclass(frozen=True, slots=True)
class SweepProblem:
    """An open cancellation whose sweep or restore fails, or that nobody has swept for a while."""

    id: UUID
    error: str
    since: datetime


@dataclass(frozen=True, slots=True)
class SweepStep:
    """What one batch of a sweep or a restore did. `busy` says that another process is at this cancellation."""

    state: str
    """The cancellation's state after the batch; `restoring` while the runs of an undone one are still coming back."""
    cancelled: int = 0
    busy: bool = False
    idle: bool = False
    """Nothing to do right now, but not complete: a transaction or a running run is still open."""
    restored: int = 0
    """Runs that a batch of a restore put back, or one of a retry queued again."""
    wait: float | None = None
    """Seconds until there is something to do again, where that is known."""
    undecided: int = 0
    """Runs, a thousand at most, that the condition took too long on, and that `decide` can look at now."""


class QueueEngine(Protocol):
    """One job queue in one database. Every time is the database's, every method one short transaction."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def __init__(self, database: Database, replica: Database | None = None) -> None:
        """What reads many runs, and says so below, may be asked of `replica`: a copy that follows, and is read only."""
        ...

    async def clock(self) -> datetime:
        """The database's time."""
        ...

    async def depth(self) -> list[FunctionDepth]:
        """Every function, sorted by app and function, also those with an empty queue, unless these are forgotten."""
        ...

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        """The exact count, without the errors, which cost more than the matches; by the replica if there is one.

        May be slow; cancelling the task cancels the query in the database.
        """
        ...

    async def count_errors(self, selection: Selection, *, on_primary: bool = False) -> int:
        """Unfinished runs of scope and window on which the expression cannot be evaluated; as `count` is asked."""
        ...

    async def estimate(self, selection: Selection) -> Count | None:
        """A quick count from a sample, with an interval (`low` to `high`); None where an exact count is as quick.

        By the replica if there is one.
        """
        ...

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        """Up to `limit` unfinished runs of scope and window with that verdict, oldest first; by the replica."""
        ...

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        """The decoded events of about `limit` unfinished runs from all over the scope; fewer if they are large.

        By the replica if there is one.
        """
        ...

    async def arrival_rate(self, selection: Selection) -> float:
        """Matching runs that arrived per second, averaged over the last ten seconds."""
        ...

    async def run(self, run_id: UUID) -> Run:
        """Raises `NotFound`."""
        ...

    async def runs(self, scope: Scope, status: RunStatus, limit: int, before: UUID | None = None) -> list[Run]:
        """Runs of one status of `LISTED`, newest first; `before` is the id of the last of the page before.

        Raises `NotFound` for an app or function that is not known.
        """
        ...

    async def cancelled_singly(self, app_id: str, run_id: UUID) -> UUID | None:
        """The cancellation of just this run that has asked it to stop, and waits for that; or the last undone one."""
        ...

    async def commit(self, commit: Commit) -> Cancellation:
        """Commit a cancellation; once its guarantee is `in_force`, no matching run can be claimed any more.

        It is `pending` as long as somebody's open transaction holds the app's lock. Raises `RequestError` for what
        only the database knows (a window in the future, an unknown app), `IdempotencyConflict` and `ReadOnly`.
        """
        ...

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        """Commit several that differ in ids and functions only, under one key, all or nothing; raises like `commit`.

        A selection of ended runs is committed as a retry, which is in force nowhere: it queues them again by its sweep.
        """
        ...

    async def cancel_run(self, cancellation: RunCancellation) -> Cancellation:
        """Cancel a run that waits, or ask one that runs to stop.

        Raises `NotFound`, `Conflict` for a run that has ended, `IdempotencyConflict` and `ReadOnly`.
        """
        ...

    async def stop(self, cancellation_id: UUID, author: str, source: str) -> Cancellation:
        """Stop matching at once. Stopping twice is harmless; raises `NotFound` and `LockUnavailable`."""
        ...

    async def undo(
        self, cancellation_id: UUID, author: str, source: str, *, requeue_stopped: bool = False
    ) -> Cancellation:
        """Take a cancellation back; its runs return by `restore`. Repeatable.

        Raises `NotFound`, `Conflict` when it is too late, and `LockUnavailable`.
        """
        ...

    async def pause(self, scope: Scope, author: str, source: str) -> None:
        """Claim nothing more of the scope; running runs go on. Pausing twice is harmless.

        A whole app is paused by a flag of its own. Raises `NotFound`, `LockUnavailable` and `ReadOnly`.
        """
        ...

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        """Take back the pause of exactly this scope; harmless where there is none. Raises as `pause` does."""
        ...

    async def forget(self, scope: Scope, author: str, source: str) -> list[str]:
        """Leave functions that are no more out of the depth, and start no runs of them for events; their history stays.

        Returns those that were not forgotten before, sorted. They come back by themselves when they get runs, or a
        worker. Raises `Conflict` with what is in the way while runs or cancellations of the scope are unfinished,
        `NotFound`, `LockUnavailable` and `ReadOnly`.
        """
        ...

    async def sweep(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        """Rewrite up to `batch` matching rows, in one transaction; resumes wherever the last one ended."""
        ...

    async def decide(self, app_id: str, cancellation_id: UUID) -> int:
        """Evaluate the condition on runs that it took too long on in a claim or sweep; returns how many it decided.

        Takes seconds, and holds up nobody.
        """
        ...

    async def restore(self, app_id: str, cancellation_id: UUID, batch: int) -> SweepStep:
        """Put back up to `batch` runs of an undone cancellation, in one transaction; resumes as `sweep` does."""
        ...

    async def note_sweep_failure(self, app_id: str, cancellation_id: UUID, error: str) -> None:
        """Keep with the record that a batch of its sweep or its restore failed; forgotten when one is through."""
        ...

    async def sweep_problems(self) -> list[SweepProblem]:
        """Oldest commit first; twenty at most."""
        ...

    async def unrestored(self, cancellation_id: UUID, limit: int) -> list[Unrestored]:
        """Up to `limit` runs that an undo left cancelled or handed over, with the reasons."""
        ...

    async def open_cancellations(self) -> list[OpenCancellation]:
        """Active cancellations, and undone ones that are being restored, oldest commit first: a sweeper's work."""
        ...

    async def audit(self, limit: int, before: int | None = None) -> Sequence[AuditEntry]:
        """Newest first; `before` is the id of the last entry of the page before."""
        ...

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        """Sum up to `batch` entries of what depth is read from; how many. 0 if that was done less than `every` ago."""
        ...

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        """Compare what depth is read from with the rows and put it right; None if that was done less than `every` ago.

        Counts every unfinished run, which may take a while.
        """
        ...

    async def prune(self, batch: int) -> Pruned:
        """Delete up to `batch` runs of each app that were kept as long as the retention says."""
        ...

    async def retention(self) -> Retention:
        """How long runs are kept."""
        ...

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        """Change what is given; what holds then. Raises `RequestError` and `ReadOnly`."""
        ...

    async def cancellations(self, limit: int, before: UUID | None = None) -> Sequence[Cancellation]:
        """Newest first; `before` continues after the last of a page."""
        ...

    async def cancellation(self, cancellation_id: UUID) -> Cancellation:
        """Raises `NotFound`."""
        ...


def load_engine(name: str, database: Database, replica: Database | None = None) -> QueueEngine:
    """The engine registered under `name` in the entry point group `secateur.engines`."""
    found = {entry.name: entry for entry in entry_points(group="secateur.engines")}
    if name not in found:
        raise UsageError(f"there is no engine {name!r}; known engines: {', '.join(sorted(found))}")
    engine: QueueEngine = found[name].load()(database, replica)
    return engine
