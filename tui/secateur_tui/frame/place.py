"""What all places have in common: a header, a footer, and only the actions that are allowed."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.screen import ModalScreen, Screen

from secateur_tui.frame.chrome import Header, KeyBar
from secateur_tui.keymap import Action, allowed
from secateur_tui.session import Session

Result = TypeVar("Result")


class PlaceScreen(Screen[None]):
    """One of the places; `place` names its part of the table of actions."""

    place: ClassVar[str]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def compose(self) -> ComposeResult:
        yield Header(self.session)
        yield from self.content()
        yield KeyBar(self.is_pointless, self.describe)

    def content(self) -> ComposeResult:
        """The widgets between header and footer."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return allowed(self.place, action, read_only=self.session.read_only)

    def is_pointless(self, action: Action) -> bool:
        """Whether the action would now only say why it does nothing; the footer then omits it."""
        return False

    def describe(self, action: Action) -> str:
        """What the action would do now, in a word or two, if that varies."""
        return action.description


class Dialog(ModalScreen[Result], Generic[Result]):
    """A question over a place; it has only its own keys."""

    place: ClassVar[str]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def check_action(self, action: str, parameters: tuple[Any, ...]) -> bool | None:
        return allowed(self.place, action, read_only=self.session.read_only)
