"""Figures over time as areas of block characters, with axes. Everything here is text: it reads without colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo

from secateur.instants import in_zone
from secateur.words.sparklines import BLOCKS

UNKNOWN = "·"
"""Stands at the bottom of a column of which nothing is known."""

_NICE = (1.0, 2.0, 5.0, 10.0)
_TIME_STEPS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
_TIME_ROOM = 9
"""Cells that a time on the axis needs, with the blanks around it."""


def area(
    values: Sequence[float | None], height: int, highest: float, bars: str = BLOCKS, *, unknown: str = UNKNOWN
) -> list[str]:
    """The lines of an area, the top one first, a column for each value; `highest` fills a column.

    Of what is more than nothing, at least the lowest bar is shown. None is not known.
    """
    levels = len(bars)
    filled = [None if value is None else _filled(value, highest, height * levels) for value in values]
    lines = []
    for row in reversed(range(height)):
        cells = []
        for each in filled:
            if each is None:
                cells.append(unknown if row == 0 else " ")
            else:
                part = each - row * levels
                cells.append(" " if part <= 0 else bars[min(part, levels) - 1])
        lines.append("".join(cells))
    return lines


def _filled(value: float, highest: float, eighths: int) -> int:
    if value <= 0 or highest <= 0:
        return 0
    return max(1, min(eighths, round(value / highest * eighths)))


def nice_top(highest: float) -> float:
    """A round figure that is not below `highest`: 1, 2 or 5 times a power of ten, and 1 at least."""
    if highest <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(nice * power for nice in _NICE if nice * power >= highest * (1 - 1e-9))


def compact(value: float) -> str:
    """A figure in four cells at most: `950`, `2.5k`, `184k`, `1.2M`."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit * 0.9995:
            scaled = value / limit
            return f"{scaled:.1f}".removesuffix(".0") + unit if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def in_columns(
    values: Sequence[float | None], columns: int, take: Callable[[Sequence[float]], float] = max
) -> list[float | None]:
    """As many columns, each `take` of its part of the values; fewer values are drawn out. None where none is known."""
    count = len(values)
    if count == 0:
        return [None] * columns
    found: list[float | None] = []
    for column in range(columns):
        low = column * count // columns
        high = max(low + 1, (column + 1) * count // columns)
        known = [value for value in values[low:high] if value is not None]
        found.append(take(known) if known else None)
    return found


def column_of(moment: datetime, since: datetime, until: datetime, columns: int) -> int | None:
    """The column that a moment belongs to; None outside."""
    share = (moment - since) / (until - since)
    return min(columns - 1, int(share * columns)) if 0 <= share <= 1 else None


def time_axis(since: datetime, until: datetime, columns: int, zone: tzinfo) -> str:
    """Round times under their columns, as many as there is room for."""
    steps = max(1, columns // _TIME_ROOM)
    step = next((each for each in _TIME_STEPS if (until - since) / each <= steps), _TIME_STEPS[-1])
    local = in_zone(since, zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    moment = midnight + -(-(local - midnight) // step) * step
    line = [" "] * columns
    free = 0
    while moment <= until:
        column = column_of(moment, since, until, columns)
        text = f"{moment:%H:%M}"
        if column is not None and column >= free and column + len(text) <= columns:
            line[column : column + len(text)] = text
            free = column + len(text) + 1
        moment += step
    return "".join(line)
