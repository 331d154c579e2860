"""Combines the histograms of several functions, which have different starts, ends and parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from secateur.runs import Bar, Histogram

FINER = 16
"""How many parts of a function's own histogram there are for each part of the common one. No run is put further off
than half of such a part."""


def together(found: Sequence[Histogram], bars: int) -> Histogram | None:
    """One histogram of all their runs, in this many parts; None if there are no runs."""
    if not found:
        return None
    first, last = min(each.first for each in found), max(each.last for each in found)
    length = max(last - first, timedelta(microseconds=1))
    parts = [[0, 0, 0] for _ in range(bars)]
    for each in found:
        for place, bar in enumerate(each.bars):
            low, high = each.span(place, place)
            part = parts[min(bars - 1, int(bars * ((low + (high - low) / 2 - first) / length)))]
            for column, figure in enumerate((bar.total, bar.matched, bar.errors)):
                part[column] += figure
    return Histogram(first, last, tuple(Bar(*part) for part in parts), exact=all(each.exact for each in found))
