"""Review: what will happen in one sentence, with the best figure that there is, and no commit by accident."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from secateur.errors import SecateurError
from secateur.ledger.proposals import ProposedCancellation
from secateur.looking.aftermath import also_arriving
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur_tui.frame.background import run_beside, sleep_on_time
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog, key_of
from secateur_tui.frame.telling import tell
from secateur_tui.frame.terminal_app import type_ahead_of
from secateur_tui.keymap import Action, bindings_of
from secateur_tui.review import sentences as review_text
from secateur_tui.review.consent import TOO_SOON, CommitButton, Confirmation, Consent
from secateur_tui.review.copying import CopyScreen
from secateur_tui.review.figures import Figures, at_most
from secateur_tui.review.gathering import Gathering
from secateur_tui.review.pressing import Presses
from secateur_tui.review.steps import Step
from secateur_tui.session import Feed, Session

if TYPE_CHECKING:
    from secateur.records import Cancellation

FOLLOW_SECONDS = 0.5
"""Between two looks whether a pending cancellation is in force."""

HELD_SECONDS = 0.12
"""A key that is held repeats itself within this time. So the commit waits that long for another enter: a keyboard may
take longer than `FRESH_SECONDS` until it repeats a key, and a connection may stall meanwhile."""

UNSAID_SECONDS = 0.15
"""For so long the review does not say that it commits: to draw that takes as long as a commit does."""

_WIDEST = 96
"""Cells of a line, at most."""

_EXAMPLES, _EXAMPLES_FROM_HEIGHT = 3, 30
"""Matching runs that are shown, and lines of the window from which there is room for them."""

_HEIGHTS = [(0, "-short"), (20, "-tall")]
"""From how many lines on which class of the stylesheet holds."""


class ReviewScreen(Dialog[None]):
    """Posts `CommitWanted` at most once at a time; the app commits and answers by `refused` or `pending`.

    It waits for no count: what the filter showed, or the depth, is shown at once, and replaced by what is counted.
    """

    place = "review"
    BINDINGS = bindings_of("review")
    AUTO_FOCUS = ""
    VERTICAL_BREAKPOINTS = _HEIGHTS

    @dataclass
    class CommitWanted(Message):
        """Commit this, under this key; asking again under the same key is safe."""

        request: CancellationRequest
        idempotency_key: str
        expected: Count | None
        proposal: ProposedCancellation | None
        """The one that is approved by it."""

    @dataclass
    class Committed(Message):
        """Pending cancellations are in force, or were left to be followed in the history."""

        cancellations: Sequence[Cancellation]

    @dataclass
    class Left(Message):
        """Left without a commit, or without knowing of one."""

        unknown: bool

    def __init__(
        self,
        session: Session,
        request: CancellationRequest,
        seen: Count | None,
        feed: Feed,
        proposal: ProposedCancellation | None = None,
    ) -> None:
        super().__init__(session)
        self._proposal = proposal
        self._asked = self._request = request
        self._feed = feed
        self._key = str(uuid4())  # of a proposal it is not used: that has one of its own
        self._figures = Figures(seen, at_most(request, feed.depths))
        self._gathered = Gathering(session, self._figures, self._draw)
        self._step = Step.OPENING
        self._presses = Presses()
        self._pending: Sequence[Cancellation] = ()
        self._sentence = Static(id="sentence", markup=False)
        self._proportions = Static(id="proportions", markup=False)
        self._facts = Static(id="facts", markup=False)
        self._examples = Static(id="such-as", markup=False)
        # All held here, not looked up: a count may come back while the screen is being taken down.
        self._sheet = VerticalScroll(
            self._sentence, self._proportions, self._facts, self._examples, id="sheet", can_focus=True
        )
        self._consent = Consent()
        self._panel = Vertical(self._sheet, self._consent, id="review", classes="panel")

    def compose(self) -> ComposeResult:
        yield self._panel
        yield KeyBar(describe=self.describe)

    def on_mount(self) -> None:
        self.watch(self.app, "feed", self._follow_feed)
        self._draw()
        # Nothing takes keys before the figure has been painted: what was typed until then is gone.
        self.call_after_refresh(self._open)
        self._count()
        run_beside(self, "review-arrivals", self._gathered.what_arrives, self._asked)
        if self.app.size.height >= _EXAMPLES_FROM_HEIGHT:
            run_beside(self, "review-examples", self._gathered.some, self._asked, _EXAMPLES)
        run_beside(self, "review-blast", self._gathered.whether_of_one_piece, self._asked)
        self.set_interval(1.0, self._draw)

    def accepts(self, event: events.Key) -> bool:
        """What was pressed before the review was seen belongs to the filter, but for the keys that leave. A held or
        repeated enter never commits: that takes a fresh press.
        """
        if self._presses.is_of_before(event):
            return False
        if self._presses.is_fresh(event) or not isinstance(self.focused, CommitButton):
            return True
        self._consent.say(TOO_SOON, "warn")
        return False

    def on_mouse_down(self) -> None:
        """A click is no repeated key."""
        self._presses.is_repeat = False

    @on(events.Resize)
    @on(Consent.Said)
    def _make_room_later(self) -> None:
        self.call_after_refresh(self._make_room)

    def _make_room(self) -> None:
        """What is read scrolls; what is filled in and pressed is always in view."""
        taken = 2 + 2 + self._consent.outer_size.height
        self._sheet.styles.max_height = max(1, self.size.height - taken)

    def _follow_feed(self, feed: Feed) -> None:
        self._feed = feed

    def _count(self) -> None:
        run_beside(self, "review-count", self._gathered.count, self._request)

    def _open(self) -> None:
        self._step = Step.READY
        self._presses.begin()
        self._draw()
        self._consent.open()
        self._make_room_later()

    @property
    def _confirmation(self) -> Confirmation | None:
        """What must be typed: for one that stands or is not counted nobody knows how many it will be."""
        figures, word = self._figures, self._request.function_id or self._request.app_id
        if self._request.standing or not figures.is_certain or figures.exact is None:
            return Confirmation(word)
        if figures.exact.matched <= self.session.confirm_above:
            return None
        return Confirmation(word, frozenset(figures.numbers), figures.exact.matched)

    @property
    def _is_pointless(self) -> bool:
        """Whether there is nothing to cancel, nor will be."""
        figures = self._figures
        return (
            figures.is_certain and figures.exact is not None and not (figures.exact.matched or self._request.standing)
        )

    def _draw(self) -> None:
        if self._step in (Step.COMMITTING, Step.COMMITTED):
            return  # what was consented to stays as it was read, and nothing delays the outcome
        self._figures.painted()
        cancellations = self.session.queue.cancellations
        facts = review_text.Facts(
            self._request,
            self._figures,
            self._gathered.arrivals,
            self._feed.now(),
            self.session.query_timeout_seconds,
            cancellations.is_gated(self._request.app_id),
            cancellations.stops_at(self._request.app_id),
            key_of(self, "review.also") if self._may_also else "",
        )
        tell(self._sentence, facts.sentence(self.session.context or self.session.where))
        tell(self._proportions, facts.proportions(min(_WIDEST, max(20, self.size.width - 8))))
        tell(self._facts, review_text.proposed(self._proposal) + self._gathered.several + facts.details())
        tell(self._examples, review_text.such_as(self._gathered.examples, self._feed.now()))
        self._panel.border_title = "Review: standing" if self._request.standing else "Review"
        if self._step in (Step.OPENING, Step.READY):
            self._consent.ask_for(self._confirmation)
        self._enable()

    @on(Input.Changed)
    def _enable(self) -> None:
        self._consent.offer(review_text.label(self._request, self._figures.exact), self._why_not)
        self.refresh_bindings()

    @property
    def _why_not(self) -> str | None:
        """Why the commit button cannot be pressed now; None if it can."""
        if self._step not in (Step.READY, Step.NOT_COMMITTED):
            return {Step.OPENING: "", Step.COMMITTING: "committing…", Step.PENDING: "committed"}.get(
                self._step, "r asks again"
            )
        if self._is_pointless:
            return f"nothing matches: nothing to {self._request.verb}"
        return None if self._consent.is_confirmed else "first confirm"

    @on(Consent.ReasonTyped)
    def _explained(self, event: Consent.ReasonTyped) -> None:
        self._request = self._request.model_copy(update={"reason": event.reason})
        self._asked = self._asked.model_copy(update={"reason": event.reason})

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._say_hint(event.widget)
        self._draw()
        if isinstance(event.widget, CommitButton):
            run_beside(self, "review-ready", self._gathered.make_ready)

    def _say_hint(self, focused: Widget | None) -> None:
        if self._step is Step.READY and not self._is_pointless:
            self._consent.say(self._hint((focused and focused.id) or ""), "quiet")

    def _hint(self, focused: str) -> str:
        """What to press from here."""
        match focused:
            case "reason" | "confirm":
                return "enter goes on"
            case "commit":
                return f"enter {review_text.doing(self._request, self._figures.exact)}; esc leaves"
            case _:
                return "tab goes on"

    @on(Consent.LeavePressed)
    def _left(self) -> None:
        self.action_leave()

    @on(Consent.CommitPressed)
    def _decide(self) -> None:
        run_beside(self, "review-held", self._commit_unless_held)

    async def _commit_unless_held(self) -> None:
        await sleep_on_time(HELD_SECONDS)
        await type_ahead_of(self).done()
        if self._presses.is_repeat:
            self._consent.say("enter is held down: let go of it, then press it once", "warn")
        else:
            self._commit()

    def _commit(self) -> None:
        if self._step not in (Step.READY, Step.NOT_COMMITTED, Step.UNKNOWN):
            return
        if self._is_pointless or not self._consent.is_confirmed:
            return
        self._step = Step.COMMITTING
        self.post_message(self.CommitWanted(self._request, self._key, self._figures.newest, self._proposal))
        # The database has better things to do now than to count.
        self.workers.cancel_group(self, "review-count")
        self.workers.cancel_group(self, "review-blast")
        self.workers.cancel_group(self, "review-examples")
        self.set_timer(UNSAID_SECONDS, self._committing)

    def _committing(self) -> None:
        """The commit is still on its way. Where the database is quick, nothing is drawn but its answer."""
        if self._step is Step.COMMITTING:
            self._consent.close()
            self._enable()
            self._consent.say("committing…", "count")

    def refused(self, error: SecateurError) -> None:
        """The commit did not come back with a cancellation; says whether anything can have changed."""
        self._step = Step.after(error)
        if self._step is Step.NOT_COMMITTED:
            self._consent.say(f"! not committed; r tries again: {error}", "error")
        else:
            self._consent.say(f"! unknown whether it was committed; r tries again with the same key: {error}", "error")
        self._enable()
        self._sheet.focus()

    def committed(self, cancellations: Sequence[Cancellation]) -> None:
        """Say so at once: the history takes a moment to be painted."""
        self._step = Step.COMMITTED
        self._consent.show(review_text.committed(cancellations))

    def pending(self, cancellations: Sequence[Cancellation]) -> None:
        """They are committed, but not all in force yet: say what is in the way, and follow them until they are."""
        self._step, self._pending = Step.PENDING, cancellations
        self._enable()
        self._sheet.focus()
        self._consent.show(review_text.pending(next(each for each in cancellations if each.is_pending)))
        self._follow([each.id for each in cancellations])

    @work(exclusive=True, group="review-follow")
    async def _follow(self, cancellation_ids: Sequence[UUID]) -> None:
        cancellations = self.session.queue.cancellations
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                found = [await self.session.ask(cancellations.get(each)) for each in cancellation_ids]
            except SecateurError as error:
                self._consent.say(f"! committed, but not known to be in force: {error}", "error")
                continue
            pending = next((each for each in found if each.is_pending), None)
            if pending is None:
                self.post_message(self.Committed(found))
                return
            self._consent.show(review_text.pending(pending))

    def action_ask_again(self) -> None:
        self._commit()

    def action_leave(self) -> None:
        if self._step is Step.COMMITTED:
            return  # the app leads on
        if self._step is Step.COMMITTING:
            self._consent.say("the commit is under way; its outcome will appear here", "warn")
            return
        if self._pending:
            self.workers.cancel_group(self, "review-follow")
            self.post_message(self.Committed(self._pending))
            return
        self.workers.cancel_group(self, "review-count")
        self.post_message(self.Left(self._step is Step.UNKNOWN))

    @property
    def _may_also(self) -> bool:
        """Whether what arrives can be cancelled too: not where the filter itself asked for that, nor in a retry."""
        changes = self._proposal is None and self._asked.verb != "retry" and not self._asked.standing
        return self._step is Step.READY and changes

    def action_also(self) -> None:
        """Make it stand for two hours, or as it was; it is another request then, under another key."""
        stands = not self._request.standing
        self._request = also_arriving(self._asked, self._feed.now(), self._gathered.longest) if stands else self._asked
        self._key = str(uuid4())
        self._figures.outdated()
        self._say_hint(self.focused)
        self._count()
        self._draw()
        self._make_room_later()

    @work(exclusive=True, group="review-copy")
    async def action_copy(self) -> None:
        copied = await self.app.push_screen_wait(CopyScreen(self.session, self._request, self._key))
        if copied is not None:
            self._consent.say(f"copied: {copied}", "good")

    def action_scroll_down(self) -> None:
        self._sheet.scroll_page_down(animate=False)

    def action_scroll_up(self) -> None:
        self._sheet.scroll_page_up(animate=False)

    def describe(self, action: Action) -> str:
        if action.id == "review.also":
            return "only what is there now" if self._request.standing else action.description
        if action.id != "review.leave":
            return action.description
        match self._step:
            case Step.COMMITTING | Step.UNKNOWN:
                return "leave, History tells"
            case Step.PENDING:
                return "leave, History goes on following it"
            case _:
                return action.description

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "copy" and self._step is Step.OPENING:
            return False
        if action == "also" and not self._may_also:
            return False
        if action == "ask_again" and self._step not in (Step.NOT_COMMITTED, Step.UNKNOWN):
            return False
        return super().check_action(action, parameters)
