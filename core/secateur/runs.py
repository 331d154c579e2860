"""The vocabulary that every engine uses: app, function, run, event, scope, window, depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from secateur.words.blockers import blockers, unblocking


class RunStatus(StrEnum):
    """Where a run is in its life; `queued` and `scheduled` together are the backlog."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (RunStatus.QUEUED, RunStatus.SCHEDULED, RunStatus.RUNNING)
"""The statuses of runs that a cancellation can cancel."""


class AttemptOutcome(StrEnum):
    """How an attempt ended, or that it goes on."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    LOST = "lost"
    """Its lease ended: its worker stopped without saying so."""
    INTERRUPTED = "interrupted"
    """Its worker had to stop; such an attempt does not count."""
    STOPPED = "stopped"
    """A cancellation stopped it."""


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """One claim of a run, and what became of it."""

    number: int
    """From 1; an interrupted attempt and the one after it have the same number."""
    outcome: AttemptOutcome
    began_at: datetime | None
    ended_at: datetime | None = None
    worker: str | None = None
    lease_expires_at: datetime | None = None
    """Of one that is running."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """One function, or (`function_id` None) every function of the app."""

    app_id: str
    function_id: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The function's; none for every function of the app."""
        return () if self.function_id is None else (self.function_id,)

    def covers(self, app_id: str, function_id: str) -> bool:
        """Whether that function is this one, or one of the app."""
        return app_id == self.app_id and self.function_id in (None, function_id)

    @property
    def each(self) -> tuple[Scope, ...]:
        """The scope itself: `Functions` are several."""
        return (self,)

    def __str__(self) -> str:
        return f"{self.app_id} / {self.function_id or 'every function'}"


@dataclass(frozen=True, slots=True)
class Functions:
    """Several functions of an app. `of` makes them."""

    app_id: str
    names: tuple[str, ...]
    """Two at least, sorted."""

    @classmethod
    def of(cls, app_id: str, names: Iterable[str]) -> Scope | Functions:
        """Of one name, or of none for every function of the app, a scope."""
        found = tuple(sorted(set(names)))
        return cls(app_id, found) if len(found) > 1 else Scope(app_id, *found)

    def covers(self, app_id: str, function_id: str) -> bool:
        """Whether that function is one of them."""
        return app_id == self.app_id and function_id in self.names

    @property
    def each(self) -> tuple[Scope, ...]:
        return tuple(Scope(self.app_id, name) for name in self.names)

    def __str__(self) -> str:
        """The first of them by name."""
        if len(self.names) <= _NAMED:
            *others, last = self.names
        else:
            others, last = [*self.names[: _NAMED - 1]], f"{len(self.names) - _NAMED + 1} more"
        return f"{self.app_id} / {', '.join(others)} and {last}"


_NAMED = 3

MOST_FUNCTIONS = 100
"""How many functions one request may name."""


@dataclass(frozen=True, slots=True)
class Window:
    """Bounds on a run's `started_at`: exclusive, optional, and aware."""

    started_after: datetime | None = None
    started_before: datetime | None = None


NO_BOUNDS = Window()


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a function, in its current state in the queue."""

    id: str
    app_id: str
    function_id: str
    event: Any
    """The triggering event as decoded JSON (normally an object); None if the engine stores no JSON."""
    status: RunStatus
    priority: int
    attempt: int
    """Claims so far; 0 for a run that never started."""
    started_at: datetime
    """When the run entered the queue."""
    scheduled_for: datetime | None = None
    worker: str | None = None
    lease_expires_at: datetime | None = None
    finished_at: datetime | None = None
    cancellation_id: str | None = None
    error: str | None = None
    """The error of the last attempt; None once the next one has begun."""
    claimed_at: datetime | None = None
    """When the last attempt began."""
    step: str | None = None
    """The last step that was granted, and when."""
    step_at: datetime | None = None
    idempotency_key: str | None = None
    """The key under which it was enqueued."""
    lost: bool = False
    """The run is `running`, but its lease has expired: no live worker has it. The app's next claim takes it back."""
    past_attempts: tuple[RunAttempt, ...] = ()
    """Attempts after which the run went on, oldest first; the last twenty."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What only some queues have, by the names of `secateur.cel.declarations.RUN_FIELDS`; plain JSON."""

    @property
    def scope(self) -> Scope:
        """Its function."""
        return Scope(self.app_id, self.function_id)

    @property
    def attempts(self) -> tuple[RunAttempt, ...]:
        """Every attempt that is known, oldest first; the last one may be running."""
        outcome = _LAST_OUTCOMES.get(self.status)
        if outcome is None or self.claimed_at is None or self.worker is None or not self.attempt:
            return self.past_attempts
        if self.lost:
            outcome = AttemptOutcome.LOST
        ended = self.lease_expires_at if self.lost else self.finished_at
        running = self.status is RunStatus.RUNNING
        last = RunAttempt(
            self.attempt,
            outcome,
            self.claimed_at,
            ended,
            self.worker,
            self.lease_expires_at if running else None,
            None if running else self.error,
        )
        return (*self.past_attempts, last)


