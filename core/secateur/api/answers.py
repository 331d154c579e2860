"""The forms of answers, for the documentation and as a check on what is sent."""

from __future__ import annotations

from typing import Generic, TypeVar

from secateur.forms import Form, Identifier, Instant

Data = TypeVar("Data")


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


class ForgottenForm(Form):
    app_id: str
    function_id: str


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
