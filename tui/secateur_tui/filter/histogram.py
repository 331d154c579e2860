"""Runs over their start time: those that match filled, the others in dots; a range of it becomes the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from secateur.runs import Bar, Histogram
from secateur.words.figures import number
from secateur.words.sparklines import BLOCKS
from secateur_tui.keymap import bindings_of
from secateur_tui.themes import TONES, toned

_OTHER = "░"
_LABEL = 7
"""Cells beside the bars, for the times of both ends."""
_EIGHTHS = 8


class HistogramChart(Widget, can_focus=True):
    """Shows a histogram; with the focus, the arrows pick a range of it, which enter makes the window."""

    BINDINGS = bindings_of("histogram")

    @dataclass
    class Picked(Message):
        """The times where the range begins and ends; None at an end of the whole histogram."""

        first: datetime | None
        last: datetime | None

    @dataclass
    class Moved(Message):
        """Another range is picked, or none."""

    def __init__(self) -> None:
        super().__init__(id="histogram")
        self._histogram: Histogram | None = None
        self._why = ""
        self._anchor = self._cursor = 0

    @property
    def bars(self) -> int:
        """How many bars fit."""
        return max(1, self.size.width - 2 * _LABEL)

    def show(self, histogram: Histogram | None, why: str = "") -> None:
        """Show a histogram, or `why` there is none. If its ends have changed, the picked range stays at about the same
        place.
        """
        self._why = why
        if histogram is not None and self._histogram is not None:
            before, after = len(self._histogram.bars), len(histogram.bars)
            self._anchor = min(after - 1, self._anchor * after // before)
            self._cursor = min(after - 1, self._cursor * after // before)
        elif histogram is not None:
            self._anchor = self._cursor = len(histogram.bars) - 1
        self._histogram = histogram
        self.refresh()

    @property
    def picked(self) -> Sequence[Content]:
        """The picked range in phrases; none without the focus."""
        if (histogram := self._histogram) is None or not self.has_focus:
            return ()
        low, high = self._range
        first, last = histogram.span(low, high)
        bars = histogram.bars[low : high + 1]
        about = "" if histogram.exact else "about "
        matched = number(sum(each.matched for each in bars))
        total = number(sum(each.total for each in bars))
        ends = f"{clock(first, histogram, seconds=True)} – {clock(last, histogram, seconds=True)}"
        return (
            toned((ends, "strong")),
            toned((f"{about}{matched}", "count"), (f" of {total}", "plain")),
            toned(("enter takes it", "key")),
        )

    @property
    def _range(self) -> tuple[int, int]:
        return min(self._anchor, self._cursor), max(self._anchor, self._cursor)

    def render(self) -> RenderResult:
        height = self.size.height
        if (histogram := self._histogram) is None or not height:
            return toned((self._why, "quiet"))
        rows = drawn(histogram.bars, height)
        low, high = self._range if self.has_focus else (-1, -1)
        lines = []
        for row, cells in enumerate(rows):
            is_last = row == height - 1
            left = clock(histogram.first, histogram) if is_last else ""
            right = clock(histogram.last, histogram) if is_last else ""
            line = toned((f"{left:>{_LABEL - 1}} ", "quiet"))
            for place, (text, tone) in enumerate(cells):
                look = TONES[tone] + (" reverse" if low <= place <= high else "")
                line += Content.styled(text, look)
            lines.append(line + toned((f" {right}", "quiet")))
        return Content("\n").join(lines)

    def _move(self, to: int, *, extend: bool) -> None:
        if self._histogram is None:
            return
        self._cursor = max(0, min(len(self._histogram.bars) - 1, to))
        if not extend:
            self._anchor = self._cursor
        self.refresh()
        self.post_message(self.Moved())

    def action_left(self) -> None:
        self._move(self._cursor - 1, extend=False)

    def action_right(self) -> None:
        self._move(self._cursor + 1, extend=False)

    def action_extend_left(self) -> None:
        self._move(self._cursor - 1, extend=True)

    def action_extend_right(self) -> None:
        self._move(self._cursor + 1, extend=True)

    def action_first(self) -> None:
        self._move(0, extend=False)

    def action_last(self) -> None:
        self._move(len(self._histogram.bars) - 1 if self._histogram else 0, extend=False)

    def action_take(self) -> None:
        if (histogram := self._histogram) is None:
            return
        low, high = self._range
        first, last = histogram.span(low, high)
        self.post_message(self.Picked(first if low > 0 else None, last if high < len(histogram.bars) - 1 else None))

    def on_focus(self) -> None:
        self.post_message(self.Moved())

    def on_blur(self) -> None:
        self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        self._move(event.x - _LABEL, extend=event.shift)


def drawn(bars: Sequence[Bar], height: int) -> list[list[tuple[str, str]]]:
    """The rows of the chart from the top, each a cell a bar with its tone.

    The highest bar fills the height, and whatever is there is seen, however little it is.
    """
    highest = max((each.total for each in bars), default=0)
    rows: list[list[tuple[str, str]]] = [[] for _ in range(height)]
    for bar in bars:
        total, matched = (_level(amount, highest, height) for amount in (bar.total, bar.matched))
        for row in range(height):
            below = (height - 1 - row) * _EIGHTHS
            filled, reached = matched - below, total - below
            if filled > 0:
                rows[row].append((BLOCKS[min(_EIGHTHS, filled) - 1], "count"))
            elif reached > 0:
                rows[row].append((_OTHER, "chart"))
            else:
                rows[row].append((" ", "plain"))
    return rows


def _level(amount: int, highest: int, height: int) -> int:
    return math.ceil(amount / highest * height * _EIGHTHS) if highest else 0


def clock(moment: datetime, histogram: Histogram, *, seconds: bool = False) -> str:
    """In six cells `27 Nov` where the span is days, else `14:05`; with `seconds`, `14:05:30` where a bar is shorter
    than a minute.
    """
    at, span = moment.astimezone(UTC), histogram.last - histogram.first
    if span > timedelta(days=2):
        return f"{at.day} {at:%b}"
    return f"{at:%H:%M:%S}" if seconds and span < timedelta(minutes=len(histogram.bars)) else f"{at:%H:%M}"
