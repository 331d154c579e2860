"""A plot of one queue's depth until now that keeps itself up to date."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from secateur.errors import SecateurError
from secateur.looking.history import Series
from secateur.runs import Scope
from secateur.words.lines import one_line
from secateur_tui.frame.plots import Plots, Sign, gap_lines
from secateur_tui.frame.rule import Rule
from secateur_tui.session import Attempts, Session, pause_after, why_none
from secateur_tui.terminal import has_braille
from secateur_tui.themes import toned

_REST_SECONDS = 0.3
"""How long the cursor rests before its row is looked up."""
_LEAST_SECONDS, _STEPS = 5.0, 720
"""Between two queries: at least so many seconds, and one of so many steps of the whole time. It hardly moves sooner."""
_QUARTER = timedelta(minutes=15)
_REACHES = (*(_QUARTER * (1 << times) for times in range(7)), timedelta(hours=24), timedelta(hours=48))
"""How far back a plot reaches: few, so that its columns stand still while time goes on."""
_AROUND_FROM_HEIGHT = 30
"""A window with at least this many lines has room for the plot, whatever else it shows."""
_LEAST_AROUND = 6
"""Lines of the plot with its rule and its axis."""
_RATES_FROM_HEIGHT = 9
"""With at least this many lines, arrivals and departures have their own plots."""


class DepthPlot(Static):
    """Shows the depth of the scope passed to `follow`. Posts `Learned` when there is another series."""

    class Learned(Message):
        """`series` is another one."""

    def __init__(self, session: Session, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._session = session
        self._scope: Scope | None = None
        self._reach = _QUARTER
        self._signs: Sequence[Sign] = ()
        self._tone = "chart-main"
        self._instead = ""
        self._problem = ""
        """Why the newest query brought nothing."""
        self._looks = False
        """Whether somebody looks at it: then it queries the database from time to time."""
        self.series: Series | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the queue has a history at all."""
        return self._session.queue.reader.history.is_kept

    def follow(
        self,
        scope: Scope | None,
        reach: timedelta = _QUARTER,
        *,
        signs: Sequence[Sign] = (),
        tone: str = "chart-main",
        instead: str = "",
    ) -> None:
        """Show this scope from now on, and query the database from time to time; `instead` is shown if there is no
        plot."""
        asked = scope, reach
        others = asked != (self._scope, self._reach)
        shown = (*asked, signs, tone, instead)
        if shown != (self._scope, self._reach, self._signs, self._tone, self._instead):
            self._scope, self._reach, self._signs, self._tone, self._instead = shown
            if others:
                self.series, self._problem = None, ""
            self._draw()
        if others or not self._looks:
            self._looks = True
            self._look()

    def rest(self) -> None:
        """Ask nothing until the next `follow`."""
        self._looks = False
        self.workers.cancel_node(self)

    def on_resize(self) -> None:
        self._draw()

    @work(exclusive=True, group="plot")
    async def _look(self) -> None:
        scope, history = self._scope, self._session.queue.reader.history
        if scope is None or not history.is_kept:
            return
        await asyncio.sleep(_REST_SECONDS)
        attempts = Attempts()
        while True:
            began = time.monotonic()
            try:
                self.series = await self._session.ask(history.series(scope, self._reach))
            except SecateurError as error:
                self._problem = why_none(error)
                rest = attempts.failed(time.monotonic() - began)
            else:
                self._problem = ""
                attempts.answered()
                least = max(_LEAST_SECONDS, self._reach.total_seconds() / _STEPS)
                rest = pause_after(time.monotonic() - began, least)
                self.post_message(self.Learned())
            self.set_class(bool(self._problem), "stale")
            self._draw()
            await asyncio.sleep(rest)

    def _draw(self) -> None:
        series = self.series
        if self._scope is None:
            self.update(toned((self._instead, "quiet")), layout=False)
        elif not self.is_kept:
            self.update(toned((" This queue keeps no history.", "quiet")), layout=False)
        elif series is None:
            told = textwrap.wrap(f"! {self._problem}" if self._problem else "", max(1, self.size.width - 1))
            self.update(toned(("\n".join(f" {line}" for line in told), "warn")), layout=False)
        else:
            lines = self._lines(series, self.size.width, self.size.height)
            self.update(Content("\n").join(lines), layout=False)

    def _lines(self, series: Series, width: int, height: int) -> list[Content]:
        plots = Plots.of(series, width, self._session.zone, fine=has_braille())
        below = [plots.axis(), *gap_lines(series, self._session.zone, width)[-1:]]
        marks = [plots.marks(self._signs)]
        if height < _RATES_FROM_HEIGHT:
            marks = marks if self._signs else []
            return [*plots.depth(max(1, height - len(below) - len(marks)), tone=self._tone), *marks, *below]
        room = max(2, (height - len(below) - 1) // 4)
        entering, leaving = plots.rates(room)
        main = max(2, height - len(below) - 2 * room - 1)
        return [*plots.depth(main, tone=self._tone), *marks, *entering, *leaving, *below]


class DepthAround(Vertical):
    """A run's or a cancellation's queue around its time, if the window is high enough for it."""

    def __init__(self, session: Session, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rule = Rule()
        self._plot = DepthPlot(session)

    def compose(self) -> ComposeResult:
        yield self._rule
        yield self._plot

    def show(
        self, scope: Scope, since: datetime, now: datetime, signs: Sequence[Sign], legend: str, *, free: int = 0
    ) -> None:
        """`since` is when it began: the plot reaches further back than that, if the history does.

        Of a window that is not that high, it takes the lines that are `free`, if these are enough.
        """
        is_high = self.app.size.height >= _AROUND_FROM_HEIGHT
        self.display = self._plot.is_kept and (is_high or free >= _LEAST_AROUND)
        self.styles.height = None if is_high else free
        if not self.display:
            self.rest()
            return
        self._rule.show(f"Its queue: {one_line(str(scope))}", legend, "")
        self._plot.follow(scope, _reach_back_to(since, now), signs=signs)

    def rest(self) -> None:
        """Ask nothing until it is shown again."""
        self._plot.rest()


def _reach_back_to(moment: datetime, now: datetime) -> timedelta:
    """The shortest one in which the moment is not at the very edge, or else the longest."""
    return next((reach for reach in _REACHES if now - moment < reach * 0.95), _REACHES[-1])
