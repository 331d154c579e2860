"""The request model shared by the HTTP body, the CLI's flags, Python and the filter screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from secateur.bounds import INT_MAX, LONGEST_NAME, LONGEST_REASON, problem_of_instant, problem_of_named, problem_of_text
from secateur.cel import compile as compile_filter
from secateur.cel.values import decode_exact
from secateur.documents import read_json
from secateur.errors import Problem, RequestError
from secateur.instants import read_rfc3339, utc
from secateur.runs import MOST_FUNCTIONS, UNFINISHED, Functions, RunStatus, Scope, Window
from secateur.words.shell import command_line, quoted

if TYPE_CHECKING:
    from secateur.cel import Filter


def _instant(value: object) -> object:
    """An aware time with at most microseconds, as Postgres stores it; numbers and naive times are refused."""
    if isinstance(value, datetime):
        return _in_utc(value)
    if not isinstance(value, str):
        raise PydanticCustomError("not_a_time", "must be a time such as 2024-01-21T00:00:00Z, as a string")
    try:
        moment, fraction = read_rfc3339(value)
    except ValueError as error:
        raise PydanticCustomError("not_a_time", "must be a time such as 2024-01-21T00:00:00Z") from error
    if len(fraction) > 6:
        raise PydanticCustomError("too_fine", "must not be finer than microseconds")
    return _in_utc(moment.replace(microsecond=int(fraction.ljust(6, "0"))))


def _in_utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise PydanticCustomError("naive_time", "needs an offset, as in 2024-01-21T00:00:00Z or +01:00")
    _refuse(problem_of_instant(moment))
    return moment.astimezone(UTC)


Instant = Annotated[datetime, BeforeValidator(_instant)]


def _refuse(problem: str | None) -> None:
    if problem is not None:
        raise PydanticCustomError("out_of_bounds", "{problem}", {"problem": problem})


def _name(value: object) -> object:
    _refuse(problem_of_named(value))
    return value


def _reason(value: object) -> object:
    _refuse(problem_of_text(value, LONGEST_REASON))
    return value


_STORABLE = "^[^\\u0000]*$"
Name = Annotated[
    str,
    BeforeValidator(_name),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": _STORABLE}),
]
Reason = Annotated[
    str,
    BeforeValidator(_reason),
    WithJsonSchema({"type": "string", "maxLength": LONGEST_REASON, "pattern": _STORABLE}),
]


def _distinct(names: list[str]) -> list[str]:
    return sorted(set(names))


FunctionIds = Annotated[list[Name], Field(min_length=1, max_length=MOST_FUNCTIONS), AfterValidator(_distinct)]


def without_nulls(schema: dict[str, Any]) -> None:
    """A field that may be left out must not be null; the schema of a body says so too."""
    for field in schema["properties"].values():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            del field["anyOf"]
            field |= kinds[0]
        if "default" in field and field["default"] is None:
            del field["default"]


def _schema(schema: dict[str, Any]) -> None:
    without_nulls(schema)
    schema["not"] = {"required": ["function_id", "function_ids"]}


class CancellationRequest(BaseModel):
    """Which runs to cancel, and why.

    `parse` reads it from JSON; `if` is called `if_` in Python. `started_after` and `started_before` are
    exclusive; without `started_before`, the window ends at the time of the commit. The window of a `standing`
    cancellation ends in the future, and runs that arrive until then are cancelled too. `function_ids` names
    several functions, each of which gets its own cancellation. `rate` limits how many runs a second are rewritten
    in the background; it delays nothing else.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, json_schema_extra=_schema)
    noun: ClassVar[str] = "a cancellation"
    verb: ClassVar[str] = "cancel"
    """The command that makes such a request."""

    app_id: Name
    function_id: Name | None = None
    function_ids: FunctionIds | None = None
    if_: str | None = Field(default=None, alias="if")
    started_after: Instant | None = None
    started_before: Instant | None = None
    standing: bool = Field(default=False, strict=True)
    rate: int | None = Field(default=None, strict=True, ge=1, le=INT_MAX)
    reason: Reason | None = None

    @model_validator(mode="after")
    def _window_is_not_empty(self) -> Self:
        after, before = self.started_after, self.started_before
        if after is not None and before is not None and after >= before:
            raise PydanticCustomError("empty_window", "must be before started_before", {"field": "started_after"})
        return self

    @model_validator(mode="after")
    def _functions_are_named_once(self) -> Self:
        if self.function_id is not None and self.function_ids is not None:
            raise PydanticCustomError(
                "named_twice", "cannot be given together with function_id", {"field": "function_ids"}
            )
        return self

    @model_validator(mode="after")
    def _standing_has_an_end(self) -> Self:
        if self.standing and self.started_before is None:
            raise PydanticCustomError(
                "endless",
                "is required for a standing cancellation, which cancels new runs until then",
                {"field": "started_before"},
            )
        return self

    @classmethod
    def parse(cls, body: object) -> Self:
        """Read a request from JSON text or from decoded JSON, and compile its `if`.

        Raises `RequestError` with every problem at once, each under the field's name as in the API.
        """
        body = decoded(body, such_as='{"app_id": "billing"}')
        problems = null_problems(body, cls)
        if "if_" in body:  # the attribute's name, which the model takes too
            problems.append(_unknown("if_", cls, cls.noun))
        request: Self | None = None
        try:
            request = cls.model_validate(given(body, problems))
        except ValidationError as error:
            problems += [problem_of(detail, cls, cls.noun) for detail in error.errors()]
        source = body.get("if")
        if isinstance(source, str):
            try:
                compile_filter(source)
            except RequestError as error:
                problems += error.problems
        if request is None or problems:
            raise RequestError(problems)
        return request

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """One scope for each cancellation that the request makes, sorted by function."""
        if self.function_ids is None:
            return (Scope(self.app_id, self.function_id),)
        return tuple(Scope(self.app_id, function_id) for function_id in self.function_ids)

    @property
    def functions(self) -> Scope | Functions:
        """What the scopes are together."""
        return Functions.of(self.app_id, [each.function_id for each in self.scopes if each.function_id is not None])

    @property
    def scope(self) -> Scope:
        """The only scope. Raises `RequestError` if several functions are named."""
        if len(self.scopes) > 1:
            raise RequestError([Problem("function_ids", "must name only one function here")])
        return self.scopes[0]

    @property
    def statuses(self) -> tuple[RunStatus, ...]:
        """The statuses of the runs that the request applies to."""
        return UNFINISHED

    @property
    def window(self) -> Window:
        return Window(self.started_after, self.started_before)

    def compile(self) -> Filter | None:
        """The compiled `if`; None if there is none. Raises `secateur.cel.ExpressionError`."""
        return None if self.if_ is None else compile_filter(self.if_)

    def body(self) -> dict[str, Any]:
        """The request as JSON: only the fields that are set, times in UTC."""
        body: dict[str, Any] = {"if": self.if_, "started_after": self.started_after}
        body |= {
            "started_before": self.started_before,
            "app_id": self.app_id,
            "function_id": self.function_id,
            "function_ids": self.function_ids,
        }
        body |= {"standing": self.standing or None, "rate": self.rate, "reason": self.reason}
        return {
            name: utc(value) if isinstance(value, datetime) else value
            for name, value in body.items()
            if value is not None
        }

    def command_line(self, *, key: str | None = None, yes: bool = False) -> str:
        """The same request as a shell command; on request, with an idempotency key and with `--yes`."""
        more = [("--idempotency-key", key)]
        switches = ["--yes"] if yes else []
        if self.function_ids is not None and len(self.function_ids) == 1:
            # A single --function would become `function_id`, which is a different request under the same key.
            body = quoted(json.dumps(self.body(), ensure_ascii=False))
            return f"printf %s {body} | {command_line(self.verb, flags=[('--request', '-'), *more], switches=switches)}"
        flags = [
            ("--app", self.app_id),
            *(("--function", scope.function_id) for scope in self.scopes),
            ("--if", self.if_),
        ]
        flags += [
            (flag, utc(moment) if moment else None)
            for flag, moment in (("--after", self.started_after), ("--before", self.started_before))
        ]
        flags += [("--rate", None if self.rate is None else str(self.rate)), ("--reason", self.reason), *more]
        if self.standing:
            switches.insert(0, "--standing")
        return command_line(self.verb, flags=flags, switches=switches)


