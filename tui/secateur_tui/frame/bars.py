"""Figures as bars of block characters, readable without colour."""

from __future__ import annotations

from secateur.words.sparklines import sparkline as sparkline


def progress(share: float, width: int) -> str:
    """A bar of `width` cells that reads without colour."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "─" * (width - filled)


def proportion(share: float, width: int) -> str:
    """A part of a whole in `width` cells; neither empty nor full unless it is none or all."""
    filled = round(share * width)
    if 0 < share < 1:
        filled = max(1, min(width - 1, filled))
    return "█" * filled + "░" * (width - filled)
