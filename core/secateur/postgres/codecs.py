"""How values of Postgres are read, and written, on every connection: no value that a row can have raises.

asyncpg's own codecs raise for times outside of Python's calendar and for intervals longer than a `timedelta`: one such
value in one row, and nothing of the whole answer can be had.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from secateur.instants import from_microseconds, to_microseconds

_DAYS_OF_YEAR, _DAYS_OF_MONTH = 365, 30
"""Where an interval's months have to be days, as in asyncpg."""

_LONGEST = timedelta.max.days - 1


async def set_codecs(connection: Any) -> None:
    """Takes no round trip: both types are built in."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", format="tuple", encoder=_encode_instant, decoder=_decode_instant
    )
    await connection.set_type_codec(
        "interval", schema="pg_catalog", format="tuple", encoder=_encode_interval, decoder=_decode_interval
    )


def _encode_instant(moment: datetime) -> tuple[int]:
    """Exact; asyncpg writes `datetime.max` as `infinity`."""
    return (to_microseconds(moment),)


def _decode_instant(value: tuple[int]) -> datetime:
    return from_microseconds(value[0])


def _encode_interval(length: timedelta) -> tuple[int, int, int]:
    return 0, length.days, length.seconds * 1_000_000 + length.microseconds


def _decode_interval(value: tuple[int, int, int]) -> timedelta:
    """The longest there is, where it is longer."""
    months, days, microseconds = value
    years = int(months / 12)
    days += years * _DAYS_OF_YEAR + (months - 12 * years) * _DAYS_OF_MONTH + microseconds // 86_400_000_000
    return timedelta(days=max(-_LONGEST, min(days, _LONGEST)), microseconds=microseconds % 86_400_000_000)
