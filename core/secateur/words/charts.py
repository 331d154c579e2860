"""Figures over time as an area of block characters, with its scale: plain text, to be read anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secateur.words.sparklines import BLOCKS, highest_of_each

UNKNOWN = "·"
"""A column of which nothing is known."""


def chart(
    values: Sequence[float | None], width: int, height: int, words: Callable[[float], str], bars: str = BLOCKS
) -> list[str]:
    """The lines of an area, the top one first, each with its place on the scale from nothing to the highest value.

    `words` writes a figure. Of what is more than nothing, at least the lowest bar is shown.
    """
    shown = highest_of_each(values, width)
    top = max((value for value in shown if value is not None), default=0)
    levels = height * len(bars)
    filled = [None if value is None else _level(value, top, levels) for value in shown]
    scale = {height - 1: words(top), 0: words(0)}
    room = max(map(len, scale.values()))
    lines = []
    for row in reversed(range(height)):
        cells = "".join(_cell(level, row, bars) for level in filled)
        lines.append(f"{scale.get(row, '').rjust(room)} │{cells}".rstrip())
    return lines


def _level(value: float, top: float, levels: int) -> int:
    return 0 if value <= 0 or top <= 0 else max(1, round(value / top * levels))


def _cell(level: int | None, row: int, bars: str) -> str:
    if level is None:
        return UNKNOWN if row == 0 else " "
    part = level - row * len(bars)
    return " " if part <= 0 else bars[min(part, len(bars)) - 1]
