"""Figures over time as areas of block characters: plain text, to be read anywhere, without colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secateur.words.sparklines import BLOCKS, highest_of_each

_BRAILLE, _DOTS = 0x2800, 4
_RISING = ((0x00, 0x40, 0x44, 0x46, 0x47), (0x00, 0x80, 0xA0, 0xB0, 0xB8))
"""The dots of the left and the right column of a cell, filled up to each height."""

UNKNOWN = "·"
"""Stands at the bottom of a column of which nothing is known."""


def chart(
    values: Sequence[float | None], width: int, height: int, words: Callable[[float], str], bars: str = BLOCKS
) -> list[str]:
    """The lines of an area, the top one first, each with its place on the scale from nothing to the highest value.

    `words` writes a figure.
    """
    shown = highest_of_each(values, width)
    top = max((value for value in shown if value is not None), default=0)
    lines = area(shown, height, top, bars)
    scale = {0: words(top), height - 1: words(0)}
    room = max(map(len, scale.values()))
    return [f"{scale.get(row, '').rjust(room)} │{line}".rstrip() for row, line in enumerate(lines)]


def area(
    values: Sequence[float | None], height: int, highest: float, bars: str = BLOCKS, *, unknown: str = UNKNOWN
) -> list[str]:
    """The lines of an area, the top one first, a column for each value; `highest` fills a column.

    Of what is more than nothing, at least the lowest bar is shown. None is not known.
    """
    levels = len(bars)
    filled = [None if value is None else _filled(value, highest, height * levels) for value in values]
    lines = []
    for row in reversed(range(height)):
        cells = []
        for each in filled:
            if each is None:
                cells.append(unknown if row == 0 else " ")
            else:
                part = each - row * levels
                cells.append(" " if part <= 0 else bars[min(part, levels) - 1])
        lines.append("".join(cells))
    return lines


def dotted_area(values: Sequence[float | None], height: int, highest: float, *, unknown: str = UNKNOWN) -> list[str]:
    """As `area`, in braille: each cell has two columns, one for each value, of four dots."""
    filled = [None if value is None else _filled(value, highest, height * _DOTS) for value in values]
    pairs = list(zip(filled[::2], filled[1::2], strict=False))
    lines = []
    for row in reversed(range(height)):
        cells = []
        for left, right in pairs:
            if left is None and right is None:
                cells.append(unknown if row == 0 else " ")
                continue
            # Half a cell may still be in the future.
            both = (left if left is not None else right, right if right is not None else left)
            dots = sum(_RISING[side][max(0, min(_DOTS, (each or 0) - row * _DOTS))] for side, each in enumerate(both))
            cells.append(chr(_BRAILLE + dots) if dots else " ")
        lines.append("".join(cells))
    return lines


def _filled(value: float, highest: float, levels: int) -> int:
    if value <= 0 or highest <= 0:
        return 0
    return max(1, min(levels, round(value / highest * levels)))
