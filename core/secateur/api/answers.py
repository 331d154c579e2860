"""The forms of answers, used for the documentation and to check what is sent."""

from __future__ import annotations

from typing import Generic, TypeVar

from secateur.forms import Identifier, Instant, JsonForm
from secateur.watch_state import WatchState

Data = TypeVar("Data")


class Metadata(JsonForm):
    fetched_at: Instant
    """By the database's clock."""


class Answer(JsonForm, Generic[Data]):
    data: Data
    metadata: Metadata


class Detail(JsonForm):
    """One thing that is wrong with a request. All but `field` and `message` are known for an `if` only; `line` and
    `column` count from 1."""

    field: str
    message: str
    line: int | None = None
    column: int | None = None
    suggestion: str | None = None
    excerpt: str | None = None
    """The line, and below it a caret under the place; for a font in which all characters are equally wide."""


class Failure(JsonForm):
    error: str
    status: int
    details: list[Detail]


class ForgottenForm(JsonForm):
    app_id: str
    function_id: str


class EffectForm(JsonForm):
    """A run or a cancellation, and its function."""

    id: Identifier
    app_id: str
    function_id: str


class SentForm(JsonForm):
    runs: list[EffectForm]
    """The runs that the event started."""
    cancellations: list[EffectForm]
    """The cancellations that it committed, for functions that declare it in `cancel_on`."""


class HealthProblem(JsonForm):
    """Something that is failing in the background."""

    what: str
    error: str
    since: Instant | None


class Health(JsonForm):
    status: str
    """`ok` or `degraded`."""
    problems: list[HealthProblem] | None = None
    """Empty if `ok`; absent without the token that the server needs."""
    watch: WatchState | None = None
    """Of the rules that this server evaluates; absent if it evaluates none."""
