"""Runs: search the runs of a function or app by status and expression, and list them page by page."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static

from secateur.cel import SEARCH, ExpressionError, Filter, compile
from secateur.cel.paths import fields_read
from secateur.engines.searching import RunPage, RunSearch
from secateur.errors import SecateurError
from secateur.instants import in_zone
from secateur.runs import Functions, Run, RunStatus, Scope
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur_tui.frame.line_table import LineTable
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import Action, bindings_of, display_of
from secateur_tui.runs.details import life
from secateur_tui.runs.table import RunTable
from secateur_tui.session import Feed, Session, pause_after, why_none
from secateur_tui.themes import toned

PAGE = 100
"""How many runs are asked for at once."""
MOST = 1_000
"""The most runs in the list; after that, the next page replaces them."""

_STATUSES = (None, *RunStatus)
"""The statuses in the order in which the key chooses them; None means any."""

_FIND_KEY, _MORE_KEY = display_of("runs.find"), display_of("runs.more")

_PLACEHOLDER = f"every run; {_FIND_KEY} to search, as in event.data.amount > 100"


class RunsScreen(PlaceScreen):
    """Posts `RunWanted`, `RetryWanted` and `BackWanted`."""

    place = "runs"
    BINDINGS = bindings_of("runs")

    @dataclass
    class RunWanted(Message):
        """The user wants to see a run; `among` are the ids of the list, in its order."""

        run_id: str
        among: tuple[str, ...]

    @dataclass
    class RetryWanted(Message):
        """The user wants to filter the failed runs of the scope, to queue them again."""

        scope: Scope | Functions

    def __init__(self, session: Session, scope: Scope | Functions, feed: Feed, status: RunStatus | None = None) -> None:
        super().__init__(session)
        self._scope, self._feed = scope, feed
        self._search = RunSearch(scope.app_id, scope.names, status, limit=PAGE)
        self._found: list[Run] = []
        self._page: RunPage | None = None
        """The newest page; None before the first."""
        self._looked_at = 0
        self._pages = 0
        self._asked_at = self._took = 0.0
        self._searching = False
        self._questions = 0
        """How many were asked: what becomes of an older one, which is being cancelled, does not matter."""
        self._problem: SecateurError | None = None
        self._rule = Rule(id="runs-rule")
        self._if = Input(placeholder=_PLACEHOLDER, id="runs-if", compact=True, select_on_focus=False)
        self._complains = False
        """Whether the line below the expression says what is wrong with it."""
        self._told = Static(id="runs-told", markup=False)
        self._table = RunTable(with_function=len(scope.names) != 1)
        self._empty = Static("asking the database…", id="empty", markup=False)
        self._detail = Static(id="run-detail", markup=False)
        self._detail_rule = Rule(id="run-detail-rule")

    @property
    def listed(self) -> list[Run]:
        """The runs in the list, in its order."""
        return self._found

    def content(self) -> ComposeResult:
        yield self._rule
        with Horizontal(id="runs-search"):
            yield Label("if ")
            yield self._if
        yield self._told
        yield self._table
        yield self._empty
        yield self._detail_rule
        yield self._detail

    def on_mount(self) -> None:
        self._table.display = False
        self._detail.display = self._detail_rule.display = False
        self._table.focus()
        self.watch(self.app, "feed", self._follow)
        self._ask()

    def _follow(self, feed: Feed) -> None:
        self._feed = feed
        self._title()
        is_live = self._pages == 1 and not self._search.searches and self.is_current and not self._searching
        if is_live and time.monotonic() > self._asked_at + pause_after(self._took, feed.every):
            self._ask()

    @work(exclusive=True, group="runs")
    async def _ask(self, *, more: bool = False) -> None:
        """Ask for the first page or, with `more`, the next one. A newer question cancels this one, also in the
        database.
        """
        search = replace(self._search, before=self._page.next) if more and self._page is not None else self._search
        began = self._asked_at = time.monotonic()
        self._questions += 1
        question = self._questions
        self._searching = True
        self._title()
        try:
            reader = self.session.queue.reader
            page = await self.session.ask_until_answered(lambda: reader.runs(search), self._failed)
            self._problem = None
            goes_on = more and len(self._found) < MOST
            self._found = [*(self._found if goes_on else ()), *page]
            self._looked_at = page.looked_at + (self._looked_at if more else 0)
            self._pages = self._pages + 1 if more else 1
            self._page = page
        finally:
            if question == self._questions:
                self._searching = False
                self._took = time.monotonic() - began
        self._show()

    def _failed(self, error: SecateurError) -> None:
        """The list stays as it is."""
        self._problem = error
        self._table.add_class("stale")
        self._show()

    def _stop(self) -> None:
        """End the search; what was found so far stays in the list."""
        self.workers.cancel_group(self, "runs")
        self._questions += 1
        self._searching = False
        self._problem = None
        if self._page is None:
            self._empty.update(f"Stopped. {_FIND_KEY} and enter search again.")
        self._title()

    def _restart(self) -> None:
        """Begin another search; nothing of the one before stays on the screen."""
        self._found, self._page, self._looked_at, self._pages = [], None, 0, 0
        self._problem = None
        self._empty.update("asking the database…")
        self._show()
        self._ask()

    def _show(self) -> None:
        if self._problem is None:
            self._table.remove_class("stale")
        self._table.display = bool(self._found)
        self._empty.display = not self._found
        if self._problem is None and self._page is not None:
            self._empty.update(self._nothing())
        filter_ = self._search.filter
        read = fields_read(filter_.expression) if filter_ is not None else ()
        self._table.show(self._found, self._feed, with_status=self._search.status is None, read=read)
        if self._found and self.focused is None:
            self._table.focus()
        self._title()
        self._show_detail()

    def _nothing(self) -> str:
        if self._page is not None and self._page.next is not None:
            return f"Nothing found so far: {self._how_far()}; {_MORE_KEY} goes on."
        what = f"{self._search.status} run" if self._search.status else "run"
        if self._search.searches:
            return f"No {what} matches."
        return f"No {what} is kept here.\n\nRuns that have ended are kept for a while; failed ones may be retried."

    def _title(self) -> None:
        status = self._search.status or "every status"
        title = f"Runs: {one_line(str(self._scope))} · {status}"
        order = "newest first" if self._search.newest else "oldest first"
        self._rule.show(title, order)
        if self._complains:
            return
        if self._problem is not None:
            told = toned((f"! {why_none(self._problem)}", "error"))
        elif self._searching and (self._page is None or self._search.searches):
            told = toned(("searching… esc stops", "quiet"))
        elif self._page is None:
            told = toned(("stopped", "quiet"))
        else:
            goes_on = f" · {_MORE_KEY} goes on" if self._page.next is not None else " · that is all"
            far = f" · {self._how_far()}" if self._search.searches else ""
            told = toned((f"{number(len(self._found))} listed{far}{goes_on}", "quiet"))
        self._told.update(told)

    def _how_far(self) -> str:
        page = self._page
        if page is None or page.back_to is None:
            return f"looked at {runs(self._looked_at)}"
        local = in_zone(page.back_to, self.session.zone)
        is_today = local.date() == in_zone(self._feed.now(), self.session.zone).date()
        at = f"{local:%H:%M}" if is_today else f"{local:%m-%d %H:%M}"
        return f"looked at {runs(self._looked_at)} {'back' if self._search.newest else 'up'} to {at}"

    @on(LineTable.Moved)
    def _moved(self) -> None:
        """The end of the list asks for the next page."""
        at_the_end = bool(self._found) and self._table.cursor_key == self._found[-1].id
        full = self._page is not None and self._page.next is not None and len(self._page) == PAGE
        if at_the_end and full and not self._searching and len(self._found) < MOST:
            self._ask(more=True)
        self._show_detail()

    def _show_detail(self) -> None:
        run = self._table.chosen
        self._detail.display = self._detail_rule.display = run is not None
        if run is not None:
            self._detail_rule.show(f"run {one_line(run.id)}")
            self._detail.update(Content("\n").join(life(run, self._feed.now())))
        self.refresh_bindings()

    @on(Input.Submitted, "#runs-if")
    def _submitted(self) -> None:
        source = self._if.value.strip()
        filter: Filter | None = None
        try:
            filter = (
                compile(source, SEARCH.of_queue(self.session.queue.reader.words_of(self._search.app_id)))
                if source
                else None
            )
        except ExpressionError as error:
            first = error.diagnostics[0]
            hint = f"; {first.suggestion}" if first.suggestion else ""
            self._told.update(toned((f"✗ column {first.column}: {one_line(first.message)}{hint}", "error")))
            self._complains = True
            return
        self._complains = False
        self._table.focus()
        self._search = replace(self._search, filter=filter)
        self._restart()

    def action_find(self) -> None:
        self._if.focus()

    def action_status(self) -> None:
        place = _STATUSES.index(self._search.status)
        self._search = replace(self._search, status=_STATUSES[(place + 1) % len(_STATUSES)])
        self._restart()

    def action_order(self) -> None:
        self._search = replace(self._search, newest=not self._search.newest)
        self._restart()

    def action_more(self) -> None:
        if self._page is not None and self._page.next is not None and not self._searching:
            self._ask(more=True)

    def action_show(self) -> None:
        if (run := self._table.chosen) is not None:
            self.post_message(self.RunWanted(run.id, tuple(each.id for each in self._found)))

    def action_retry(self) -> None:
        self.post_message(self.RetryWanted(self._scope))

    def action_back(self) -> None:
        """Leave the expression; else stop a search that is under way; else leave the place."""
        if self._if.has_focus:
            self._if.value = self._search.filter.source if self._search.filter is not None else ""
            self._complains = False
            self._title()
            self._table.focus()
        elif self._searching and (self._search.searches or not self._found):
            self._stop()
        else:
            self.post_message(self.BackWanted())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        failed = any(run.status is RunStatus.FAILED for run in self._found)
        if action == "retry" and not (failed and self.session.queue.cancellations.can_retry):
            return False
        if action == "show" and not self._found:
            return False
        if action == "more" and (self._page is None or self._page.next is None):
            return False
        return super().check_action(action, parameters)

    def why_not(self, action: Action) -> str:
        match action.id:
            case "runs.retry" if self.session.queue.cancellations.can_retry:
                return "None of the listed runs has failed."
            case "runs.more":
                return "There are no more."
        return ""

    def describe(self, action: Action) -> str:
        if action.id == "runs.order":
            return "oldest first" if self._search.newest else "newest first"
        return super().describe(action)
