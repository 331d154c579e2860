"""The history of one queue as plots: depth, arrivals and departures over one time axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from textual.content import Content

from secateur.instants import in_zone
from secateur.looking.history import Series
from secateur.words.charts import area, dotted_area
from secateur.words.figures import duration, number, rate
from secateur_tui.frame.plotting import TimeColumns, compact, mean, nice_top
from secateur_tui.themes import PLOT_SHADES, shaded, toned

AXIS_WIDTH = 6
"""Cells at the left, for a figure and the axis."""

SIGNS = {"commit": "✂", "stop": "■", "undo": "↺", "restore": "↺", "pause": "‖", "resume": "▸"}
"""Marks of actions, under the plots; any other action is a dot."""

GROWTH = "▲"
"""Where the queue began to grow."""

_DAY = timedelta(days=1)
_UNKNOWN = "–"

Sign = tuple[datetime, str]
"""Another mark under the plots, and its time."""


@dataclass(frozen=True, slots=True)
class Plots:
    """A series on the columns of a plot of that width."""

    series: Series
    columns: TimeColumns
    zone: tzinfo
    fine: bool = True
    """Whether plots are in braille, with two columns in a cell."""
    cursor: int | None = None
    """The column of the cursor."""

    @classmethod
    def of(
        cls, series: Series, width: int, zone: tzinfo, *, fine: bool = True, looked_at: datetime | None = None
    ) -> Plots:
        """The cursor is in the column of `looked_at`; there is no cursor if that time is not on the plot."""
        steps = series.steps
        count = max(1, width - AXIS_WIDTH)
        columns = TimeColumns.until(steps.until - steps.length, steps.until - steps.since, count)
        return cls(series, columns, zone, fine, None if looked_at is None else columns.of(looked_at))

    def depth(self, height: int, *, tone: str = "chart-main") -> list[Content]:
        """How many runs were queued: the most in each column."""
        return self._panel([point.queued for point in self.series.points], height, tone)

    def rates(self, height: int, *, named: bool = True) -> tuple[list[Content], list[Content]]:
        """Arrivals and departures per second, on one scale, with `named` beside the axis."""
        entering = self._fold([point.in_per_second for point in self.series.points])
        leaving = self._fold([point.out_per_second for point in self.series.points])
        top = nice_top(max((value for value in (*entering, *leaving) if value is not None), default=0))
        return (
            self._area(entering, height, top, "chart-in", "in/s" if named else ""),
            self._area(leaving, height, top, "chart-out", "out/s" if named else ""),
        )

    def axis(self) -> Content:
        """The times, under the plots."""
        return toned(("0└".rjust(AXIS_WIDTH), "quiet"), (self.columns.axis(self.zone), "quiet"))

    def marks(self, besides: Sequence[Sign] = ()) -> Content:
        """Actions, the beginning of growth, and other marks, under the columns of their times."""
        marked = [(mark.at, SIGNS.get(mark.action, "•")) for mark in self.series.marks]
        if (since := self.series.growing_since) is not None:
            marked.append((since, GROWTH))
        signs = [" "] * self.columns.count
        for at, sign in (*marked, *besides):
            if (column := self.columns.of(at)) is not None:
                signs[column] = sign
        return toned((" " * AXIS_WIDTH, "quiet"), ("".join(signs), "warn"))

    def cursor_line(self) -> Content:
        """The time of the cursor's column, and the figures there; empty without a cursor."""
        if self.cursor is None:
            return Content("")
        series, column = self.series, self.cursor
        moments = [point.at for point in series.points]
        queued = self.columns.fold(moments, [point.queued for point in series.points])[column]
        entering = self.columns.fold(moments, [point.in_per_second for point in series.points], mean)[column]
        leaving = self.columns.fold(moments, [point.out_per_second for point in series.points], mean)[column]
        begin = in_zone(self.columns.begin(column), self.zone)
        when = f"{begin:%d %b %H:%M}" if series.steps.until - series.steps.since > _DAY else f"{begin:%H:%M:%S}"
        return toned((f"{when}  ", "strong")) + _figures(queued, entering, leaving)

    def _fold(
        self, values: Sequence[float | None], take: Callable[[Sequence[float]], float] = mean
    ) -> list[float | None]:
        columns = self.columns.halved() if self.fine else self.columns
        return columns.fold([point.at for point in self.series.points], values, take)

    def _panel(self, values: Sequence[float | None], height: int, tone: str) -> list[Content]:
        folded = self._fold(values, max)
        top = nice_top(max((value for value in folded if value is not None), default=0))
        return self._area(folded, height, top, tone)

    def _area(
        self, values: Sequence[float | None], height: int, top: float, tone: str, name: str = ""
    ) -> list[Content]:
        labels = {0: compact(top)}
        if height >= 4 and height % 2 == 0:
            labels[height // 2] = compact(top / 2)
        names = {1: name} if height > 1 else {}
        lines = []
        for row, line in enumerate((dotted_area if self.fine else area)(values, height, top)):
            label = (labels.get(row) or names.get(row, "")).rjust(AXIS_WIDTH - 1)
            shade = PLOT_SHADES * (height - row - 1) // height
            drawn = toned((f"{label}{'┤' if row in labels else '│'}", "quiet"), (line, shaded(tone, shade)))
            if self.cursor is not None:
                place = AXIS_WIDTH + self.cursor
                drawn = drawn.stylize("reverse", place, place + 1)
            lines.append(drawn)
        return lines


def growth_line(series: Series, now: datetime, zone: tzinfo, *, short: bool = False) -> Content:
    """Since when the queue has been growing; empty if it is not growing, or if that is not known."""
    since = series.grows_since
    if since is None:
        return Content("")
    before = next((point.queued for point in series.points if point.at >= since and point.queued is not None), None)
    last = next((point.queued for point in reversed(series.points) if point.queued is not None), None)
    told = [(f"{GROWTH} growing since ", "danger"), (f"{in_zone(since, zone):%H:%M}", "strong")]
    if short:
        return toned(*told)
    told.append((f", {duration((now - since).total_seconds())} ago", "plain"))
    if before is not None and last is not None and since >= series.steps.since:
        told.append((f": from {number(before)} to {number(last)}", "plain"))
    return toned(*told)


def now_line(series: Series) -> Content:
    """The depth, arrivals and departures at the last point that is known."""
    last = next((point for point in reversed(series.points) if point.queued is not None), None)
    rated = next((point for point in reversed(series.points) if point.in_per_second is not None), None)
    if last is None or rated is None:
        return Content("")
    return _figures(last.queued, rated.in_per_second, rated.out_per_second)


def _figures(queued: float | None, entering: float | None, leaving: float | None) -> Content:
    return toned(
        (_UNKNOWN if queued is None else number(int(queued)), "count"),
        ("  in ", "quiet"),
        (_UNKNOWN if entering is None else rate(entering), "plain"),
        ("/s  out ", "quiet"),
        (_UNKNOWN if leaving is None else rate(leaving), "plain"),
        ("/s", "quiet"),
    )


def gap_lines(series: Series, zone: tzinfo, width: int) -> list[Content]:
    """When nothing was recorded, and why; in fewer words if these do not fit into `width` cells."""
    told = []
    for gap in series.gaps:
        begin, end = in_zone(max(gap.since, series.steps.since), zone), in_zone(gap.until, zone)
        when, briefly = f"{begin:%H:%M:%S} to {end:%H:%M:%S}", f"{begin:%H:%M}–{end:%H:%M}"
        if begin.date() != in_zone(series.steps.until, zone).date():
            when = briefly = f"{begin:%d %b %H:%M} to {end:%d %b %H:%M}"
        wordings = (
            toned((f"· {when}: ", "warn"), ("not known, none of secateur's processes was alive", "plain")),
            toned((f"· {when}: ", "warn"), ("no process was alive", "plain")),
            toned((f"· {briefly} ", "warn"), ("not known", "plain")),
        )
        told.append(next((each for each in wordings if each.cell_length <= width), wordings[-1]))
    return told
