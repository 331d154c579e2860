"""What Queues shows of the chosen row: how deep it was in the last quarter of an hour, and what stands out in it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Static

from secateur.errors import SecateurError
from secateur.looking.depth import Trend, outlook
from secateur.looking.suggestions import Suggestions
from secateur.runs import FunctionDepth, Scope
from secateur.words.lines import one_line
from secateur_tui.frame.depth_plot import DepthPlot
from secateur_tui.frame.hot_rows import View
from secateur_tui.frame.hot_table import HotTable, How
from secateur_tui.frame.plots import growth_line
from secateur_tui.frame.rule import Rule
from secateur_tui.session import Session, why_none
from secateur_tui.themes import toned

_SUGGEST_AFTER_SECONDS = 1.0
"""It rests for longer before values are compared, which takes up to two seconds of the database's time."""
_SUGGESTED_FOR_SECONDS = 60.0
_FEWEST_RUNS = 10
"""Of fewer runs nothing stands out."""
_OF_QUEUE = " Choose one of its apps: how deep\n it was and what stands out in it\n are shown here."


@dataclass(frozen=True, slots=True)
class _Found:
    """What stood out in a scope, and when it was looked for."""

    suggestions: Suggestions
    at: float


class DepthDetail(Vertical):
    """Follows the scope passed to `follow`. Posts `ValueChosen`."""

    @dataclass
    class ValueChosen(Message):
        """The user wants to filter the scope by a condition."""

        scope: Scope
        if_: str

    def __init__(self, session: Session, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._session = session
        self._scope: Scope | None = None
        self._queued = 0
        self._found: dict[Scope, _Found] = {}
        self._of_queue = False
        self._problem = ""
        """Why nothing was compared."""
        self._drains = False
        """It shrinks just now, as the line at the bottom says."""
        self._plot = DepthPlot(session, id="plot")
        self._is_followed = False
        """Somebody looks at it: it asks the database now and then."""

    def compose(self) -> ComposeResult:
        yield Rule(id="chosen")
        with Horizontal():
            yield self._plot
            with Vertical(id="stands-out"):
                yield Static(id="stands-out-not", markup=False)
                yield HotTable()

    def on_mount(self) -> None:
        reader = self._session.queue.reader
        self.query_one("#stands-out").display = reader.can_suggest
        self.set_class(not self._plot.is_kept, "-no-history")

    def follow(self, scope: Scope | None, depth: FunctionDepth | None, *, is_worst: bool) -> None:
        """The cursor is on this row, or its figures are new. A depth without a scope is that of a whole queue."""
        before = self._scope, self._of_queue
        self._scope, self._of_queue = scope, scope is None and depth is not None
        changed = (self._scope, self._of_queue) != before
        self._queued = depth.queued if depth is not None else 0
        drains = depth is not None and outlook(depth).trend is Trend.DRAINING
        self._plot.follow(
            scope, tone="chart-danger" if is_worst else "chart-main", instead=_OF_QUEUE if self._of_queue else ""
        )
        if changed or drains != self._drains:
            self._drains = drains
            self._head()
        if changed:
            self._problem = ""
            self._show_found()
        if changed or not self._is_followed:
            self._is_followed = True
            self._suggest()

    def rest(self) -> None:
        """Ask nothing until the next `follow`."""
        self._is_followed = False
        self._plot.rest()
        self.workers.cancel_group(self, "suggest")

    @work(exclusive=True, group="suggest")
    async def _suggest(self) -> None:
        """One at a time; moving on cancels it, in the database as well."""
        scope = self._scope
        if scope is None or not self._session.queue.reader.can_suggest:
            return
        await asyncio.sleep(_SUGGEST_AFTER_SECONDS)
        while True:
            found = self._found.get(scope)
            if self._queued >= _FEWEST_RUNS and (found is None or found.at < time.monotonic() - _SUGGESTED_FOR_SECONDS):
                reader = self._session.queue.reader
                suggestions = await self._session.ask_until_answered(partial(reader.suggest, scope), self._failed)
                self._problem = ""
                self._found[scope] = _Found(suggestions, time.monotonic())
                self._show_found()
            await asyncio.sleep(_SUGGEST_AFTER_SECONDS)

    def _failed(self, error: SecateurError) -> None:
        self._problem = f"! {why_none(error)}"
        self._show_found()

    @on(DepthPlot.Learned)
    def _head(self) -> None:
        """The row's name and, in fewer words where there is less room, since when it grows."""
        series, zone = self._plot.series, self._session.zone
        notes = (
            []
            if series is None or self._drains
            else [growth_line(series, series.steps.until, zone, short=short) for short in (False, True)]
        )
        self.query_one("#chosen", Rule).show("" if self._scope is None else one_line(str(self._scope)), *notes)

    def _show_found(self) -> None:
        """The table of what stands out, or why there is none."""
        rows, instead = self.query_one(HotTable), self.query_one("#stands-out-not", Static)
        scope = self._scope
        found = self._found.get(scope) if scope is not None else None
        if found is None or scope is None:
            few = self._queued < _FEWEST_RUNS
            told = (
                ""
                if scope is None
                else "Too few runs to compare."
                if few
                else self._problem or "Comparing what arrives with what is usual…"
            )
        else:
            view = View.of_arrivals(found.suggestions, scope)
            rows.show(view, "")
            told = "" if view.picks else f"Nothing stands out: {view.nothing}."
        instead.update(toned((told, "quiet")), layout=False)
        instead.display, rows.display = bool(told) or scope is None, scope is not None and not told

    @on(HotTable.Picked)
    def _picked(self, message: HotTable.Picked) -> None:
        message.stop()
        pick = message.pick
        condition = pick.unless if message.how is How.EXCLUDE else pick.condition
        if self._scope is not None and condition is not None:
            self.post_message(self.ValueChosen(self._scope, condition))
