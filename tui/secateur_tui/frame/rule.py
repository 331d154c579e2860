"""A line that heads a part of a place: its title at the left, a note at the right. It needs no box."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from secateur_tui.themes import TONES, toned

_LEAST = 2
"""Cells of line between the title and the note."""


class Rule(Widget):
    """Shows what `show` was given last: of the notes, the first that there is room for."""

    def __init__(self, title: str = "", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = toned((title, "strong"))
        self._notes: tuple[Content, ...] = ()

    def show(self, title: str, *notes: Content | str) -> None:
        """`notes` say the same in ever fewer words; texts are quiet."""
        before = self._title, self._notes
        self._title = toned((title, "strong"))
        self._notes = tuple(toned((note, "quiet")) if isinstance(note, str) else note for note in notes)
        if (self._title, self._notes) != before:
            self.refresh()

    def render(self) -> RenderResult:
        width = self.size.width
        left = toned((" ", "plain")) + self._title + toned((" " if self._title else "", "plain"))
        room = width - left.cell_length - _LEAST - 2
        note = next((each for each in self._notes if each and each.cell_length <= room), None)
        right = Content(" ") if note is None else toned((" ", "plain")) + note + toned((" ", "plain"))
        line = "─" * max(0, width - left.cell_length - right.cell_length)
        return (left + Content.styled(line, TONES["line"]) + right).truncate(width)
