"""Run: one run with all that is known of it, why it is where it is, and what can be done with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from secateur.errors import SecateurError
from secateur.looking.telling import decided, others, sentence, timeline, touch_in_words
from secateur.looking.why import TouchEffect, Why
from secateur.runs import UNFINISHED, Run, RunStatus
from secateur.states import Kind
from secateur.words.figures import ago, duration, number
from secateur.words.lines import one_line
from secateur_tui.frame.depth_plot import DepthAround
from secateur_tui.frame.payload_tree import PayloadTree, Steps
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.question import Choice, QuestionScreen
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import Action, bindings_of
from secateur_tui.runs.cancelling import cancel_one_run
from secateur_tui.runs.details import life
from secateur_tui.runs.questions import restore_question
from secateur_tui.runs.table import SIGNS
from secateur_tui.session import Feed, Session, pause_after, why_none
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation


_QUEUED = "●"
"""When the run arrived, in that plot."""
_FRAME, _AROUND_EVENT = 3, 2
"""Lines of the header, the title and the footer; and of the rule above the event, and the path of its row."""


class RunScreen(PlaceScreen):
    """Posts `RetryWanted`, `FilterWanted`, `CancellationWanted` and `BackWanted`."""

    place = "run"
    BINDINGS = bindings_of("run")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012

    @dataclass
    class RetryWanted(Message):
        """The user wants to queue the run again."""

        run: Run

    @dataclass
    class FilterWanted(Message):
        """The user wants the runs that have this value in that field of the event, or those that have not."""

        run: Run
        path: Steps
        value: Any
        exclude: bool

    @dataclass
    class CancellationWanted(Message):
        """The user wants to see the cancellation that has the run, to undo it."""

        cancellation: Cancellation

    def __init__(self, session: Session, run_id: str, feed: Feed, among: tuple[str, ...] = ()) -> None:
        super().__init__(session)
        self._run_id, self._feed = run_id, feed
        self._among = among or (run_id,)
        self._run: Run | None = None
        self._why: Why | None = None
        self._told = Content(""), Content("")
        """Why it is where it is, and its life: what is shown above and left of its event."""
        self._asked_at = self._took = 0.0
        self._asking = False
        self._rule = Rule(id="run-rule")
        self._said = Static(id="run-why", markup=False)
        self._life = Static(markup=False)
        self._payload = PayloadTree(id="run-payload")
        self._queue = DepthAround(session, id="run-queue")
        self._event_of: str | None = None
        """The run whose event is shown. It never changes, so what was folded stays so."""

    def content(self) -> ComposeResult:
        yield self._rule
        yield self._said
        with Container(id="run-parts"):
            with VerticalScroll(id="run-life"):
                yield self._life
            yield self._payload
        yield self._queue

    def on_mount(self) -> None:
        self.query_one("#run-life").focus()
        self._said.update(toned(("asking the database…", "quiet")))
        self._queue.display = False
        self._title()
        self.watch(self.app, "feed", self._follow)
        self._ask()

    def _follow(self, feed: Feed) -> None:
        self._feed = feed
        goes_on = self._run is None or self._run.status in UNFINISHED
        due = time.monotonic() > self._asked_at + pause_after(self._took, feed.every)
        if goes_on and due and self.is_current and not self._asking:
            self._ask()

    @work(exclusive=True, group="run")
    async def _ask(self) -> None:
        reader = self.session.queue.reader
        began = self._asked_at = time.monotonic()
        self._asking = True
        try:
            if reader.can_tell_why:
                self._why = await self.session.ask(reader.why(self._run_id))
                self._run = self._why.run
            else:
                self._run = await self.session.ask(reader.run(self._run_id))
        except SecateurError as error:
            self._said.update(toned((f"! {why_none(error)}", "error")))
        else:
            self._show(self._run)
        finally:
            self._asking = False
            self._took = time.monotonic() - began

    def _title(self) -> None:
        place = self._among.index(self._run_id) + 1 if self._run_id in self._among else 1
        scope = f" · {one_line(str(self._run.scope))}" if self._run else ""
        note = f"{number(place)} of {number(len(self._among))}" if len(self._among) > 1 else ""
        self._rule.show(f"Run {one_line(self._run_id)}{scope}", note)

    def _show(self, run: Run) -> None:
        why, now = self._why, self._feed.now()
        self._title()
        if why is None:
            said = toned((f"It is {run.status}.", "strong"))
        else:
            besides = "".join(f"\nBesides: {each}" for each in others(why))
            said = toned((sentence(why), "strong"), (besides, "plain"))
        self._said.update(said)
        told = Content("\n").join(_parts(run, why, now))
        self._life.update(told)
        self._told = said, told
        if self._event_of != run.id:
            self._event_of = run.id
            self._payload.show(run.event)
        self._plot_queue()
        self.refresh_bindings()

    def _plot_queue(self) -> None:
        """What its queue was like when it arrived and ended."""
        run = self._run
        if run is None:
            return
        sign = SIGNS[run.status][0]
        signs = [(run.started_at, _QUEUED), *([(run.finished_at, sign)] if run.finished_at else [])]
        legend = f"{_QUEUED} it arrived" + (f" · {sign} {run.status}" if run.finished_at else "")
        self._queue.show(run.scope, run.started_at, self._feed.now(), signs, legend, free=self._free_lines())

    def _free_lines(self) -> int:
        """Lines that the run and its event do not need."""
        (width, height), is_wide = self.app.size, self.has_class("-wide")
        said, told = (each.get_height({}, max(1, width - 4)) for each in self._told)
        event = len(self._payload.keys) + _AROUND_EVENT
        return height - _FRAME - said - (max(told, event) if is_wide else told + event)

    def on_resize(self) -> None:
        super().on_resize()
        self._plot_queue()

    def on_screen_suspend(self) -> None:
        self._queue.rest()

    def on_screen_resume(self) -> None:
        self._plot_queue()

    @property
    def _cancelled_by(self) -> Cancellation | None:
        touch = None if self._why is None else self._why.touch(TouchEffect.CANCELLED)
        return None if touch is None else touch.cancellation

    def _go(self, step: int) -> None:
        if self._run_id not in self._among:
            return
        place = self._among.index(self._run_id) + step
        if not 0 <= place < len(self._among):
            return
        self._run_id, self._run, self._why = self._among[place], None, None
        self._said.update(toned(("asking the database…", "quiet")))
        self._life.update("")
        self._event_of = None
        self._payload.clear()
        self._title()
        self.refresh_bindings()
        self._ask()

    def action_next(self) -> None:
        self._go(1)

    def action_previous(self) -> None:
        self._go(-1)

    def action_other_part(self) -> None:
        self.focus_next()

    @work(exclusive=True, group="change")
    async def action_cancel(self) -> None:
        if self._run is not None and await cancel_one_run(self, self._run, lambda: self._feed.now()):
            self._ask()

    @work(exclusive=True, group="change")
    async def action_restore(self) -> None:
        run, record = self._run, self._cancelled_by
        if run is None or record is None:
            return
        if record.kind != Kind.RUN:
            self.post_message(self.CancellationWanted(record))
            return
        if await self.app.push_screen_wait(QuestionScreen(self.session, restore_question(run))) is not Choice.YES:
            return
        try:
            await self.session.ask(
                self.session.queue.cancellations.restore_run(run.id, author=self.session.author, source="tui")
            )
        except SecateurError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify("Restored this run.", markup=False)
        self._ask()

    def action_retry(self) -> None:
        if self._run is not None:
            self.post_message(self.RetryWanted(self._run))

    @on(PayloadTree.Picked)
    def _field_picked(self, message: PayloadTree.Picked) -> None:
        if self._run is not None:
            self.post_message(self.FilterWanted(self._run, message.path, message.value, message.exclude))

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def action_back(self) -> None:
        self.post_message(self.BackWanted())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        run, cancellations = self._run, self.session.queue.cancellations
        place = self._among.index(self._run_id) if self._run_id in self._among else 0
        match action:
            case "cancel" if run is None or run.status not in UNFINISHED or not cancellations.can_cancel:
                return False
            case "restore" if run is None or self._cancelled_by is None:
                return False
            case "retry" if not (
                run is not None and cancellations.can_retry and run.status in (RunStatus.FAILED, RunStatus.CANCELLED)
            ):
                return False
            case "next" if place + 1 >= len(self._among):
                return False
            case "previous" if place == 0:
                return False
        return super().check_action(action, parameters)

    def why_not(self, action: Action) -> str:
        if (run := self._run) is None:
            return ""
        match action.id:
            case "run.cancel" | "run.retry":
                return f"It is {run.status.value}: there is nothing to {action.method}."
            case "run.restore":
                return "No cancellation took it, so there is nothing to undo."
            case "run.next" | "run.previous":
                return "It is the last of the list." if action.id == "run.next" else "It is the first of the list."
        return ""

    def describe(self, action: Action) -> str:
        record = self._cancelled_by
        if action.id == "run.other_part" and self._payload.has_focus:
            return "timeline"
        if action.id == "run.restore" and record is not None and record.kind != Kind.RUN:
            return "its cancellation"
        return super().describe(action)


def _parts(run: Run, why: Why | None, now: datetime) -> Iterator[Content]:
    """What is known about the run, part by part, each under its heading."""
    yield from life(run, now)
    if run.lease_expires_at is not None and run.status is RunStatus.RUNNING:
        left = (run.lease_expires_at - now).total_seconds()
        yield _labelled("lease", f"ends in {duration(left)}" if left > 0 else "has ended")
    if run.priority:
        yield _labelled("priority", number(run.priority))
    yield from _heading("Timeline")
    for moment in timeline(run, why.trace if why else None):
        when = f"in {duration((moment.at - now).total_seconds())}" if moment.at > now else ago(moment.at, now)
        details = f"  {moment.details}" if moment.details else ""
        yield toned((when.ljust(14), "quiet"), (moment.what, "plain"), (details, "quiet"))
    if why is None:
        return
    if why.touches:
        yield from _heading("Cancellations")
        for touch in why.touches:
            yield toned((touch_in_words(touch, why.trace.as_of), "plain"), (f"  {touch.cancellation.id}", "quiet"))
            for part in touch.decided_by:
                yield toned(("  decided by  ", "quiet"), (decided(part), "field"))
    if why.trace.steps:
        yield from _heading("Finished steps")
        for step in why.trace.steps:
            result = "" if step.result is None else one_line(json.dumps(step.result, ensure_ascii=False))[:80]
            yield toned((f"{one_line(step.name)}  ", "plain"), (result or f"{number(step.size)} bytes", "quiet"))


def _heading(title: str) -> Iterator[Content]:
    yield Content("")
    yield toned((title, "strong"))


def _labelled(label: str, text: str) -> Content:
    return toned((label.ljust(10), "quiet"), (text, "plain"))
