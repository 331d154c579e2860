"""Review: what will happen in one sentence, the exact count taken again, and no commit by accident."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Input, Label, Static

from secateur.bounds import LONGEST_REASON
from secateur.errors import (
    DatabaseError,
    LockUnavailable,
    NotInstalled,
    PermissionDenied,
    ReadOnly,
    SecateurError,
    UsageError,
)
from secateur.ledger.cancellations import Preview
from secateur.looking.counting import Seen, count_within
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import Action, bindings_of
from secateur_tui.review import sentences as review_text
from secateur_tui.session import Session
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation

FOLLOW_SECONDS = 0.5
"""Between two looks whether a pending cancellation is in force."""
SETTLE_SECONDS = 0.25
"""A press so soon after the commit button got the focus is the end of another key's press, not a decision."""


_NOTHING_CHANGED = (LockUnavailable, PermissionDenied, ReadOnly, NotInstalled, UsageError)
"""Answers of the database itself; anything else, such as a lost connection, leaves the outcome open."""


class Step(Enum):
    COUNTING = auto()
    READY = auto()
    COMMITTING = auto()
    NOT_COMMITTED = auto()
    """The commit was refused; nothing changed."""
    UNKNOWN = auto()
    """The connection went while committing."""
    PENDING = auto()
    """Committed; an open transaction keeps it from being in force."""


FRESH_SECONDS = 0.5
"""An enter this soon after another may be the repeat of a held key."""


class CommitButton(Button):
    """Ignores keys that were pressed before the focus had been on it for a moment, however late they are handled."""

    settles_at = math.inf
    """When a press begins to count, by the monotonic clock."""

    def on_focus(self) -> None:
        self.settles_at = time.monotonic() + SETTLE_SECONDS

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter" and event.time < self.settles_at:
            event.stop()
            event.prevent_default()


