"""What stands out as a table from which a condition can be picked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from textual.message import Message

from secateur_tui.frame.hot_rows import Pick, View, heading, rows
from secateur_tui.frame.line_table import LineTable
from secateur_tui.keymap import bindings_of


class How(Enum):
    """What to do with a picked condition."""

    TAKE = auto()
    """It replaces the expression."""
    ADD = auto()
    EXCLUDE = auto()


class HotTable(LineTable):
    """Shows one view; `Picked` says what the user wants with a row."""

    BINDINGS = bindings_of("hot")

    @dataclass
    class Picked(Message):
        pick: Pick
        how: How

    class Resized(Message):
        """The heading and the lines have another width."""

    def __init__(self) -> None:
        super().__init__(id="hot-table")
        self._view: View | None = None
        self._age = ""

    def show(self, view: View, age: str) -> None:
        self._view, self._age = view, age
        self.relist()

    def relist(self) -> None:
        """Show the rows again, after a change of size."""
        if (view := self._view) is not None:
            self.show_lines(heading(view, self._age, self.line_width), rows(view, self.line_width))

    def on_resize(self) -> None:
        super().on_resize()
        self.relist()
        self.post_message(self.Resized())

    @property
    def chosen(self) -> Pick | None:
        """What the row under the cursor offers."""
        key = self.cursor_key
        return next((each for each in self._view.picks if each.key == key), None) if self._view else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "take" | "add":
                return self.chosen is not None
            case "exclude":
                return self.chosen is not None and self.chosen.unless is not None
        return True

    def action_take(self) -> None:
        self._pick(How.TAKE)

    def action_add(self) -> None:
        self._pick(How.ADD)

    def action_exclude(self) -> None:
        self._pick(How.EXCLUDE)

    def _pick(self, how: How) -> None:
        if (chosen := self.chosen) is not None:
            self.post_message(self.Picked(chosen, how))