class RetryRequest(CancellationRequest):
    """Which failed runs to queue again, and why; scope, window and `if` work as in a cancellation.

    `with_cancelled` includes cancelled runs. Runs that fail after the commit are not included.
    """

    noun: ClassVar[str] = "a retry"
    verb: ClassVar[str] = "retry"

    with_cancelled: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _does_not_stand(self) -> Self:
        if self.standing:
            raise PydanticCustomError(
                "standing",
                "is for cancellations only; a retry takes runs that have already failed",
                {"field": "standing"},
            )
        return self

    @property
    def statuses(self) -> tuple[RunStatus, ...]:
        return (RunStatus.FAILED, RunStatus.CANCELLED) if self.with_cancelled else (RunStatus.FAILED,)

    def body(self) -> dict[str, Any]:
        return super().body() | ({"with_cancelled": True} if self.with_cancelled else {})

    def command_line(self, *, key: str | None = None, yes: bool = False) -> str:
        line = super().command_line(key=key, yes=yes)
        in_the_body = self.function_ids is not None and len(self.function_ids) == 1
        return f"{line} --cancelled" if self.with_cancelled and not in_the_body else line


def decoded(body: object, *, such_as: str) -> dict[str, Any]:
    """The body as an object, from JSON text or decoded JSON. Raises `RequestError`."""
    if isinstance(body, str | bytes | bytearray):
        try:
            body = read_json(body)
        except UnicodeDecodeError as error:
            raise RequestError([Problem("body", f"is not UTF-8: {error}")]) from error
        except ValueError as error:
            raise RequestError([Problem("body", f"is not JSON: {error}")]) from error
    if not isinstance(body, dict):
        raise RequestError([Problem("body", f"must be a JSON object such as {such_as}")])
    return body


