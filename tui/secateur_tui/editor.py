"""The editor of an expression: highlighted while typing, with what is wrong under the place where it is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style as RichStyle
from textual.content import Content
from textual.style import Style
from textual.widgets import Static, TextArea
from textual.widgets.text_area import TextAreaTheme

from secateur.cel import Diagnostic, highlight
from secateur_tui.figures import one_line, shorten
from secateur_tui.themes import SYNTAX, toned

_VISIBLE_LINES = 4
"""Lines that the editor shows at least, without scrolling."""


class ExpressionEditor(TextArea):
    """A text area that colours the expression language; it knows nothing of what the text is for."""

    def __init__(self, text: str, *, id: str | None = None) -> None:
        self._wrong: tuple[tuple[int, int], ...] = ()
        super().__init__(text, id=id, compact=True, tab_behavior="focus", highlight_cursor_line=False)
        self.cursor_blink = False

    def on_mount(self) -> None:
        self._colour()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._colour())

    def _colour(self) -> None:
        """Take the syntax colours from the app's theme."""
        styles: dict[str, RichStyle] = {kind: Style.parse(look).rich_style for kind, look in SYNTAX.items()}
        self.register_theme(TextAreaTheme("expression", syntax_styles=styles))
        if self.theme == "expression":
            self.theme = "css"
        self.theme = "expression"

    def mark(self, spans: Sequence[tuple[int, int]]) -> None:
        """Underline these places (code points, end exclusive) until the next call."""
        if tuple(spans) != self._wrong:
            self._wrong = tuple(spans)
            self._build_highlight_map()
            self.refresh()

    def _build_highlight_map(self) -> None:
        # Textual colours only what tree-sitter has a grammar for. This hook is private (hence textual<9);
        # it wants, per line, UTF-8 byte columns.
        super()._build_highlight_map()
        text = self.text
        starts = [0]
        for line in text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        row = 0
        for start, end, kind in sorted(highlight(text)):
            while starts[row + 1] <= start:
                row += 1
            self._paint(text, starts, row, start, end, kind)
        for start, end in self._wrong:
            row = bisect_right(starts, start) - 1
            self._paint(text, starts, row, start, max(end, start + 1), "error")

    def _paint(self, text: str, starts: list[int], row: int, start: int, end: int, kind: str) -> None:
        """Colour a span that may run over several lines."""
        while start < end and row + 1 < len(starts):
            begin, stop = starts[row], min(end, starts[row + 1] - 1)
            if stop > start:
                first = len(text[begin:start].encode())
                self._highlights[row].append((first, first + len(text[start:stop].encode()), kind))
            row += 1
            start = starts[row]


class Verdict(Static):
    """Under the editor: that the expression is valid, or what is wrong with it, where, and what to do."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._source = ""
        self._diagnostics: Sequence[Diagnostic] = ()
        self._otherwise = Content("")

    def show(self, source: str, diagnostics: Sequence[Diagnostic], otherwise: Content) -> None:
        """Show the diagnostics of the source, each with a caret under its place.

        `otherwise` is what there is to say where the expression is valid.
        """
        self._source, self._diagnostics, self._otherwise = source, diagnostics, otherwise
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        lines = [part for diagnostic in self._diagnostics for part in self._explain(diagnostic)]
        if all(diagnostic.severity == "warning" for diagnostic in self._diagnostics):
            lines.insert(0, self._otherwise)
        self.update(Content("\n").join(lines))

    def _explain(self, diagnostic: Diagnostic) -> list[Content]:
        sign, tone = ("✗", "error") if diagnostic.severity == "error" else ("!", "warn")
        message = toned(
            (f"{sign} {diagnostic.line}:{diagnostic.column} ", "quiet"),
            (one_line(shorten(diagnostic.message)), tone),
            (f"; {one_line(shorten(diagnostic.suggestion))}" if diagnostic.suggestion else "", "field"),
        )
        return [*self._place(diagnostic, tone), message]

    def _place(self, diagnostic: Diagnostic, tone: str) -> list[Content]:
        """A caret under the column; with its source line above it unless that is the very line above."""
        lines = self._source.split("\n")
        text = one_line(lines[diagnostic.line - 1])
        column = diagnostic.column - 1
        width = max(10, self.size.width)
        if diagnostic.line == len(lines) <= _VISIBLE_LINES and cell_len(text) < width:
            return [toned((" " * cell_len(text[:column]) + "▲", tone))]
        start = max(0, column - width * 2 // 3)
        caret = " " * cell_len(text[start:column]) + "▲"
        return [toned((text[start:], "plain")).truncate(width, ellipsis=True), toned((caret, tone))]
