"""A line that heads a part of a place: its title at the left, a note at the right. It needs no box."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from secateur_tui.frame.telling import alike
from secateur_tui.themes import toned

_LEAST = 2
"""Cells of line between the title and the note."""


class Rule(Widget):
    """Shows the last arguments of `show`, with the first of the notes that fits.

    With `keeps_note` the title makes room for the last note. Inside a container of the class `section` the line lights
    up while the section has the focus.
    """

    def __init__(self, title: str = "", *, id: str | None = None, keeps_note: bool = False) -> None:
        super().__init__(id=id)
        self._title = toned((title, "strong"))
        self._notes: tuple[Content, ...] = ()
        self._keeps_note = keeps_note

    def on_mount(self) -> None:
        self.watch(self.screen, "focused", self._follow_focus)

    def _follow_focus(self, focused: Widget | None) -> None:
        section = self.parent
        lights = isinstance(section, Widget) and section.has_class("section") and focused is not None
        self.set_class(lights and focused is not None and section in focused.ancestors, "-lit")

    def show(self, title: Content | str, *notes: Content | str) -> None:
        """`notes` say the same in ever fewer words; texts are shown in the looks of titles and notes."""
        before = [self._title, *self._notes]
        self._title = toned((title, "strong")) if isinstance(title, str) else title
        self._notes = tuple(toned((note, "quiet")) if isinstance(note, str) else note for note in notes)
        now = [self._title, *self._notes]
        if len(now) != len(before) or not all(map(alike, now, before)):
            self.refresh()

    def note(self, *notes: Content | str) -> None:
        """Show other notes under the same title."""
        self.show(self._title, *notes)

    @property
    def heading(self) -> Content:
        """The title as it fits into the line's width."""
        return self._title

    def render(self) -> RenderResult:
        width, title = self.size.width, self.heading
        left = toned((" ", "plain")) + title + toned((" " if title else "", "plain"))
        room = width - left.cell_length - _LEAST - 2
        note = next((each for each in self._notes if each and each.cell_length <= room), None)
        if note is None and self._keeps_note and self._notes and self._notes[-1]:
            note = self._notes[-1]
            left = left.truncate(max(0, width - note.cell_length - _LEAST - 2), ellipsis=True)
        elif note is None:
            left = left.truncate(max(0, width - 1), ellipsis=True)
        right = Content(" ") if note is None else toned((" ", "plain")) + note + toned((" ", "plain"))
        line = "─" * max(0, width - left.cell_length - right.cell_length)
        return (left + Content(line) + right).truncate(width)
