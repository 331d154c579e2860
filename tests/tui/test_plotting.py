"""Figures over time as areas of block characters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from secateur.looking.history import Point, Series
from secateur.runs import FunctionDepth, Scope
from secateur.samples import Mark, SampleGap, SampleSteps
from secateur.words.charts import area, dotted_area
from secateur_tui.frame.depth_plot import _reach_back_to
from secateur_tui.frame.plots import Plots, gap_lines, growth_line
from secateur_tui.frame.plotting import TimeColumns, compact, nice_top
from secateur_tui.queues.trends import STEP_SECONDS, Trends

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
SCOPE = Scope("billing", "vendor-syncs")


def test_an_area_rises_by_eighths() -> None:
    assert area([0, 1, 8, 12, 16], 2, 16) == ["   ▄█", " ▁███"]


def test_dots_have_two_columns_in_a_cell() -> None:
    assert dotted_area([0, 1, 4, 6, 8, 8], 2, 8) == [" \u28a0\u28ff", "\u2880\u28ff\u28ff"]
    assert dotted_area([None, None, 4, None], 1, 4) == ["·\u28ff"]


def test_the_least_is_seen_and_the_unknown_is_told_from_nothing() -> None:
    assert area([0, 1, None], 1, 1_000_000) == [" ▁·"]


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.3, 1), (1, 1), (2, 2), (7, 8), (11, 20), (184_000, 200_000), (2_000, 2_000)]
)
def test_the_scale_ends_at_a_round_figure(highest: float, top: float) -> None:
    assert nice_top(highest) == top


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (7, "7"),
        (950, "950"),
        (1_000, "1k"),
        (2_500, "2.5k"),
        (184_000, "184k"),
        (1.2e6, "1.2M"),
    ],
)
def test_figures_on_an_axis_are_short(value: float, text: str) -> None:
    assert compact(value) == text


def test_columns_stand_still_while_time_goes_on() -> None:
    """A plot that moved every second would be written anew every second."""
    reach = timedelta(minutes=15)
    first = TimeColumns.until(NOW, reach, 60)
    moment = NOW - timedelta(minutes=5)
    assert all(
        TimeColumns.until(NOW + timedelta(seconds=n), reach, 60).of(moment) == first.of(moment) for n in range(15)
    )
    assert TimeColumns.until(NOW + timedelta(seconds=15), reach, 60).of(moment) == (first.of(moment) or 0) - 1


def test_the_axis_has_round_times_under_their_columns() -> None:
    columns = TimeColumns.until(NOW, timedelta(minutes=15), 60)
    line = columns.axis(UTC)
    for text in ("02:50", "02:55"):
        at = NOW.replace(hour=2, minute=int(text[3:]))
        assert line.index(text) == columns.of(at)


def series(points: list[Point], *, reach: timedelta = timedelta(minutes=15), **more: object) -> Series:
    steps = SampleSteps(NOW - reach, NOW, timedelta(seconds=15))
    options: dict[str, object] = {"gaps": [], "marks": [], "growing_since": None, **more}
    return Series(SCOPE, steps, points, **options)  # type: ignore[arg-type]


def point(number: int, queued: int | None) -> Point:
    return Point(NOW - timedelta(minutes=15) + (number + 0.5) * timedelta(seconds=15), queued, 0, 0, 0, 0, 1.0, 2.0)


def test_what_was_done_stands_under_its_time() -> None:
    marks = [Mark(NOW - timedelta(minutes=5), "commit", "vendor-syncs", None, "nadia")]
    plots = Plots.of(series([], marks=marks, growing_since=NOW - timedelta(minutes=10)), 66, UTC)
    line = plots.marks().plain[6:]
    assert line.index("✂") == plots.columns.of(NOW - timedelta(minutes=5))
    assert line.index("▲") == plots.columns.of(NOW - timedelta(minutes=10))


def test_other_moments_stand_beside_what_was_done() -> None:
    at = NOW - timedelta(minutes=3)
    plots = Plots.of(series([]), 66, UTC)
    assert plots.marks([(at, "●"), (NOW - timedelta(hours=1), "✓")]).plain[6:].strip() == "●"
    assert plots.marks([(at, "●")]).plain[6:].index("●") == plots.columns.of(at)


def test_a_plot_is_brightest_at_its_top() -> None:
    lines = Plots.of(series([point(number, 100) for number in range(60)]), 66, UTC).depth(6)
    looks = [str(line.spans[-1].style) for line in lines]
    assert list(dict.fromkeys(looks)) == ["$secondary", "$secondary 80%", "$secondary 60%"]


def test_a_cursor_tells_the_time_and_the_figures_of_its_column() -> None:
    found = series([point(number, 100 * number) for number in range(60)])
    for fine in (True, False):
        plots = Plots.of(found, 36, UTC, fine=fine, looked_at=NOW - timedelta(minutes=10))
        assert plots.cursor is not None
        # A column is of thirty seconds: the deeper of two points, and the means of their rates.
        assert plots.cursor_line().plain == "02:50:00  2,100  in 1.0/s  out 2.0/s"
        for lines in (plots.depth(4), *plots.rates(2)):
            for line in lines:
                marked = [span for span in line.spans if span.style == "reverse"]
                assert [(span.start, span.end) for span in marked] == [(6 + plots.cursor, 7 + plots.cursor)]
    gone = Plots.of(found, 36, UTC, looked_at=NOW - timedelta(hours=1))
    assert gone.cursor is None
    assert not gone.cursor_line()
    unknown = Plots.of(series([]), 36, UTC, looked_at=NOW - timedelta(minutes=10))
    assert unknown.cursor_line().plain == "02:50:00  –  in –/s  out –/s"


def test_a_moment_is_not_at_the_edge_of_its_plot() -> None:
    for ago, reach in (
        (timedelta(minutes=10), timedelta(minutes=15)),
        (timedelta(minutes=14, seconds=50), timedelta(minutes=30)),
        (timedelta(hours=2, minutes=14), timedelta(hours=4)),
        (timedelta(hours=20), timedelta(hours=24)),
        (timedelta(days=30), timedelta(hours=48)),
    ):
        assert _reach_back_to(NOW - ago, NOW) == reach


def test_a_gap_says_why_nothing_is_known() -> None:
    gap = SampleGap(NOW - timedelta(minutes=15), NOW - timedelta(minutes=9))
    (told,) = gap_lines(series([], gaps=[gap]), UTC, 80)
    assert "02:45:00 to 02:51:00" in told.plain
    assert "none of secateur's processes was alive" in told.plain
    narrow = [gap_lines(series([], gaps=[gap]), UTC, width)[0].plain for width in (50, 28)]
    assert narrow == ["· 02:45:00 to 02:51:00: no process was alive", "· 02:45–02:51 not known"]
    overnight = SampleGap(NOW - timedelta(minutes=200), NOW - timedelta(minutes=9))
    of_night = series([], gaps=[overnight], reach=timedelta(hours=4))
    assert [gap_lines(of_night, UTC, width)[0].plain for width in (90, 40)] == [
        "· 26 Nov 23:40 to 27 Nov 02:51: not known, none of secateur's processes was alive",
        "· 26 Nov 23:40 to 27 Nov 02:51 not known",
    ]


def test_since_when_it_grows_is_told_with_how_much() -> None:
    points = [point(number, 100 * number) for number in range(60)]
    told = growth_line(series(points, growing_since=NOW - timedelta(minutes=10)), NOW, UTC).plain
    assert told == "▲ growing since 02:50, 10m 00s ago: from 2,000 to 5,900"


def depth(queued: int, at: datetime) -> FunctionDepth:
    return FunctionDepth("billing", "vendor-syncs", queued, 0, 0, 0, None, 0.0, 0.0, at)


def test_a_line_begins_with_what_the_database_remembers() -> None:
    trends = Trends()
    trends.see([depth(800, NOW)], NOW)
    assert trends.line(SCOPE, 800, 10).strip() == "█"
    trends.remember([series([point(number, 100 if number < 30 else 800) for number in range(60)])])
    assert trends.line(SCOPE, 800, 60) == "▂" * 29 + "█" * 31


def test_all_lines_have_one_scale() -> None:
    trends = Trends()
    small = FunctionDepth("billing", "invoices", 1, 0, 0, 0, None, 0.0, 0.0, NOW)
    for step in range(10):
        at = NOW + timedelta(seconds=step * STEP_SECONDS)
        trends.see([depth(184_000, at), small], at)
    assert trends.line(SCOPE, 184_000, 60).strip() == "█" * 10
    assert trends.line(Scope("billing", "invoices"), 1, 60).strip() == "▁" * 10


def test_while_nobody_looked_nothing_is_known() -> None:
    trends = Trends()
    trends.see([depth(8, NOW)], NOW)
    later = NOW + timedelta(seconds=3 * STEP_SECONDS)
    trends.see([depth(8, later)], later)
    assert trends.line(SCOPE, 8, 60).lstrip() == "█  █"
