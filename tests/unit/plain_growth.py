"""When growth began, told plainly: sample by sample, and with least squares as a textbook has them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from math import log1p
from statistics import median

from secateur.looking.growth import (
    FEWEST,
    FEWEST_RUNS,
    LONGEST_WEIGHT,
    MINUTE,
    SAME_TIME_YESTERDAY,
    SETTLED,
    USUAL_SHARE,
)
from secateur.samples import Sample


def growing_since(samples: Sequence[Sample]) -> datetime | None:
    if len(samples) < FEWEST:
        return None
    backlogs = [sample.backlog for sample in samples]
    depths = _smoothed(backlogs)
    present = median(depths[-3:])
    lowest = min(backlogs)
    if present <= lowest + max(FEWEST_RUNS, 0.1 * lowest):
        return None
    weights = _weights(samples)
    place = _break(depths)
    for _ in range(5):
        level, middle = _usual(backlogs[:place], weights[:place])
        if present <= level + max(FEWEST_RUNS, 0.1 * level, 2 * (level - middle)):
            return None
        last = max((at for at, backlog in enumerate(backlogs[:-2]) if backlog <= level), default=0)
        if last + 1 == place:
            break
        place = last + 1
    start = place - 1
    while start > 0 and middle < depths[start] and depths[start - 1] < depths[start]:
        start -= 1
    if _was_so_yesterday(samples, present) or not _grows(samples, depths, start, level, present):
        return None
    return samples[start].at


def _smoothed(depths: Sequence[float]) -> list[float]:
    inner = [sorted(depths[at - 1 : at + 2])[1] for at in range(1, len(depths) - 1)]
    return [depths[0], *inner, depths[-1]]


def _weights(samples: Sequence[Sample]) -> list[float]:
    """For how many seconds each sample speaks."""
    times = [sample.at for sample in samples]
    pairs = pairwise(times)
    return [*(min(later - sooner, LONGEST_WEIGHT).total_seconds() for sooner, later in pairs), 1.0]


def _break(depths: Sequence[float]) -> int:
    """The place of the first sample behind the break: from 1 to the last but two."""
    scale = max(float(FEWEST_RUNS), median(depths))
    y = [log1p(depth / scale) for depth in depths]
    n = len(y)
    sums = [0.0, *accumulate(y)]
    squares = [0.0, *accumulate(value * value for value in y)]
    moments = [0.0, *accumulate(at * value for at, value in enumerate(y))]
    best, found = float("inf"), 1
    for place in range(1, n - 2):
        flat = squares[place] - sums[place] ** 2 / place
        size = n - place
        mean = (sums[n] - sums[place]) / size
        centre = (place + n - 1) / 2
        covariance = moments[n] - moments[place] - centre * (sums[n] - sums[place])
        sloped = squares[n] - squares[place] - size * mean * mean - covariance**2 / (size * (size * size - 1) / 12)
        if flat + sloped < best:
            best, found = flat + sloped, place
    return found


def _usual(depths: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """What was not exceeded for nine tenths, and for half, of the time."""
    ordered = sorted(zip(depths, weights, strict=True))
    passed = list(accumulate(weight for _, weight in ordered))
    level, middle = (
        ordered[min(len(ordered) - 1, bisect_right(passed, share * passed[-1]))][0] for share in (USUAL_SHARE, 0.5)
    )
    return level, middle


def _was_so_yesterday(samples: Sequence[Sample], present: float) -> bool:
    ago, width = SAME_TIME_YESTERDAY
    then = samples[-1].at - ago
    around = [sample.backlog for sample in samples if abs(sample.at - then) <= width]
    later = [sample.backlog for sample in samples if sample.at > then + width]
    if not around or not later:
        return False
    highest = max(around)
    return min(later) <= highest / 2 and present <= 1.5 * highest + FEWEST_RUNS


def _grows(samples: Sequence[Sample], depths: Sequence[float], start: int, level: float, present: float) -> bool:
    first, last = samples[start], samples[-1]
    if last.entered - first.entered <= last.drained - first.drained:
        return False
    rise = max(depths[start:]) - level
    if present - level < rise / 2:
        return False
    if last.at - first.at > SETTLED:
        halfway = next(at for at, sample in enumerate(samples) if sample.at >= first.at + (last.at - first.at) / 2)
        if present - depths[halfway] < rise / 10:
            return False
    recent = last.at - max(MINUTE, (last.at - first.at) / 5)
    before = max((at for at, sample in enumerate(samples) if sample.at <= recent), default=start)
    if before <= start:
        return True
    shrank = depths[before] - present > rise / 10
    return not (shrank and last.entered - samples[before].entered < last.drained - samples[before].drained)
