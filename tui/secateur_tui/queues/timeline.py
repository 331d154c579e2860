"""The time view: how deep one queue was in the last 15 minutes, 2 hours or 48 hours, and what was done to it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from secateur.errors import SecateurError
from secateur.instants import in_zone
from secateur.looking.history import Series
from secateur.runs import Scope
from secateur.samples import DEFAULT_RANGE, RANGES, Mark
from secateur.words.lines import one_line
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.plots import SIGNS, Plots, gap_lines, growth_line, now_line
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import bindings_of
from secateur_tui.session import Attempts, Session, pause_after, why_none
from secateur_tui.terminal import has_braille
from secateur_tui.themes import toned

TITLES = {"15m": "15 min", "2h": "2 h", "48h": "48 h"}
_EVERY_SECONDS = {"15m": 2.0, "2h": 10.0, "48h": 60.0}
"""From one look to the next: a plot hardly moves sooner."""
NOTHING = Content("")
_MOST_LISTED = 8
"""Of the things that were done; the others have their signs under the plots."""
_DONE = {
    "commit": "cancelled",
    "stop": "stopped a cancellation",
    "undo": "undid a cancellation",
    "restore": "restored runs",
    "pause": "paused",
    "resume": "resumed",
}


class TimelineScreen(PlaceScreen):
    """Posts `FilterWanted` and `BackWanted`."""

    place = "timeline"
    BINDINGS = bindings_of("timeline")

    @dataclass
    class FilterWanted(Message):
        """The user wants to filter the runs of this scope."""

        scope: Scope

    def __init__(self, session: Session, scope: Scope) -> None:
        super().__init__(session)
        self._scope = scope
        self._range = DEFAULT_RANGE
        self._series: Series | None = None
        self._problem: SecateurError | None = None
        self._looked_at: datetime | None = None
        """The time that the cursor is on; None while there is none."""
        self._around: datetime | None = None
        """The middle of the time that is shown; None where that ends now."""

    def content(self) -> ComposeResult:
        yield Rule(id="what")
        yield Static("asking the database…", id="plots", markup=False)

    def on_mount(self) -> None:
        self._title()
        self._look()

    def on_screen_suspend(self) -> None:
        self.workers.cancel_group(self, "plots")

    def on_screen_resume(self) -> None:
        self._look()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def action_longer(self) -> None:
        self._change(1)

    def action_shorter(self) -> None:
        self._change(-1)

    def _change(self, step: int) -> None:
        names = list(RANGES)
        self._range = names[(names.index(self._range) + step) % len(names)]
        self._show_around(self._looked_at)

    def _show_around(self, moment: datetime | None) -> None:
        """The time around the moment, with the cursor on it; with None, the time until now."""
        self._around = self._looked_at = moment
        self._series = None
        self._title()
        self._look()

    def action_earlier(self) -> None:
        self._move(-1)

    def action_later(self) -> None:
        self._move(1)

    def action_first(self) -> None:
        if (plots := self._plots) is not None:
            self._look_at(plots, 0)

    def action_last(self) -> None:
        """Take the cursor away: the newest figures are told again."""
        if self._around is not None:
            self._show_around(None)
            return
        self._looked_at = None
        self._draw()

    def _move(self, step: int) -> None:
        """The cursor so many columns to the right; where that is now, it comes and goes at the right end."""
        if (plots := self._plots) is not None:
            count = plots.columns.count
            self._look_at(plots, (count if plots.cursor is None else plots.cursor) + step)

    def _look_at(self, plots: Plots, column: int) -> None:
        columns = plots.columns
        # The middle of a column stays in it, however its ends are rounded.
        middle = columns.begin(column) + timedelta(seconds=columns.seconds / 2)
        if column < 0 or (column >= columns.count and self._around is not None):
            self._show_around(middle)
        else:
            self._looked_at = middle if column < columns.count else None
            self._draw()

    def action_open_filter(self) -> None:
        self.post_message(self.FilterWanted(self._scope))

    def action_back(self) -> None:
        self.post_message(self.BackWanted())

    @work(exclusive=True, group="plots")
    async def _look(self) -> None:
        history, attempts = self.session.queue.reader.history, Attempts()
        while True:
            began = time.monotonic()
            try:
                series = await self.session.ask(history.series(self._scope, self._range, around=self._around))
            except SecateurError as error:
                self._problem = error
                rest = attempts.failed(time.monotonic() - began)
            else:
                self._problem = None
                attempts.answered()
                self._show(series)
                rest = pause_after(time.monotonic() - began, _EVERY_SECONDS[self._range])
            self._draw()
            await asyncio.sleep(rest)

    def _show(self, series: Series) -> None:
        """Of what is older than the history, or newer than now, that shows as much as there is."""
        self._series = series
        reach, _ = RANGES[self._range]
        if self._around is not None and series.steps.until - self._around < reach / 2 - timedelta(seconds=1):
            self._around = None
        self._title()
        if self._looked_at is not None and (plots := self._plots) is not None and plots.cursor is None:
            self._look_at(plots, 0)

    def _title(self) -> None:
        ranges = [(f" {TITLES[name]} ", "chosen" if name == self._range else "quiet") for name in RANGES]
        past = "" if self._around is None or self._series is None else f"{self._past(self._series)}  "
        self.query_one("#what", Rule).show(f"Depth: {one_line(str(self._scope))}", toned((past, "strong"), *ranges))

    def _past(self, series: Series) -> str:
        """Which time is shown, where it does not end now."""
        since, until = (in_zone(each, self.session.zone) for each in (series.steps.since, series.steps.until))
        return f"{since:%d %b %H:%M} – {until:%H:%M}"

    @property
    def _plots(self) -> Plots | None:
        """The series on the columns that there is room for; None before there is one."""
        if (series := self._series) is None:
            return None
        width = self.query_one("#plots", Static).content_size.width
        return Plots.of(series, width, self.session.zone, fine=has_braille(), looked_at=self._looked_at)

    def _draw(self) -> None:
        shown, plots = self.query_one("#plots", Static), self._plots
        problem = () if self._problem is None else (_problem(self._problem),)
        if plots is not None:
            size = shown.content_size
            lines = [*problem, *self._lines(plots, size.width, size.height - len(problem))]
            shown.update(Content("\n").join(lines), layout=False)
        elif problem:
            shown.update(problem[0], layout=False)

    def _lines(self, plots: Plots, width: int, height: int) -> list[Content]:
        zone, series = self.session.zone, plots.series
        growth = growth_line(series, series.steps.until, zone) if self._around is None else NOTHING
        told = [line for line in (growth, *gap_lines(series, zone, width)[-2:]) if line]
        done = [self._done(mark) for mark in series.marks[-_MOST_LISTED:]]
        # The plots come first; what was done has what they leave, the newest of it.
        most = max(0, height - len(told) - _LEAST_OF_PLOTS)
        done = done[len(done) - min(len(done), most) :]
        room = height - len(told) - len(done) - 5
        rates = max(1, room // 5)
        main = max(1, room - 2 * rates)
        entering, leaving = plots.rates(rates, named=False)
        return [
            self._head("queued", now_line(series) if plots.cursor is None else plots.cursor_line()),
            *plots.depth(main),
            plots.marks(),
            self._head("in/s"),
            *entering,
            self._head("out/s"),
            *leaving,
            plots.axis(),
            *told,
            *done,
        ][:height]

    def _head(self, title: str, note: Content = NOTHING) -> Content:
        return toned((title, "strong"), ("  ", "plain")) + note

    def _done(self, mark: Mark) -> Content:
        what = _DONE.get(mark.action, mark.action)
        where = "" if mark.function_id is not None or self._scope.function_id is None else ", the whole app"
        who = f" by {one_line(mark.author)}" if mark.author else ""
        return toned(
            (f"{SIGNS.get(mark.action, '•')} ", "warn"),
            (f"{in_zone(mark.at, self.session.zone):%m-%d %H:%M:%S} ", "quiet"),
            (f"{what}{who}{where}", "plain"),
        )


def _problem(error: SecateurError) -> Content:
    """Above the plots, which stay: it goes on asking."""
    return toned((f"! {why_none(error)}", "error"))


_LEAST_OF_PLOTS = 14
"""Lines for the plots with their titles and the axis."""
