"""How many runs a filter matches: an estimate first, then exact; old figures are always marked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from secateur.runs import Count, CountedBy, Histogram
from secateur.words.figures import about, duration, number, percentage
from secateur.words.lines import one_line
from secateur_tui.filter.histogram import HistogramChart
from secateur_tui.frame.bars import proportion
from secateur_tui.frame.phrases import side_by_side
from secateur_tui.frame.rule import Rule
from secateur_tui.keymap import display_of
from secateur_tui.themes import toned

_UNDER_WAY = "95 % sure; the exact count is under way"
_COUNT_KEY = display_of("filter.count_again")
_OLD_SECONDS = 10.0
"""From this age on, the key that counts again is shown."""
_SHORTEST_BAR, _LONGEST_BAR = 8, 40
_ANY_WIDTH = 10_000


_JUST_NOW_SECONDS, _AGE_STEP_SECONDS = 8.0, 5.0
"""An age is told in steps: a figure that changes each second costs bytes and attention, and tells nobody more."""


class Stage(Enum):
    """How far the count for the newest text has come."""

    INVALID = auto()
    COUNTING = auto()
    ESTIMATE = auto()
    EXACT = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class CountShown:
    """What is known about the count."""

    stage: Stage = Stage.COUNTING
    count: Count | None = None
    """The newest count; while `COUNTING`, the one of an earlier text."""
    taken: float = 0.0
    """`time.monotonic()` when it arrived."""
    failures: Sequence[str] = ()
    """Why runs could not be evaluated, by example."""
    advice: str = ""
    """What to write so that those runs can be evaluated."""
    note: str = ""
    """Why there is no exact count, or no newer one."""


class Matches(Vertical):
    """Shows a tally; `tally` is what it shows, `now` the database's clock."""

    def __init__(self, now: Callable[[], datetime], evaluated: Callable[[], int | None]) -> None:
        """`evaluated` tells how far a count is that is made in this process; None while there is none."""
        super().__init__(id="matches", classes="section")
        self._evaluated = evaluated
        self._now = now
        self._rule = Rule("Matches")
        self._figures = Static(id="figures", markup=False)
        self.chart = HistogramChart()
        self.tally = CountShown()

    def compose(self) -> ComposeResult:
        yield self._rule
        yield self._figures
        yield self.chart

    def on_resize(self) -> None:
        self._draw()

    def on_mount(self) -> None:
        self.set_interval(1.0, self._draw)
        self._draw()

    def invalid(self) -> None:
        """The text is not valid, so no number is shown."""
        self.chart.show(None)
        self._show(CountShown(Stage.INVALID, self.tally.count))

    def counting(self) -> None:
        """Another text is being counted; the old figures say so."""
        self.chart.add_class("stale")
        self._show(CountShown(Stage.COUNTING, self.tally.count))

    def charted(self, histogram: Histogram | None, why: str = "") -> None:
        """Show how the runs are spread over time, or why that is not known."""
        self.chart.remove_class("stale")
        self.chart.show(histogram, why)
        self._draw()

    def estimated(self, count: Count) -> None:
        self._show(CountShown(Stage.ESTIMATE, count, time.monotonic(), note=_UNDER_WAY))

    def counted(self, count: Count, failures: Sequence[str]) -> None:
        self._show(CountShown(Stage.EXACT, count, time.monotonic(), failures))

    def advise(self, advice: str) -> None:
        """Give advice for runs that cannot be evaluated."""
        if advice != self.tally.advice:
            self._show(replace(self.tally, advice=advice))

    def failed(self, message: str) -> None:
        """No exact count, or no newer one; what is known stays, with the reason."""
        if self.tally.stage in (Stage.ESTIMATE, Stage.EXACT):
            self._show(replace(self.tally, note=message))
        else:
            self._show(CountShown(Stage.FAILED, note=message))

    def _show(self, tally: CountShown) -> None:
        self.tally = tally
        self._draw()

    def _draw(self) -> None:
        tally = self.tally
        self._rule.note(self._state(tally))
        lines = self._figure(tally)
        evaluated = self._evaluated()
        if evaluated is not None and tally.stage in (Stage.COUNTING, Stage.ESTIMATE):
            of = "" if tally.count is None else f" of {number(tally.count.total)}"
            lines.append(toned((f"evaluated here, not by the database: {number(evaluated)}{of} runs so far", "warn")))
        elif picked := self.chart.picked:
            lines += self._lines(picked, gap="  ")
        elif tally.note:
            lines.append(toned((one_line(tally.note), "warn")))
        if tally.count is not None and tally.stage in (Stage.EXACT, Stage.ESTIMATE):
            # There may be room for the first of them only.
            lines += self._errors(tally, tally.count)
            lines += self._source(tally.count)
            lines += self._functions(tally.count)
            lines += self._statuses(tally.count)
        self._figures.update(Content("\n").join(lines), layout=False)

    def _figure(self, tally: CountShown) -> list[Content]:
        """How many match, and their part as a bar."""
        count = tally.count
        if tally.stage is Stage.INVALID:
            return [toned(("–  ", "strong"), ("counts return once the filter is valid", "quiet"))]
        if tally.stage is Stage.FAILED:
            return [toned(("–", "strong"))]
        if count is None:
            return [Content("")]
        if tally.stage is Stage.COUNTING:
            return [toned((f"{number(count.matched)} of {number(count.total)} runs before", "quiet"))]
        matched, between = number(count.matched), ""
        if tally.stage is Stage.ESTIMATE:
            matched, between = about(count.matched, count.low, count.high)
            matched = f"about {matched}"
        parts = [toned((matched, "count"), (f" of {number(count.total)} runs", "plain"))]
        if between:
            parts.append(toned((f"({between})", "plain")))
        share = count.matched / count.total if count.total else 0.0
        parts.append(toned((percentage(share), "plain")))
        *above, last = self._lines(parts, gap="  ")
        room = self._figures.content_size.width - last.cell_length - 2
        bar = proportion(share, min(_LONGEST_BAR, room)) if room >= _SHORTEST_BAR else ""
        return [*above, last + toned((f"  {bar}" if bar else "", "chart"))]

    def _lines(self, parts: Sequence[Content], *, gap: str, indent: str = "") -> list[Content]:
        """No part is broken. Where lines do not wrap there is room for few: then it is one, as far as that goes."""
        wraps = self._figures.styles.text_wrap == "wrap"
        return side_by_side(parts, self._figures.content_size.width if wraps else _ANY_WIDTH, gap=gap, indent=indent)

    def _state(self, tally: CountShown) -> Content:
        """What kind of figure it is, and how old."""
        count = tally.count
        match tally.stage:
            case Stage.INVALID:
                return Content("")
            case Stage.FAILED:
                return toned(("not counted", "warn"))
            case Stage.ESTIMATE:
                return toned(("≈ estimate", "warn"))
        if tally.stage is Stage.COUNTING or count is None:
            return toned(("counting…", "warn"))
        # A replica's figures are as old as the last change that it has replayed.
        is_replica = count.source is CountedBy.REPLICA
        age = (self._now() - count.as_of).total_seconds() if is_replica else time.monotonic() - tally.taken
        when = "just now" if age < _JUST_NOW_SECONDS else f"{duration(age - age % _AGE_STEP_SECONDS)} ago"
        again = f" · {_COUNT_KEY} counts again" if age >= _OLD_SECONDS else ""
        return toned(("exact", "good"), (f" · {when}{again}", "quiet"))

    def _source(self, count: Count) -> list[Content]:
        """Who counted, if it was not the primary alone."""
        if count.evaluated_here:
            return [toned(("evaluated here: the database lacks helper functions for this `if`", "quiet"))]
        if count.source is CountedBy.REPLICA:
            told = f"counted by the replica, as of {count.as_of:%H:%M:%S} UTC"
            return [toned((told, "quiet"))]
        if count.replica_failed is not None:
            return [toned((f"! counted here, not by the replica: {one_line(count.replica_failed)}", "warn"))]
        return []

    def _statuses(self, count: Count) -> list[Content]:
        sign = "" if count.exact else "≈"
        parts = [
            toned(
                (f"{status.value} ", "quiet"),
                (f"{sign}{about(amount, count.low, count.high)[0]}", "plain" if amount else "quiet"),
            )
            for status, amount in count.by_status.items()
        ]
        return self._lines(parts, gap="   ") if parts else []

    def _errors(self, tally: CountShown, count: Count) -> list[Content]:
        errors = count.errors
        if errors is None:
            return [toned(("counting what cannot be evaluated…", "quiet"))]
        if not errors:
            return []
        sign = "" if count.exact else "≈ "
        noun = "run" if errors == 1 else "runs"
        told = f"! {sign}{number(errors)} {noun} cannot be evaluated"
        parts = [toned((f"{told}:" if tally.failures else told, "warn"))]
        if tally.failures:
            parts.append(toned((one_line(tally.failures[0]), "warn")))
        lines = self._lines(parts, gap=" ", indent="  ")
        if tally.advice:
            what, colon, condition = one_line(tally.advice).partition(": ")
            parts = [toned((f"  {what}{colon.rstrip()}", "field")), toned((condition, "field"))]
            lines += self._lines(parts, gap=" ", indent="    ")
        return lines

    def on_histogram_chart_moved(self) -> None:
        self._draw()

    def _functions(self, count: Count) -> list[Content]:
        """The matches by function, if there are several functions."""
        if len(count.by_function) < 2:
            return []
        largest = sorted(count.by_function.items(), key=lambda item: (-item[1], item[0]))[:4]
        told = [toned((f"{one_line(name)} {number(amount)}", "quiet")) for name, amount in largest]
        return self._lines(told, gap="   ")
