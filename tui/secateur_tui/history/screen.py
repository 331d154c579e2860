"""History: every cancellation, who and why, how far its sweep or its undo is, and what it guarantees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from textual import events, on, work
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from secateur.errors import SecateurError
from secateur.ledger.steps import Unrestored
from secateur.ledger.wording import waiting_end
from secateur.looking.aftermath import Aftermath, leaves_arrivals, still_arriving
from secateur.looking.postmortem import postmortem, write
from secateur.runs import Scope
from secateur.states import Kind, State
from secateur.words.figures import rate
from secateur.words.lines import one_line
from secateur_tui.frame.aftermath_line import AlsoWanted
from secateur_tui.frame.columns import lay_out_cells
from secateur_tui.frame.depth_plot import DepthAround
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.frame.place import PlaceScreen, key_of
from secateur_tui.frame.plots import SIGNS
from secateur_tui.frame.question import Choice, QuestionScreen
from secateur_tui.frame.rule import Rule
from secateur_tui.history import details as history_details
from secateur_tui.history import rows as history_rows
from secateur_tui.history.undoing import stop_question, undo_label, undo_question
from secateur_tui.keymap import Action, bindings_of
from secateur_tui.session import AFTERMATH_SECONDS, Feed, Session, pause_after, why_none
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation

_OF_ONE: dict[str, Callable[[Cancellation, datetime], bool]] = {
    "stop": lambda chosen, now: chosen.is_active,
    "undo": lambda chosen, now: undo_label(chosen, now) != "",
    "postmortem": lambda chosen, now: True,
    "also": leaves_arrivals,
    "use_as_filter": lambda chosen, now: chosen.kind != Kind.RUN,
}
"""The actions on a chosen cancellation, and of which and when each is possible."""

_WHY_NOT = {
    "history.stop": "There is nothing to stop: it is over.",
    "history.undo": "It cannot be undone now: the lines below say why.",
    "history.also": "Nothing is known to arrive that it matches.",
    "history.use_as_filter": "It took a single run, without a condition that a filter could begin with.",
}

_SHOWN = 100
"""How many cancellations are listed, newest first."""

NEWS_FOR = timedelta(hours=1)
"""How long after a commit the place asks whether matching runs still arrive."""

_LEGEND = f"{SIGNS['commit']} commit · {SIGNS['undo']} undo"

_EMPTY = """\
No cancellation yet.