_LAST_OUTCOMES = {
    RunStatus.RUNNING: AttemptOutcome.RUNNING,
    RunStatus.COMPLETED: AttemptOutcome.COMPLETED,
    RunStatus.FAILED: AttemptOutcome.FAILED,
    RunStatus.CANCELLED: AttemptOutcome.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Paused:
    """The answer to a pause."""

    in_force: bool
    """False: open transactions may still start what they have claimed. Claims that begin from now on obey the pause."""
    blocked_by: list[int]
    """If it is not in force: the ids of the processes whose open transactions it waits for."""
    blocked_by_prepared: list[str]
    """If it is not in force: the names of the prepared transactions that it waits for."""

    @property
    def blockers(self) -> list[str]:
        """What it waits for, each in words."""
        return blockers(self.blocked_by, self.blocked_by_prepared)

    @property
    def unblocking(self) -> list[str]:
        """The SQL that ends each of `blockers`."""
        return unblocking(self.blocked_by, self.blocked_by_prepared)


@dataclass(frozen=True, slots=True)
class FunctionDepth:
    """The depth of one function's queue at `as_of` (the database's clock)."""

    app_id: str
    function_id: str
    queued: int
    scheduled: int
    running: int
    """Including those that are `lost`."""
    cancelling: int
    """Estimate: runs that a committed cancellation matches and that are still in the queue."""
    oldest_started_at: datetime | None
    """When the run entered the queue that has been claimable for longest; None if no run is claimable."""
    in_per_second: float | None
    """Runs enqueued per second, averaged over the last ten seconds; None if only the growth is known."""
    out_per_second: float | None
    """Runs completed or failed per second, averaged over the last ten seconds; cancelled runs do not count. None if
    only the growth is known."""
    as_of: datetime
    paused: bool = False
    """The function, or its app as a whole, is paused: none of its runs is claimed."""
    checked_at: datetime | None = None
    """When the sums behind the depth were last compared with the rows; None if never."""
    drift: int = 0
    """By how many runs the sums were off then, before they were corrected."""
    app_paused: bool = False
    """The app as a whole is paused; `paused` is then true for each of its functions."""
    function_paused: bool = False
    """The function itself is paused, whether or not its app is."""
    failed: int | None = 0
    """Runs that failed for good and are not yet deleted; None if the engine cannot count them cheaply."""
    lost: int = 0
    """The part of `running` whose leases have expired: no live worker has them."""
    oldest_claimable_at: datetime | None = None
    """Since when that run can be claimed: its start, or its scheduled time if it has one."""
    growth_per_second: float | None = None
    """By how much the backlog grew per second, averaged over the last ten seconds; negative if it shrank. None if the
    engine does not know. It is less than `in_per_second` minus what is claimed where a cancellation takes runs."""
    growing_since: datetime | None = None
    """When the queue was last at its usual depth, if it has been growing since; else None."""
    ever_entered: int | None = None
    """Runs that were ever enqueued; None, like the next two, if the engine does not keep count."""
    ever_left: int | None = None
    """Runs that ever completed or failed; cancelled runs do not count."""
    ever_failed: int | None = None
    """The part of `ever_left` that failed for good."""

    @property
    def scope(self) -> Scope:
        """The function."""
        return Scope(self.app_id, self.function_id)

    @property
    def backlog(self) -> int:
        return self.queued + self.scheduled


@dataclass(frozen=True, slots=True)
class Bar:
    """The runs that started in one part of a histogram's time."""

    total: int
    matched: int
    errors: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """The runs of a selection's scope and window by their start, in equal parts of the time from `first` to `last`.

    If not `exact`, the figures are extrapolated from a sample.
    """

    first: datetime
    last: datetime
    bars: tuple[Bar, ...]
    exact: bool

    def span(self, low: int, high: int) -> tuple[datetime, datetime]:
        """From the beginning of one bar to the end of another."""
        length, parts = self.last - self.first, len(self.bars)
        return self.first + length * low / parts, self.first + length * (high + 1) / parts


class CountedBy(StrEnum):
    """The database that counted."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Count:
    """How many unfinished runs a selection matches.

    `total` counts every unfinished run of the scope, whatever its start and event. `errors` counts the runs of
    scope and window on which the expression could not be evaluated; they never match; None if they have not
    been counted. If not `exact`, the figures are extrapolated from a sample. They are true as of `as_of`,
    which may be a while ago on a replica.
    """

    matched: int
    total: int
    exact: bool
    errors: int | None
    as_of: datetime
    by_status: dict[RunStatus, int] = field(default_factory=dict)
    """Matching runs by status; every status of `UNFINISHED` is present."""
    by_function: dict[str, int] = field(default_factory=dict)
    """Matching runs by function; functions without a match may be absent."""
    low: int | None = None
    high: int | None = None
    """The 95 % confidence interval of an estimate; None if the count is exact."""
    source: CountedBy = CountedBy.PRIMARY
    replica_failed: str | None = None
    """Why the primary counted although there is a replica."""
    evaluated_here: bool = False
    """The database only gave the rows: it lacks helper functions that the condition needs, so this process judged."""
