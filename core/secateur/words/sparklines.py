"""Figures as a line of bars, a cell each, which reads without colour."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.:-=+*#"
"""The same where these cannot be shown."""

UNKNOWN = " "

_FLAT = 0.03
"""A change below this share of the largest value is drawn flat: it is noise, not a trend."""


def sparkline(values: Sequence[float | None], width: int, bars: str = BLOCKS) -> str:
    """The newest `width` values, right-aligned; scaled between their minimum and maximum. None is not known: blank."""
    shown = list(values[-width:]) if width > 0 else []
    known = [value for value in shown if value is not None]
    if not known:
        return UNKNOWN * max(0, width)
    low, high = min(known), max(known)

    def bar(value: float | None) -> str:
        if value is None:
            return UNKNOWN
        if high - low <= high * _FLAT:
            return bars[0 if high == 0 else 2]
        return bars[round((value - low) / (high - low) * 7)]

    return "".join(map(bar, shown)).rjust(width)


def highest_of_each(values: Sequence[float | None], count: int) -> list[float | None]:
    """As many values, each the highest of its part; None where a part has nothing that is known."""
    edges = [number * len(values) // count for number in range(count + 1)]
    parts = [values[low:high] for low, high in itertools.pairwise(edges) if high > low]
    return [max((value for value in part if value is not None), default=None) for part in parts]
