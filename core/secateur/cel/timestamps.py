"""Timestamps and durations as text and as Python's own types.

RFC 3339 with an offset; durations as Go writes them. Both are kept in nanoseconds, but fractions finer than a
microsecond are an error unless asked for, because Postgres keeps none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.values import Duration, Timestamp
from secateur.instants import read_rfc3339

SECOND = 1_000_000_000
TIMESTAMP_MIN = -62_135_596_800 * SECOND
TIMESTAMP_MAX = 253_402_300_800 * SECOND - 1
DURATION_MAX = 315_576_000_001 * SECOND - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"([+-]?)(?:0|((?:(?:\d+\.?\d*|\.\d+)(?:h|ms|m|s|us|µs|μs|ns))+))", re.ASCII)
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|μs|ns)", re.ASCII)
_UNITS = {
    "h": 3600 * SECOND,
    "m": 60 * SECOND,
    "s": SECOND,
    "ms": 1_000_000,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ns": 1,
}


def check_timestamp(nanoseconds: int) -> Timestamp:
    if not TIMESTAMP_MIN <= nanoseconds <= TIMESTAMP_MAX:
        raise EvaluationError(say.TIME_RANGE)
    return Timestamp(nanoseconds)


def check_duration(nanoseconds: int) -> Duration:
    if not -DURATION_MAX <= nanoseconds <= DURATION_MAX:
        raise EvaluationError(say.DURATION_RANGE)
    return Duration(nanoseconds)


def parse_timestamp(text: str, *, nanoseconds: bool = False) -> Timestamp:
    try:
        moment, digits = read_rfc3339(text)
    except ValueError:
        raise EvaluationError(say.not_a_time(text)) from None
    # The language leaves out neither the T, the seconds nor the offset.
    if moment.tzinfo is None or text[10] == " " or text[16] != ":" or len(digits) > 9:
        raise EvaluationError(say.not_a_time(text))
    fraction = int(digits.ljust(9, "0"))
    if fraction % 1000 and not nanoseconds:
        raise EvaluationError(say.SUB_MICROSECOND)
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return check_timestamp(seconds * SECOND + fraction)


def parse_duration(text: str, *, nanoseconds: bool = False) -> Duration:
    match = _DURATION.fullmatch(text) if len(text) <= 200 else None
    if match is None:
        raise EvaluationError(say.not_a_duration(text))
    total = sum(
        (_fraction(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(match[2] or "")),
        Fraction(),
    )
    if total.denominator != 1 or (total % 1000 and not nanoseconds):
        raise EvaluationError(say.SUB_MICROSECOND)
    return check_duration(int(-total if match[1] == "-" else total))


def _fraction(number: str) -> Fraction:
    whole, _, fraction = number.partition(".")
    return Fraction(int((whole + fraction) or "0"), 10 ** len(fraction))


def from_datetime(moment: datetime) -> Timestamp:
    """Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset")
    return Timestamp((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


_CLOCK = {"Hours": 3600 * SECOND, "Minutes": 60 * SECOND, "Seconds": SECOND}


def count_of(unit: str, duration: Duration) -> int:
    """The whole hours, minutes or seconds of the duration; or only the milliseconds below a second."""
    magnitude = abs(duration.nanoseconds)
    count = magnitude % SECOND // 1_000_000 if unit == "Milliseconds" else magnitude // _CLOCK[unit]
    return -count if duration.nanoseconds < 0 else count


def format_timestamp(value: Timestamp) -> str:
    """RFC 3339 in UTC, with no, three, six or nine digits of fraction."""
    seconds, fraction = divmod(value.nanoseconds, SECOND)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment.replace(tzinfo=None).isoformat()}{_digits(fraction)}Z"


def format_duration(value: Duration) -> str:
    """In seconds, with no, three, six or nine digits of fraction."""
    seconds, fraction = divmod(abs(value.nanoseconds), SECOND)
    return f"{'-' if value.nanoseconds < 0 else ''}{seconds}{_digits(fraction)}s"


def _digits(fraction: int) -> str:
    digits = f"{fraction:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}" if digits else ""
