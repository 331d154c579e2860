"""Figures as bars of block characters, which read without colour."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_FLAT = 0.03
"""A change below this share of the largest value is drawn flat: it is noise, not a trend."""


def sparkline(values: Sequence[float], width: int) -> str:
    """The newest `width` values, right-aligned; scaled between their minimum and maximum."""
    shown = list(values[-width:]) if width > 0 else []
    if not shown:
        return " " * max(0, width)
    low, high = min(shown), max(shown)
    if high - low <= high * _FLAT:
        bars = ("▁" if high == 0 else "▃") * len(shown)
    else:
        bars = "".join(_BLOCKS[round((value - low) / (high - low) * 7)] for value in shown)
    return bars.rjust(width)


def progress(share: float, width: int) -> str:
    """A bar of `width` cells that reads without colour."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "━" * filled + "─" * (width - filled)
