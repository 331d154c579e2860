"""The parts of a timestamp or a duration."""

from __future__ import annotations

from collections.abc import Callable

from secateur.cel import messages as say
from secateur.cel.library.function import CelFunction, on
from secateur.cel.timestamps import count_of
from secateur.cel.types import DURATION, INT, STRING, TIMESTAMP
from secateur.cel.values import Duration, Timestamp
from secateur.cel.zones import UTC_ZONE, part, zone

_CALENDAR = ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear")
"""Of a timestamp, in UTC or in a time zone; `getDate` counts from 1, the others from 0."""
_CLOCK = ("Hours", "Minutes", "Seconds", "Milliseconds")
"""Of a timestamp; of a duration, how many whole ones there are in it, but only the milliseconds below a second."""
_ELSEWHERE = {"FullYear": ("getYear", "year")}


def _part(name: str) -> Callable[..., int]:
    def part_of(moment: Timestamp | Duration, place: str | None = None) -> int:
        if isinstance(moment, Duration):
            return count_of(name, moment)
        return part(moment, name, UTC_ZONE if place is None else zone(place))

    return part_of


TIMES = tuple(
    CelFunction(
        f"get{name}",
        on(INT, (TIMESTAMP,), (TIMESTAMP, STRING), *([(DURATION,)] if name in _CLOCK else [])),
        python=_part(name),
        sql=None,
        reads=zone,
        not_literal=say.ZONE_NOT_LITERAL,
        elsewhere=_ELSEWHERE.get(name, ()),
    )
    for name in (*_CALENDAR, *_CLOCK)
)
