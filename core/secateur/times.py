"""Times as people type them: absolute, relative to now, or local."""

from __future__ import annotations

import os
import re
import struct
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from secateur.errors import Problem, RequestError, UsageError
from secateur.words.figures import duration

UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}

FORMS = "14:00, 3am, 2h ago, 30m, +2h, now, today, yesterday 14:00, 27 Nov 14:00, 2024-01-21T00:00:00Z, 1705795200"
"""For messages."""

_SHORT_FORMS = "14:00, 2h ago, 27 Nov 9am"
_TOO_FINE = "a fraction of a second must have at most six digits"

# Texts: `re` compiles each when it is first used, and keeps it. Most programs read no time.
_UNIT = r"(?:s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"
_LENGTH = rf"(?P<parts>\d+(?:\.\d+)?\s*{_UNIT}(?:\s*\d+(?:\.\d+)?\s*{_UNIT})*)"
_RELATIVE = rf"(?a)(?:(?P<sign>[-+−])\s*|(?P<ahead>in\s+))?{_LENGTH}(?P<ago>\s+ago)?"
_PART = r"(?a)(\d+(?:\.\d+)?)\s*([smhdw])"
_CLOCK = (
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?(?:\s*(?P<half>[ap])\.?m\.?)?"
    r"|(?P<full>\d{1,2})\s*(?P<full_half>[ap])\.?m\.?|(?P<noon>noon))"
)
_OFFSET_FROM_UTC = r"(?:\s*(?P<offset>z|utc|[-+−]\d{2}(?::?\d{2})?))?"
_BARE_CLOCK = rf"(?a)(?:at\s+)?{_CLOCK}{_OFFSET_FROM_UTC}"
_NAMED_DAY = rf"(?a)(?P<day>today|yesterday|tomorrow)(?:\s+(?:at\s+)?{_CLOCK}{_OFFSET_FROM_UTC})?"
_DATE = rf"(?a)(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<date>\d{{2}})(?:(?:t|\s+){_CLOCK}{_OFFSET_FROM_UTC})?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SPOKEN_DATE = (
    rf"(?a)(?P<date>\d{{1,2}})\s+(?P<month>{'|'.join(_MONTHS)})[a-z]*(?:\s+(?P<year>\d{{4}}))?"
    rf"(?:,?\s+(?:at\s+)?{_CLOCK}{_OFFSET_FROM_UTC})?"
)
_EPOCH = r"(?a)(?P<seconds>\d{10})(?:\.(?P<fraction>\d+))?|(?P<milliseconds>\d{13})"


class TimeError(UsageError):
    """A text that is no time. `why` leaves out the text, for where it stands beside the message."""

    def __init__(self, text: str, message: str, why: str = "") -> None:
        super().__init__(f"{text.strip()!r} {message}")
        self.why = why or message


def resolve_times(texts: Mapping[str, str | None], now: datetime, zone: tzinfo) -> dict[str, datetime]:
    """`resolve_time` of each text that is there, by its name. Raises `RequestError` with all that are no times."""
    times: dict[str, datetime] = {}
    problems: list[Problem] = []
    for name, text in texts.items():
        if text is not None:
            try:
                times[name] = resolve_time(text, now, zone)
            except UsageError as error:
                problems.append(Problem(name, str(error)))
    if problems:
        raise RequestError(problems)
    return times


def resolve_time(text: str, now: datetime, zone: tzinfo) -> datetime:
    """The instant that `text` means, in UTC.

    `now` is the database's time, and aware. Times without an offset are local to `zone`. A clock without a day is
    the last time that it showed that, a day without a year the nearest one, and a length without a sign is ago.
    Relative times are elapsed time, so `-1d` is 24 hours. Whole numbers of ten digits are seconds since 1970,
    of thirteen milliseconds. Raises `TimeError` if `text` is not a time, if the clocks skipped that time or showed it
    twice, and if it is finer than microseconds.
    """
    words = text.strip().lower()
    if words == "now":
        return now.astimezone(UTC)
    try:
        found = _relative(words, now) or _by_epoch(words) or _by_calendar(words, text, now, zone)
    except OverflowError:
        beyond = "must be in the years 1 to 9999 in UTC"
        raise TimeError(text, beyond, beyond) from None
    except ValueError as error:
        why = re.sub(r" in year \d+$", "", str(error))
        raise TimeError(text, f"is not a valid time: {error}", why) from None
    if found is None:
        raise TimeError(
            text, f"is not a valid time; use one of these forms: {FORMS}", f"not a time; try {_SHORT_FORMS}"
        )
    return found


def time_in_words(moment: datetime, now: datetime) -> str:
    """`27 Nov 03:00 UTC, 5h 02m ago`: what a time that was typed means; with its seconds and year where they matter."""
    at, today = moment.astimezone(UTC), now.astimezone(UTC)
    year = "" if at.year == today.year else f" {at.year:04}"
    seconds = f":{at:%S}" if at.second or at.microsecond else ""
    distance = (today - at).total_seconds()
    when = "now" if abs(distance) < 1 else f"{duration(distance)} ago" if distance > 0 else f"in {duration(-distance)}"
    return f"{at.day} {_MONTHS[at.month - 1].capitalize()}{year} {at:%H:%M}{seconds} UTC, {when}"