In Queues, enter on a row builds a filter for it; F9 reviews and cancels what it matches.
Every cancellation is then listed here, with who, when, why and how far."""


class HistoryTable(LineTable):
    """The list; the cursor's key is the cancellation's id."""

    def __init__(self) -> None:
        super().__init__(id="cancellations")
        self._found: Sequence[Cancellation] = ()
        self._feed = Feed()
        self._widest: dict[str, int] = {}

    def show(self, found: Sequence[Cancellation], feed: Feed) -> None:
        self._found, self._feed = found, feed
        self.relist()

    def relist(self) -> None:
        """Show the rows again, after a change of size."""
        now = self._feed.now()
        rows = [history_rows.row(cancellation, now) for cancellation in self._found]
        layout = lay_out_cells(history_rows.COLUMNS, rows, self.line_width, self._widest)
        self.show_lines(
            layout.heading(),
            [TableRow(cancellation.id, layout.line(row)) for cancellation, row in zip(self._found, rows, strict=True)],
        )

    def on_resize(self) -> None:
        self._widest.clear()
        self.relist()


class HistoryScreen(PlaceScreen):
    """Posts `FilterWanted` and `BackWanted`. It stops and undoes cancellations itself, after a question."""

    place = "history"
    BINDINGS = bindings_of("history")

    @dataclass
    class FilterWanted(Message):
        """Somebody wants a new filter like this cancellation's."""

        cancellation: Cancellation

    @dataclass
    class TookBack(Message):
        """The user undid it here."""

        cancellation_id: UUID

    def __init__(self, session: Session, feed: Feed, committed: Sequence[Cancellation] = ()) -> None:
        """What was `committed` is shown at once; the others join it when the database has told of them."""
        super().__init__(session)
        self._feed = feed
        self._selected = committed[0].id if committed else None
        self._all: Sequence[Cancellation] = committed
        self._find = ""
        self._aftermath: dict[UUID, Aftermath] = {}
        """What came of those that were looked at."""
        self._unrestored: dict[tuple[UUID, datetime], Sequence[Unrestored]] = {}
        """By cancellation and end of its restore: a few runs that did not come back."""
        self._table = HistoryTable()
        self._empty = Static("asking the database…", id="empty", markup=False)
        self._said = Static(id="said", markup=False)
        self._rule = Rule("History", id="history")
        self._detail_rule = Rule(id="detail-rule")
        self._detail = Static(id="detail", markup=False)
        self._queue = DepthAround(session, id="queue-then")

    def content(self) -> ComposeResult:
        yield self._rule
        yield self._table
        yield self._empty
        yield Input(
            placeholder="part of an app, function, author, reason, state or condition",
            id="find",
            compact=True,
        )
        yield self._said
        yield self._detail_rule
        yield self._detail
        yield self._queue

    def on_mount(self) -> None:
        self.query_one("#find").display = False
        self._said.display = False
        self._show_parts()
        self._table.display = False
        self.watch(self.app, "feed", self._follow)
        if self._all:
            self._show()
        self._poll()
        self._look_after()

    def _follow(self, feed: Feed) -> None:
        self._feed = feed

    @work(exclusive=True, group="history")
    async def _poll(self) -> None:
        while True:
            try:
                self._all = await self.session.ask(self.session.queue.cancellations.list(limit=_SHOWN))
            except SecateurError as error:
                self._stale(why_none(error))
            else:
                self._show()
                self._selected = None
            await asyncio.sleep(self._feed.every)

    def _stale(self, message: str) -> None:
        self._table.add_class("stale")
        self._detail.add_class("stale")
        self._rule.note(message)

    def _show(self) -> None:
        table, empty = self._table, self._empty
        found = [each for each in self._all if self._find in history_rows.text_of(each, self._feed.now())]
        table.display = bool(self._all)
        empty.display = not self._all
        empty.update(_EMPTY)
        table.remove_class("stale")
        self._detail.remove_class("stale")
        open_ = sum(history_rows.is_under_way(each) for each in self._all)
        self._rule.note(f"{len(self._all)} listed · {open_} under way" if self._all else "")
        table.show(found, self._feed)
        if self._selected is not None:
            table.move_to(self._selected)
        if self._all and self.app.app_focus and self.focused is None:
            table.focus()
        self._show_detail()

    @property
    def chosen(self) -> Cancellation | None:
        """The cancellation under the cursor."""
        key = self._table.cursor_key
        return next((each for each in self._all if each.id == key), None)

    @on(LineTable.Moved)
    def _show_detail(self) -> None:
        detail, cancellation = self._detail, self.chosen
        self._show_parts()
        if cancellation is not None:
            self._detail_rule.show(history_rows.scope_text(cancellation), str(cancellation.id))
            left = self._left_by(cancellation)
            trouble = self.session.queue.cancellations.trouble_of(cancellation.id)
            now, arriving = self._feed.now(), self._arriving(cancellation)
            detail.update(history_details.details(cancellation, now, left, trouble, arriving))
        self.refresh_bindings()

    def _show_parts(self) -> None:
        """All that is known of the chosen one and, where there is room as well, its queue before and since."""
        chosen = self.chosen
        self._detail.display = self._detail_rule.display = chosen is not None
        if chosen is None:
            self._queue.display = False
            self._queue.rest()
        else:
            scope, at = Scope(chosen.app_id, chosen.function_id), chosen.created_at
            self._queue.show(scope, at, self._feed.now(), [(at, SIGNS["commit"])], _LEGEND)

    def on_resize(self) -> None:
        super().on_resize()
        self._show_parts()

    def on_screen_suspend(self) -> None:
        self._queue.rest()

    def _arriving(self, cancellation: Cancellation) -> Content | None:
        """That newer runs still match, and the key that takes those too."""
        found = self._aftermath.get(cancellation.id)
        if found is None or not found.goes_on or not leaves_arrivals(cancellation, self._feed.now()):
            return None
        told = toned((f"! newer ones still match, {rate(found.arriving or 0.0)}/s", "warn"))
        if self.session.read_only:
            return told
        return told + toned((": ", "warn"), (key_of(self, "history.also"), "key"), (" also those for 2 h", "plain"))

    @work(exclusive=True, group="aftermath")
    async def _look_after(self) -> None:
        """See what still arrives that the chosen one would have cancelled, as long as it is of today."""
        while True:
            chosen, began = self.chosen, time.monotonic()
            now = self._feed.now()
            if chosen is not None and now - chosen.created_at < NEWS_FOR and leaves_arrivals(chosen, now):
                with suppress(SecateurError):
                    question = still_arriving(self.session.queue.reader.counter, chosen, now)
                    self._aftermath[chosen.id] = Aftermath((chosen,), now, await self.session.ask(question))
                    self._show_detail()
            took = time.monotonic() - began
            await asyncio.sleep(pause_after(took, max(AFTERMATH_SECONDS, self._feed.every)))

    def action_also(self) -> None:
        if (chosen := self.chosen) is not None:
            self.post_message(AlsoWanted([chosen]))

    def _left_by(self, cancellation: Cancellation) -> Sequence[Unrestored]:
        """Asks for a few runs that its undo did not bring back, once the restore is over."""
        ended = cancellation.restored_at
        if ended is None or not (cancellation.not_restored or cancellation.handed_over):
            return ()
        key = (cancellation.id, ended)
        if key not in self._unrestored:
            self._unrestored[key] = ()
            self._ask_what_is_left(key)
        return self._unrestored[key]

    @work(group="unrestored")
    async def _ask_what_is_left(self, key: tuple[UUID, datetime]) -> None:
        question = self.session.queue.cancellations.unrestored(key[0], history_details.REASONS)
        try:
            self._unrestored[key] = await self.session.ask(question)
        except SecateurError:
            del self._unrestored[key]  # so that the next look asks again
        else:
            self._show_detail()

    def action_find(self) -> None:
        field = self.query_one("#find", Input)
        field.display = True
        field.focus()

    @on(Input.Changed, "#find")
    def _search(self, event: Input.Changed) -> None:
        self._find = event.value.strip().casefold()
        self._show()

    @on(Input.Submitted, "#find")
    def _found(self) -> None:
        self.query_one("#find").display = bool(self._find)
        self._table.focus()

    def action_back(self) -> None:
        field = self.query_one("#find", Input)
        if not field.display:
            self.post_message(self.BackWanted())
            return
        field.value = ""
        field.display = False
        self._table.focus()

    def action_use_as_filter(self) -> None:
        if (cancellation := self.chosen) is not None:
            self.post_message(self.FilterWanted(cancellation))

    @work(exclusive=True, group="stop")
    async def action_stop(self) -> None:
        cancellation = self.chosen
        if cancellation is None or not cancellation.is_active:
            return
        asked = QuestionScreen(self.session, stop_question(cancellation))
        if await self.app.push_screen_wait(asked) is not Choice.YES:
            return
        await self._write(
            self.session.queue.cancellations.stop(cancellation.id, author=self.session.author, source="tui")
        )

    @work(exclusive=True, group="undo")
    async def action_undo(self) -> None:
        cancellation = self.chosen
        if cancellation is None or not undo_label(cancellation, self._feed.now()):
            return
        with suppress(SecateurError):  # the answer meets the same trouble, and says so
            # What the list shows may be seconds old, and a sweep cancels thousands in a second.
            cancellation = await self.session.ask(self.session.queue.cancellations.get(cancellation.id))
        question = undo_question([cancellation])
        answer = await self.app.push_screen_wait(QuestionScreen(self.session, question))
        if answer is Choice.NO:
            return
        requeue = answer is Choice.OTHER or cancellation.state == State.UNDONE
        is_done = await self._write(
            self.session.queue.cancellations.undo(
                cancellation.id, author=self.session.author, source="tui", requeue_stopped=requeue
            )
        )
        if is_done:
            self.post_message(self.TookBack(cancellation.id))

    @work(exclusive=True, group="postmortem")
    async def action_postmortem(self) -> None:
        if (chosen := self.chosen) is None:
            return
        queue, where = self.session.queue, self.session.context or self.session.where
        try:
            document = await self.session.ask(postmortem(queue.cancellations, queue.reader, chosen.id, where))
            path = await asyncio.to_thread(write, document, chosen, Path.cwd())
        except (SecateurError, OSError) as error:
            self._say(f"! no postmortem was written: {error}", "error")
        else:
            self._say(f"wrote {path.name} to {path.parent}", "good")

    def _say(self, text: str, tone: str) -> None:
        """On the line under the list, which covers nothing, until the next key."""
        self._said.update(toned((f" {one_line(text)}", tone)))
        self._said.display = True

    @on(events.Key)
    def _read_it(self) -> None:
        self._said.display = False

    async def _write(self, change: Awaitable[Cancellation]) -> bool:
        """Ask the database for a change and show the outcome; returns whether the change was made."""
        # An open transaction can hold it up for seconds.
        self._say("asking the database…", "quiet")
        try:
            written = await self.session.ask(change)
        except SecateurError as error:
            self._say(f"! nothing was changed: {error}", "error")
            return False
        self._said.display = False
        if written.is_pending:
            self._say(f"! {waiting_end(written)}", "warn")
        self._poll()
        return True

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _OF_ONE and not ((chosen := self.chosen) and _OF_ONE[action](chosen, self._feed.now())):
            return False
        return super().check_action(action, parameters)

    def why_not(self, action: Action) -> str:
        return "" if self.chosen is None else _WHY_NOT.get(action.id, "")

    def describe(self, action: Action) -> str:
        if action.id == "history.undo" and (chosen := self.chosen) is not None:
            return undo_label(chosen, self._feed.now()) or action.description
        return super().describe(action)
