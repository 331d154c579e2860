"""Finds fields that merely follow the clock: sequences, times, dates and batch numbers.

They change with the time of arrival, whatever arrives. Such a field does distinguish a flood from what came before it,
but only because the flood is newer. It says nothing about the flood.
"""

from __future__ import annotations

import operator
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
        columns = (field.number_column, len(field.numbers), True), (field.text_column, len(field.texts), False)
        return any(
            self._in_order(*column.before_and_during(self._contrast.baseline), numeric)
            for column, variety, numeric in columns
            if variety > 1
        )

    def _in_order(self, before: list[Any], during: list[Any], numeric: bool) -> bool:
        keys: list[Any] = [None]
        if not numeric and len({*map(len, before), *map(len, during)}) > 1:
            keys.append(_by_length)
        for key in keys:
            if _is_ordered(list(map(key, before)) if key else before, ORDERED):
                return True
            if _is_ordered(list(map(key, during)) if key else during, STRICTLY_ORDERED):
                return True
        return numeric and (_drifts(before) or _drifts(during))

    def describes_everything(self, extent: Extent) -> bool:
        """Whether it is true of everything that arrives now, and was not before. Then it describes the time, not the
        flood."""
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


def _is_ordered(values: Sequence[Any], least: float) -> bool:
    """Whether two values tell at least this well which came first: 0 is chance, and 1 a sequence.

    False if too few values differ.
    """
    later = earlier = 0
    count = len(values)
    distances = [max(1, count // part) for part in (2, 3, 5)]
    left = sum(max(0, count - distance) for distance in distances)
    for distance in distances:
        apart = values[distance:]
        later += sum(map(operator.lt, values, apart))
        earlier += sum(map(operator.gt, values, apart))
        left -= len(apart)
        # Even if all pairs that are left were in the same order.
        if abs(later - earlier) + left < least * (later + earlier + left):
            return False
    pairs = later + earlier
    return pairs >= FEWEST_PAIRS and abs(later - earlier) / pairs >= least


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
