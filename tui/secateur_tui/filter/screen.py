"""Filter: say which runs are meant, and see at every keystroke which those are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer

from secateur.cel import CANCELLATION, Diagnostic, ExpressionError, Filter, Fix, compile
from secateur.cel.authoring.advice import advise
from secateur.cel.authoring.completion import Completion, complete
from secateur.cel.authoring.picking import added, conjunct, negation
from secateur.cel.authoring.shapes import Shape
from secateur.errors import Conflict, RequestError, SecateurError
from secateur.looking.suggestions import Suggestions
from secateur.looking.wording import shares
from secateur.requests import CancellationRequest, RetryRequest
from secateur.runs import UNFINISHED, Count, Run, Scope, Window
from secateur.words.figures import ago
from secateur.words.lines import one_line
from secateur_tui.expressions import Kept
from secateur_tui.filter.completing import CompletionList
from secateur_tui.filter.counting import Counting
from secateur_tui.filter.editor import CheckLine, ExpressionEditor
from secateur_tui.filter.examples import Examples
from secateur_tui.filter.explaining import ExplainScreen
from secateur_tui.filter.histogram import HistogramChart
from secateur_tui.filter.hot_values import HotValues
from secateur_tui.filter.lower import LowerArea
from secateur_tui.filter.matches import Matches
from secateur_tui.filter.naming import NameScreen
from secateur_tui.filter.suggesting import Subject, Suggesting
from secateur_tui.filter.window import WindowFields
from secateur_tui.frame import offers
from secateur_tui.frame.hot_table import HotRows, How
from secateur_tui.frame.line_table import LineTable
from secateur_tui.frame.palette import PaletteScreen
from secateur_tui.frame.payload_tree import PayloadTree, written
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.question import Choice, QuestionScreen
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import Action, bindings_of, display_of
from secateur_tui.runs.questions import cancel_question
from secateur_tui.session import Draft, Feed, Session
from secateur_tui.themes import toned

TYPING_PAUSE = 0.15
"""Seconds without a keystroke before the filter is counted."""
SLOW_CHECK = 0.03
"""Seconds from which on a check is not worth its time at every keystroke: then it waits for a pause in the typing."""
HOT_VALUES_PAUSE = 0.6
"""Seconds without a keystroke before it is asked what stands out: a look at ten thousand events."""
_OPENING_SECONDS = 0.4
"""An enter so soon after the screen opened, or after such an enter, belongs to the key that opened it."""
_MARKED = 20
"""Mistakes that are underlined at once."""
_FIX_KEY = display_of("filter.fix")
_STANDING_KEY = display_of("filter.standing")
_EARLIER_KEY = display_of("filter.earlier")
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
        self._scope = Scope(draft.app_id, draft.function_id)
        self._opening_until = time.monotonic() + _OPENING_SECONDS
        self._begins_with_hot_values = stands_out
        self._feed = feed
        self._filter: Filter | None = None
        self._request: CancellationRequest | None = None
        # Held here, not looked up: a count may come back while the screen is being taken down.
        self._window = WindowFields(
            draft.started_after,
            draft.started_before,
            lambda: self._feed.now(),
            session.zone,
            standing=draft.standing,
            may_stand=not draft.retry,
        )
        self._shape: Shape | None = None
        self._declarations = CANCELLATION.with_word(session.queue.reader.word)
        self._candidates = CompletionList(lambda: self.query_one("#lower").region)
        self._candidates.is_reading = True
        self._editor = ExpressionEditor(
            draft.if_,
            complete=self._complete,
            candidates=self._candidates,
            is_looking=lambda: self._suggesting.is_looking,
            id="expression",
        )
        self._hot = HotValues()
        self._suggesting = Suggesting(session, self._scope, self._hot, self._proposed)
        self._subject: Subject | None = None
        """The one that the pane answers, or is about to answer."""
        self._hot_fields: Sequence[str] = ()
        """The fields whose values stand out most, as an expression selects them."""
        self._offer = ""
        """What the grey proposal would do."""
        self._fix: Fix | None = None
        self._check_took = 0.0
        self._check_later: Timer | None = None
        self._if_rule = Rule("if")
        self._verdict = CheckLine(id="verdict")
        self._matches = Matches(lambda: self._feed.now())
        self._examples = Examples(ended=draft.retry, with_function=draft.function_id is None)
        self._lower = LowerArea(self._examples, None if draft.retry else self._hot)
        self._counting = Counting(session, self._matches, self._examples, self._found)

    def content(self) -> ComposeResult:
        with Container(id="top"):
            with Vertical(id="request"):
                yield self._window
                with Vertical(id="if", classes="section"):
                    yield self._if_rule
                    yield self._editor
                    yield self._verdict
            yield self._matches
        yield self._lower
        yield self._candidates

    def on_mount(self) -> None:
        self._title()
        if self._begins_with_hot_values:
            self._lower.focus_stands_out()
        else:
            self._editor.focus()
        self._editor.move_cursor(self._editor.document.end)
        self.watch(self.app, "feed", self._follow)
        self.call_after_refresh(self._restart)
        self._sample()
        self._ask_how_far_ahead()

    def _title(self) -> None:
        """The scope and, of a retry, which of its runs."""
        scope = one_line(str(self._scope))
        which = "failed and cancelled" if self.draft.with_cancelled else "failed"
        self._window.title(f"Retry {which} runs: {scope}" if self.draft.retry else scope)

    def _found(self) -> None:
        """There are other examples."""
        self._lower.count(self._counting.tab_counts)
        self.refresh_bindings()

    def accepts(self, event: events.Key) -> bool:
        """An enter that opened this screen, held or pressed twice, is not typed into the expression."""
        if event.key != "enter" or event.time >= self._opening_until:
            return True
        self._opening_until = event.time + _OPENING_SECONDS
        return False

    def on_screen_suspend(self) -> None:
        """Behind a review nothing is counted."""
        self.workers.cancel_group(self, "count")
        self.workers.cancel_group(self, "hot")

    def on_screen_resume(self) -> None:
        if self._subject is not None:
            self._ask_what_stands_out(again=True)
        if self._request is not None:
            self._count(self._request)

    @work(exclusive=True, group="sample")
    async def _sample(self) -> None:
        """See which fields and values there are: completion and warnings go by them, and do without."""
        try:
            self._shape = await self.session.ask(self.session.queue.reader.shape(self._scope))
        except SecateurError:
            return
        finally:
            self._candidates.is_reading = False
            self._editor.sampled()
        self._examples.prefer(self._hot_paths())
        self._check(self._editor.text)

    @work(exclusive=True, group="hot")
    async def _look_for_hot_values(self, subject: Subject, pause: float) -> None:
        await self._suggesting.follow(subject, pause)

    def _ask_what_stands_out(self, *, again: bool = False) -> None:
        """Ask when the subject is another one, or again."""
        if self.draft.retry or (window := self._window.window) is None:
            self._suggesting.is_looking = False
            self._hot.outdated()
            return
        if self._window.is_ahead:
            window = Window(window.started_after, None)
        subject = Subject(self._filter, window)
        if again or subject != self._subject:
            is_first = self._subject is None
            self._subject = subject
            self._look_for_hot_values(subject, 0.0 if again or is_first else HOT_VALUES_PAUSE)

    def _hot_paths(self) -> list[tuple[str, ...]]:
        """The paths of the sample that stand out, the most skewed first."""
        known = self._shape.fields if self._shape is not None else ()
        paths = {written(path): path for path in known if None not in path}  # type: ignore[arg-type]  # no EACH
        return [paths[each] for each in self._hot_fields if each in paths]  # type: ignore[misc]

    @property
    def _has_text(self) -> bool:
        return bool(self._editor.text.strip())

    def _proposed(self, found: Suggestions | None) -> None:
        """Offer the first proposal as grey text, for as long as there is no expression."""
        if found is None:
            self._editor.is_waiting = False
            return
        first = found.suggestions[0] if found.suggestions else None
        self._offer = "" if first is None else shares(first, found)
        self._hot_fields = [each.path for each in found.fields]
        self._examples.prefer(self._hot_paths())
        self._editor.proposal = "" if first is None else first.if_
        if not self._has_text:
            self._check(self._editor.text)

    @on(ExpressionEditor.Waiting)
    def _waits_for_proposal(self) -> None:
        if not self._has_text:
            self._check(self._editor.text)

    @on(HotValues.Shown)
    def _hot_values_shown(self) -> None:
        if self._subject is not None:
            self._ask_what_stands_out(again=True)

    @on(HotRows.Picked)
    def _picked(self, message: HotRows.Picked) -> None:
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
        """Should that not be known, the commit says it."""
        with suppress(SecateurError):
            self._window.limit_standing((await self.session.ask(self.session.queue.controls.retention())).standing)

    def _complete(self, source: str, offset: int) -> Completion:
        return complete(source, offset, self._declarations, self._shape)

    def _follow(self, feed: Feed) -> None:
        self._feed = feed
        self._window.look_at_the_clock()

    @on(ExpressionEditor.Changed)
    @on(WindowFields.Changed)
    def _edited(self) -> None:
        self._keep()
        if self._check_later is not None:
            self._check_later.reset()
        elif self._check_took < SLOW_CHECK:
            self._restart()
        else:
            self._counting.outdated()
            self._check_later = self.set_timer(TYPING_PAUSE, self._restart)

    def _catch_up(self) -> None:
        """Check now what waits for a pause: somebody wants to do something with it."""
        if self._check_later is not None:
            self._restart()

    def _keep(self) -> None:
        """Keep what is typed as the draft."""
        self.draft.if_ = self._editor.text
        self.draft.started_after = self._window.texts["started_after"]
        self.draft.started_before = self._window.texts["started_before"]
        self.draft.standing = self._window.standing

    def _restart(self) -> None:
        """Check what is typed and, if it means something, count it."""
        if self._check_later is not None:
            self._check_later.stop()
            self._check_later = None
        began = time.monotonic()
        self._keep()
        source = self._editor.text
        errors = self._check(source)
        self._editor.mark([(problem.span.start, problem.span.end) for problem in errors[:_MARKED]])
        self._request = None if errors else self._build(source)
        self._ask_what_stands_out()
        self._check_took = time.monotonic() - began
        self._counting.seen = None
        self.refresh_bindings()
        if self._request is None:
            self.workers.cancel_group(self, "count")
            self._counting.invalid()
        else:
            self._counting.outdated()
            self._count(self._request)

    def _check(self, source: str) -> list[Diagnostic]:
        """Compile the source and show what is to be said about it; returns the errors."""
        self._filter = None
        if not source.strip():
            self._say(source, (), toned(("no condition: every run of the window matches", "warn")))
            return []
        try:
            self._filter = compile(source, self._declarations)
        except ExpressionError as error:
            self._say(source, error.diagnostics[:1], Content(""))
            return list(error.diagnostics)
        self._say(source, advise(self._filter, self._shape)[:2], toned(("✓ valid", "good")))
        return []

    def _is_being_typed(self, problem: Diagnostic) -> bool:
        """Whether the word at the cursor is what is wrong, and grey text would complete it."""
        offset = self._editor.offset_in_text
        self._editor.update_suggestion()
        return bool(self._editor.unfinished) and problem.span.start <= offset <= problem.span.end

    def _about_grey_text(self) -> Content:
        """What the grey text in the place of an expression is, or will be."""
        if self._editor.is_waiting:
            told = ("looking for what stands out, to take it as the filter; ", "plain")
            return toned(told, (f"{_GREY_KEY} again does not wait", "key"))
        if not self._editor.suggestion:
            return Content("")
        return toned((self._offer, "plain"), (f": {_GREY_KEY} takes it", "key"))

    def _say(self, source: str, diagnostics: Sequence[Diagnostic], otherwise: Content) -> None:
        """Show the diagnostics and the key that does what the first suggests or, in the rule, that there are none."""
        if diagnostics and self._is_being_typed(diagnostics[0]):
            # The grey text says what is meant: a message that guesses otherwise would contradict it.
            diagnostics = ()
            otherwise = toned(
                ("… ", "quiet"), (self._editor.unfinished, "field"), (f": {_GREY_KEY} completes it", "key")
            )
        self._fix = diagnostics[0].fix if diagnostics else None
        offer = Content("") if source.strip() else self._about_grey_text()
        self._verdict.show(source, diagnostics, offer, _FIX_KEY if self._fix is not None else "")
        self._if_rule.note(otherwise)
        self._lower.conditioned(bool(source.strip()))

    def _build(self, source: str) -> CancellationRequest | None:
        """The request for what is typed; None where that makes none."""
        if (window := self._window.window) is None:
            return None
        body = {
            "app_id": self.draft.app_id,
            "function_id": self.draft.function_id,
            "if": source if source.strip() else None,
            "started_after": window.started_after,
            "started_before": window.started_before,
            "standing": self._window.standing or None,
            "with_cancelled": self.draft.with_cancelled or None,
        }
        kind = RetryRequest if self.draft.retry else CancellationRequest
        try:
            return kind.parse({field: value for field, value in body.items() if value is not None})
        except RequestError as error:
            self._complain(error)
            return None

    def _complain(self, error: RequestError) -> None:
        fields = self._window
        for problem in error.problems:
            if problem.field in fields.texts:
                fields.complain(problem.field, problem.message)
            else:
                self.notify(f"{problem.field}: {problem.message}", severity="error", markup=False)

    @work(exclusive=True, group="count")
    async def _count(self, request: CancellationRequest) -> None:
        # Being exclusive, a newer keystroke cancels this task, and with it the query in the database.
        await asyncio.sleep(TYPING_PAUSE)
        try:
            await self._counting.follow(request)
        except RequestError as error:
            self._complain(error)

    def action_complete(self) -> None:
        self._editor.focus()
        if not self._editor.offer():
            self.notify("Nothing fits here.", markup=False)

    @property
    def _typed(self) -> Kept:
        """The filter as it is typed."""
        times = self._window.texts
        draft = self.draft
        return Kept(
            draft.app_id, draft.function_id, self._editor.text.strip(), times["started_after"], times["started_before"]
        )

    @work(exclusive=True, group="keep")
    async def _remember(self) -> None:
        """Keep an expression that somebody has used."""
        if self._filter is not None:
            await self._keep_expression(self._typed)

    async def _keep_expression(self, filter_: Kept) -> bool:
        try:
            await self.session.expressions.keep(filter_)
        except SecateurError as error:
            self.app.notify(str(error), severity="warning", markup=False)
            return False
        return True

    @work(exclusive=True, group="dialog")
    async def action_earlier(self) -> None:
        with suppress(SecateurError):
            await self.session.expressions.load()
        entries = [*offers.expressions(self.session.expressions.kept, self._scope, self._use)]
        if not entries:
            self.notify("Nothing was saved or used before.", markup=False)
            return
        palette = PaletteScreen(self.session, entries, "Saved and earlier", "a name or an expression")
        chosen = await self.app.push_screen_wait(palette)
        if chosen is not None:
            chosen.choose()

    def _use(self, kept: Kept) -> None:
        """The expression, and with a saved filter its window; the scope stays."""
        self._editor.rewrite(kept.if_)
        if kept.name:
            self._window.fill_in(kept.started_after, kept.started_before)
        self._editor.focus()

    @work(exclusive=True, group="dialog")
    async def action_save(self) -> None:
        self._catch_up()
        if self._filter is None:
            self.notify("Only a valid filter can be saved.", severity="warning", markup=False)
            return
        taken = {each.name for each in self.session.expressions.kept if each.name}
        typed = self._typed
        name = await self.app.push_screen_wait(NameScreen(self.session, typed.if_, taken))
        if name is not None and await self._keep_expression(replace(typed, name=name)):
            self.notify(f"Saved as {name}; {_EARLIER_KEY} finds it.", markup=False)

    def action_fix(self) -> None:
        self._catch_up()
        if self._fix is None:
            self.notify("There is no suggestion to apply.", markup=False)
        else:
            self._editor.rewrite(self._fix.apply(self._editor.text))

    def action_explain(self) -> None:
        self._catch_up()
        if (run := self._examples.chosen) is None:
            self.notify(f"There is no example to explain: {self._examples.why_none}", markup=False)
        elif not self._explains:
            self.notify("There is nothing to explain: without a condition every run matches.", markup=False)
        else:
            self.app.push_screen(ExplainScreen(self.session, self._filter, run, self._feed.now()))

    @property
    def _explains(self) -> bool:
        """Whether there is a condition, or a failure, to explain of an example."""
        return self._filter is not None or self.draft.retry

    def action_next_field(self) -> None:
        self.focus_next()

    def action_previous_field(self) -> None:
        self.focus_previous()

    def action_review(self) -> None:
        self._catch_up()
        if self._editor.is_waiting:
            told = f"What stands out is not known yet, and was to be the filter; {_GREY_KEY} does not wait for it."
            self.notify(told, severity="warning", markup=False)
        elif self._request is None:
            self.notify("The filter is not valid yet, so there is nothing to review.", severity="warning", markup=False)
        elif self._must_be_standing:
            told = f"The window ends in the future: press {_STANDING_KEY} to make it standing, or clear until."
            self.notify(told, severity="warning", markup=False)
        else:
            self._remember()
            self.post_message(self.ReviewWanted(self._request, self._counting.seen))

    @work(exclusive=True, group="cancel-run")
    async def action_cancel_run(self) -> None:
        if (run := self._examples.chosen) is None:
            return
        with suppress(SecateurError):
            # It may have begun, or ended, since it was found.
            run = await self.session.ask(self.session.queue.reader.run(run.id))
        if run.status not in UNFINISHED:
            self._too_late(run)
            return
        asked = QuestionScreen(self.session, cancel_question(run, self._feed.now()))
        if await self.app.push_screen_wait(asked) is not Choice.YES:
            return
        try:
            await self.session.ask(
                self.session.queue.cancellations.cancel_run(
                    run.id, author=self.session.author, source="tui", idempotency_key=str(uuid4())
                )
            )
        except Conflict:
            with suppress(SecateurError):
                run = await self.session.ask(self.session.queue.reader.run(run.id))
            self._too_late(run)
            return
        except SecateurError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify("Cancelled this run; History undoes it.", markup=False)
        self._restart()

    def _too_late(self, run: Run) -> None:
        """A worker was quicker; look for other examples."""
        when = f" {ago(run.finished_at, self._feed.now())}" if run.finished_at else ""
        told = f"Too late: this run is {run.status.value}{when}. Nothing was cancelled."
        self.notify(told, severity="warning", markup=False)
        self._restart()

    @on(PayloadTree.Picked)
    def _field_picked(self, message: PayloadTree.Picked) -> None:
        self._add_condition(message.path, message.value, exclude=message.exclude)

    def _add_condition(self, path: Sequence[str | int], value: object, *, exclude: bool) -> None:
        """Add to the expression that the field has the value, or that it has not; the focus stays where it is."""
        try:
            condition = negation(path, value, self._shape) if exclude else conjunct(path, value)
        except ValueError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self._editor.rewrite(added(self._editor.text, condition))

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
            if self._examples.at_end and self._request is not None:
                self._look_further(self._request)
            self.refresh_bindings()

    @work(exclusive=True, group="further")
    async def _look_further(self, request: CancellationRequest) -> None:
        with suppress(SecateurError):
            await self._counting.look_further(request, self._lower.tab)

    @on(HistogramChart.Picked)
    def _range_picked(self, message: HistogramChart.Picked) -> None:
        self._window.set_range(message.first, message.last)

    def action_count_again(self) -> None:
        self._catch_up()
        if self._request is not None:
            self._count(self._request)

    def action_next_tab(self) -> None:
        self._lower.step(1)

    def action_previous_tab(self) -> None:
        self._lower.step(-1)

    def action_with_cancelled(self) -> None:
        self.draft.with_cancelled = not self.draft.with_cancelled
        self._title()
        self._restart()

    def action_standing(self) -> None:
        if self._window.window and self._window.is_ahead:
            self._window.toggle_standing()
        else:
            self.notify(f"{_STANDING_KEY} needs a window that ends later, such as +2h.", markup=False)

    @property
    def _must_be_standing(self) -> bool:
        """Whether the window ends in the future, and nobody has said that this is meant."""
        return self._window.is_ahead and not self._window.standing

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("review", "cancel_run") and not self.session.queue.cancellations.can_cancel:
            return False
        if action == "cancel_run" and (self.draft.retry or not (self._examples.has_focus and self._examples.chosen)):
            return False
        if action in ("payload", "only", "not_these", "cell_left", "cell_right") and not (
            self._examples.has_focus and self._examples.chosen
        ):
            return False
        if action == "open_run" and not (
            self._lower.run is not None and (self._examples.has_focus or self._lower.payload.has_focus)
        ):
            return False
        if action == "with_cancelled" and not self.draft.retry:
            return False
        if action == "standing" and self.draft.retry:
            return False
        return super().check_action(action, parameters)

    def describe(self, action: Action) -> str:
        match action.id:
            case "filter.standing" if self._window.standing:
                return "not standing"
            case "filter.with_cancelled" if self.draft.with_cancelled:
                return "failed only"
            case "filter.review" if self.draft.retry:
                return "review & retry"
        return super().describe(action)

    def action_back(self) -> None:
        if not self._lower.close_payload():
            self.post_message(self.BackWanted())

    def is_pointless(self, action: Action) -> bool:
        match action.id:
            case "filter.review":
                return self._request is None or self._must_be_standing
            case "filter.standing":
                return not (self._window.window and self._window.is_ahead)
            case "filter.complete":
                return not self._editor.has_focus
            case "filter.fix":
                return self._fix is None
            case "filter.explain":
                return self._examples.chosen is None or not self._explains
        return False
