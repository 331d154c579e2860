"""The axes of plots over time: round tops, short figures, and columns at fixed times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from secateur.instants import in_zone

_NICE = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
"""Tops whose halves are short figures as well."""
_TIME_STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
_TIME_ROOM = 9
"""Cells that a time on the axis needs, including the blanks around it."""


def nice_top(highest: float) -> float:
    """The least round figure of one digit that is not below `highest`, and at least 1."""
    if highest <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(nice * power for nice in _NICE if nice * power >= highest * (1 - 1e-9))


def compact(value: float) -> str:
    """A figure in at most four cells: `950`, `2.5k`, `184k`, `1.2M`."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit * 0.9995:
            scaled = value / limit
            return f"{scaled:.1f}".removesuffix(".0") + unit if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


@dataclass(frozen=True, slots=True)
class TimeColumns:
    """The time up to now as columns. They begin at fixed times, so a plot moves only once per column."""

    last: int
    """The number of the last column, counted from 1970."""
    seconds: float
    """The time span of one column."""
    count: int

    @classmethod
    def until(cls, now: datetime, reach: timedelta, count: int) -> TimeColumns:
        """`count` columns for the time `reach` before `now`."""
        seconds = reach.total_seconds() / max(1, count)
        return cls(int(now.timestamp() // seconds), seconds, count)

    def halved(self) -> TimeColumns:
        """Twice as many columns in the same time. They still move by a whole old column, so a plot is not painted twice
        as often."""
        return TimeColumns(2 * self.last + 1, self.seconds / 2, 2 * self.count)

    def of(self, moment: datetime) -> int | None:
        """The column of a moment; None if it is outside."""
        column = int(moment.timestamp() // self.seconds) - self.last + self.count - 1
        return column if 0 <= column < self.count else None

    def begin(self, column: int) -> datetime:
        """When the column begins."""
        return datetime.fromtimestamp((self.last - self.count + 1 + column) * self.seconds, UTC)

    def fold(
        self,
        moments: Iterable[datetime],
        values: Iterable[float | None],
        take: Callable[[Sequence[float]], float] = max,
    ) -> list[float | None]:
        """For each column, `take` of its values; None if it has none."""
        parts: list[list[float]] = [[] for _ in range(self.count)]
        for moment, value in zip(moments, values, strict=True):
            if value is not None and (column := self.of(moment)) is not None:
                parts[column].append(value)
        return [take(part) if part else None for part in parts]

    def axis(self, zone: tzinfo) -> str:
        """Round times under their columns, as many as fit."""
        most = max(1, self.count // _TIME_ROOM)
        reach = self.seconds * self.count
        step = next((each for each in _TIME_STEPS if reach / each.total_seconds() <= most), _TIME_STEPS[-1])
        local = in_zone(self.begin(0), zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight + -(-(local - midnight) // step) * step
        line = [" "] * self.count
        free = 0
        while (column := self.of(moment)) is not None:
            text = f"{moment:%H:%M}"
            if column >= free and column + len(text) <= self.count:
                line[column : column + len(text)] = text
                free = column + len(text) + 1
            moment += step
        return "".join(line)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
