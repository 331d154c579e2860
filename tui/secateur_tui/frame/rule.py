"""A line that heads a part of a place: its title at the left, a note at the right. It needs no box."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from secateur_tui.themes import TONES, toned

_LEAST = 2
"""Cells of line between the title and the note."""


class Rule(Widget):
    """Shows what `show` was given last; of too little room, the note goes first."""

    def __init__(self, title: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title, self._note = toned((title, "strong")), Content("")

    def show(self, title: Content | str, note: Content | str = "") -> None:
        """Texts are shown in the looks of titles and notes."""
        before = self._title, self._note
        self._title = toned((title, "strong")) if isinstance(title, str) else title
        self._note = toned((note, "quiet")) if isinstance(note, str) else note
        if (self._title, self._note) != before:
            self.refresh()

    def render(self) -> RenderResult:
        width = self.size.width
        left = toned((" ", "plain")) + self._title + toned((" ", "plain"))
        right = toned((" ", "plain")) + self._note + toned((" ", "plain")) if self._note else Content(" ")
        if left.cell_length + right.cell_length + _LEAST > width:
            right = Content(" ")
        line = "─" * max(0, width - left.cell_length - right.cell_length)
        return (left + Content.styled(line, TONES["line"]) + right).truncate(width)
