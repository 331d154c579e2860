"""Figures as bars."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from secateur.runs import Bar, Histogram
from secateur_tui.filter.histogram import clock, drawn
from secateur_tui.frame.bars import proportion, sparkline


def test_a_sparkline_shows_trends_and_hides_noise() -> None:
    assert sparkline([], 4) == "    "
    assert sparkline([0, 0], 4) == "  ▁▁"
    assert sparkline([1000, 1001, 999], 3) == "▃▃▃"
    assert sparkline([0, 50, 100], 3) == "▁▅█"


def test_a_histogram_fills_what_matches_and_dots_the_rest() -> None:
    rows = drawn([Bar(0, 0, 0), Bar(100, 50, 0), Bar(1, 0, 0), Bar(100, 100, 0)], 2)
    assert ["".join(text for text, _ in row) for row in rows] == [" ░ █", " █░█"]
    assert [tone for _, tone in rows[1]] == ["plain", "count", "chart", "count"]


def test_a_proportion_is_full_or_empty_only_where_it_is_all_or_none() -> None:
    assert [proportion(share, 4) for share in (0.0, 0.001, 0.5, 0.999, 1.0)] == ["░░░░", "█░░░", "██░░", "███░", "████"]


@pytest.mark.parametrize(
    ("span", "at_the_edge", "picked"),
    [
        (timedelta(seconds=40), "03:04", "03:04:05"),
        (timedelta(hours=3), "03:04", "03:04"),
        (timedelta(days=3), "27 Nov", "27 Nov"),
    ],
    ids=str,
)
def test_no_time_of_day_can_be_mistaken_for_minutes_and_seconds(span: timedelta, at_the_edge: str, picked: str) -> None:
    first = datetime(2026, 11, 27, 3, 4, 5, tzinfo=UTC)
    histogram = Histogram(first, first + span, (Bar(1, 1, 0),), True)
    assert (clock(first, histogram), clock(first, histogram, seconds=True)) == (at_the_edge, picked)
