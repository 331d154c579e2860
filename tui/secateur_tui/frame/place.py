"""What all places have in common: a header, a footer, and only the actions that are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from secateur_tui.frame.chrome import Header, KeyBar
from secateur_tui.frame.terminal_app import LEAST, LEAVING_KEY
from secateur_tui.frame.text_fields import is_text_field
from secateur_tui.keymap import Action, actions_of, allowed, display, keys_of
from secateur_tui.session import Session

Result = TypeVar("Result")

PLACES_CSS = Path(__file__).parent.parent / "places.tcss"
"""The looks of every place but Queues."""


class TooSmall(Widget):
    """Covers a screen that has too little room to be understood."""

    def render(self) -> Content:
        size = self.app.size
        return Content(
            f"too small: {size.width}x{size.height}\n{LEAST.width}x{LEAST.height} at least\n{LEAVING_KEY} leaves"
        )


def _cover_if_too_small(screen: Screen[Any]) -> None:
    covers = screen.query(TooSmall)
    size = screen.app.size
    is_too_small = size.width < LEAST.width or size.height < LEAST.height
    screen.set_class(is_too_small, "-covered")
    if not is_too_small:
        covers.remove()
    elif covers:
        covers.first().refresh()
    else:
        screen.mount(TooSmall())


class PlaceScreen(Screen[None]):
    """One of the places; `place` names its part of the table of actions."""

    place: ClassVar[str]
    CSS_PATH: ClassVar[Path | None] = PLACES_CSS

    @dataclass
    class BackWanted(Message):
        """The user wants to go back to where this place was opened from."""

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

    def on_resize(self) -> None:
        _cover_if_too_small(self)

    def on_key(self, event: events.Key) -> None:
        if _say_why_not(self, self.session, self.place, event):
            return
        for action in actions_of(self.place):
            if (
                event.key in keys_of(action)
                and not self.check_action(action.method, ())
                and (why := self.why_not(action))
            ):
                self.notify(why, markup=False)

    def why_not(self, action: Action) -> str:
        """Why the action cannot be done now, as a sentence; empty if nobody would expect it to do something."""
        return ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return allowed(self.place, action, read_only=self.session.read_only)

    def is_pointless(self, action: Action) -> bool:
        """Whether the action would now only say why it does nothing. If so, the footer omits it."""
        return False

    def describe(self, action: Action) -> str:
        """What the action would do now, in a word or two, if that varies."""
        return action.description


def _say_why_not(screen: Screen[Any], session: Session, place: str, event: events.Key) -> bool:
    """In a read-only console, a key that would write says why it does nothing. No other widget has taken the key."""
    if not session.read_only:
        return False
    for action in (*actions_of(place), *actions_of("console")):
        if action.dangerous and event.key in keys_of(action):
            why = f", because of the {session.only_reads}" if session.only_reads else ""
            screen.notify(f"READ-ONLY{why}: nothing can be changed from here.", severity="warning", markup=False)
            return True
    return False


def key_of(screen: Screen[Any], action_id: str) -> str:
    """The key that reaches the action from the current focus, as people write it. A text field takes letters itself."""
    keys = next(action.keys for action in actions_of(action_id.partition(".")[0]) if action.id == action_id)
    typing = is_text_field(screen.focused)
    return display(next((key for key in keys if not (typing and len(key) == 1)), keys[0]))


class Dialog(ModalScreen[Result], Generic[Result]):
    """A question over a place; it has only its own keys."""

    place: ClassVar[str]
    CSS_PATH: ClassVar[Path | None] = PLACES_CSS

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def on_resize(self) -> None:
        _cover_if_too_small(self)

    def check_action(self, action: str, parameters: tuple[Any, ...]) -> bool | None:
        return allowed(self.place, action, read_only=self.session.read_only)
