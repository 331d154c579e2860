"""A question that only its own keys can answer with yes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import Enum, auto

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import Action, actions_of, bindings_of, display
from secateur_tui.session import Session
from secateur_tui.themes import toned

SETTLE_SECONDS = 0.3
"""How long a question must be visible before it accepts a yes."""
_NO_KEYS = ("escape", "n")


class Choice(Enum):
    NO = auto()
    YES = auto()
    OTHER = auto()
    """The answer that accepts the offered alternative."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what its keys do, each in a word or two."""

    title: str
    text: Content
    yes: str
    """What `y` does."""
    other: str = ""
    """What `a` does; empty if there is no alternative."""


class QuestionScreen(Dialog[Choice]):
    """Returns the answer; enter is not an answer."""

    settles_at = math.inf
    """When an answer begins to count, by the monotonic clock."""

    place = "question"
    BINDINGS = bindings_of("question")

    def __init__(self, session: Session, question: Question) -> None:
        super().__init__(session)
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(id="question", classes="panel"):
            yield Static(self._question.text, markup=False)
            yield Static(self._answers(), id="answers", markup=False)
        yield KeyBar(describe=self.describe)

    def on_mount(self) -> None:
        self.query_one("#question").border_title = Content(self._question.title)
        self.call_after_refresh(self._settle)

    def _answers(self) -> Content:
        """The keys again, next to the question."""
        possible = [each for each in actions_of(self.place) if self.check_action(each.method, ())]
        return toned(
            *(
                part
                for each in possible
                for part in ((display(each.keys[0]), "key"), (f" {self.describe(each)}   ", "plain"))
            )
        )

    def describe(self, action: Action) -> str:
        match action.id:
            case "question.yes":
                return self._question.yes
            case "question.other":
                return self._question.other
        return action.description

    def accepts(self, event: events.Key) -> bool:
        """A key pressed before anybody can have read the question does not answer it with yes."""
        return event.time >= self.settles_at or event.key in _NO_KEYS

    def _settle(self) -> None:
        self.settles_at = time.monotonic() + SETTLE_SECONDS

    def action_yes(self) -> None:
        self.dismiss(Choice.YES)

    def action_other(self) -> None:
        self.dismiss(Choice.OTHER)

    def action_no(self) -> None:
        self.dismiss(Choice.NO)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "other" and not self._question.other:
            return False
        return super().check_action(action, parameters)
