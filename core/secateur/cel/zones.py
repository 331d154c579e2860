"""Time zones as tables, and the parts of a point in time.

The compiler makes a table once and passes it to the database. So both executions follow the same rules, and a stored
cancellation keeps its meaning when the system's time zones are updated. The table lists every change of offset up to
the year from which one rule holds for good, and 40 years of that rule. A later year uses the one of those 40 years
that has the same calendar.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.timestamps import SECOND
from secateur.cel.values import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
_BEGINNING = -(10**12)
"""Before every point in time."""

_CYCLE = 40
"""Years in which every calendar occurs, wherever they begin: 28, and 12 for a century without its leap year."""

_FIXED = re.compile(r"([+-]?)([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Zone:
    """`offsets[i]` seconds east of Greenwich hold from `starts[i]` on, in seconds since 1970."""

    starts: tuple[int, ...]
    offsets: tuple[int, ...]
    last_year: int | None = None
    """The last year of the table; None if the last offset holds for ever."""

    def offset(self, seconds: int) -> int:
        return self.offsets[bisect_right(self.starts, self._within(seconds)) - 1]

    def _within(self, seconds: int) -> int:
        if self.last_year is None or seconds < _first_of_january(self.last_year + 1):
            return seconds
        year = _year(seconds)
        alike = next(
            candidate
            for candidate in range(self.last_year, self.last_year - _CYCLE, -1)
            if _calendar(candidate) == _calendar(year)
        )
        return seconds - _first_of_january(year) + _first_of_january(alike)

    def text(self) -> str:
        """As the database reads it: the last year, then starts and offsets in turn."""
        pairs = (f"{start},{offset}" for start, offset in zip(self.starts, self.offsets, strict=True))
        return f"[{self.last_year or 0},{','.join(pairs)}]"


UTC_ZONE = Zone((_BEGINNING,), (0,))


@lru_cache(maxsize=64)
def zone(name: str) -> Zone:
    """`Europe/Paris` or `+05:30`. Raises `EvaluationError`."""
    if fixed := _FIXED.fullmatch(name):
        minutes = int(fixed[2]) * 60 + int(fixed[3])
        return Zone((_BEGINNING,), (-minutes * 60 if fixed[1] == "-" else minutes * 60,))
    data = _data(name) if _NAME.fullmatch(name) and len(name) <= 64 else None
    if data is None:
        raise EvaluationError(say.no_time_zone(name))
    return _table(ZoneInfo(name), _transitions(data))


def _data(name: str) -> bytes | None:
    """The compiled rules: the machine's own, else those of the package tzdata, as `ZoneInfo` has it."""
    for directory in (*map(Path, TZPATH), files("tzdata") / "zoneinfo"):
        source = directory.joinpath(*name.split("/"))
        if source.is_file():
            data = source.read_bytes()
            return data if data.startswith(b"TZif") else None
    return None


def _transitions(data: bytes) -> list[int]:
    """The times of change that RFC 8536's second, 64-bit block lists."""
    if data[4:5] < b"2":
        return list(struct.unpack_from(f">{_counts(data, 0)[3]}i", data, 44))
    utc, standard, leaps, times, types, characters = _counts(data, 0)
    second = 44 + times * 5 + types * 6 + characters + leaps * 8 + standard + utc
    return list(struct.unpack_from(f">{_counts(data, second)[3]}q", data, second + 44))


def _counts(data: bytes, header: int) -> tuple[int, ...]:
    return struct.unpack_from(">6l", data, header + 20)


def _table(info: ZoneInfo, transitions: list[int]) -> Zone:
    explicit = [second for second in transitions if second > -60 * 10**9]
    rule_from = _year(explicit[-1]) if explicit else 1970
    last_year = rule_from + _CYCLE
    by_rule = [second for year in range(rule_from, last_year + 1) for second in _changes(info, year)]
    changes = [(_BEGINNING, _offset(info, explicit[0] - 1 if explicit else 0))]
    for second in sorted({*explicit, *by_rule}):
        if _offset(info, second) != changes[-1][1]:
            changes.append((second, _offset(info, second)))
    starts, offsets = zip(*changes, strict=True)
    return Zone(starts, offsets, last_year if by_rule else None)


def _changes(info: ZoneInfo, year: int) -> list[int]:
    """The changes by rule in one year, which are weeks apart."""
    found = []
    first = _first_of_january(year)
    for start in range(first, first + 366 * _DAY, 7 * _DAY):
        before, after = start, start + 7 * _DAY
        if _offset(info, before) == _offset(info, after):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if _offset(info, middle) == _offset(info, before) else (before, middle)
        found.append(after)
    return [second for second in found if _year(second) == year]


def _offset(info: ZoneInfo, seconds: int) -> int:
    offset = (_EPOCH + timedelta(seconds=seconds)).astimezone(info).utcoffset()
    assert offset is not None, "a zone has an offset at any time"  # noqa: S101
    return round(offset.total_seconds())


def _first_of_january(year: int) -> int:
    """In seconds since 1970, for any year."""
    before = year - 1
    return (before * 365 + before // 4 - before // 100 + before // 400 - 719_162) * _DAY


def _year(seconds: int) -> int:
    year = 1970 + seconds // (146_097 * _DAY // 400)
    while _first_of_january(year) > seconds:
        year -= 1
    while _first_of_january(year + 1) <= seconds:
        year += 1
    return year


def _calendar(year: int) -> tuple[int, int]:
    """Which weekday it begins with, and its length in days: years alike in both have the same calendar."""
    first = _first_of_january(year)
    return first // _DAY % 7, (_first_of_january(year + 1) - first) // _DAY


def part(moment: Timestamp, name: str, place: Zone) -> int:
    """`FullYear`, `Month` and so on, there."""
    seconds, fraction = divmod(moment.nanoseconds, SECOND)
    seconds += place.offset(seconds)
    match name:
        case "Hours":
            return seconds % _DAY // 3600
        case "Minutes":
            return seconds % 3600 // 60
        case "Seconds":
            return seconds % 60
        case "Milliseconds":
            return fraction // 1_000_000
        case "DayOfWeek":
            return (seconds // _DAY + 4) % 7
    year = _year(seconds)
    day = (seconds - _first_of_january(year)) // _DAY
    match name:
        case "FullYear":
            return year
        case "DayOfYear":
            return day
    leap = _calendar(year)[1] == 366
    month = next(month for month in range(11, -1, -1) if _days_before(month, leap=leap) <= day)
    if name == "Month":
        return month
    return day - _days_before(month, leap=leap) + (name == "Date")


def _days_before(month: int, *, leap: bool) -> int:
    return (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[month] + (leap and month > 1)
