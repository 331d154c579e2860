"""What may come in, the same at every entrance: Python, the command line, HTTP and the screens.

For callers in other languages the functions of bounds.sql say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from secateur.errors import Problem, RequestError
from secateur.instants import EARLIEST, LATEST


def problem_of_instant(moment: datetime) -> str | None:
    """What is wrong with a time, in words that go on after the field's name; None if nothing is."""
    if moment.utcoffset() is None:
        return "needs an offset, as in 2024-01-21T00:00:00Z or +01:00"
    try:
        within = EARLIEST <= moment.astimezone(UTC) <= LATEST
    except OverflowError:
        within = False
    if within:
        return None
    if moment.replace(tzinfo=None) == datetime.max:
        return "must be a time in the years 1 to 9999, without their last microsecond, which stands for infinity"
    return f"must be a time in the years 1 to 9999 in UTC, not {moment.isoformat()}"


def require_instants(field: str, moments: Sequence[datetime | None]) -> None:
    """Raises `RequestError` with those that are none; None is one that is not given."""
    found = ((number, _problem_of_argument(moment)) for number, moment in enumerate(moments, 1) if moment is not None)
    problems = [Problem(field, f"number {number:,} {problem}") for number, problem in found if problem is not None]
    if problems:
        raise RequestError(problems[:20])


def require_instant(field: str, moment: datetime | None) -> None:
    """Raises `RequestError` for one that is none; None is one that is not given."""
    problem = None if moment is None else _problem_of_argument(moment)
    if problem is not None:
        raise RequestError([Problem(field, problem)])


def _problem_of_argument(moment: object) -> str | None:
    if not isinstance(moment, datetime):
        return "must be an aware datetime, as in datetime.now(UTC)"
    if moment.utcoffset() is None:
        return "needs a time zone, as in datetime.now(UTC)"
    return problem_of_instant(moment)
