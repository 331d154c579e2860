"""Finds since when a queue has been growing: when its depth left its usual level."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from math import log1p
from statistics import median

from secateur.samples import Sample, SampleSteps

MINUTE = timedelta(minutes=1)

LADDER = (
    (timedelta(minutes=15), timedelta(seconds=10)),
    (timedelta(hours=2), MINUTE),
    (timedelta(hours=48), timedelta(minutes=10)),
)
"""How far back samples of which step reach. Recent steps are finer, so a beginning is found to about a tenth of its
age."""

FEWEST = 8
"""The fewest samples that say anything."""

FEWEST_RUNS = 10
"""A flood has more runs than this, and rises above the usual level by more than this."""

USUAL_SHARE = 0.9
"""The usual level is the one not exceeded for this part of the time before."""

LONGEST_WEIGHT = timedelta(minutes=10)
"""The longest time that one sample stands for; after that there is a gap."""

SETTLED = timedelta(hours=24)
"""A growth older than this, whose second half brought no more, has settled: the queue has a new usual level."""

SAME_TIME_YESTERDAY = timedelta(hours=24), timedelta(minutes=45)


def ladder(now: datetime) -> list[SampleSteps]:
    """The steps of which `growing_since` needs samples, in order."""
    steps, until = [], now
    for reach, length in LADDER:
        steps.append(SampleSteps(now - reach, until, length))
        until = now - reach
    return steps[::-1]


def growing_since(samples: Sequence[Sample]) -> datetime | None:
    """When the queue was last at its usual depth, if it has been growing since; None if it is not.

    `samples` are of one function or app, in order, the last one of now; their distances may differ, as those of
    `ladder` do. In a gap nothing is known: a growth that began there is said to have begun where the gap did.

    The method: the backlogs are smoothed by a running median of three. A line that is flat, then jumps and slopes, is
    fitted to their logarithms, by least squares, for every place where it could break; the best one parts *before* from
    *after*. The usual level is what the backlog did not exceed for nine tenths of the time before; whatever lies behind
    the last time that it was there belongs to the growth. The queue grows if

    * it is now clearly above that: by twice the distance of the usual level from the median of the time before, a tenth
      of the level, or ten runs, whichever is most;
    * it was not as deep at this time of the day yesterday, from where it came back by itself;
    * more runs came in than went out since it was last at its usual level;
    * it has not lost half of what it grew by, and does not shrink: over the last fifth of the time, a minute at least,
      it did not lose a tenth of that while more went out than came in;
    * if it began more than a day ago, it gained a tenth of it in the second half of the time.

    It began where the depth was last at its usual level or, where that was on a slope already, at the foot of it.
    So bursts that drain and daily waves are usual, and so is a depth that has been the same since a jump of long ago.
    """
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


def is_at_the_edge(samples: Sequence[Sample], since: datetime) -> bool:
    """Whether nothing is known of what was before: `since` is of the first sample, or of the one before a gap."""
    place = next((at for at, sample in enumerate(samples) if sample.at >= since), 0)
    later = samples[min(place + 1, len(samples) - 1)]
    return place < FEWEST or later.at - since > 2 * LONGEST_WEIGHT


def _smoothed(depths: Sequence[float]) -> list[float]:
    inner = [sorted(depths[at - 1 : at + 2])[1] for at in range(1, len(depths) - 1)]
    return [depths[0], *inner, depths[-1]]


def _weights(samples: Sequence[Sample]) -> list[float]:
    """How many seconds each sample stands for."""
    times = [sample.at for sample in samples]
    pairs = pairwise(times)
    return [*(min(later - sooner, LONGEST_WEIGHT).total_seconds() for sooner, later in pairs), 1.0]


def _break(depths: Sequence[float]) -> int:
    """The index of the first sample after the break; from 1 to the last but two."""
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
    """The levels that were not exceeded for nine tenths, and for half, of the time."""
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
