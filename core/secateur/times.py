"""Times as people type them: absolute, relative to now, or local; ambiguous times are refused."""

from __future__ import annotations

import os
import re
import struct
from datetime import UTC, datetime, time, timedelta, tzinfo
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from secateur.errors import UsageError

UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}

FORMS = "2024-01-21T00:00:00Z, 2024-01-21 14:00, -2h, now, today, yesterday 14:00"
"""For messages."""

_TOO_FINE = "a fraction of a second must have at most six digits"

_RELATIVE = re.compile(r"(?a)(?P<sign>[-+−])\s*(?P<parts>\d+(?:\.\d+)?[smhdw](?:\s*\d+(?:\.\d+)?[smhdw])*)")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?"
_NAMED_DAY = re.compile(rf"(?a)(?P<day>today|yesterday)(?:\s+(?:at\s+)?{_CLOCK})?")
_DATE = re.compile(
    rf"(?a)(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<date>\d{{2}})"
    rf"(?:(?:t|\s+){_CLOCK}\s*(?P<offset>z|utc|[-+−]\d{{2}}(?::?\d{{2}})?)?)?"
)


def resolve_time(text: str, now: datetime, zone: tzinfo) -> datetime:
    """The instant that `text` means, in UTC.

    `now` is the database's time, and aware. Times without an offset are local to `zone`. Relative times
    are elapsed time, so `-1d` is 24 hours. Raises `UsageError` if `text` is not a time, if the clocks skipped
    that time or showed it twice, and if it is finer than microseconds.
    """
    words = text.strip().lower()
    if words == "now":
        return now.astimezone(UTC)
    try:
        if match := _RELATIVE.fullmatch(words):
            return now.astimezone(UTC) + _duration(match)
        if match := _NAMED_DAY.fullmatch(words):
            day = now.astimezone(zone).date() - timedelta(days=match["day"] == "yesterday")
            return _local(datetime.combine(day, _clock(match)), zone, text)
        if match := _DATE.fullmatch(words):
            day = datetime(int(match["year"]), int(match["month"]), int(match["date"])).date()
            moment = datetime.combine(day, _clock(match))
            if match["offset"]:
                return moment.replace(tzinfo=UTC) - _offset(match["offset"])
            return _local(moment, zone, text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text.strip()!r} is not a valid time: {error}") from None
    if re.fullmatch(r"\d+(?:\.\d+)?[smhdw]", words):
        raise UsageError(f"{text.strip()!r} needs a sign: write -{words} for that long ago")
    raise UsageError(f"{text.strip()!r} is not a valid time; use one of these forms: {FORMS}")


def find_zone(name: str) -> tzinfo:
    """The time zone with that name; `local` is this machine's. Raises `UsageError`."""
    if name == "local":
        return _local_zone()
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"there is no time zone {name!r}; use local, UTC or a name like Europe/Berlin") from None


def _local_zone() -> tzinfo:
    """This machine's zone, as the C library finds it; with its summer time, not just today's offset. Raises
    `UsageError`."""
    given = os.environ.get("TZ")
    if given is None:
        try:
            with Path("/etc/localtime").open("rb") as file:
                return ZoneInfo.from_file(file, key="local")
        except (OSError, ValueError):
            return UTC
    name = given.removeprefix(":")
    if not name:
        return UTC
    try:
        if name.startswith("/"):
            with Path(name).open("rb") as file:
                return ZoneInfo.from_file(file, key=name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    try:
        return _posix_zone(name)
    except ValueError:
        raise UsageError(f"TZ={given!r} must be a name like Europe/Berlin, a file, or a rule like CET-1CEST") from None


_OFFSET = r"[-+]?\d{1,3}(?::\d{2}){0,2}"
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_POSIX = re.compile(rf"(?a){_NAME}{_OFFSET}(?P<summer>{_NAME}(?:{_OFFSET})?(?P<rule>,.+)?)?")


def _posix_zone(rule: str) -> tzinfo:
    """The zone of a POSIX rule such as `EST5EDT,M3.2.0,M11.1.0`. Raises `ValueError`.

    Built from a zone file that contains only the rule, which is the last line of every such file.
    """
    match = _POSIX.fullmatch(rule)
    if match is None:
        raise ValueError(rule)
    if match["summer"] and not match["rule"]:
        rule += ",M3.2.0,M11.1.0"  # the C library's default
    head = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO(head + head + f"\n{rule}\n".encode()), key=rule)


def _duration(match: re.Match[str]) -> timedelta:
    microseconds = sum(
        Fraction(amount) * (UNITS[unit] // timedelta(microseconds=1)) for amount, unit in _PART.findall(match["parts"])
    )
    if microseconds.denominator != 1:
        raise ValueError(_TOO_FINE)
    total = timedelta(microseconds=int(microseconds))
    return total if match["sign"] == "+" else -total


def _clock(match: re.Match[str]) -> time:
    fraction = match["fraction"] or ""
    if len(fraction) > 6:
        raise ValueError(_TOO_FINE)
    hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
    return time(hour, minute, second, int(fraction.ljust(6, "0")))


def _offset(text: str) -> timedelta:
    if text in ("z", "utc"):
        return timedelta()
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    if hours > 23 or minutes > 59:
        raise ValueError("an offset from UTC must be at most 23:59")
    size = timedelta(hours=hours, minutes=minutes)
    return size if text[0] == "+" else -size


def _local(moment: datetime, zone: tzinfo, text: str) -> datetime:
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    early, late = first.astimezone(UTC), second.astimezone(UTC)
    if early == late:
        return early
    if early.astimezone(zone).replace(tzinfo=None) != moment:
        raise UsageError(
            f"{text.strip()!r} does not exist: the clocks of {zone} skipped it; "
            f"give an offset: {_with_offset(late)} or {_with_offset(early)}"
        )
    raise UsageError(
        f"{text.strip()!r} occurs twice: the clocks of {zone} were set back; "
        f"give an offset: {_with_offset(first)} or {_with_offset(second)}"
    )


def _with_offset(moment: datetime) -> str:
    return moment.isoformat(sep=" ").replace("+00:00", "Z")
