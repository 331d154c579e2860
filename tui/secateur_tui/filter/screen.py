"""Filter: say which runs are meant, and see at every keystroke which those are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message

from secateur.cel import CANCELLATION
from secateur.cel.authoring.picking import added, narrowed
from secateur.looking.suggestions import Suggestions
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur_tui.drafts import Draft
from secateur_tui.filter import keeping
from secateur_tui.filter.completing import CompletionList
from secateur_tui.filter.condition import ConditionField
from secateur_tui.filter.counting import Counting
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.explaining import ExplainScreen
from secateur_tui.filter.histogram import HistogramChart
from secateur_tui.filter.lower import LowerArea
from secateur_tui.filter.matches import Matches
from secateur_tui.filter.request_fields import RequestFields
from secateur_tui.filter.stands_out import StandsOut
from secateur_tui.filter.suggesting import Subject, Suggesting
from secateur_tui.frame.hot_table import HotTable, How
from secateur_tui.frame.line_table import LineTable
from secateur_tui.frame.payload_tree import PayloadTree, written
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.keymap import Action, bindings_of, display_of
from secateur_tui.runs.cancelling import cancel_one_run
from secateur_tui.session import Feed, Session

_OPENING_SECONDS = 0.4
"""An enter so soon after the screen opened, or after such an enter, belongs to the key that opened it."""
_STANDING_KEY = display_of("filter.standing")
_GREY_KEY = display_of("editor.take_grey")
_WIDTHS = [(0, "-narrow"), (110, "-wide")]
_HEIGHTS = [(0, "-low"), (22, "-high"), (44, "-tall")]
"""From how many columns and rows on which class of the stylesheet holds."""


class FilterScreen(PlaceScreen):
    """Posts `ReviewWanted`; it never writes."""

    place = "filter"
    BINDINGS = bindings_of("filter")
    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS

    @dataclass
    class ReviewWanted(Message):
        """Somebody wants to cancel what the request matches."""

        request: CancellationRequest
        seen: Count | None
        """The newest count of this very request; None if there was none yet."""

    @dataclass
    class RunWanted(Message):
        """Somebody wants to see all of an example; `among` are the ids of the list, in its order."""

        run_id: str
        among: tuple[str, ...]

    def __init__(self, session: Session, draft: Draft, feed: Feed, *, stands_out: bool = False) -> None:
        """`stands_out`: what stands out gets the focus."""
        super().__init__(session)
        self.draft = draft
        self._opening_until = time.monotonic() + _OPENING_SECONDS
        self._begins_with_what_stands_out, self._is_opening_review = stands_out, False
        self._feed = feed
        # Held here, not looked up: a count may come back while the screen is being taken down.
        self._candidates = CompletionList(lambda: self.query_one("#lower").region)
        self._condition = ConditionField(
            draft.if_,
            CANCELLATION.of_queue(session.queue.reader.words_of(draft.scope.app_id)),
            self._candidates,
            lambda: self._suggesting.is_looking,
        )
        self._editor = self._condition.editor
        self._fields = RequestFields(draft, self._condition, self._now, session.zone, self._changed)
        self._window = self._fields.window
        self._matches = Matches(self._now, lambda: session.queue.reader.evaluated(draft.scope.app_id))
        self._examples = Examples(ended=draft.retry, with_function=len(draft.scope.names) != 1)
        self._counting = Counting(
            session, self._matches, self._examples, found=self._found, refused=self._fields.complain
        )
        self._stands_out = StandsOut()
        self._hot_fields: Sequence[str] = ()
        """The fields whose values stand out most, as an expression selects them."""
        self._suggesting = Suggesting(session, draft.scope, self._stands_out, self._suggested)
        self._lower = LowerArea(self._examples, None if draft.retry else self._stands_out)

    def content(self) -> ComposeResult:
        with Container(id="top"):
            yield self._fields
            yield self._matches
        yield self._lower
        yield self._candidates

    def on_mount(self) -> None:
        if self._begins_with_what_stands_out:
            self._lower.focus_stands_out()
        else:
            self._editor.focus()
        self.watch(self.app, "feed", self._follow)
        self._sample()
        self._ask_how_far_ahead()

    def _found(self) -> None:
        """There are other examples."""
        self._lower.count(self._counting.tab_counts)
        self.refresh_bindings()

    def accepts(self, event: events.Key) -> bool:
        """Nothing is typed while a review opens; nor is an enter that opened this screen, held or pressed twice."""
        if event.key != "enter" or event.time >= self._opening_until:
            return not self._is_opening_review
        self._opening_until = event.time + _OPENING_SECONDS
        return False

    def on_screen_suspend(self) -> None:
        """Behind a review nothing is counted."""
        if self._is_opening_review:
            self._condition.is_under_review()
        self._counting.stop()
        self._suggesting.stop()

    def on_screen_resume(self) -> None:
        if self._is_opening_review:
            self._is_opening_review = False
            self._condition.check()
        self._suggesting.look_again()
        self._counting.count_again()

    @work(exclusive=True, group="sample")
    async def _sample(self) -> None:
        """See which fields and values there are: completion and warnings go by them, and do without until then."""
        reader, scopes = self.session.queue.reader, self.draft.scope.each
        shape = await self.session.ask_until_answered(lambda: reader.shape(scopes), self._condition.not_sampled)
        self._condition.sampled(shape)
        self._prefer_hot_fields()

    def _ask_what_stands_out(self) -> None:
        """In what arrives or, once there is a filter, in what it matches."""
        window = None if self.draft.retry else self._window.arrived
        self._suggesting.look_at(None if window is None else Subject(self._condition.filter, window))

    def _suggested(self, found: Suggestions | None) -> None:
        if found is not None:
            self._hot_fields = [each.path for each in found.fields]
            self._prefer_hot_fields()
        self._condition.suggested(found)

    def _prefer_hot_fields(self) -> None:
        """Show of the examples what stands out, as far as the sample has it."""
        known = shape.fields if (shape := self._condition.shape) is not None else ()
        paths = {written(path): path for path in known if None not in path}  # type: ignore[arg-type]  # no EACH
        self._examples.prefer([paths[each] for each in self._hot_fields if each in paths])  # type: ignore[misc]

    @on(StandsOut.Shown)
    def _stands_out_shown(self) -> None:
        self._suggesting.look_again()

    @on(HotTable.Picked)
    def _picked(self, message: HotTable.Picked) -> None:
        """Write the condition into the expression; the focus goes to it, where F9 goes on."""
        source, condition = self._editor.text, message.pick.condition
        match message.how:
            case How.TAKE:
                self._editor.rewrite(condition)
            case How.ADD:
                self._editor.rewrite(added(source, condition))
            case How.EXCLUDE:
                self._editor.rewrite(added(source, message.pick.unless or ""))
        self._lower.choose(None)
        self._editor.focus()

    @work(exclusive=True, group="retention")
    async def _ask_how_far_ahead(self) -> None:
        """As long as that is not known, the commit says it."""
        retention = await self.session.ask_until_answered(self.session.queue.controls.retention)
        self._window.limit_standing(retention.standing)

    def _now(self) -> datetime:
        return self._feed.now()

    def _follow(self, feed: Feed) -> None:
        self._feed = feed
        self._window.look_at_the_clock()

    def _changed(self) -> None:
        """Something else is typed; once it is checked, count it if it means something."""
        if not self._fields.is_checked:
            # After a mistake nothing is being counted: what is typed now may be no better.
            (self._counting.invalid if self._fields.request is None else self._counting.outdated)()
            return
        self._lower.conditioned(self._condition.has_text)
        self._ask_what_stands_out()
        self._counting.count(self._fields.request)
        self.refresh_bindings()

    def action_complete(self) -> None:
        self._editor.focus()
        if not self._editor.offer():
            self.notify("Nothing fits here.", markup=False)

    @work(exclusive=True, group="keep")
    async def _remember(self) -> None:
        """Keep an expression that somebody has used."""
        if self._condition.filter is not None:
            await keeping.keep(self, self.draft.kept())

    @work(exclusive=True, group="dialog")
    async def action_earlier(self) -> None:
        """The expression and, of a saved filter, its window; the scope stays."""
        if (kept := await keeping.choose(self, self.draft.scope)) is None:
            return
        self._editor.rewrite(kept.if_)
        if kept.name:
            self._window.fill_in(kept.started_after, kept.started_before)
        self._editor.focus()

    @work(exclusive=True, group="dialog")
    async def action_save(self) -> None:
        self._fields.catch_up()
        await keeping.save(self, self.draft, is_valid=self._condition.filter is not None)

    def action_fix(self) -> None:
        self._fields.catch_up()
        if not self._condition.apply_fix():
            self.notify("There is no suggestion to apply.", markup=False)

    def action_explain(self) -> None:
        self._fields.catch_up()
        if (run := self._examples.chosen) is None:
            self.notify(f"There is no example to explain: {self._examples.why_none}", markup=False)
        elif not self._explains:
            self.notify("There is nothing to explain: without a condition every run matches.", markup=False)
        else:
            self.app.push_screen(ExplainScreen(self.session, self._condition.filter, run, self._now()))

    @property
    def _explains(self) -> bool:
        """Whether there is a condition, or a failure, to explain of an example."""
        return self._condition.filter is not None or self.draft.retry

    def action_next_field(self) -> None:
        if self._editor.has_focus and not self._condition.has_text:
            self._fields.catch_up()
            if self._condition.begins_to_wait():
                return
        self.focus_next()

    def action_previous_field(self) -> None:
        self.focus_previous()

    def action_review(self) -> None:
        self._fields.catch_up()
        if self._editor.is_waiting:
            told = f"Still looking for what stands out, to be the filter. {_GREY_KEY} goes on without it."
            self.notify(told, severity="warning", markup=False)
        elif told := self._condition.tell_of_none():
            self.notify(told, severity="warning", markup=False)
        elif self._fields.request is None:
            self.notify("The filter is not valid yet, so there is nothing to review.", severity="warning", markup=False)
        elif self._fields.must_be_standing:
            told = f"The window ends in the future: press {_STANDING_KEY} to make it standing, or clear until."
            self.notify(told, severity="warning", markup=False)
        else:
            self._remember()
            self._condition.opens_review()
            self._is_opening_review = True
            self.call_after_refresh(self.post_message, self.ReviewWanted(self._fields.request, self._counting.seen))

    @work(exclusive=True, group="cancel-run")
    async def action_cancel_run(self) -> None:
        if (run := self._examples.chosen) is not None and await cancel_one_run(self, run, self._now):
            self._fields.check()

    @on(PayloadTree.Picked)
    def _field_picked(self, message: PayloadTree.Picked) -> None:
        self._add_condition(message.path, message.value, exclude=message.exclude)

    def _add_condition(self, path: Sequence[str | int], value: object, *, exclude: bool) -> None:
        """Add to the expression that the field has the value, or that it has not; the focus stays where it is."""
        try:
            source = narrowed(self._editor.text, path, value, exclude=exclude, shape=self._condition.shape)
        except ValueError as error:
            self.notify(str(error), severity="warning", markup=False)
        else:
            self._editor.rewrite(source)

    def action_only(self) -> None:
        self._add_cell(exclude=False)

    def action_not_these(self) -> None:
        self._add_cell(exclude=True)

    def _add_cell(self, *, exclude: bool) -> None:
        if (cell := self._examples.cell) is not None:
            self._add_condition(*cell, exclude=exclude)

    def action_payload(self) -> None:
        self._lower.open_payload()

    def action_open_run(self) -> None:
        if (run := self._lower.run) is not None:
            self.post_message(self.RunWanted(run.id, self._examples.run_ids))

    def action_cell_left(self) -> None:
        self._examples.step(-1)

    def action_cell_right(self) -> None:
        self._examples.step(1)

    @on(LineTable.Moved)
    def _example_chosen(self, message: LineTable.Moved) -> None:
        if message.table is self._examples:
            self._lower.show_payload()
            if self._examples.at_end:
                self._counting.look_further(self._lower.tab)
            self.refresh_bindings()

    @on(HistogramChart.Picked)
    def _range_picked(self, message: HistogramChart.Picked) -> None:
        self._window.set_range(message.first, message.last)

    def action_count_again(self) -> None:
        self._fields.catch_up()
        self._counting.count_again()

    def action_next_tab(self) -> None:
        self._lower.step(1)

    def action_previous_tab(self) -> None:
        self._lower.step(-1)

    def action_with_cancelled(self) -> None:
        self._fields.toggle_with_cancelled()

    def action_standing(self) -> None:
        if self._window.window and self._window.is_ahead:
            self._window.toggle_standing()
        else:
            self.notify(f"{_STANDING_KEY} needs a window that ends later, such as +2h.", markup=False)

    def action_back(self) -> None:
        if not self._lower.close_payload():
            self.post_message(self.BackWanted())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        on_example = self._examples.has_focus and self._examples.chosen is not None
        match action:
            case "review" | "cancel_run" if not self.session.queue.cancellations.can_cancel:
                return False
            case "cancel_run" | "standing" if self.draft.retry:
                return False
            case "cancel_run" | "payload" | "only" | "not_these" | "cell_left" | "cell_right" if not on_example:
                return False
            case "open_run" if self._lower.run is None or not (on_example or self._lower.payload.has_focus):
                return False
            case "with_cancelled" if not self.draft.retry:
                return False
        return super().check_action(action, parameters)

    def describe(self, action: Action) -> str:
        match action.id:
            case "editor.take_grey" if not self._editor.suggestion:
                return "wait for a suggestion"
            case "filter.standing" if self._window.standing:
                return "not standing"
            case "filter.with_cancelled" if self.draft.with_cancelled:
                return "failed only"
            case "filter.review" if self.draft.retry:
                return "review & retry"
        return super().describe(action)

    def is_pointless(self, action: Action) -> bool:
        match action.id:
            case "filter.review":
                return self._fields.request is None or self._fields.must_be_standing
            case "filter.standing":
                return not (self._window.window and self._window.is_ahead)
            case "filter.complete":
                return not self._editor.has_focus
            case "filter.fix":
                return self._condition.fix is None
            case "filter.explain":
                return self._examples.chosen is None or not self._explains
        return False
