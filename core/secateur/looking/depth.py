"""Where a queue is heading, from its depth: shared by the command line, the API and the console."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from secateur.runs import FunctionDepth

NEGLIGIBLE = 0.05
"""Runs per second; a lower rate is noise in the average of ten seconds."""

FEWEST_GROWING = 10
"""The smallest backlog that counts as growing; below it, a change is chance."""

SECONDS = 10.0
"""The time over which rates are averaged."""

STALLED_AFTER_SECONDS = 60.0
"""A queue in which nothing moves counts as stalled once its oldest run has waited for this long."""

NOISE = 2.0
"""Standard deviations of random arrivals and departures; a smaller change is no trend."""


class Trend(StrEnum):
    EMPTY = "empty"
    """Nothing is queued. Runs may be scheduled for later, unless their number grows."""
    PAUSED = "paused"
    GROWING = "growing"
    DRAINING = "draining"
    STEADY = "steady"
    """About as many runs leave as come."""
    STALLED = "stalled"
    """There is a backlog, and for a while no run has arrived, left or been running."""


@dataclass(frozen=True, slots=True)
class Outlook:
    trend: Trend
    drains_in_seconds: float | None
    """Until the backlog is empty at the present rate; 0 if it is empty, None if it does not drain."""


def outlook(depth: FunctionDepth) -> Outlook:
    """Judges by the change of the backlog itself, so runs that a cancellation takes do not count as growth.

    A change is a trend if it is larger than the arrivals and departures of a steady queue bring about by chance.
    """
    if depth.queued == 0 and (depth.scheduled == 0 or depth.growing_since is None):
        return Outlook(Trend.PAUSED if depth.paused else Trend.EMPTY, 0.0)
    growth = growth_of(depth)
    entering = depth.in_per_second or 0.0
    leaving = max(0.0, entering - growth)
    chance = NOISE * math.sqrt(2 * SECONDS * min(entering, leaving)) / SECONDS
    least = max(NEGLIGIBLE, chance)
    if growth <= -least:
        return Outlook(Trend.PAUSED if depth.paused else Trend.DRAINING, depth.backlog / -growth)
    if depth.paused:
        return Outlook(Trend.PAUSED, None)
    certain = depth.growing_since is not None and growth >= NEGLIGIBLE
    if depth.backlog >= FEWEST_GROWING and (growth >= least or certain):
        return Outlook(Trend.GROWING, None)
    moves = max(entering, depth.out_per_second or 0.0, leaving) >= NEGLIGIBLE
    is_known = depth.in_per_second is not None or depth.growth_per_second is not None
    return Outlook(Trend.STALLED if is_known and not moves and _stands_still(depth) else Trend.STEADY, None)


def waited_seconds(depth: FunctionDepth) -> float:
    """How long the oldest run has been claimable; 0 if no run is."""
    since = depth.oldest_claimable_at
    return 0.0 if since is None else (depth.as_of - since).total_seconds()


def _stands_still(depth: FunctionDepth) -> bool:
    return depth.running <= depth.lost and waited_seconds(depth) >= STALLED_AFTER_SECONDS


def growth_of(depth: FunctionDepth) -> float:
    """Runs per second. If the engine does not know the growth of the backlog, it is arrivals minus departures.

    The same applies if the backlog grows faster than runs arrive: an undo or a retry has queued runs again, and such
    growth does not continue.
    """
    growth, entering = depth.growth_per_second, depth.in_per_second
    if growth is None or (entering is not None and growth > entering):
        return (entering or 0.0) - (depth.out_per_second or 0.0)
    return growth


def grows_since(depth: FunctionDepth) -> datetime | None:
    """Since when it has been growing; None as soon as it shrinks, or if nothing is queued and it does not grow now."""
    trend = outlook(depth).trend
    if trend is Trend.DRAINING or (depth.queued == 0 and trend is not Trend.GROWING):
        return None
    return depth.growing_since
