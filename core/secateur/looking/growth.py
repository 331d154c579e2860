"""Finds since when a queue has been growing: when its depth left its usual level."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import accumulate, pairwise
from math import log1p
from operator import mul
from statistics import median

from secateur.samples import Backlogs, Sample, SampleSteps, SampleTimes

MINUTE = timedelta(minutes=1)

LADDER = (
    (timedelta(minutes=15), timedelta(seconds=10)),
    (timedelta(hours=2), MINUTE),
    (timedelta(hours=48), timedelta(minutes=10)),
)
"""Each step between samples, and how far back it is used. Recent steps are finer, so a beginning is found to about a
tenth of its age."""

FEWEST = 8
"""With fewer samples, nothing can be said."""

FEWEST_RUNS = 10
"""A flood has more runs than this, and rises above the usual level by more than this."""

USUAL_SHARE = 0.9
"""The usual level is the depth that was not exceeded for this part of the time before."""

LONGEST_WEIGHT = timedelta(minutes=10)
"""The longest time that one sample stands for; after that there is a gap."""

SETTLED = timedelta(hours=24)
"""If growth is older than this and stopped in its second half, the queue has settled at a new usual level."""

SAME_TIME_YESTERDAY = timedelta(hours=24), timedelta(minutes=45)


def ladder(now: datetime) -> list[SampleSteps]:
    """The steps of which `growing_since` needs samples, in order."""
    steps, until = [], now
    for reach, length in LADDER:
        steps.append(SampleSteps(now - reach, until, length))
        until = now - reach
    return steps[::-1]


def growing_since(samples: Sequence[Sample] | Backlogs) -> datetime | None:
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
    columns = samples if isinstance(samples, Backlogs) else Backlogs.of(samples)
    backlogs, at = columns.backlogs, columns.times.at
    if len(backlogs) < FEWEST:
        return None
    present = median(_smoothed(backlogs[-5:])[-3:])
    lowest = min(backlogs)
    if present <= lowest + max(FEWEST_RUNS, 0.1 * lowest):
        return None
    depths = _smoothed(backlogs)
    weights = _weights(columns.times)
    place = _break(depths)
    for _ in range(5):
        level, middle = _usual(backlogs[:place], weights)
        if present <= level + max(FEWEST_RUNS, 0.1 * level, 2 * (level - middle)):
            return None
        last = next((where for where in range(len(backlogs) - 3, 0, -1) if backlogs[where] <= level), 0)
        if last + 1 == place:
            break
        place = last + 1
    start = place - 1
    while start > 0 and middle < depths[start] and depths[start - 1] < depths[start]:
        start -= 1
    if _was_so_yesterday(columns, present) or not _grows(columns, depths, start, level, present):
        return None
    return at[start]


def is_at_the_edge(samples: Sequence[Sample], since: datetime) -> bool:
    """Whether nothing is known of the time before: `since` belongs to the first sample, or to the one before a gap."""
    place = next((at for at, sample in enumerate(samples) if sample.at >= since), 0)
    later = samples[min(place + 1, len(samples) - 1)]
    return place < FEWEST or later.at - since > 2 * LONGEST_WEIGHT


def _smoothed(depths: Sequence[int]) -> list[int]:
    # The median of three, written out: there is one for each sample.
    inner = [
        two
        if one <= two <= three or three <= two <= one
        else one
        if two <= one <= three or three <= one <= two
        else three
        for one, two, three in zip(depths, depths[1:], depths[2:], strict=False)
    ]
    return [depths[0], *inner, depths[-1]]


@lru_cache(maxsize=4)
def _weights(times: SampleTimes) -> list[float]:
    """How many seconds each sample stands for."""
    pairs = pairwise(times.at)
    return [*(min(later - sooner, LONGEST_WEIGHT).total_seconds() for sooner, later in pairs), 1.0]


@lru_cache(maxsize=16)
def _terms(n: int) -> list[tuple[int, int, float, float]]:
    """For each place where a series of that length could break: sizes of both parts, centre and spread of the last."""
    return [
        (place, n - place, (place + n - 1) / 2, (n - place) * ((n - place) ** 2 - 1) / 12) for place in range(1, n - 2)
    ]


def _break(depths: Sequence[float]) -> int:
    """The index of the first sample after the break; from 1 to the last but two.

    What remains unexplained is least where what both lines explain is most: a flat one by its mean, one that slopes by
    its mean and its covariance with the places.
    """
    scale = max(float(FEWEST_RUNS), median(depths))
    y = [log1p(depth / scale) for depth in depths]
    sums = list(accumulate(y))
    moments = list(accumulate(map(mul, range(len(y)), y)))
    total, moment = sums[-1], moments[-1]
    explained = [
        flat * flat / before
        + (rest := total - flat) * rest / size
        + (covariance := moment - past - centre * rest) * covariance / spread
        for flat, past, (before, size, centre, spread) in zip(sums, moments, _terms(len(y)), strict=False)
    ]
    return explained.index(max(explained)) + 1


def _usual(depths: Sequence[int], weights: Sequence[float]) -> tuple[int, int]:
    """The levels that were not exceeded for nine tenths, and for half, of the time."""
    ordered = sorted(range(len(depths)), key=depths.__getitem__)
    passed = list(accumulate([weights[place] for place in ordered]))
    level, middle = (
        depths[ordered[min(len(ordered) - 1, bisect_right(passed, share * passed[-1]))]] for share in (USUAL_SHARE, 0.5)
    )
    return level, middle


def _was_so_yesterday(columns: Backlogs, present: float) -> bool:
    at = columns.times.at
    ago, width = SAME_TIME_YESTERDAY
    then = at[-1] - ago
    behind = bisect_right(at, then + width)
    around = columns.backlogs[bisect_left(at, then - width) : behind]
    later = columns.backlogs[behind:]
    if not around or not later:
        return False
    highest = max(around)
    return min(later) <= highest / 2 and present <= 1.5 * highest + FEWEST_RUNS


def _grows(columns: Backlogs, depths: Sequence[int], start: int, level: float, present: float) -> bool:
    at, entered, drained = columns.times.at, columns.entered, columns.drained
    first, last = at[start], at[-1]
    if entered[-1] - entered[start] <= drained[-1] - drained[start]:
        return False
    rise = max(depths[start:]) - level
    if present - level < rise / 2:
        return False
    if last - first > SETTLED:
        halfway = bisect_left(at, first + (last - first) / 2)
        if present - depths[halfway] < rise / 10:
            return False
    recent = last - max(MINUTE, (last - first) / 5)
    before = bisect_right(at, recent) - 1
    if before <= start:
        return True
    shrank = depths[before] - present > rise / 10
    return not (shrank and entered[-1] - entered[before] < drained[-1] - drained[before])
