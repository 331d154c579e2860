"""Failed runs: the newest first, each with its error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from secateur.engines.searching import RunSearch
from secateur.errors import SecateurError
from secateur.runs import Run, RunStatus, Scope
from secateur.words.figures import ago, number
from secateur.words.lines import one_line
from secateur.words.tables import EXTRA, Column
from secateur_tui.frame.columns import Cell, Row, lay_out_cells
from secateur_tui.frame.line_table import LineTable, TableRow
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.keymap import bindings_of, display_of
from secateur_tui.runs.details import RunScreen, life
from secateur_tui.session import Feed, Session
from secateur_tui.themes import toned

PAGE = 100
"""Runs that are asked for at first, and that the end of the list adds."""
MOST = 1_000
"""Runs that are listed; a filter finds the others."""
LOOK_COST = 20
"""The list is asked for again after so many times what the last question took, but not sooner than the depth."""
_LONGEST = 200
"""Characters of an error that a row has."""

_COLUMNS = (
    Column("failed", "failed", right=False, minimum=9),
    Column("function", "function", right=False, shrinks_to=8, rank=30),
    Column("attempts", "attempts", "att", rank=20),
    Column("error", "error", right=False, minimum=12, shrinks_to=12),
    Column("id", "run id", right=False, rank=EXTRA),
)
_RETRY_KEY = display_of("failed.retry")


class FailedTable(LineTable):
    """The list; the cursor's key is the run's id."""

    def __init__(self, *, with_function: bool) -> None:
        super().__init__(id="failed-runs")
        self._columns = [each for each in _COLUMNS if with_function or each.key != "function"]
        self._found: Sequence[Run] = ()
        self._feed = Feed()

    def show(self, found: Sequence[Run], feed: Feed) -> None:
        self._found, self._feed = found, feed
        self.relist()

    @property
    def chosen(self) -> Run | None:
        """The run under the cursor."""
        return next((run for run in self._found if run.id == self.cursor_key), None)

    def relist(self) -> None:
        rows = [self._row(run) for run in self._found]
        layout = lay_out_cells(self._columns, rows, self.line_width)
        lines = [TableRow(run.id, layout.line(row)) for run, row in zip(self._found, rows, strict=True)]
        self.show_lines(layout.heading(), lines)

    def _row(self, run: Run) -> Row:
        error = (run.error or "no error was given").split("\n", 1)[0]
        return {
            "failed": Cell(ago(run.finished_at or run.started_at, self._feed.now()), "quiet"),
            "function": Cell(one_line(run.function_id)),
            "attempts": Cell(number(run.attempt)),
            "error": Cell(one_line(error[:_LONGEST]), "error" if run.error else "quiet"),
            "id": Cell(run.id, "quiet"),
        }

    def on_resize(self) -> None:
        self.relist()


class FailedScreen(PlaceScreen):
    """Posts `RetryWanted` and `BackWanted`."""

    place = "failed"
    BINDINGS = bindings_of("failed")

    @dataclass
    class RetryWanted(Message):
        """Somebody wants to filter these runs, to queue them again."""

        scope: Scope

    @dataclass
    class BackWanted(Message):
        pass

    def __init__(self, session: Session, scope: Scope, feed: Feed) -> None:
        super().__init__(session)
        self._scope, self._feed = scope, feed
        self._found: Sequence[Run] = ()
        self._wanted = PAGE
        self._problem: SecateurError | None = None
        self._table = FailedTable(with_function=scope.function_id is None)
        self._empty = Static("asking the database…", id="empty", markup=False)
        self._detail = Static(id="detail", classes="panel", markup=False)
        self._panel = Vertical(self._table, self._empty, id="failed", classes="panel")

    def content(self) -> ComposeResult:
        yield self._panel
        yield self._detail

    def on_mount(self) -> None:
        self._panel.border_title = Content(f"Failed runs: {one_line(str(self._scope))}")
        self._table.display = self._detail.display = False
        self.watch(self.app, "feed", self._follow)
        self._poll()

    def _follow(self, feed: Feed) -> None:
        self._feed = feed
        self._subtitle()

    @work(exclusive=True, group="failed")
    async def _poll(self) -> None:
        while True:
            began = time.monotonic()
            try:
                question = self.session.queue.reader.runs(
                    RunSearch(self._scope.app_id, self._scope.names, RunStatus.FAILED, limit=self._wanted)
                )
                self._found = await self.session.ask(question)
            except SecateurError as error:
                self._table.add_class("stale")
                self._empty.update(toned((f"! {one_line(str(error))}", "error")))
                self._problem = error
                self._subtitle()
            else:
                self._show()
            took = time.monotonic() - began
            await asyncio.sleep(max(self._feed.every, took * LOOK_COST))

    def _show(self) -> None:
        self._problem = None
        self._table.remove_class("stale")
        self._table.display = bool(self._found)
        self._empty.display = not self._found
        self._empty.update("No failed run is kept here.\n\nWhat failed may have been retried, or pruned since.")
        self._table.show(self._found, self._feed)
        if self._found and self.focused is None:
            self._table.focus()
        self._subtitle()
        self._show_detail()

    def _subtitle(self) -> None:
        if self._problem is not None:
            self._panel.border_subtitle = Content(f"! {one_line(str(self._problem))}")
            return
        scope = self._scope
        every = sum(
            depth.failed
            for depth in self._feed.depths
            if depth.app_id == scope.app_id and scope.function_id in (None, depth.function_id)
        )
        listed = len(self._found)
        more = f" · {_RETRY_KEY} filters them all" if listed >= MOST else ""
        self._panel.border_subtitle = Content(
            f"newest first · {number(listed)} of {number(max(every, listed))}{more}" if listed else ""
        )

    @on(LineTable.Moved)
    def _moved(self) -> None:
        """The end of the list asks for more."""
        if self._found and self._table.cursor_key == self._found[-1].id and len(self._found) == self._wanted < MOST:
            self._wanted += PAGE
            self._poll()
        self._show_detail()

    def _show_detail(self) -> None:
        run = self._table.chosen
        self._detail.display = run is not None
        if run is not None:
            self._detail.border_title = Content(f"run {one_line(run.id)}")
            self._detail.update(Content("\n").join(life(run, self._feed.now())))
        self.refresh_bindings()

    def action_show(self) -> None:
        if (run := self._table.chosen) is not None:
            self.app.push_screen(RunScreen(self.session, run, self._feed.now()))

    def action_retry(self) -> None:
        self.post_message(self.RetryWanted(self._scope))

    def action_back(self) -> None:
        self.post_message(self.BackWanted())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "retry" and not self.session.queue.cancellations.can_retry:
            return False
        if action in ("show", "retry") and not self._found:
            return False
        return super().check_action(action, parameters)
