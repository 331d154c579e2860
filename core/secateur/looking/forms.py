"""The forms of what looking at a queue finds: depth, runs, counts and warnings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secateur.cel import Diagnostic
from secateur.forms import Identifier, Instant, JsonForm
from secateur.ledger.cancellations import Preview


class DepthForm(JsonForm):
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


class RunForm(JsonForm):
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

    def as_json(self) -> dict[str, Any]:
        # The event goes past pydantic, which does not write what is nested deeply.
        return {**self.model_dump(exclude={"event"}), "event": self.event}


class WarningForm(JsonForm):
    """What is doubtful about `if`; `line` and `column` count from 1."""

    message: str
    line: int
    column: int
    suggestion: str | None


class ErrorExampleForm(JsonForm):
    run_id: str
    message: str


class PreviewForm(JsonForm):
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


def preview_form(preview: Preview, warnings: Iterable[Diagnostic]) -> PreviewForm:
    """What a request would cancel now, and what is doubtful about its `if`."""
    return PreviewForm.of(
        preview.count,
        error_examples=[ErrorExampleForm.of(each) for each in preview.error_examples],
        warnings=[WarningForm.of(each) for each in warnings],
    )
