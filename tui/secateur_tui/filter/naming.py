"""Asks for the name under which a filter is saved."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from secateur.words.lines import one_line
from secateur_tui.expressions import LONGEST_NAME
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import bindings_of
from secateur_tui.session import Session
from secateur_tui.themes import toned


class NameScreen(Dialog[str | None]):
    """Returns the name; None if nothing is to be saved."""

    place: ClassVar[str] = "naming"
    BINDINGS = bindings_of("naming", priority=True)

    def __init__(self, session: Session, expression: str, taken: Collection[str]) -> None:
        super().__init__(session)
        self._expression, self._taken = expression, taken

    def compose(self) -> ComposeResult:
        with Vertical(id="question", classes="panel"):
            yield Static(toned((one_line(self._expression), "field")), markup=False)
            yield Input(placeholder="a name, such as: acme loop", max_length=LONGEST_NAME, id="name")
            yield Static(id="taken", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#question").border_title = "Save this filter"
        self.query_one(Input).focus()

    @property
    def _typed(self) -> str:
        return " ".join(self.query_one(Input).value.split())

    @on(Input.Changed)
    def _tell(self) -> None:
        is_taken = self._typed in self._taken
        self.query_one("#taken", Static).update(
            toned(("! replaces the filter that has this name" if is_taken else "", "warn"))
        )

    def action_save(self) -> None:
        if self._typed:
            self.dismiss(self._typed)

    def action_leave(self) -> None:
        self.dismiss(None)
