"""Since when a queue grows: on series of many kinds, each of known truth, with the noise that queues have."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import pi, sin

import pytest

from secateur.looking.growth import growing_since, ladder
from secateur.samples import Sample

NOW = datetime(2026, 3, 14, 3, 0, tzinfo=UTC)
HOURS = 3600.0
SEEDS = range(12)

Depth = Callable[[float], float]
"""A depth by seconds: negative ones are before now."""


def sampled(
    depth: Depth, seed: int, *, noise: float = 0.1, kept: float = 48 * HOURS, gaps: tuple[tuple[float, float], ...] = ()
) -> list[Sample]:
    """As the history has it, on the ladder: Poisson-like noise, and traffic that makes the depths."""
    chance = random.Random(seed)
    samples: list[Sample] = []
    entered = drained = 0
    last = 0
    for steps in ladder(NOW):
        for number in range(1, (steps.until - steps.since) // steps.length + 1):
            second = (steps.since + number * steps.length - NOW).total_seconds()
            if second < -kept or any(begin < second <= end for begin, end in gaps):
                continue
            ideal = max(0.0, depth(second))
            backlog = max(0, round(chance.gauss(ideal, noise * ideal**0.5 * 10)))
            traffic = round(10 * steps.length.total_seconds())
            entered += traffic + max(0, backlog - last)
            drained += traffic + max(0, last - backlog)
            last = backlog
            samples.append(Sample(NOW + timedelta(seconds=second), backlog, 0, 5, 0, 0, entered, drained))
    return samples


def found(depth: Depth, seed: int, **more: object) -> float | None:
    """Seconds before now."""
    since = growing_since(sampled(depth, seed, **more))  # type: ignore[arg-type]
    return None if since is None else (since - NOW).total_seconds()


def ramp(start: float, per_second: float, level: float = 0.0) -> Depth:
    return lambda second: level + max(0.0, second - start) * per_second


def wave(high: float) -> Depth:
    """Its peak is two hours from now."""
    return lambda second: high * (1 + sin(2 * pi * (second / (24 * HOURS) + 1 / 6))) / 2


def bursts(high: float, every: float, length: float, phase: float = 0.0) -> Depth:
    """Each drains evenly."""

    def depth(second: float) -> float:
        into = (second + phase) % every
        return high * max(0.0, 1 - into / length)

    return depth


QUIET: dict[str, Depth] = {
    "empty": lambda second: 0,
    "a few": lambda second: 3,
    "steady": lambda second: 200,
    "steady and deep": lambda second: 50_000,
    "steady, then empty": lambda second: 500 if second < -600 else 0,
    "a wave that rises": wave(5000),
    "a wave that is small": wave(60),
    "bursts that drain": bursts(800, 900, 300, phase=850),
    "bursts that drain, in the middle of one": bursts(800, 900, 400, phase=50),
    "a flood that has drained": lambda second: 100 + 40_000 * max(0.0, min(1.0, -(second + 600) / 3000)),
    "a flood that drains": lambda second: 100 + 40_000 * min(1.0, max(0.0, -second / 1200)) if second > -1800 else 100,
    "one that swings": lambda second: (0, 3000, 100)[int(second / 10) % 3],
    "a jump of long ago": lambda second: 100 if second < -40 * HOURS else 3000,
    "one that was at this time yesterday, too": lambda second: 4000 if second % (24 * HOURS) > 23.7 * HOURS else 20,
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", QUIET)
def test_what_is_usual_does_not_grow(kind: str, seed: int) -> None:
    assert found(QUIET[kind], seed) is None


def added(one: Depth, other: Depth) -> Depth:
    return lambda second: one(second) + other(second)


FLOODS: dict[str, tuple[float, Depth]] = {
    "out of nothing, a minute ago": (-60, ramp(-60, 50)),
    "out of nothing, ten minutes ago": (-600, ramp(-600, 50)),
    "out of nothing, an hour ago": (-HOURS, ramp(-HOURS, 50)),
    "out of nothing, a day ago": (-24 * HOURS, ramp(-24 * HOURS, 2)),
    "above a level": (-1200, ramp(-1200, 20, level=300)),
    "above a deep level": (-1200, ramp(-1200, 50, level=20_000)),
    "all at once": (-900, lambda second: 100 if second < -900 else 60_000 + second),
    "all at once, and then slowly more": (-3 * HOURS, lambda second: 50 if second < -3 * HOURS else 5000 + second / 10),
    "slowly": (-4 * HOURS, ramp(-4 * HOURS, 0.5, level=100)),
    "faster and faster": (-1800, lambda second: 50 + max(0.0, second + 1800) ** 2 / 100),
    "on a wave": (-1500, added(wave(400), ramp(-1500, 10))),
    "among bursts": (-1500, added(bursts(300, 900, 200), ramp(-1500, 10))),
    "after another one": (
        -600,
        added(lambda second: 30_000.0 if -10 * HOURS < second < -9 * HOURS else 40.0, ramp(-600, 30)),
    ),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_began_when_it_began(kind: str, seed: int) -> None:
    truth, depth = FLOODS[kind]
    since = found(depth, seed)
    assert since is not None
    # Never long after: what began is to be seen. To a tenth of its age, and a step of the history.
    assert 1.35 * truth - 25 <= since <= 0.85 * truth + 10


def test_a_growth_that_began_in_a_gap_began_where_the_gap_did() -> None:
    since = found(ramp(-1800, 20, level=50), 1, gaps=((-3000, -900),))
    assert since is not None
    assert -3700 <= since <= -3000


def test_gaps_before_and_after_change_nothing() -> None:
    gaps = ((-30 * HOURS, -20 * HOURS), (-400, -300))
    since = found(ramp(-1200, 20, level=300), 1, gaps=gaps)
    assert since is not None
    assert -1500 <= since <= -1000
    assert found(QUIET["steady"], 1, gaps=gaps) is None
    assert found(QUIET["a wave that rises"], 1, gaps=gaps) is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_history_is_enough(seed: int) -> None:
    since = found(ramp(-240, 20, level=50), seed, kept=600)
    assert since is not None
    assert -300 <= since <= -200
    assert found(QUIET["steady"], seed, kept=600) is None


def test_of_too_little_nothing_is_said() -> None:
    assert growing_since([]) is None
    assert found(ramp(-60, 100), 1, kept=60) is None


def test_what_comes_back_by_an_undo_did_not_come_in() -> None:
    samples = sampled(lambda second: 100 if second < -300 else 9000, 1)
    assert growing_since(samples) is not None
    still = [Sample(one.at, one.queued, 0, 5, 0, 0, samples[0].entered, samples[0].drained) for one in samples]
    assert growing_since(still) is None


def test_a_cancellation_that_takes_the_flood_ends_it() -> None:
    flood = ramp(-1800, 20, level=50)
    assert found(lambda second: flood(second) if second < -60 else 60, 1) is None
