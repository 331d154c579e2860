"""Limits on input, the same at every entrance: Python, the command line, HTTP and the screens.

For callers in other languages, the functions in bounds.sql apply the same limits. A message continues after the
field's name, as in `priority: must be a whole number from -5 to 5`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from secateur.errors import Problem, RequestError
from secateur.instants import EARLIEST, LATEST

LONGEST_NAME = 200
"""The most characters of the name of an app, a function, an event, a worker or an author."""
LONGEST_KEY = 500
KEY_FORM = "must be 1 to 200 printable ASCII characters without spaces"
"""What is asked of a key that somebody types or sends over HTTP."""
LONGEST_REASON = 2000
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
"""The range of Postgres's `integer`: priorities, limits."""
MOST_AT_ONCE = 10_000
"""The highest concurrency limit of a function, because each slot is a row; also the most attempts of a function."""
MOST_TRIGGERS = 100
LONGEST_LEASE = timedelta(days=1)
LONGEST_PAGE = 1_000_000
"""The most entries of a list that one call returns."""

_UNPLAIN = re.compile("[\x01-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
NUL = "contains U+0000, which Postgres cannot store"
_SURROGATE = re.compile("[\ud800-\udfff]")


def problem_of_text(value: object, most: int) -> str | None:
    """What is wrong with a free text, such as a reason."""
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > most:
        return f"is longer than {most} characters"
    if "\0" in value:
        return NUL
    return "is not valid Unicode text" if _SURROGATE.search(value) else None


def problem_of_named(value: object) -> str | None:
    """What is wrong with a name used in a query; whether anything has that name is not checked here."""
    return "must not be empty" if value == "" else problem_of_text(value, LONGEST_NAME)


def problem_of_name(value: object, most: int = LONGEST_NAME) -> str | None:
    """What is wrong with the name for something new. Control characters and the like could make one name look like
    another, or control the terminal that shows it."""
    problem = "must not be empty" if value == "" else problem_of_text(value, most)
    if problem is None and isinstance(value, str) and _UNPLAIN.search(value):
        return "must not contain control characters, line breaks or changes of the writing direction"
    return problem


def problem_of_key(value: object) -> str | None:
    """What is wrong with an idempotency key."""
    if value == "" or (isinstance(value, str) and len(value) > LONGEST_KEY):
        return f"must have 1 to {LONGEST_KEY} characters"
    return problem_of_name(value, LONGEST_KEY)


def problem_of_number(value: object, lowest: int, highest: int) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        return f"must be a whole number from {lowest} to {highest}"
    return None


def problem_of_instant(moment: object) -> str | None:
    """What is wrong with a time."""
    if not isinstance(moment, datetime):
        return "must be an aware datetime, as in datetime.now(UTC)"
    if moment.utcoffset() is None:
        return "needs a time zone, as in datetime.now(UTC)"
    try:
        within = EARLIEST <= moment.astimezone(UTC) <= LATEST
    except OverflowError:
        within = False
    if within:
        return None
    if moment.replace(tzinfo=None) == datetime.max:
        return "must be a time in the years 1 to 9999, without their last microsecond, which stands for infinity"
    return f"must be a time in the years 1 to 9999 in UTC, not {moment.isoformat()}"


def optional(problem: str | None, value: object) -> str | None:
    """The problem with the value, if it is given."""
    return None if value is None else problem


def require(found: Mapping[str, str | None]) -> None:
    """Raises `RequestError` with all problems, by field; None means no problem."""
    problems = [Problem(field, problem) for field, problem in found.items() if problem is not None]
    if problems:
        raise RequestError(problems)


def require_each(field: str, problems: Iterable[str | None]) -> None:
    """Raises `RequestError` with the first problems of a list's values; positions count from 1."""
    found = [
        Problem(field, f"item {number:,} {problem}")
        for number, problem in enumerate(problems, 1)
        if problem is not None
    ]
    if found:
        raise RequestError(found[:20])


def require_instants(field: str, moments: Sequence[datetime | None]) -> None:
    """Raises `RequestError`; None means not given."""
    require_each(field, (optional(problem_of_instant(moment), moment) for moment in moments))


def require_id(field: str, value: object) -> UUID:
    """Raises `RequestError` if it is not an id."""
    try:
        return value if isinstance(value, UUID) else UUID(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError):
        raise RequestError([Problem(field, "must be a UUID")]) from None
