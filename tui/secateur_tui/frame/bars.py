"""Figures as bars of block characters, which read without colour."""

from __future__ import annotations

from secateur.words.sparklines import sparkline as sparkline


def progress(share: float, width: int) -> str:
    """A bar of `width` cells that reads without colour."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "─" * (width - filled)