def _relative(words: str, now: datetime) -> datetime | None:
    match = re.fullmatch(_RELATIVE, words)
    if match is None or (match["ago"] and (match["sign"] or match["ahead"])):
        return None
    length = _length(match["parts"])
    ahead = match["sign"] == "+" or match["ahead"]
    return now.astimezone(UTC) + (length if ahead else -length)


def _by_epoch(words: str) -> datetime | None:
    match = re.fullmatch(_EPOCH, words)
    if match is None:
        return None
    start = datetime(1970, 1, 1, tzinfo=UTC)
    if match["milliseconds"]:
        return start + timedelta(milliseconds=int(match["milliseconds"]))
    return start + timedelta(seconds=int(match["seconds"]), microseconds=_microseconds(match["fraction"]))


def _by_calendar(words: str, text: str, now: datetime, zone: tzinfo) -> datetime | None:
    """A day, a clock, or both."""
    today = now.astimezone(zone).date()
    if match := re.fullmatch(_BARE_CLOCK, words):
        at = _instant(today, match, text, zone)
        return at if at <= now else _instant(today - timedelta(days=1), match, text, zone)
    if match := re.fullmatch(_NAMED_DAY, words):
        by = {"yesterday": -1, "today": 0, "tomorrow": 1}[match["day"]]
        return _instant(today + timedelta(days=by), match, text, zone)
    if match := re.fullmatch(_DATE, words):
        return _instant(date(int(match["year"]), int(match["month"]), int(match["date"])), match, text, zone)
    if match := re.fullmatch(_SPOKEN_DATE, words):
        month, day = _MONTHS.index(match["month"]) + 1, int(match["date"])
        if match["year"]:
            return _instant(date(int(match["year"]), month, day), match, text, zone)
        years = (today.year, today.year - 1, today.year + 1)
        days = [date(year, month, day) for year in years if day <= monthrange(year, month)[1]]
        return min(
            (_instant(each, match, text, zone) for each in days or [date(today.year, month, day)]),
            key=lambda moment: abs(moment - now),
        )
    return None


def _instant(day: date, match: re.Match[str], text: str, zone: tzinfo) -> datetime:
    moment = datetime.combine(day, _clock(match))
    if match["offset"]:
        return moment.replace(tzinfo=UTC) - _offset(match["offset"])
    return _local(moment, zone, text)


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
_POSIX = rf"(?a){_NAME}{_OFFSET}(?P<summer>{_NAME}(?:{_OFFSET})?(?P<rule>,.+)?)?"


def _posix_zone(rule: str) -> tzinfo:
    """The zone of a POSIX rule such as `EST5EDT,M3.2.0,M11.1.0`. Raises `ValueError`.

    Built from a zone file that contains only the rule, which is the last line of every such file.
    """
    match = re.fullmatch(_POSIX, rule)
    if match is None:
        raise ValueError(rule)
    if match["summer"] and not match["rule"]:
        rule += ",M3.2.0,M11.1.0"  # the C library's default
    head = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO(head + head + f"\n{rule}\n".encode()), key=rule)


def _length(parts: str) -> timedelta:
    microseconds = sum(
        Fraction(amount) * (UNITS[unit] // timedelta(microseconds=1)) for amount, unit in re.findall(_PART, parts)
    )
    if microseconds.denominator != 1:
        raise ValueError(_TOO_FINE)
    return timedelta(microseconds=int(microseconds))


def _clock(match: re.Match[str]) -> time:
    if match["noon"]:
        return time(12)
    hour = int(match["hour"] or match["full"] or 0)
    if half := match["half"] or match["full_half"]:
        if not 1 <= hour <= 12:
            raise ValueError("an hour with am or pm must be in 1..12")
        hour = hour % 12 + (12 if half == "p" else 0)
    return time(hour, int(match["minute"] or 0), int(match["second"] or 0), _microseconds(match["fraction"]))


def _microseconds(fraction: str | None) -> int:
    if fraction is not None and len(fraction) > 6:
        raise ValueError(_TOO_FINE)
    return int((fraction or "").ljust(6, "0"))


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
        raise TimeError(
            text,
            f"does not exist: the clocks of {zone} skipped it; give an offset: {_with_offset(late)} or "
            f"{_with_offset(early)}",
            f"skipped by the clocks; try {_with_offset(late)}",
        )
    raise TimeError(
        text,
        f"occurs twice: the clocks of {zone} were set back; give an offset: {_with_offset(first)} or "
        f"{_with_offset(second)}",
        f"occurs twice; try {_with_offset(first)}",
    )


def _with_offset(moment: datetime) -> str:
    return moment.isoformat(sep=" ").replace("+00:00", "Z")