def read_event(body: bytes, *, such_as: str = '{"name": "vendor/sync", "data": {}}') -> tuple[dict[str, Any], str]:
    """An event that was sent: decoded, and as the text that is kept, because decoding and encoding it changes some
    numbers. Raises `RequestError`."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise RequestError([Problem("body", f"is not UTF-8: {error}")]) from error
    event = decoded(text, such_as=such_as)
    try:
        decode_exact(text)
    except ValueError as error:
        raise RequestError([Problem("event", str(error))]) from error
    return event, text


def null_problems(body: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """A problem for each optional field that is null, which could mean "none" or "all"."""
    names = [info.alias or name for name, info in model.model_fields.items() if not info.is_required()]
    return [
        Problem(name, f"must not be null; leave it out{_MEANS.get(name, '')}")
        for name in names
        if name in body and body[name] is None
    ]


_MEANS = {
    "if": " to mean every run in the scope and window",
    "function_id": " to mean every function of the app",
    "function_ids": " to mean every function of the app",
    "started_after": " to mean any time before",
    "started_before": " to mean the moment of the commit",
}


def given(body: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """The body without the fields already known to be wrong."""
    wrong = {problem.field for problem in problems}
    return {name: value for name, value in body.items() if name not in wrong}


def problem_of(detail: ErrorDetails, model: type[BaseModel], noun: str) -> Problem:
    """Pydantic's error about a `model`, which describes `noun`, reworded if only a programmer would understand it."""
    context = detail.get("ctx", {})
    field = str(detail["loc"][0]) if detail["loc"] else str(context.get("field", "body"))
    match detail["type"]:
        case "missing":
            return Problem(field, "is required")
        case "extra_forbidden":
            return _unknown(field, model, noun)
        case "string_type":
            return Problem(field, "must be a string")
        case "string_unicode":
            return Problem(field, "is not valid Unicode text")
        case "bool_type":
            return Problem(field, "must be true or false")
        case "int_type":
            return Problem(field, "must be a whole number")
        case "greater_than_equal" | "less_than_equal":
            return Problem(field, f"must be from 1 to {2**31 - 1}")
        case "list_type":
            return Problem(field, 'must be a list of names such as ["invoices", "reminders"]')
        case "too_short":
            return Problem(field, "must name at least one function")
        case "too_long":
            return Problem(field, f"must name at most {MOST_FUNCTIONS} functions")
        case _:
            return Problem(field, detail["msg"])


def _unknown(field: str, model: type[BaseModel], noun: str) -> Problem:
    names = [info.alias or name for name, info in model.model_fields.items()]
    near = get_close_matches(field, names, n=1)
    return Problem(
        field,
        f"is not a field of {noun}; the fields are {', '.join(names)}",
        suggestion=f"did you mean `{near[0]}`?" if near else None,
    )
