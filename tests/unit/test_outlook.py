"""Where a queue is heading: by its backlog, and not by what chance does to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from secateur.looking.depth import Trend, grows_since, growth_of, outlook
from secateur.runs import FunctionDepth

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def depth(
    queued: int,
    into: float | None,
    out: float | None,
    growth: float | None,
    *,
    scheduled: int = 0,
    paused: bool = False,
    since: datetime | None = None,
    running: int = 0,
    lost: int = 0,
    waited: float = 3_600,
) -> FunctionDepth:
    return FunctionDepth(
        *("billing", "syncs", queued, scheduled, running, 0, None, into, out, NOW),
        lost=lost,
        oldest_claimable_at=NOW - timedelta(seconds=waited),
        growth_per_second=growth,
        paused=paused,
        growing_since=since,
    )


@pytest.mark.parametrize(
    ("found", "trend", "seconds"),
    [
        (depth(0, 0, 0, 0), Trend.EMPTY, 0),
        (depth(0, 5, 5, -1), Trend.EMPTY, 0),
        (depth(0, 2, 0, 2, scheduled=500), Trend.EMPTY, 0),
        (depth(0, 2, 0, 2, scheduled=500, since=NOW), Trend.GROWING, None),
        (depth(0, 0, 0, 0, paused=True), Trend.PAUSED, 0),
        (depth(100_000, 124, 14, 110), Trend.GROWING, None),
        (depth(100_000, 14, 124, -110), Trend.DRAINING, pytest.approx(909, abs=1)),
        # Of some queues only the growth is known.
        (depth(100_000, None, None, 110), Trend.GROWING, None),
        (depth(100_000, None, None, -110), Trend.DRAINING, pytest.approx(909, abs=1)),
        (depth(100_000, None, None, None), Trend.STEADY, None),
        # A standing cancellation takes what arrives: nothing is worked off, and nothing grows.
        (depth(50_000, 124, 0, 0.4), Trend.STEADY, None),
        (depth(50_000, 124, 0, -5_000), Trend.DRAINING, 10),
        (depth(500, 0, 0, 0), Trend.STALLED, None),
        # Nothing has moved yet: its runs have just come, or are at work.
        (depth(1, 0, 0, 0, waited=59), Trend.STEADY, None),
        (depth(1, 0, 0, 0, running=3), Trend.STEADY, None),
        (depth(1, 0, 0, 0, running=3, lost=3), Trend.STALLED, None),
        (depth(3, 0.3, 0.1, 0.2), Trend.STEADY, None),
        (depth(1_000, 100, 100, 3), Trend.STEADY, None),
        (depth(1_000, 100, 100, -3), Trend.STEADY, None),
        (depth(1_000, 100, 100, 3, since=NOW), Trend.GROWING, None),
        (depth(1_000, 100, 100, 20), Trend.GROWING, None),
        (depth(20, 0, 0.5, -0.5), Trend.DRAINING, 40),
        (depth(100, 5, 0, 5, paused=True), Trend.PAUSED, None),
        (depth(100, 5, 0, -20, paused=True), Trend.PAUSED, 5),
        # An engine that does not know how the backlog changes.
        (depth(100, 9, 1, None), Trend.GROWING, None),
        (depth(100, 1, 9, None), Trend.DRAINING, 12.5),
    ],
)
def test_the_outlook(found: FunctionDepth, trend: Trend, seconds: float | None) -> None:
    assert (outlook(found).trend, outlook(found).drains_in_seconds) == (trend, seconds)


@pytest.mark.parametrize(
    ("found", "grows"),
    [
        (depth(100_000, 124, 14, 110, since=NOW), True),
        (depth(100_000, 124, 14, 110), False),
        (depth(100_000, 20, 20, 0, since=NOW), True),
        (depth(100_000, 14, 124, -110, since=NOW), False),
        (depth(0, 2, 0, 2, scheduled=500, since=NOW), True),
        (depth(0, 0, 0, 0, scheduled=500, since=NOW), False),
    ],
)
def test_since_when_it_grows_is_told_while_it_does(found: FunctionDepth, grows: bool) -> None:
    assert grows_since(found) == (NOW if grows else None)


def test_what_an_undo_puts_back_is_no_growth() -> None:
    """It adds thousands to the backlog within seconds, and none of them arrives."""
    assert growth_of(depth(30_000, 40, 15, 626)) == 25
    assert growth_of(depth(30_000, 10, 30, 626)) == -20
    assert growth_of(depth(30_000, 40, 15, 24)) == 24
    assert outlook(depth(30_000, 0, 0, 626)).trend is not Trend.GROWING
