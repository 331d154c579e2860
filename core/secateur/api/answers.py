"""The forms of answers, for the documentation and as a check on what is sent."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Data = TypeVar("Data")

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC, as `secateur.requests.utc` writes it."""

Identifier = Annotated[str, Field(json_schema_extra={"format": "uuid"})]


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Metadata(Form):
    fetched_at: Instant
    """By the database's clock."""


class Answer(Form, Generic[Data]):
    data: Data
    metadata: Metadata


class Detail(Form):
    """One thing that is wrong with a request; `line` and `column` count from 1 and are known for `if` only."""

    field: str
    message: str
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None


class Failure(Form):
    error: str
    status: int
    details: list[Detail]


class Counts(Form):
    expected: int | None
    """How many matches the author was shown before the commit; null where nothing was counted."""
    expected_exact: bool | None
    """Whether that was the exact count, not an estimate; null where nothing was counted."""
    matched: int
    cancelled: int
    """Every run that was its own at some time, also those counted below that are so no longer."""
    requested: int
    """Running runs that were asked to stop."""
    finished_first: int
    """Of those, the ones that ended before they could be stopped."""
    errors: int
    """Runs on which the sweep could not evaluate `if`; none of them was cancelled."""
    undecided: int
    """Runs on which `if` takes too long: none is claimed or cancelled until it is known whether it matches."""
    restored: int
    """Of `cancelled`, those that an undo put back into the queue."""
    handed_over: int
    """Of `cancelled`, those that another cancellation has since an undo, because it matches them too."""
    not_restored: int
    """Of `cancelled`, those that an undo left cancelled; known once it is through, 0 until then."""
    pruned: int
    """Of `cancelled`, those that were deleted when their time was over."""
    retried: int
    """Of a retry: runs that it queued again. Of a cancellation: those of `cancelled` that retries have queued again."""
    left_alone: int
    """Of a retry: runs that match, and that it left: their key is taken, or an active cancellation matches them too."""


class SweepForm(Form):
    """How its sweep fares, or its restore."""

    unswept_for: float | None
    """Seconds since a batch was last through; null where there is nothing left to do."""
    failures: int
    """Batches that failed since then."""
    failing_since: Instant | None
    last_error: str | None
    """Why the last one did, in the words of the process that tried."""
    last_error_at: Instant | None


class CancellationForm(Form):
    id: Identifier
    state: str
    """`active` (of a retry: `retrying`), `complete`, `stopped` or `undone`."""
    kind: str
    """`bulk`: by expression and window; `run`: a single run; `event`: declared by its function, in `cancel_on`."""
    app_id: str
    function_id: str | None
    if_: str | None = Field(alias="if")
    started_after: Instant | None
    started_before: Instant
    standing: bool
    with_cancelled: bool
    """Of a retry: cancelled runs are meant as well as failed ones."""
    rate: int | None
    """Runs a second that its sweep and its restore may rewrite; null is as fast as it goes."""
    run_id: str | None
    """Of kind `run`: which one."""
    guarantee: str
    """Now. `in_force`: no matching run is claimed any more; `pending`: not yet, an open transaction is in the way;
    `ended`: not any more, it was stopped or undone; `none`: it is a retry."""
    blocked_by: list[int]
    """While pending: the process ids in Postgres whose open transactions it waits for."""
    blocked_by_prepared: list[str]
    """While pending: the prepared transactions that it waits for, by their names in `pg_prepared_xacts`."""
    created_at: Instant
    created_by: str
    """The author, as said by the client; nobody proves it."""
    created_role: str
    """The database role that was logged in, which is proven: of what came through this server, the server's own."""
    compiled: str
    """`verified`: what is executed is what `if` and the request say; `unverified`: it is not, so somebody committed it
    by other means than secateur; `other_version`: another version of the compiler wrote it, this one cannot tell."""
    reason: str | None
    source: str
    """As said by the client."""
    undone_at: Instant | None
    undone_by: str | None
    undo_until: Instant | None
    """Until when it can be undone; null while it is active: as long as it is, and for a set time after that."""
    restoring: bool
    """It is undone, and runs are still coming back."""
    sweep: SweepForm
    odd: list[str]
    """Fields that hold what secateur does not write: past its functions, or by an older program. They are shown as far
    as they can be."""
    counts: Counts


