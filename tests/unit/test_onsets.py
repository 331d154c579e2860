"""When more runs began to arrive, from the times of the arrivals."""

from __future__ import annotations

import pytest

from secateur.looking.onsets import onset

BATCH = 40
"""Runs that a producer enqueues at once, every second."""


def in_batches(seconds: int, *, until: float, size: int = BATCH) -> list[float]:
    """One batch a second, the last of them a tenth of a second before `until`."""
    return sorted(until - 0.1 - ago + 0.0001 * nth for ago in range(seconds) for nth in range(size))


@pytest.mark.parametrize("seconds", [10, 30, 120])
@pytest.mark.parametrize("before", [0, 600])
def test_the_last_batch_is_no_flood(seconds: int, before: int) -> None:
    """What began is found, not that a batch has come in the last second."""
    now = 10_000.0
    usual = [now - seconds - 3600 + 3600 * nth / max(before, 1) for nth in range(before)]
    began = onset([*usual, *in_batches(seconds, until=now)], now)
    if before:
        assert began == pytest.approx(now - seconds, abs=2)
    else:
        assert began is None


def test_a_step_of_one_batch_is_looked_past_for_an_earlier_one() -> None:
    """The steepest step has too few runs; the flood has begun before it."""
    now = 10_000.0
    usual = [now - 7200 + 7.2 * nth for nth in range(900)]
    flood = [now - 720 + 0.72 * nth for nth in range(1000)]
    began = onset(sorted([*usual, *flood, *in_batches(1, until=now, size=60)]), now)
    assert began == pytest.approx(now - 720, abs=30)


def test_few_arrivals_may_begin_a_flood_of_few() -> None:
    now = 10_000.0
    usual = [now - 7200 + 72 * nth for nth in range(100)]
    flood = [now - 60 + nth for nth in range(60)]
    assert onset(sorted([*usual, *flood]), now) == pytest.approx(now - 60, abs=2)
