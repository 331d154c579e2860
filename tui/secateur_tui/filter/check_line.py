"""What is wrong with an expression, under the editor: where, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from secateur.cel import Diagnostic
from secateur.words.lines import one_line, shorten_middle
from secateur_tui.themes import toned

_VISIBLE_LINES = 4
"""The least number of lines that the editor shows without scrolling."""


class CheckLine(Static):
    """Below the editor: what is wrong with the expression, where, and what to do."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._source = ""
        self._diagnostics: Sequence[Diagnostic] = ()
        self._otherwise = Content("")
        self._hint = ""

    def show(self, source: str, diagnostics: Sequence[Diagnostic], otherwise: Content, hint: str = "") -> None:
        """Show the diagnostics of the source, the first one with a caret under its place.

        `otherwise` is shown where there are none; `hint` says how to apply the first one's suggestion.
        """
        self._source, self._diagnostics, self._otherwise, self._hint = source, diagnostics, otherwise, hint
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        place: list[Content] = []
        messages = []
        for number, diagnostic in enumerate(self._diagnostics):
            found, message = self._explain(diagnostic, self._hint if number == 0 else "")
            place = found if number == 0 else place
            messages.append(message)
        if not messages:
            messages.append(self._otherwise)
        # The message matters most: it names the place as well.
        height = self.styles.height
        grows = height is None or height.is_auto
        rows = [message.get_height({}, max(1, self.size.width)) for message in messages]
        room = len(place) + sum(rows) if grows else max(1, self.size.height)
        if len(place) > room - rows[0]:
            place = [self._place_in_line(self._diagnostics[0])] if room > rows[0] else []
        # To lay out the whole screen anew takes longer than all that a keystroke does else.
        self.update(Content("\n").join([*place, *messages]), layout=grows)

    def _explain(self, diagnostic: Diagnostic, hint: str) -> tuple[list[Content], Content]:
        sign, tone = ("✗", "error") if diagnostic.severity == "error" else ("!", "warn")
        message = toned(
            (f"{sign} {diagnostic.line}:{diagnostic.column} ", "quiet"),
            (one_line(shorten_middle(diagnostic.message)), tone),
            (f"; {one_line(shorten_middle(diagnostic.suggestion))}" if diagnostic.suggestion else "", "field"),
            (f"  {hint}" if hint else "", "key"),
        )
        return self._place(diagnostic, tone), message

    def _place(self, diagnostic: Diagnostic, tone: str) -> list[Content]:
        """A caret under the column, with its source line above it unless that line is directly above anyway."""
        lines = self._source.split("\n")
        text = one_line(lines[diagnostic.line - 1])
        column = diagnostic.column - 1
        width = max(10, self.size.width)
        if diagnostic.line == len(lines) <= _VISIBLE_LINES and cell_len(text) < width:
            return [toned((" " * cell_len(text[:column]) + "▲", tone))]
        start = self._first_shown(column)
        caret = " " * cell_len(text[start:column]) + "▲"
        return [toned((text[start:], "plain")).truncate(width, ellipsis=True), toned((caret, tone))]

    def _place_in_line(self, diagnostic: Diagnostic) -> Content:
        """The source line with a mark before the column, where there is no room for a caret under it."""
        text = one_line(self._source.split("\n")[diagnostic.line - 1])
        column = diagnostic.column - 1
        before = text[self._first_shown(column) : column]
        return toned((before, "quiet"), ("▲", "error"), (text[column:], "plain")).truncate(
            max(10, self.size.width), ellipsis=True
        )

    def _first_shown(self, column: int) -> int:
        """Where the part of a long line begins that has the column well in sight."""
        return max(0, column - max(10, self.size.width) * 2 // 3)
