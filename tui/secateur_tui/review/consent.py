"""What is filled in and pressed in a review: the reason, the typed confirmation, and the two buttons."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Input, Label, Static

from secateur.bounds import LONGEST_REASON
from secateur.words.figures import number
from secateur.words.lines import one_line
from secateur_tui.frame.telling import tell
from secateur_tui.themes import toned

SETTLE_SECONDS = 0.25
"""A press within this time after the commit button got the focus belongs to the key before, and is no decision."""


_NO_NEED = "no need to type"
TOO_SOON = "that enter came too soon after the last one: press it once more"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What must be typed before the commit."""

    word: str
    """The function's name, or the app's."""
    numbers: frozenset[int] = frozenset()
    """Figures that are accepted as well; the newest is `number`."""
    number: int | None = None

    def accepts(self, text: str) -> bool:
        typed = text.strip()
        return typed == self.word or typed.replace(",", "") in {str(each) for each in self.numbers}

    def __str__(self) -> str:
        """What may be typed, for people."""
        return one_line(self.word) if self.number is None else f"{one_line(self.word)} or {number(self.number)}"


class CommitButton(Button):
    """Ignores keys that were pressed before the focus had been on it for a moment, however late they are handled."""

    class PressedTooSoon(Message):
        """A press was ignored."""

    settles_at = math.inf
    """When a press begins to count, by the monotonic clock."""

    def on_focus(self) -> None:
        self.settles_at = time.monotonic() + SETTLE_SECONDS

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter" and event.time < self.settles_at:
            event.stop()
            event.prevent_default()
            self.post_message(self.PressedTooSoon())


class Consent(Vertical):
    """Posts what was typed and pressed; enter in a field only moves on to what comes next."""

    @dataclass
    class ReasonTyped(Message):
        """The reason is another one now."""

        reason: str | None

    @dataclass
    class CommitPressed(Message):
        """Somebody has consented."""

    @dataclass
    class LeavePressed(Message):
        """Somebody wants to leave without a commit."""

    @dataclass
    class Said(Message):
        """The outcome line has another text, which takes another number of lines."""

    def __init__(self) -> None:
        super().__init__(id="consent")
        self._reason = Input(
            id="reason",
            compact=True,
            disabled=True,
            select_on_focus=False,
            max_length=LONGEST_REASON,
            placeholder="optional, kept in the history",
        )
        self._confirm = Input(
            id="confirm", compact=True, disabled=True, select_on_focus=False, placeholder="to confirm"
        )
        self._leave = Button(Content("[ Leave ]"), id="leave", compact=True)
        self.button = CommitButton("", id="commit", compact=True, disabled=True)
        self._why_not = Static(id="why-not", markup=False)
        self._outcome = Static(id="outcome", markup=False)
        self._ask = Static(id="ask", classes="ask", markup=False)
        self._confirmation = Horizontal(self._ask, self._confirm, id="confirmation")
        self._needed: Confirmation | None = None
        self._told_to_confirm: Confirmation | None = None
        """What the outcome line says is to be typed."""
        self._is_open = False

    def compose(self) -> ComposeResult:
        yield Horizontal(Label("reason", classes="ask"), self._reason)
        yield self._confirmation
        yield Horizontal(self._leave, self.button, self._why_not)
        yield self._outcome

    def on_mount(self) -> None:
        self._confirmation.display = False

    def open(self) -> None:
        """Take keys from now on; what was pressed before has no effect."""
        self._is_open = True
        self._reason.disabled = False
        self._confirm.disabled = False
        self._reason.focus()

    def close(self) -> None:
        """Take no more input."""
        self._is_open = False
        self._reason.disabled = self._confirm.disabled = True

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def is_confirmed(self) -> bool:
        return self._needed is None or self._needed.accepts(self._confirm.value)

    def ask_for(self, needed: Confirmation | None) -> None:
        """Ask the user to type this, or nothing. A field that somebody has begun to fill in stays, as does one that has
        the focus: what is typed for it must go nowhere else."""
        if needed is None and self._confirm.value:
            return
        self._needed = needed
        self._confirmation.display = needed is not None or self._confirm.has_focus
        if self._told_to_confirm not in (None, needed):
            self._tell_to_confirm()
        if needed is not None:
            self._ask.update(toned(("type ", "quiet"), (str(needed), "strong")))
        elif self._confirmation.display:
            self._ask.update(toned((_NO_NEED, "quiet")))

    def offer(self, label: str, why_not: str | None) -> None:
        """Show what the commit button does, and why it cannot be pressed; None if it can."""
        if str(self.button.label) != (shown := f"[ {label} ]"):
            self.button.label = Content(shown)
            self.button.refresh(layout=True)
        self.button.disabled = why_not is not None
        self._why_not.update(toned((why_not or "", "quiet")), layout=False)

    def say(self, text: str, tone: str) -> None:
        self.show(toned((one_line(text), tone)))

    def show(self, told: Content) -> None:
        self._told_to_confirm = None
        if tell(self._outcome, told):
            self.post_message(self.Said())

    @on(Input.Changed, "#reason")
    def _explained(self, event: Input.Changed) -> None:
        self.post_message(self.ReasonTyped(event.value.strip() or None))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if event.input is self._confirm and not self.is_confirmed:
            self._tell_to_confirm()
        elif event.input is self._reason and self._needed is not None:
            self._confirm.focus()
        elif self.button.disabled:
            self._leave.focus()
        else:
            self.button.focus()

    def _tell_to_confirm(self) -> None:
        """The figure changes with each count."""
        if (needed := self._needed) is None:
            self.show(Content(""))
        else:
            self.say(f"to confirm, type {needed} exactly", "warn")
            self._told_to_confirm = needed

    @on(CommitButton.PressedTooSoon)
    def _too_soon(self) -> None:
        self.say(TOO_SOON, "warn")

    @on(Button.Pressed, "#leave")
    def _leave_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.LeavePressed())

    @on(Button.Pressed, "#commit")
    def _commit_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.CommitPressed())