class UnrestoredForm(Form):
    """A run that an undo did not put back."""

    run_id: str
    reason: str


class ErrorExampleForm(Form):
    run_id: str
    message: str


class WarningForm(Form):
    """What is doubtful about `if`; `line` and `column` count from 1."""

    message: str
    line: int
    column: int
    suggestion: str | None


class PreviewForm(Form):
    matched: int
    low: int | None
    high: int | None
    """Of an estimate: the truth lies between `low` and `high` with a probability of 95 %."""
    total: int
    """Every unfinished run of the scope, matching or not."""
    exact: bool
    by_status: dict[str, int]
    errors: int
    """Runs of scope and window on which `if` could not be evaluated; they never match."""
    error_examples: list[ErrorExampleForm]
    as_of: Instant
    """To which moment this is true."""
    source: str
    """`primary`, or the `replica` that the server was told to ask."""
    replica_failed: str | None
    """Why the primary counted though there is a replica."""
    warnings: list[WarningForm]


class DepthForm(Form):
    app_id: str
    function_id: str
    queued: int
    scheduled: int
    running: int
    lost: int
    """Of `running`, those whose lease is over: no living worker has them."""
    failed: int
    """Runs that have failed for good and are still kept."""
    cancelling: int
    """Estimate."""
    oldest_started_at: Instant | None
    """Since when the oldest run that can be claimed now could be: its start, or its schedule where that was later."""
    in_per_second: float
    out_per_second: float
    paused: bool
    checked_at: Instant | None
    """When the depth's sums were last compared with the rows."""
    drift: int
    """How many runs they were off then, before that was put right."""
    as_of: Instant


class ForgottenForm(Form):
    app_id: str
    function_id: str


class RunForm(Form):
    id: Identifier
    app_id: str
    function_id: str
    status: str
    """`queued`, `scheduled`, `running`, `completed`, `failed` or `cancelled`."""
    priority: int
    attempt: int
    """Claims so far; 0 for a run that never started."""
    started_at: Instant
    """When it entered the queue."""
    scheduled_for: Instant | None
    worker: str | None
    claimed_at: Instant | None
    """When the last attempt began."""
    lease_expires_at: Instant | None
    lost: bool
    """It is `running`, and its lease has expired: no live worker has it."""
    step: str | None
    """The step that was granted last, and when."""
    step_at: Instant | None
    finished_at: Instant | None
    error: str | None
    """What the last attempt failed with; null once the next one has begun."""
    cancellation_id: Identifier | None
    idempotency_key: str | None
    event: Any


class EffectForm(Form):
    """A run or a cancellation, and of which function."""

    id: Identifier
    app_id: str
    function_id: str


class SentForm(Form):
    runs: list[EffectForm]
    """Those that the event started."""
    cancellations: list[EffectForm]
    """Those that it committed, of functions that declare it in `cancel_on`."""


class AuditForm(Form):
    id: int
    at: Instant
    action: str
    app_id: str | None
    function_id: str | None
    cancellation_id: Identifier | None
    author: str | None
    """As the client gave it."""
    role: str
    """The database role that was logged in."""
    address: str | None
    """The client's of Postgres, as Postgres saw it: this server's, for what came through it; null is a local one."""
    application_name: str | None
    source: str | None
    details: dict[str, Any]
    """What was asked for, and counts; what there is depends on the action."""


class HealthProblem(Form):
    """Something that does not go well in the background."""

    what: str
    error: str
    since: Instant | None


class Health(Form):
    status: str
    """`ok` or `degraded`."""
    problems: list[HealthProblem]
    """Empty if `ok`."""
