"""Finds when more runs began to arrive, from the times of the arrivals."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

FEWEST = 30
"""With fewer arrivals since the step, nothing can be said."""

FEWEST_OF_MANY = 200
"""`FEWEST` where a tenth of the arrivals is at least as many, and for a second step: fewer may be one batch that came
just now."""

STEP = 1.5
"""How many times its old value the rate must be."""

CERTAIN = 12.0
"""Nats of evidence for a step. It is more than chance would require, because a sample of pages has bursts."""

AGAIN = 2.0
"""`STEP` for a second step after the first. A flood that swells would otherwise begin too late."""

CANDIDATES = 240


def onset(times: Sequence[float], now: float) -> float | None:
    """The time, in seconds, since when the rate has been higher than before; None if it has not. `times` are sorted.

    It is the best fit of two rates, one before and one since: the most likely step, compared with one rate for all. The
    search first tries ages that grow by a factor, so that ten minutes are found within a month, then the arrivals
    around the best of them.
    """
    fewest = max(FEWEST, min(FEWEST_OF_MANY, len(times) // 10))
    began = _step(times, now, STEP, fewest)
    if began is None:
        return None
    later = _step(times[bisect_left(times, began) :], now, AGAIN, FEWEST_OF_MANY)
    return began if later is None else later


def _step(times: Sequence[float], now: float, least: float, fewest: int) -> float | None:
    if len(times) < fewest or now <= times[0]:
        return None
    latest = times[-fewest]
    first, span = times[0], now - times[0]
    finest = max(0.05, span * 1e-7)
    ratio = (span / finest) ** (1 / CANDIDATES) if span > finest else 1.0
    ages = [finest * ratio**power for power in range(CANDIDATES)]
    coarse = [min(now - age, latest) for age in ages]
    best = max(coarse, key=lambda at: _evidence(times, at, now))
    # The step can only be at one of the arrivals around the best age.
    near = times[bisect_left(times, now - (now - best) * ratio) : bisect_left(times, now - (now - best) / ratio)]
    stride = max(1, len(near) // CANDIDATES)
    best = max([best, *(at for at in near[::stride] if at <= latest)], key=lambda at: _evidence(times, at, now))
    if _evidence(times, best, now) < CERTAIN:
        return None
    before = bisect_left(times, best)
    since, edge = len(times) - before, _edge(times, before)
    grown = (since / (now - edge)) / max(before, 1) * (edge - first)
    return times[before] if since >= fewest and grown >= least else None


def _evidence(times: Sequence[float], at: float, now: float) -> float:
    """How much likelier two rates with a step up at that time are than one rate, in nats."""
    first, before = times[0], bisect_left(times, at)
    edge = _edge(times, before)
    past, rest = edge - first, now - edge
    since = len(times) - before
    if past <= 0 or rest <= 0 or since == 0 or since * past <= before * rest:
        return 0.0
    two = since * math.log(since / rest) + (before * math.log(before / past) if before else 0.0)
    return two - len(times) * math.log(len(times) / (now - first))


def _edge(times: Sequence[float], before: int) -> float:
    """Where the time since the step is measured from: the arrival before it. Measured from its own first arrival, every
    batch would be a step."""
    return times[max(0, before - 1)]
