"""What merely follows the clock: sequences, times, days and batches change with the arrival, whatever arrives.

They tell a flood from what was before it, as everything does that is newer, and say nothing about it.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from secateur.looking.contrasts import Contrast, Extent, Field

FEWEST_PAIRS = 60
"""Of different values, to say whether they are in order."""

ORDERED = 0.5
"""Of the baseline's pairs: how much more often they are in order than not, or in reverse; 0 is chance, 1 a sequence."""

STRICTLY_ORDERED = 0.95
"""Of the flood's own, where the baseline's say nothing: there the flood itself may come late or end early."""

SMOOTH = 0.25
"""How far neighbours differ, compared with any two: 1 is chance. Less: the number drifts."""

SLICES = 8


class Steadiness:
    def __init__(self, contrast: Contrast) -> None:
        self._contrast = contrast
        self._slices = list(_slices(contrast.flood))
        self._known: dict[int, bool] = {}

    def follows_time(self, field: Field) -> bool:
        if id(field) not in self._known:
            self._known[id(field)] = self._judge(field)
        return self._known[id(field)]

    def _judge(self, field: Field) -> bool:
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
        """Whether all that arrives is so, and hardly anything before was: then it is the time that is described."""
        flood, baseline = extent.counts
        rest = self._contrast.flood - flood
        return rest <= 0.002 * self._contrast.flood and baseline < 0.9 * self._contrast.baseline

    def switches(self, extent: Extent) -> bool:
        """Whether it is true of everything for a while, and of nothing at another time."""
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
    """How much two values tell which came first, from 0 to 1; None where too few are different."""
    later = earlier = 0
    count = len(values)
    for part in (2, 3, 5):
        apart = values[max(1, count // part) :]
        later += sum(map(operator.lt, values, apart))
        earlier += sum(map(operator.gt, values, apart))
    pairs = later + earlier
    return abs(later - earlier) / pairs if pairs >= FEWEST_PAIRS else None


def _drifts(values: Sequence[float]) -> bool:
    """Whether neighbours are far more alike than others: of the minute of the hour, and of whatever walks."""
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
    """So that `order-999` comes before `order-1000`."""
    return len(text), text
