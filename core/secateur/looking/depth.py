"""Where a queue is heading, by its depth: once for the command line, the API and the console."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from secateur.runs import FunctionDepth

NEGLIGIBLE = 0.05
"""Runs per second below which a rate is noise of its ten-second average."""

FEWEST_GROWING = 10
"""A backlog of fewer runs is not said to grow: there it is chance."""

SECONDS = 10.0
"""What the rates are averaged over."""

STALLED_AFTER_SECONDS = 60.0
"""A queue in which nothing moves is not stalled before its oldest run has waited for so long."""

NOISE = 2.0
"""Standard deviations of what comes and goes by chance: less is no trend."""


class Trend(StrEnum):
    EMPTY = "empty"
    """Nothing is queued. What is scheduled may wait for its time, unless there is more and more of it."""
    PAUSED = "paused"
    GROWING = "growing"
    DRAINING = "draining"
    STEADY = "steady"
    """About as much leaves as comes."""
    STALLED = "stalled"
    """There is a backlog, and for a while nothing has come, gone or run."""


@dataclass(frozen=True, slots=True)
class Outlook:
    trend: Trend
    drains_in_seconds: float | None
    """Until the backlog is empty, if it drains on as it does: 0 when it is; None when it does not drain."""


def outlook(depth: FunctionDepth) -> Outlook:
    """By how the backlog itself changed, so that what a cancellation takes is no growth.

    A change is a trend if it is more than chance: as much comes and goes by turns as comes and leaves alike.
    """
    if depth.queued == 0 and (depth.scheduled == 0 or depth.growing_since is None):
        return Outlook(Trend.PAUSED if depth.paused else Trend.EMPTY, 0.0)
    growth = growth_of(depth)
    leaving = max(0.0, depth.in_per_second - growth)
    chance = NOISE * math.sqrt(2 * SECONDS * min(depth.in_per_second, leaving)) / SECONDS
    least = max(NEGLIGIBLE, chance)
    if growth <= -least:
        return Outlook(Trend.PAUSED if depth.paused else Trend.DRAINING, depth.backlog / -growth)
    if depth.paused:
        return Outlook(Trend.PAUSED, None)
    certain = depth.growing_since is not None and growth >= NEGLIGIBLE
    if depth.backlog >= FEWEST_GROWING and (growth >= least or certain):
        return Outlook(Trend.GROWING, None)
    moves = max(depth.in_per_second, depth.out_per_second, leaving) >= NEGLIGIBLE
    return Outlook(Trend.STALLED if not moves and _stands_still(depth) else Trend.STEADY, None)


def waited_seconds(depth: FunctionDepth) -> float:
    """For how long its oldest run could have been claimed; 0 if there is none."""
    since = depth.oldest_claimable_at
    return 0.0 if since is None else (depth.as_of - since).total_seconds()


def _stands_still(depth: FunctionDepth) -> bool:
    return depth.running <= depth.lost and waited_seconds(depth) >= STALLED_AFTER_SECONDS


def growth_of(depth: FunctionDepth) -> float:
    """Runs per second; what comes in less what goes out, where the engine does not know it of the backlog."""
    if depth.growth_per_second is None:
        return depth.in_per_second - depth.out_per_second
    return depth.growth_per_second
