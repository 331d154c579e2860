"""A question that only its own key answers with yes."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from secateur_tui.chrome import KeyBar
from secateur_tui.keymap import bindings_of
from secateur_tui.place import Dialog
from secateur_tui.session import Session


class QuestionScreen(Dialog[bool]):
    """Ends with True for yes; enter answers nothing."""

    place = "question"
    BINDINGS = bindings_of("question")

    def __init__(self, session: Session, title: str, question: Content) -> None:
        super().__init__(session)
        self._title, self._question = title, question

    def compose(self) -> ComposeResult:
        with Vertical(id="question", classes="panel"):
            yield Static(self._question, markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one("#question").border_title = Content(self._title)

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)
