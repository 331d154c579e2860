"""The forms of answers, for the documentation and as a check on what is sent."""

from __future__ import annotations

from typing import Generic, TypeVar

from secateur.forms import Identifier, Instant, JsonForm

Data = TypeVar("Data")


class Metadata(JsonForm):
    fetched_at: Instant
    """By the database's clock."""


class Answer(JsonForm, Generic[Data]):
    data: Data
    metadata: Metadata


class Detail(JsonForm):
    """One thing that is wrong with a request; `line` and `column` count from 1 and are known for `if` only."""

    field: str
    message: str
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None


class Failure(JsonForm):
    error: str
    status: int
    details: list[Detail]


class ForgottenForm(JsonForm):
    app_id: str
    function_id: str


class EffectForm(JsonForm):
    """A run or a cancellation, and of which function."""

    id: Identifier
    app_id: str
    function_id: str


class SentForm(JsonForm):
    runs: list[EffectForm]
    """Those that the event started."""
    cancellations: list[EffectForm]
    """Those that it committed, of functions that declare it in `cancel_on`."""


class HealthProblem(JsonForm):
    """Something that does not go well in the background."""

    what: str
    error: str
    since: Instant | None


class Health(JsonForm):
    status: str
    """`ok` or `degraded`."""
    problems: list[HealthProblem]
    """Empty if `ok`."""
