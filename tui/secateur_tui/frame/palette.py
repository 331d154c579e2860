"""The palette: finds everything that the user can do or go to from here, by a few letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from secateur.words.lines import cells, one_line
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.fuzzy import best
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import bindings_of
from secateur_tui.session import Session
from secateur_tui.themes import toned

_KEY_WIDTH = 12
"""Cells of the first column: the key of a command or, for anything else, its kind."""
_FOUND = "underline"
_HIGHEST, _FRAME = 24, 4
"""The most lines of the palette, and the lines besides its entries. The number does not change while letters are
typed."""
_MOST = 500
"""How many entries are shown at once; to find another, type one more letter."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that the palette offers."""

    kind: str
    """What it is, in a word: command, function, context, theme, expression."""
    name: str
    """The text that is searched and shown."""
    about: str
    """What choosing it does."""
    choose: Callable[[], object]
    """The action; if its result is awaitable, it is awaited."""
    key: str = ""
    """The key that does the same, as people write it; shown in place of the kind."""


class PaletteScreen(Dialog[Entry | None]):
    """Returns the chosen entry; None if it was closed."""

    place: ClassVar[str] = "palette"
    BINDINGS = bindings_of("palette", priority=True)

    def __init__(self, session: Session, entries: Sequence[Entry], title: str, wanted: str) -> None:
        """`wanted` says what the user looks for."""
        super().__init__(session)
        self._entries, self._title, self._wanted = entries, title, wanted
        self._offered: list[Entry] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="palette", classes="panel"):
            yield Input(placeholder=f"type a few letters of {self._wanted}", id="wanted")
            yield LineTable(id="entries")
        yield KeyBar()

    def on_mount(self) -> None:
        panel = self.query_one("#palette")
        panel.border_title = Content(self._title)
        panel.styles.max_height = min(_HIGHEST, len(self._entries) + _FRAME)
        self.query_one("#wanted").focus()
        self.call_after_refresh(self._list)

    def on_resize(self) -> None:
        self.call_after_refresh(self._list)

    @on(Input.Changed)
    def _list(self) -> None:
        table = self.query_one(LineTable)
        found = best(self.query_one(Input).value, self._entries, lambda entry: f"{entry.name} {entry.kind}")[:_MOST]
        self._offered = [entry for entry, _ in found]
        room = table.line_width - _KEY_WIDTH
        names = _names_widths(self._offered, room)
        rows = [
            TableRow(number, _line(entry, places, room, names.get(entry.kind, 0)))
            for number, (entry, places) in enumerate(found)
        ]
        heading = "" if rows else "nothing has these letters"
        table.show_lines(toned((heading, "quiet")), rows)
        self.query_one("#palette").border_subtitle = f"{len(rows)} of {len(self._entries)}"
        table.action_first()

    @property
    def _table(self) -> LineTable:
        return self.query_one(LineTable)

    def action_choose(self) -> None:
        number = self._table.cursor_key
        if isinstance(number, int):
            self.dismiss(self._offered[number])

    def action_down(self) -> None:
        self._table.action_down()

    def action_up(self) -> None:
        self._table.action_up()

    def action_page_down(self) -> None:
        self._table.action_page_down()

    def action_page_up(self) -> None:
        self._table.action_page_up()

    def action_close(self) -> None:
        self.dismiss(None)


def _names_widths(entries: Sequence[Entry], room: int) -> Mapping[str, int]:
    """How wide the names of each kind are: as wide as the longest name that leaves half of the room."""
    widths: dict[str, int] = {}
    for entry in entries:
        width = cells(one_line(entry.name))
        if width <= room // 2:
            widths[entry.kind] = max(width, widths.get(entry.kind, 0))
    return widths


def _line(entry: Entry, places: Sequence[int], room: int, names: int) -> Content:
    """`p           pause  Pause the function or app of the row`, with the found letters marked."""
    name = one_line(entry.name)
    shown = toned((name, "strong"))
    if len(name) == len(entry.name):
        for place in places:
            if place < len(name):
                shown = shown.stylize(_FOUND, place, place + 1)
    gap = " " * (max(0, names - shown.cell_length) + 2)
    line = shown + toned((f"{gap}{entry.about}", "quiet"))
    first = (entry.key, "key") if entry.key else (entry.kind, "quiet")
    return toned((f"{first[0]:<{_KEY_WIDTH}}", first[1])) + line.truncate(room, ellipsis=True)
