"""History: every cancellation, who and why, how far its sweep or its undo is, and what it guarantees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from secateur.errors import SecateurError
from secateur.ledger.steps import Unrestored
from secateur.states import Kind, State
from secateur.words.lines import one_line
from secateur_tui.frame.columns import lay_out_cells
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.question import Choice, QuestionScreen
from secateur_tui.history import details as history_details
from secateur_tui.history import rows as history_rows
from secateur_tui.history.undoing import stop_question, undo_label, undo_question
from secateur_tui.keymap import Action, bindings_of
from secateur_tui.session import Feed, Session

if TYPE_CHECKING:
    from secateur.records import Cancellation

_SHOWN = 100
"""Cancellations that are listed, newest first."""

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
        """List again what is known, after a change of size."""
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
    """Posts `FilterWanted` and `BackWanted`; stopping and undoing it does itself, after asking."""

    place = "history"
    BINDINGS = bindings_of("history")

    @dataclass
    class FilterWanted(Message):
        """Somebody wants a new filter like this cancellation's."""

        cancellation: Cancellation

    @dataclass
    class BackWanted(Message):
        pass

    @dataclass
    class TookBack(Message):
        """The user undid it here."""

        cancellation_id: UUID

    def __init__(self, session: Session, feed: Feed, committed: Cancellation | None = None) -> None:
        """`committed` is shown at once; the others join it when the database has told of them."""
        super().__init__(session)
        self._feed = feed
        self._selected = None if committed is None else committed.id
        self._all: Sequence[Cancellation] = () if committed is None else (committed,)
        self._find = ""
        self._unrestored: dict[tuple[UUID, datetime], Sequence[Unrestored]] = {}
        """By cancellation and end of its restore: a few runs that did not come back."""
        self._table = HistoryTable()
        self._empty = Static("asking the database…", id="empty", markup=False)
        self._detail = Static(id="detail", classes="panel", markup=False)
        self._panel = Vertical(self._table, self._empty, id="history", classes="panel")

    def content(self) -> ComposeResult:
        yield self._panel
        yield Input(
            placeholder="part of an app, function, author, reason, state or condition",
            id="find",
            compact=True,
        )
        yield self._detail

    def on_mount(self) -> None:
        self._panel.border_title = "History"
        self.query_one("#find").display = False
        self._detail.display = False
        self._table.display = False
        self.watch(self.app, "feed", self._follow)
        if self._all:
            self._show()
        self._poll()

    def _follow(self, feed: Feed) -> None:
        self._feed = feed

    @work(exclusive=True, group="history")
    async def _poll(self) -> None:
        while True:
            try:
                self._all = await self.session.ask(self.session.queue.cancellations.list(limit=_SHOWN))
            except SecateurError as error:
                self._stale(str(error))
            else:
                self._show()
                self._selected = None
            await asyncio.sleep(self._feed.every)

    def _stale(self, message: str) -> None:
        self._table.add_class("stale")
        self._detail.add_class("stale")
        self._panel.border_subtitle = Content(one_line(message))

    def _show(self) -> None:
        table, empty = self._table, self._empty
        found = [each for each in self._all if self._find in history_rows.text_of(each, self._feed.now())]
        table.display = bool(self._all)
        empty.display = not self._all
        empty.update(_EMPTY)
        table.remove_class("stale")
        self._detail.remove_class("stale")
        open_ = sum(history_rows.is_under_way(each) for each in self._all)
        self._panel.border_subtitle = Content(f"{len(self._all)} listed · {open_} under way" if self._all else "")
        table.show(found, self._feed)
        if self._selected is not None:
            table.move_to(self._selected)
        if self._all and self.app.app_focus and self.focused is None:
            table.focus()
        self._show_detail()

    @property
    def chosen(self) -> Cancellation | None:
        """What the cursor is on."""
        key = self._table.cursor_key
        return next((each for each in self._all if each.id == key), None)

    @on(LineTable.Moved)
    def _show_detail(self) -> None:
        detail, cancellation = self._detail, self.chosen
        detail.display = cancellation is not None
        if cancellation is not None:
            detail.border_title = Content(f"{history_rows.scope_text(cancellation)}  {cancellation.id}")
            left = self._left_by(cancellation)
            trouble = self.session.queue.cancellations.trouble_of(cancellation.id)
            detail.update(history_details.details(cancellation, self._feed.now(), left, trouble))
        self.refresh_bindings()

    def _left_by(self, cancellation: Cancellation) -> Sequence[Unrestored]:
        """A few runs that its undo did not bring back; asked for once the restore is over."""
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
        question = undo_question(cancellation)
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

    async def _write(self, change: Awaitable[Cancellation]) -> bool:
        """Ask the database for a change, and show what came of it; whether it was made."""
        try:
            await self.session.ask(change)
        except SecateurError as error:
            self.notify(str(error), severity="error", markup=False)
            return False
        self._poll()
        return True

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        chosen = self.chosen
        if action == "stop" and (chosen is None or not chosen.is_active):
            return False
        if action == "undo" and (chosen is None or not undo_label(chosen, self._feed.now())):
            return False
        # Of a single run there is no condition that a filter could begin with.
        if action == "use_as_filter" and (chosen is None or chosen.kind == Kind.RUN):
            return False
        return super().check_action(action, parameters)

    def describe(self, action: Action) -> str:
        if action.id == "history.undo" and (chosen := self.chosen) is not None:
            return undo_label(chosen, self._feed.now()) or action.description
        return super().describe(action)
