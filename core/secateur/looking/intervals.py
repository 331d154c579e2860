"""Where the flood lies on a scale: intervals of numbers that distinguish it best from the baseline, with round ends."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress, pairwise, repeat

Round = Callable[[float, float, float], float]
"""Returns the roundest number in (above, upto]; of several, the one nearest to the third argument."""

WEIGHTS = (1.0, 2.0, 5.0, 0.5)
"""How much the baseline's share of events is weighted against the flood's. Small floods need large weights."""

ROUNDS = 3
"""How often the weight is estimated again, from the events outside the interval that it led to."""

FEWEST_OUTSIDE = 20
"""The fewest events of the baseline from which the weight can be estimated."""

CLEARANCE = 2.0
"""How many standard deviations the weight lies above the estimate."""

NOTICEABLE = 1.4
"""An end is not moved across a slice that is denser or thinner than usual by this many standard deviations."""

FARTHEST = 400
"""How many distinct values away from the best end a rounder end may lie."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low`, inclusive, to `high`, exclusive; None means open."""

    low: float | None
    high: float | None


def intervals(points: Sequence[tuple[float, int, int]], totals: tuple[int, int], rounded: Round) -> Iterator[Interval]:
    """Yields the best intervals of `points` (value, flood, baseline), which are sorted by value.

    `totals` are the sizes of flood and baseline.
    """
    floods = [0, *accumulate([flood for _, flood, _ in points])]
    baselines = [0, *accumulate([baseline for _, _, baseline in points])]
    if not floods[-1] or not baselines[-1]:
        return  # where only one of them has events, no slice is denser than the whole
    ends = _Ends(points, floods, baselines, totals)
    tried: set[tuple[int, int]] = set()
    for weight in (*WEIGHTS, *_usual_weights(floods, baselines, totals, ends)):
        start, end = ends.densest(weight)
        if end <= start or (start, end) in tried or (start, end) == (0, len(points)):
            continue
        tried.add((start, end))
        one, other = 1 / max(1, totals[0]), weight / max(1, totals[1])

        def matters(first: int, last: int) -> bool:
            flood, baseline = floods[last] - floods[first], baselines[last] - baselines[first]
            return abs(flood * one - baseline * other) > NOTICEABLE * math.hypot(  # noqa: B023
                math.sqrt(flood) * one,  # noqa: B023
                math.sqrt(baseline) * other,  # noqa: B023
            )

        lowest, highest = _reach(matters, start, range(end))
        low = None if lowest == 0 else rounded(points[lowest - 1][0], points[highest][0], points[start][0])
        lowest, highest = _reach(matters, end, range(start + 1, len(points) + 1))
        high = None
        if highest < len(points):
            high = rounded(points[lowest - 1][0], points[highest][0], points[end][0])
        if low is not None or high is not None:
            yield Interval(low, high)


def _usual_weights(
    floods: Sequence[int], baselines: Sequence[int], totals: tuple[int, int], ends: _Ends
) -> Iterator[float]:
    """Yields weights a little above the density of the flood outside of its interval, relative to the baseline's.

    Out there the flood has only usual events; their share is lower than the baseline's, because the flood has unusual
    events as well. With such a weight, an interval covers all that is more than usual, even where much is usual. The
    interval that distinguishes the samples best is narrower.
    """
    flood, baseline = max(1, totals[0]), max(1, totals[1])
    weight = 1.0
    for _ in range(ROUNDS):
        start, end = ends.densest(weight)
        before = baselines[-1] - (baselines[end] - baselines[start])
        if before < FEWEST_OUTSIDE:
            return
        ratio = ((floods[-1] - (floods[end] - floods[start])) / flood) / (before / baseline)
        # Above the estimate by its error: otherwise the interval would spread over what is usual.
        weight = min(1.0, ratio * (1 + CLEARANCE / math.sqrt(before)) + 0.02)
        yield weight


class _Ends:
    """The places where a densest slice can begin or end.

    A slice does not end between two values that only the flood has, because including one more makes it denser. Nor
    does it end between two that only the baseline has.
    """

    def __init__(
        self,
        points: Sequence[tuple[float, int, int]],
        floods: Sequence[int],
        baselines: Sequence[int],
        totals: tuple[int, int],
    ) -> None:
        alone = [1 if baseline == 0 else 2 if flood == 0 else 0 for _, flood, baseline in points]
        differ = [one == 0 or one != other for one, other in pairwise(alone)]
        self._places = [0, *compress(range(1, len(points)), differ), len(points)]
        one = max(1, totals[1])
        self._floods = [floods[place] * one for place in self._places]
        self._baselines = [baselines[place] for place in self._places]
        self._scale = max(1, totals[0])
        self._known: dict[float, tuple[int, int]] = {}

    def densest(self, weight: float) -> tuple[int, int]:
        """The slice in which the flood's share exceeds the weighted baseline's share most.

        Both are cumulative sums, so the best slice is the highest rise above an earlier lowest point. This runs for
        every scale and weight; hence the loops of built-in functions.
        """
        if weight not in self._known:
            self._known[weight] = self._densest(weight)
        return self._known[weight]

    def _densest(self, weight: float) -> tuple[int, int]:
        ahead = list(map(operator.sub, self._floods, map(operator.mul, self._baselines, repeat(weight * self._scale))))
        rises = list(map(operator.sub, ahead, accumulate(ahead, min)))
        best = max(rises)
        if best <= 0:
            return 0, 0
        end = rises.index(best)
        # Of several lowest points the last one, for the shortest slice.
        before = ahead[:end]
        before.reverse()
        return self._places[end - 1 - before.index(min(before))], self._places[end]


def _reach(matters: Callable[[int, int], bool], at: int, allowed: range) -> tuple[int, int]:
    """How far an end may move down and up while the gain or loss is no larger than chance."""
    lowest = highest = at
    for index in range(at - 1, max(allowed.start - 1, at - FARTHEST), -1):
        if matters(index, at):
            break
        lowest = index
    for index in range(at + 1, min(allowed.stop, at + FARTHEST)):
        if matters(at, index):
            break
        highest = index
    return lowest, highest


def roundest(above: float, upto: float, near: float) -> float:
    """The number in (above, upto] with the fewest digits; of these, the one nearest to `near`."""
    if above < 0 <= upto:
        return 0
    width = upto - above
    if width <= 0 or not math.isfinite(width):
        return upto
    top = math.floor(math.log10(max(abs(above), abs(upto)))) + 1
    for exponent in range(top, math.floor(math.log10(width)) - 3, -1):
        for factor in (1, 0.5):
            step = factor * 10.0**exponent
            first, last = math.floor(above / step) + 1, math.floor(upto / step)
            if first > last:
                continue
            found = min(max(round(near / step), first), last) * step
            found = _clean(found, exponent)
            if above < found <= upto:
                return found
    return upto


def _clean(value: float, exponent: int) -> float:
    """The number without the error of binary arithmetic."""
    cleaned = round(value, max(0, 1 - exponent))
    return int(cleaned) if cleaned == int(cleaned) and abs(cleaned) < 2**53 else cleaned


STEPS = (86400, 3600, 600, 60, 1)
"""Seconds between times that people would call round."""


def round_time(above: float, upto: float, near: float) -> float:
    """`roundest` for seconds since 1970."""
    for step in STEPS:
        first, last = math.floor(above / step) + 1, math.floor(upto / step)
        if first <= last:
            return min(max(round(near / step), first), last) * step
    return upto
