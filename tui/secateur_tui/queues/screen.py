"""Queues, the first screen: live depth per app and function, and which function is the flood."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import Input, Static

from secateur.errors import SecateurError
from secateur.runs import Functions, Scope
from secateur.words.lines import one_line
from secateur_tui.frame.aftermath_line import AlsoWanted, aftermath_line
from secateur_tui.frame.hot_table import HotTable
from secateur_tui.frame.line_table import LineTable
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.question import Choice, QuestionScreen
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import Action, bindings_of, display_of
from secateur_tui.queues.depth_rows import flood, scope_of
from secateur_tui.queues.depth_table import DepthTable
from secateur_tui.queues.detail import DepthDetail
from secateur_tui.queues.pausing import Offer, make, offer
from secateur_tui.queues.status import status
from secateur_tui.session import Feed, Session
from secateur_tui.themes import toned

_HISTORY_KEY = display_of("console.history")
_AFTERMATH_KEYS = {
    "also": display_of("queues.also_arriving"),
    "undo": display_of("console.undo"),
    "redo": display_of("console.redo"),
}
_DETAIL_FROM_HEIGHT, _HOT_FROM_WIDTH = 20, 76
"""Of the screen: in less there is the list alone, and the plot alone."""
_FRAME = 4
"""Lines beside the list and the detail: header, title, the first of the status, footer."""
_OF_SCOPE = ("open_filter", "stands_out", "times", "pause", "mark")
"""What is done to an app or a function: on the row of a whole queue there is none."""
_EMPTY = "The database has no functions yet.\n\nThey appear here with their first run"
_TO_BEGIN = ", from any language:\n\n  {first_run}\n\nTo see secateur at work first: secateur demo"


class QueuesScreen(PlaceScreen):
    """Posts `FilterWanted` and `FailedWanted`; the app decides where these lead. Pauses and resumes after asking."""

    place = "queues"
    CSS_PATH = None
    BINDINGS = bindings_of("queues")

    @dataclass
    class FilterWanted(Message):
        """The user wants to filter the runs of this scope."""

        scope: Scope | Functions
        retry: bool = False
        """Failed runs, to queue them again."""
        stands_out: bool = False
        """With the pane of what stands out in focus."""
        if_: str = ""
        """The condition to begin with."""

    @dataclass
    class TimesWanted(Message):
        """The user wants to see how deep this scope was."""

        scope: Scope

    @dataclass
    class FailedWanted(Message):
        """The user wants to see the failed runs of this scope."""

        scope: Scope | Functions

    @dataclass
    class DepthChanged(Message):
        """The user changed something that the next depth will show."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        # Held here, not looked up: the history may arrive while the screen is being taken down.
        self._table = DepthTable(session.queue.reader.queue_of, id="depth")
        self._detail = DepthDetail(session, id="detail-of-row")
        self._feed = Feed()
        self._offered: set[tuple[str, str, bool]] = set()
        self._pause_label, self._of_queue = "", False
        self._status_lines = 0
        self._goes_on = False
        """After a commit, matching runs still arrive: there is a key for them."""
        self._before_find: Scope | None = None
        """What the cursor was on before the search began."""

    @property
    def chosen(self) -> Scope | Functions | None:
        """The marked functions or, without any, the function or app under the cursor."""
        return self._table.chosen

    def content(self) -> ComposeResult:
        yield Rule("Queues", id="queues")
        yield self._table
        yield Static(_empty(self.session.queue.reader.first_run), id="empty", markup=False)
        yield self._detail
        yield Static(id="aftermath", markup=False)
        yield Static(id="headline", markup=False)
        yield Input(placeholder="part of an app's or function's name", id="find", compact=True)

    def on_mount(self) -> None:
        self.query_one("#find").display = False
        self.query_one("#empty").display = False
        self._table.focus()
        self.watch(self.app, "feed", self._show)
        self.set_interval(1.0, self._dim_if_stale)

    def _show(self, feed: Feed) -> None:
        table = self._table
        if feed.as_of is not None and feed.as_of != self._feed.as_of:
            is_first = self._feed.as_of is None
            if is_first and (worst := flood(feed.depths)) is not None:
                # One has come to see this: the order changes only when somebody asks for it.
                table.sort = "queued"
                table.show_depth(feed.depths, feed.activity.in_force)
                table.move_to(scope_of(worst))
            else:
                table.show_depth(feed.depths, feed.activity.in_force)
            if is_first:
                self._remember()
            if (offered := _offered(feed)) != self._offered:
                self._offered = offered
                self.call_later(self.refresh_bindings)
        self._feed = feed
        empty = feed.as_of is not None and not feed.depths
        self.query_one("#empty").display = empty
        table.display = not empty
        if self.is_current and self.app.app_focus and not empty and self.focused is None:
            table.focus()
        self._dim_if_stale()
        self._show_status(feed)
        self._show_aftermath(feed)
        self._arrange()
        self._subtitle()
        self._label_pause()
        self._follow()

    def _show_status(self, feed: Feed) -> None:
        line, told = self.query_one("#headline", Static), status(feed, _HISTORY_KEY, self.app.size.width - 2)
        # What takes as many lines as before moves nothing else.
        lines = told.plain.count("\n")
        line.update(told, layout=lines != self._status_lines)
        self._status_lines = lines

    @work(exclusive=True, group="past")
    async def _remember(self) -> None:
        """How it was before this console looked; until that is known, the lines begin now."""
        history = self.session.queue.reader.history
        if history.is_kept:
            self._table.remember(await self.session.ask_until_answered(history.overview))

    def _show_aftermath(self, feed: Feed) -> None:
        """What came of this console's last commit, and how to go on from there."""
        line, found = self.query_one("#aftermath", Static), feed.aftermath
        line.display = found is not None
        goes_on = found is not None and found.goes_on
        if goes_on != self._goes_on:
            self._goes_on = goes_on
            self.call_later(self.refresh_bindings)
        if found is None:
            return
        writes = not self.session.read_only
        keys = {name: key if writes else "" for name, key in _AFTERMATH_KEYS.items()}
        line.update(toned((" ", "plain")) + aftermath_line(found, self.app.size.width - 3, **keys), layout=False)

    def _follow(self) -> None:
        """Let the detail be of the row under the cursor."""
        detail, table = self._detail, self._table
        if self.app.screen is self and self.app.app_focus and detail.display:
            deepest = table.flooding
            is_worst = deepest is not None and scope_of(deepest) == table.scope
            detail.follow(table.scope, table.depth, is_worst=is_worst)
        else:
            detail.rest()

    def on_screen_suspend(self) -> None:
        self._detail.rest()

    def on_screen_resume(self) -> None:
        self._follow()

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        """The detail has what the list leaves. Finding does not change that, so that nothing jumps while one types."""
        width, height = self.app.size
        detail = self._detail
        detail.display = height >= _DETAIL_FROM_HEIGHT
        beside = _FRAME + self._status_lines + int(self.query_one("#aftermath").display)
        free = height - beside - self._table.full_height if self._feed.depths else 0
        detail.styles.height = max(7, height * 2 // 5 if height < 45 else height // 2, free)
        detail.set_class(width < _HOT_FROM_WIDTH, "-narrow")

    def _dim_if_stale(self) -> None:
        stale = self._feed.problem is not None or self._feed.is_stale
        self._table.set_class(stale, "stale")

    def _subtitle(self) -> None:
        self.query_one("#queues", Rule).show("Queues", *self._table.summaries)

    def action_open_filter(self) -> None:
        if (scope := self.chosen) is not None:
            self.post_message(self.FilterWanted(scope))

    def action_stands_out(self) -> None:
        if (scope := self.chosen) is not None:
            self.post_message(self.FilterWanted(scope, stands_out=True))

    def action_mark(self) -> None:
        if told := self._table.mark():
            self.notify(told, severity="warning", markup=False)
        self._subtitle()
        self.refresh_bindings()

    @on(DepthDetail.ValueChosen)
    def _filter_by_value(self, message: DepthDetail.ValueChosen) -> None:
        self.post_message(self.FilterWanted(message.scope, if_=message.if_))

    def action_detail(self) -> None:
        """From the list to the hot values, and back."""
        hot = self.query_one(HotTable)
        if hot.has_focus:
            self._table.focus()
        elif hot.chosen is not None:
            hot.focus()

    def action_times(self) -> None:
        if (scope := self._table.scope) is not None:
            self.post_message(self.TimesWanted(scope))

    def action_also_arriving(self) -> None:
        if (found := self._feed.aftermath) is not None and found.goes_on:
            self.post_message(AlsoWanted(found.cancellations))

    def action_retry(self) -> None:
        if (scope := self.chosen) is not None:
            self.post_message(self.FilterWanted(scope, retry=True))

    def action_failed(self) -> None:
        if (scope := self.chosen) is not None:
            self.post_message(self.FailedWanted(scope))

    @property
    def _has_failed(self) -> bool:
        """Whether what is chosen has failed runs, or may have some that nobody counts."""
        if (scope := self.chosen) is None:
            return False
        return any(each.failed != 0 for each in self._feed.depths if scope.covers(each.app_id, each.function_id))

    @property
    def _offer(self) -> Offer | None:
        """What pausing means on this row; None if there is no row, or nothing can be paused."""
        if not self.session.queue.controls.can_pause or (scope := self._table.scope) is None:
            return None
        return offer(scope, [each for each in self._feed.depths if each.app_id == scope.app_id])

    @on(LineTable.Moved, "#depth")
    def _moved(self) -> None:
        self._label_pause()
        self._follow()

    def _label_pause(self) -> None:
        """Let the footer say what the key does to the row under the cursor."""
        label = found.label if (found := self._offer) else ""
        of_queue = self.chosen is None
        if (label, of_queue) != (self._pause_label, self._of_queue):
            self._pause_label, self._of_queue = label, of_queue
            self.refresh_bindings()

    @work(exclusive=True, group="pause")
    async def action_pause(self) -> None:
        if (offered := self._offer) is None:
            return
        answer = await self.app.push_screen_wait(QuestionScreen(self.session, offered.question))
        change = {Choice.YES: offered.yes, Choice.OTHER: offered.other}.get(answer)
        if change is None:
            return
        try:
            said, severity = await self.session.ask(make(change, self.session.queue.controls, self.session.author))
        except SecateurError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify(said, severity=severity, markup=False)
        self.post_message(self.DepthChanged())

    def action_sort(self) -> None:
        self._table.next_sort()

    def action_reverse(self) -> None:
        self._table.reverse()

    @on(DepthTable.Sorted)
    def _sorted(self) -> None:
        self._subtitle()

    def action_fold(self) -> None:
        self._table.toggle_fold()
        self._arrange()

    def action_find(self) -> None:
        if not self.query_one("#find").display:
            self._before_find = self._table.scope
        field = self.query_one("#find", Input)
        field.display = True
        field.focus()

    def action_clear_find(self) -> None:
        """End the search; without one, take the marks away."""
        if not self.query_one("#find").display:
            self._table.clear_marks()
            self._subtitle()
            self.refresh_bindings()
            return
        field = self.query_one("#find", Input)
        is_given_up = field.has_focus
        field.value = ""
        field.display = False
        table = self._table
        table.find = ""
        table.relist()
        if is_given_up and self._before_find is not None:
            table.move_to(self._before_find)
        table.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "clear_find":
            return self.query_one("#find").display or self._table.marked is not None
        if action == "find":  # also before the first figures: a name that is typed then is no string of commands
            return bool(self._feed.depths) or self._feed.as_of is None
        needs_rows = ("open_filter", "stands_out", "pause", "sort", "reverse", "fold", "mark")
        if action in needs_rows and not self._feed.depths:
            return False
        if action in _OF_SCOPE and self._feed.depths and self.chosen is None:
            return False
        if action == "failed":
            return self._has_failed
        if action == "times" and not (self._feed.depths and self.session.queue.reader.history.is_kept):
            return False
        if action == "also_arriving" and not self._goes_on:
            return False
        if action == "retry":
            return self.session.queue.cancellations.can_retry and self._has_failed
        if action == "pause" and not self.session.queue.controls.can_pause:
            return False
        return super().check_action(action, parameters)

    def why_not(self, action: Action) -> str:
        scope = self.chosen
        if scope is None and self._feed.depths:
            return "This row is a whole queue: choose one of its apps."
        match action.id:
            case "queues.failed" | "queues.retry" if scope is not None and not self._has_failed:
                return f"No run of {one_line(str(scope))} has failed."
            case "queues.also_arriving" if self._feed.depths:
                return "Nothing is known to arrive that this console's last cancellation matches."
        return ""

    def describe(self, action: Action) -> str:
        match action.id:
            case "queues.pause" if self._pause_label:
                return self._pause_label
            case "queues.open_filter" if (marked := self._table.marked) is not None:
                return f"filter {len(marked.names)} marked"
            case "queues.clear_find" if not self.query_one("#find").display:
                return "unmark"
        return super().describe(action)

    @on(Input.Changed, "#find")
    def _find(self, event: Input.Changed) -> None:
        table = self._table
        table.find = event.value.strip()
        table.relist()
        self._subtitle()

    @on(Input.Submitted, "#find")
    def _found(self) -> None:
        self.query_one("#find").display = bool(self.query_one("#find", Input).value)
        self._table.focus()


def _empty(first_run: str | None) -> str:
    """What is shown if there are no queues: how to begin, if the engine says so."""
    return _EMPTY + ("." if first_run is None else _TO_BEGIN.format(first_run=first_run))


def _offered(feed: Feed) -> set[tuple[str, str, bool]]:
    """What decides which keys work: the functions, and whether they have failed runs."""
    return {(depth.app_id, depth.function_id, depth.failed != 0) for depth in feed.depths}