class ReviewScreen(Dialog[None]):
    """Posts `CommitWanted` at most once at a time; the app commits and answers by `refused` or `pending`."""

    place = "review"
    BINDINGS = bindings_of("review")
    AUTO_FOCUS = ""

    @dataclass
    class CommitWanted(Message):
        """Commit this, under this key; asking again under the same key is safe."""

        request: CancellationRequest
        idempotency_key: str
        expected: Count | None

    @dataclass
    class Committed(Message):
        """A pending cancellation is in force, or was left to be followed in the history."""

        cancellation_id: UUID

    @dataclass
    class Left(Message):
        """Left without a commit, or without knowing of one."""

        unknown: bool

    def __init__(self, session: Session, request: CancellationRequest, seen: Count | None) -> None:
        super().__init__(session)
        self._request, self._seen = request, seen
        self._key = str(uuid4())
        self._found: Seen | None = None
        self._taken = 0.0
        self._arrivals: float | None = None
        self._step = Step.COUNTING
        self._confirmed = False
        self.entered_at = -math.inf
        """When enter was pressed last, by the monotonic clock, if no other key has been since."""
        self._pending: UUID | None = None
        self._sentence = Static(id="sentence", markup=False)
        self._facts = Static(id="facts", markup=False)
        self._wire = Static(review_text.wire(request), id="wire", markup=False)
        self._reason = Input(
            id="reason",
            compact=True,
            disabled=True,
            select_on_focus=False,
            max_length=LONGEST_REASON,
            placeholder="optional, kept in the history",
        )
        self._confirm = Input(id="confirm", compact=True, disabled=True, select_on_focus=False)
        label = "Cancel these, and what arrives" if request.standing else f"{request.verb.capitalize()} these runs"
        self._button = CommitButton(label, id="commit", compact=True, disabled=True)
        self._outcome = Static(id="outcome", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(id="review", classes="panel"):
            yield VerticalScroll(self._sentence, self._facts, self._wire, id="sheet")
            with Vertical(id="consent"):
                yield Horizontal(Label("reason", classes="ask"), self._reason)
                yield Horizontal(Static(id="ask", classes="ask", markup=False), self._confirm, id="confirmation")
                yield Horizontal(Button("Leave", id="leave", compact=True), self._button)
                yield self._outcome
        yield KeyBar(describe=self.describe)

    def on_mount(self) -> None:
        self.query_one("#review").border_title = "Review: standing" if self._request.standing else "Review"
        self.query_one("#confirmation").display = False
        self._draw()
        self._take_count()
        self.set_interval(1.0, self._draw)

    def accepts(self, event: events.Key) -> bool:
        """A held or repeated enter never commits: that takes a fresh press."""
        is_fresh = event.time - self.entered_at >= FRESH_SECONDS
        self.entered_at = event.time if event.key == "enter" else -math.inf
        return is_fresh or not (event.key == "enter" and isinstance(self.focused, CommitButton))

    def on_resize(self) -> None:
        self._make_room()

    def _make_room(self) -> None:
        """What is read scrolls; what is filled in and pressed is always in view."""
        taken = 2 + 2 + self.query_one("#consent").outer_size.height
        self.query_one("#sheet").styles.max_height = max(1, self.size.height - taken)

    @work(exclusive=True, group="review-count")
    async def _take_count(self) -> None:
        try:
            found, self._arrivals = await asyncio.gather(
                count_within(
                    self.session.queue.cancellations, self._request, self.session.query_timeout_seconds, on_primary=True
                ),
                self._take_arrivals(),
            )
        except SecateurError as error:
            self._say(f"! cannot cancel: {error}", "error")
            return
        self._counted(found if found.preview else Seen(self._shown(), found.why))

    def _shown(self) -> Preview | None:
        """What the filter showed: by now it is an estimate."""
        return None if self._seen is None else Preview(replace(self._seen, exact=False))

    async def _take_arrivals(self) -> float | None:
        if self._request.verb == "retry":
            return None  # it takes what has ended; nothing arrives
        with suppress(DatabaseError):
            return await self.session.ask(self.session.queue.cancellations.arrival_rate(self._request))
        return None

    def _counted(self, found: Seen) -> None:
        """This is as much as will be known; now somebody may decide."""
        self._found, self._taken = found, time.monotonic()
        self._draw()
        # Nothing takes keys before the count has been painted: what was typed until then is gone.
        self.call_after_refresh(self._open)

    def _open(self) -> None:
        self._step = Step.READY
        if self._must_confirm:
            self.query_one("#confirmation").display = True
            asked = toned(("type ", "quiet"), (self._word, "strong"), (" to confirm", "quiet"))
            self.query_one("#ask", Static).update(asked)
            self._confirm.disabled = False
        else:
            self._confirmed = True
        self.call_after_refresh(self._make_room)
        self._reason.disabled = False
        self._reason.focus()
        self._enable()

    @property
    def _exact(self) -> Count | None:
        """The exact count; None as long as there is none, or if there was none to be had."""
        return self._found.count if self._found is not None and self._found.why is None else None

    @property
    def _must_confirm(self) -> bool:
        """Of a standing one, or one that was not counted, nobody knows how many it will be."""
        if self._request.standing or self._exact is None:
            return True
        return self._exact.matched > self.session.confirm_above

    @property
    def _is_pointless(self) -> bool:
        """Whether there is nothing to cancel, nor will be."""
        return self._exact is not None and self._exact.matched == 0 and not self._request.standing

    @property
    def _word(self) -> str:
        return self._request.function_id or self._request.app_id

    def _accepts(self, text: str) -> bool:
        if text.strip() == self._word:
            return True
        number_typed = text.strip().replace(",", "")
        return not self._request.standing and self._exact is not None and number_typed == str(self._exact.matched)

    @property
    def _accepted(self) -> str:
        """What may be typed, for people."""
        if self._exact is None or self._request.standing:
            return self._word
        return f"{self._word} or {number(self._exact.matched)}"

    def _enable(self) -> None:
        ready = self._step in (Step.READY, Step.NOT_COMMITTED) and self._confirmed
        self._button.disabled = not ready or self._is_pointless
        self.refresh_bindings()

    def _draw(self) -> None:
        facts = review_text.Facts(
            self._request,
            self._found,
            self._seen,
            self._arrivals,
            time.monotonic() - self._taken,
            self.session.queue.cancellations.is_gated,
            self.session.queue.cancellations.stops_at,
        )
        where = self.session.context or self.session.where
        self._sentence.update(facts.sentence(where))
        self._facts.update(facts.details())
        if self._is_pointless:
            self._say(f"nothing matches, so there is nothing to {self._request.verb}", "warn")

    def _say(self, text: str, tone: str) -> None:
        self._outcome.update(toned((one_line(text), tone)))
        self.call_after_refresh(self._make_room)

    @on(Input.Changed, "#reason")
    def _explained(self, event: Input.Changed) -> None:
        self._request = self._request.model_copy(update={"reason": event.value.strip() or None})
        self._wire.update(review_text.wire(self._request))

    @on(Input.Changed, "#confirm")
    def _typed(self, event: Input.Changed) -> None:
        self._confirmed = self._accepts(event.value)
        self._enable()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        """Enter in a field only moves on."""
        event.stop()
        if event.input.id == "confirm" and not self._confirmed:
            self._say(f"to confirm, type {self._accepted} exactly", "warn")
            return
        if event.input is self._reason and self._must_confirm:
            self._confirm.focus()
        elif self._button.disabled:
            self.query_one("#leave").focus()
        else:
            self._button.focus()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if self._step is Step.READY and not self._is_pointless:
            self._say(self._hint(event.widget.id or ""), "quiet")

    def _hint(self, focused: str) -> str:
        """What to press from here."""
        match focused:
            case "reason":
                return "enter goes on"
            case "confirm":
                return f"{self._accepted}, then enter goes on"
            case "commit":
                also = " and what arrives in the window" if self._request.standing else ""
                what = "whatever matches" if self._exact is None else runs(self._exact.matched)
                does = "retries" if self._request.verb == "retry" else "cancels"
                return f"enter {does} {what}{also}; esc leaves"
            case _:
                return "tab goes on"

    @on(Button.Pressed, "#leave")
    def _leave_pressed(self) -> None:
        self.action_leave()

    @on(Button.Pressed, "#commit")
    def _commit_pressed(self) -> None:
        self._commit()

    def _commit(self) -> None:
        if self._step not in (Step.READY, Step.NOT_COMMITTED, Step.UNKNOWN) or not self._confirmed:
            return
        if self._is_pointless:
            return
        self._step = Step.COMMITTING
        self._enable()
        for field in self.query(Input):
            field.disabled = True
        self._say("committing…", "count")
        self.post_message(self.CommitWanted(self._request, self._key, self._found.count if self._found else None))

    def refused(self, error: SecateurError) -> None:
        """The commit did not come back with a cancellation; says whether anything can have changed."""
        if isinstance(error, _NOTHING_CHANGED):
            self._step = Step.NOT_COMMITTED
            self._say(f"! not committed; r tries again: {error}", "error")
        else:
            self._step = Step.UNKNOWN
            self._say(f"! unknown whether it was committed; r tries again with the same key: {error}", "error")
        self._enable()
        self.query_one("#sheet").focus()

    def pending(self, cancellation: Cancellation) -> None:
        """It is committed, but not in force yet: say what is in the way, and follow it until it is."""
        self._step, self._pending = Step.PENDING, cancellation.id
        self._enable()
        self.query_one("#sheet").focus()
        self._say_pending(cancellation)
        self._follow(cancellation.id)

    def _say_pending(self, cancellation: Cancellation) -> None:
        self._outcome.update(review_text.pending(cancellation))
        self.call_after_refresh(self._make_room)

    @work(exclusive=True, group="review-follow")
    async def _follow(self, cancellation_id: UUID) -> None:
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                found = await self.session.ask(self.session.queue.cancellations.get(cancellation_id))
            except SecateurError as error:
                self._say(f"! committed, but not known to be in force: {error}", "error")
                continue
            if not found.is_pending:
                self.post_message(self.Committed(cancellation_id))
                return
            self._say_pending(found)

    def action_go_on(self) -> None:
        """Decide by what the filter showed, if it showed anything."""
        self.workers.cancel_group(self, "review-count")
        self._counted(Seen(self._shown(), "it was not waited for"))

    def action_ask_again(self) -> None:
        self._commit()

    def action_leave(self) -> None:
        if self._step is Step.COMMITTING:
            self._say("the commit is under way; its outcome will appear here", "warn")
            return
        if self._pending is not None:
            self.workers.cancel_group(self, "review-follow")
            self.post_message(self.Committed(self._pending))
            return
        self.workers.cancel_group(self, "review-count")
        self.post_message(self.Left(self._step is Step.UNKNOWN))

    def describe(self, action: Action) -> str:
        if action.id != "review.leave":
            return action.description
        match self._step:
            case Step.COMMITTING | Step.UNKNOWN:
                return "leave, History tells"
            case Step.PENDING:
                return "leave, History goes on following it"
            case _:
                return action.description

    def action_copy_json(self) -> None:
        self.app.copy_to_clipboard(review_text.body(self._request))
        self.notify("copied the JSON body", markup=False)

    def action_copy_command(self) -> None:
        self.app.copy_to_clipboard(self._request.command_line())
        self.notify("copied the command line", markup=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("copy_json", "copy_command") and self._step is Step.COUNTING:
            return False
        if action == "go_on" and (self._step is not Step.COUNTING or self._found is not None):
            return False
        if action == "ask_again" and self._step not in (Step.NOT_COMMITTED, Step.UNKNOWN):
            return False
        return super().check_action(action, parameters)
