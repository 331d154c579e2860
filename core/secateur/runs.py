"""The vocabulary that every engine maps to: app, function, run, event, scope, window, depth."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class RunStatus(StrEnum):
    """Where a run is in its life; `queued` and `scheduled` together are the backlog."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (RunStatus.QUEUED, RunStatus.SCHEDULED, RunStatus.RUNNING)
"""The statuses that a cancellation can reach."""

LISTED = (*UNFINISHED, RunStatus.FAILED)
"""The statuses that have an index of their own, so that their runs can be listed."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose runs are meant: one function, or (`function_id` None) every function of the app."""

    app_id: str
    function_id: str | None = None

    def __str__(self) -> str:
        return f"{self.app_id} / {self.function_id or 'every function'}"


@dataclass(frozen=True, slots=True)
class Window:
    """Bounds on a run's `started_at`, both exclusive, each optional, both aware."""

    started_after: datetime | None = None
    started_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a function, as it stands in the queue."""

    id: str
    app_id: str
    function_id: str
    event: Any
    """The triggering event as decoded JSON (normally an object); None where the engine keeps no JSON."""
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
    """What the last attempt failed with; None once the next one has begun."""
    claimed_at: datetime | None = None
    """When the last attempt began."""
    step: str | None = None
    """The step that was granted last, and when."""
    step_at: datetime | None = None
    idempotency_key: str | None = None
    """Under which it was enqueued."""
    lost: bool = False
    """It is `running`, and its lease has expired: no live worker has it. The next claim of its app takes it back."""


@dataclass(frozen=True, slots=True)
class FunctionDepth:
    """The depth of one function's queue at `as_of` (the database's clock)."""

    app_id: str
    function_id: str
    queued: int
    scheduled: int
    running: int
    """Also those that are `lost`."""
    cancelling: int
    """Estimate: runs that a committed cancellation has matched and that still stand in the queue."""
    oldest_started_at: datetime | None
    """Since when the oldest run that can be claimed now could be: its start, or the time that it was scheduled for if
    that was later; None if there is none."""
    in_per_second: float
    """Runs that entered, averaged over the last ten seconds."""
    out_per_second: float
    """Runs that completed or failed, averaged over the last ten seconds; cancelled ones do not count."""
    as_of: datetime
    paused: bool = False
    """The function, or its app as a whole, is paused: nothing of it is claimed."""
    checked_at: datetime | None = None
    """When the sums that depth is read from were last compared with the rows; None if never."""
    drift: int = 0
    """How many runs these sums were off at that time, before it was put right."""
    app_paused: bool = False
    """The app is paused as a whole; `paused` is then true of each of its functions."""
    function_paused: bool = False
    """The function is paused by itself, whatever is true of its app."""
    failed: int = 0
    """Runs that have failed for good and are still kept."""
    lost: int = 0
    """Of `running`, those whose lease is over: no living worker has them."""


class CountedBy(StrEnum):
    """Who counted."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Count:
    """How many unfinished runs a selection matches.

    `total` is every unfinished run of the scope, whatever its start and event. `errors` are the runs of
    scope and window on which the expression could not be evaluated; they never match; None as long as they
    were not counted. If not `exact`, the figures are extrapolated from a sample. `as_of` is the moment to
    which they are true: a replica's may be a while ago.
    """

    matched: int
    total: int
    exact: bool
    errors: int | None
    as_of: datetime
    by_status: dict[RunStatus, int] = field(default_factory=dict)
    """The matched ones; every status of `UNFINISHED` is present."""
    by_function: dict[str, int] = field(default_factory=dict)
    """The matched ones; functions without a match may be absent."""
    low: int | None = None
    high: int | None = None
    """Of an estimate: between these the truth lies with a probability of 95 %; None where it is exact."""
    source: CountedBy = CountedBy.PRIMARY
    replica_failed: str | None = None
    """Why the primary counted though there is a replica."""
