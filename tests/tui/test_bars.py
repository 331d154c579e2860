"""Figures as bars."""

from __future__ import annotations

from secateur.runs import Bar
from secateur_tui.filter.histogram import drawn
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
