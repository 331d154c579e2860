"""Reads and writes Postgres's values on every connection; no value in a row can raise.

asyncpg's own codecs raise for times outside of Python's calendar and for intervals longer than a `timedelta`, so a
single such value would make the whole result unreadable.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from secateur.instants import from_microseconds, to_microseconds

_DAYS_OF_YEAR, _DAYS_OF_MONTH = 365, 30
"""Days per month of an interval, as in asyncpg."""

_LONGEST = timedelta.max.days - 1


async def set_codecs(connection: Any) -> None:
    """Needs no round trip, because both types are built in."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", format="tuple", encoder=_encode_instant, decoder=_decode_instant
    )
    await connection.set_type_codec(
        "interval", schema="pg_catalog", format="tuple", encoder=_encode_interval, decoder=_decode_interval
    )


def _encode_instant(moment: datetime) -> tuple[int]:
    """Exact; asyncpg itself writes `datetime.max` as `infinity`."""
    return (to_microseconds(moment),)


def _decode_instant(value: tuple[int]) -> datetime:
    return from_microseconds(value[0])


def _encode_interval(length: timedelta) -> tuple[int, int, int]:
    return 0, length.days, length.seconds * 1_000_000 + length.microseconds


def _decode_interval(value: tuple[int, int, int]) -> timedelta:
    """An interval too long for a `timedelta` gives the longest `timedelta`."""
    months, days, microseconds = value
    years = int(months / 12)
    days += years * _DAYS_OF_YEAR + (months - 12 * years) * _DAYS_OF_MONTH + microseconds // 86_400_000_000
    return timedelta(days=max(-_LONGEST, min(days, _LONGEST)), microseconds=microseconds % 86_400_000_000)
