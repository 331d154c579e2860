"""The forms of answers, for the documentation and as a check on what is sent."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

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
    """The exact count taken at the review; null if none was taken."""
    matched: int
    cancelled: int
    requested: int
    """Running runs that were asked to stop."""
    finished_first: int
    """Of those, the ones that ended before they could be stopped."""
    errors: int
    """Runs on which the sweep could not evaluate `if`; none of them was cancelled."""


class CancellationForm(Form):
    id: Identifier
    state: str
    kind: str
    app_id: str
    function_id: str | None
    if_: str | None = Field(alias="if")
    started_after: Instant | None
    started_before: Instant
    standing: bool
    created_at: Instant
    created_by: str
    reason: str | None
    source: str
    counts: Counts


class ErrorExampleForm(Form):
    run_id: str
    message: str


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


class DepthForm(Form):
    app_id: str
    function_id: str
    queued: int
    scheduled: int
    running: int
    cancelling: int
    """Estimate."""
    oldest_started_at: Instant | None
    in_per_second: float
    out_per_second: float
    paused: bool
    checked_at: Instant | None
    """When the depth's sums were last compared with the rows."""
    drift: int
    """How many runs they were off then, before that was put right."""
    as_of: Instant


class Health(Form):
    status: str
