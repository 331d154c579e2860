"""Times as the database stores them: exact in the years 1 to 9999, and shown unchanged outside of those.

Postgres stores times from 4713 BC to the year 294276, and two infinities; Python, JSON readers and CEL know only the
years 1 to 9999. secateur accepts no other times. A row may still contain one, written by an older program or without
the queue's functions. It is read as an `OddTime`, so that it neither hides the other rows nor crashes the reader.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self, SupportsIndex

POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INFINITY = 2**63 - 1
"""The microseconds that mean `infinity` in Postgres's protocol; `-infinity` is their negative minus one."""

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC) - MICROSECOND
"""The latest accepted time. Not the last microsecond of 9999, which asyncpg and Npgsql write as `infinity`."""

_FIRST = (EARLIEST - POSTGRES_EPOCH) // MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - POSTGRES_EPOCH) // MICROSECOND
_RFC3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<clock>\d\d:\d\d(?::\d\d)?)(?:(?<=:\d\d:\d\d)\.(?P<fraction>\d+))?"
    r"(?P<offset>[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
)
_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)([+-]\d\d(?::?\d\d)?|Z)?", re.ASCII)


class OddTime(datetime):
    """A time outside of the years 1 to 9999. It compares like the first or the last second of those years.

    In any format it is written as its `text`: `infinity`, `10000-01-01T00:00:00Z`, `0044-03-15T00:00:00Z BC`. It is
    the same in every time zone, because Python could not add an offset.
    """

    text: str = "an odd time"

    @classmethod
    def of(cls, text: str, *, late: bool) -> Self:
        """`late` means after the year 9999, otherwise it is before the year 1."""
        odd = cls(9999, 12, 31, 23, 59, 59, tzinfo=UTC) if late else cls(1, 1, 1, tzinfo=UTC)
        odd.text = text
        return odd

    def astimezone(self, tz: tzinfo | None = None) -> Self:
        return self

    def replace(self, *parts: Any, **named: Any) -> Self:
        return self

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return self.text

    def strftime(self, format: str) -> str:
        return self.text

    def __format__(self, format: str) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"OddTime({self.text!r})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return _odd_again, (self.text, self.year > 1)


def _odd_again(text: str, late: bool) -> OddTime:
    return OddTime.of(text, late=late)


def from_microseconds(since_2000: int) -> datetime:
    """The UTC time for Postgres's number of microseconds since 2000."""
    if _FIRST <= since_2000 <= _LAST:
        return POSTGRES_EPOCH + timedelta(microseconds=since_2000)
    if since_2000 == INFINITY:
        return OddTime.of("infinity", late=True)
    if since_2000 == -INFINITY - 1:
        return OddTime.of("-infinity", late=False)
    return OddTime.of(_text(since_2000), late=since_2000 > 0)


def to_microseconds(moment: datetime) -> int:
    """Postgres's microseconds for an aware time; exact, even for the last microsecond of 9999."""
    return (moment - POSTGRES_EPOCH) // MICROSECOND


def read_instant(text: str) -> datetime:
    """Reads a time as `to_jsonb` writes it, in UTC; any other text gives an `OddTime`."""
    plain = _WRITTEN.fullmatch(text)
    if plain is not None:
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # on the edge of the calendar, in another zone than the session's
    shown = re.sub(r"\+00(:00)?(?= BC$|$)", "Z", text)
    return OddTime.of(shown, late=not (text.endswith(" BC") or text.startswith("-")))


def read_rfc3339(text: str) -> tuple[datetime, str]:
    """A time in whole seconds, and the digits of its fraction. Naive if there is no offset; seconds may be left out.

    Raises ValueError.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time of RFC 3339")
    whole = f"{found['day']}T{found['clock']}{(found['offset'] or '').upper()}"
    return datetime.fromisoformat(whole), found["fraction"] or ""


def utc(moment: datetime) -> str:
    """RFC 3339 in UTC, without a fraction if it is zero: `2024-01-21T00:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def readable(moment: datetime, digits: int = 6) -> str:
    """`2024-01-21 00:00:00.5 UTC`, with at most `digits` digits of a second; without a fraction if it is zero."""
    if isinstance(moment, OddTime):
        return moment.text
    whole, _, fraction = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}".partition(".")
    fraction = fraction[:digits].rstrip("0")
    return f"{whole}.{fraction} UTC" if fraction else f"{whole} UTC"


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """The time in that zone; in UTC if the zone's offset would leave the calendar."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)


def _text(since_2000: int) -> str:
    """RFC 3339, with all digits of the year, and `BC` for years before 1.

    The calendar repeats every 400 years, so Python's calendar of the equivalent year is used.
    """
    days, microseconds = divmod(since_2000, 86_400_000_000)
    cycles, days = divmod(days, 146_097)
    alike = POSTGRES_EPOCH + timedelta(days=days, microseconds=microseconds)
    year = alike.year + 400 * cycles
    written = alike.replace(tzinfo=None).isoformat()[4:]
    return f"{year:04}{written}Z" if year > 0 else f"{1 - year:04}{written}Z BC"
