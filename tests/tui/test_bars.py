"""Figures as bars."""

from __future__ import annotations

from secateur_tui.frame.bars import sparkline


def test_a_sparkline_shows_trends_and_hides_noise() -> None:
    assert sparkline([], 4) == "    "
    assert sparkline([0, 0], 4) == "  ▁▁"
    assert sparkline([1000, 1001, 999], 3) == "▃▃▃"
    assert sparkline([0, 50, 100], 3) == "▁▅█"
