"""Finds fields that merely follow the clock: sequences, times, dates and batch numbers.

They change with the time of arrival, whatever arrives. Such a field does distinguish a flood from what came before it,
but only because the flood is newer. It says nothing about the flood.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from secateur.looking.contrasts import Contrast, Extent, FieldEvents

FEWEST_PAIRS = 60
"""The fewest pairs of different values from which an order can be told."""

ORDERED = 0.5
"""In the baseline: how much more often pairs are in order than in reverse, or the other way round. 0 is chance, 1 is a
sequence."""

STRICTLY_ORDERED = 0.95
"""The same in the flood itself, where the baseline says nothing. It is stricter, because the flood may begin late or
end early."""

SMOOTH = 0.25
"""The difference of neighbours, as a part of the difference of distant values. 1 is chance; below this, the number
drifts."""

SLICES = 8


class Steadiness:
    def __init__(self, contrast: Contrast) -> None:
        self._contrast = contrast
        self._slices = list(_slices(contrast.flood))
        self._known: dict[int, bool] = {}

    def follows_time(self, field: FieldEvents) -> bool:
        if id(field) not in self._known:
            self._known[id(field)] = self._judge(field)
        return self._known[id(field)]

    def _judge(self, field: FieldEvents) -> bool:
        columns: list[tuple[dict[Any, list[int]], bool]] = [(field.numbers, True), (field.texts, False)]
        return any(self._in_order(values, numeric) for values, numeric in columns if len(values) > 1)

    def _in_order(self, values: dict[Any, list[int]], numeric: bool) -> bool:
        start = self._contrast.baseline
        placed = [(number, value) for value, numbers in values.items() for number in numbers]
        placed.sort(key=operator.itemgetter(0))
        first_during = bisect_left(placed, start, key=operator.itemgetter(0))
        ordered = [value for _, value in placed]
        before, during = ordered[:first_during], ordered[first_during:]
        keys: list[Any] = [None] if numeric else [None, _by_length]
        for key in keys:
            usual = _order(list(map(key, before)) if key else before)
            if usual is not None and usual >= ORDERED:
                return True
            own = _order(list(map(key, during)) if key else during)
            if own is not None and own >= STRICTLY_ORDERED:
                return True
        return numeric and (_drifts(before) or _drifts(during))

    def describes_everything(self, extent: Extent) -> bool:
        """Whether it is true of all that arrives, and was not before. Then it describes the time, not the flood."""
        flood, baseline = extent.counts
        rest = self._contrast.flood - flood
        return rest <= 0.002 * self._contrast.flood and baseline < 0.9 * self._contrast.baseline

    def switches(self, extent: Extent) -> bool:
        """Whether at one time it is true of everything, and at another of nothing."""
        whole = none = False
        for mask, size in self._slices:
            hits = (extent.flood & mask).bit_count()
            whole |= hits >= 0.995 * size
            none |= hits <= 0.005 * size
        return whole and none


def _slices(count: int) -> Iterable[tuple[int, int]]:
    size = count // SLICES
    if size >= 25:
        for index in range(SLICES):
            yield ((1 << size) - 1) << (index * size), size


def _order(values: Sequence[Any]) -> float | None:
    """How well two values tell which came first, from 0 to 1; None if too few values differ."""
    later = earlier = 0
    count = len(values)
    for part in (2, 3, 5):
        apart = values[max(1, count // part) :]
        later += sum(map(operator.lt, values, apart))
        earlier += sum(map(operator.gt, values, apart))
    pairs = later + earlier
    return abs(later - earlier) / pairs if pairs >= FEWEST_PAIRS else None


def _drifts(values: Sequence[float]) -> bool:
    """Whether neighbours are far more alike than distant values, as with the minute of the hour or a slowly changing
    number.
    """
    count = len(values)
    if count < 4 * FEWEST_PAIRS:
        return False
    near = sum(abs(one - other) for one, other in pairwise(values))
    far = (
        sum(abs(one - other) for one, other in zip(values, values[count // 2 :], strict=False))
        * (count - 1)
        / (count - count // 2)
    )
    return near < SMOOTH * far


def _by_length(text: str) -> tuple[int, str]:
    """Sorts `order-999` before `order-1000`."""
    return len(text), text
