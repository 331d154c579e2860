"""`depth --history`: how deep the queues were, as lines of bars and as a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo

from secateur.cli.opening import CommandSession
from secateur.cli.output import fields, json_line, line, table, terminal_width
from secateur.instants import in_zone
from secateur.looking.forms import series_form
from secateur.looking.history import Point, Series
from secateur.runs import Scope
from secateur.words.figures import number, rate
from secateur.words.lines import one_line
from secateur.words.sparklines import BLOCKS, PLAIN, UNKNOWN, highest_of_each, sparkline
from secateur.words.tables import Column

WIDTH = 60
"""The width of a line of bars, in cells."""

ROWS = 20
"""The rows of the table, whatever the range."""


async def write_history(session: CommandSession, scope: Scope | None, range_name: str, *, as_json: bool) -> None:
    """Writes the history of one app or function, or without a scope an overview of every function."""
    history = session.queue.reader.history
    if scope is None:
        overview = await history.overview(range_name)
        if as_json:
            json_line([series_form(each).as_json() for each in overview])
        else:
            _write_overview(overview, session.place.settings.zone)
        return
    series = await history.series(scope, range_name)
    if as_json:
        json_line(series_form(series).as_json())
    else:
        _write_series(series, session.place.settings.zone)


def clock(moment: datetime, now: datetime, zone: tzinfo) -> str:
    """`13:20`, with the day where that is another; in the reader's zone."""
    local = in_zone(moment, zone)
    return f"{local:%H:%M}" if local.date() == in_zone(now, zone).date() else f"{local:%m-%d %H:%M}"


def _write_overview(overview: Sequence[Series], zone: tzinfo) -> None:
    if not overview:
        line("Nothing has waited or run in that time, or no process of secateur was running.")
        return
    columns = (
        Column("app", right=False, shrinks_to=8),
        Column("function", right=False, shrinks_to=12),
        Column("depth", right=False),
        Column("highest"),
        Column("now"),
        Column("growing since", short="growing", blank_if="-", only_news=True),
    )
    rows = []
    for series in overview:
        depths = [point.backlog for point in series.points]
        since = series.grows_since
        rows.append(
            (
                series.scope.app_id,
                series.scope.function_id or "",
                _bars(depths),
                _figure(max((depth for depth in depths if depth is not None), default=None)),
                _figure(depths[-1] if depths else None),
                "-" if since is None else clock(since, series.steps.until, zone),
            )
        )
    for each in table(columns, rows, terminal_width()):
        line(each)
    if any(series.gaps for series in overview):
        line(f"{_unknown()} is not known: no worker, server or console was running")


def _write_series(series: Series, zone: tzinfo) -> None:
    steps = series.steps
    since = "" if series.grows_since is None else f"; growing since {clock(series.grows_since, steps.until, zone)}"
    day = in_zone(steps.until, zone)
    line(f"{one_line(str(series.scope))}, {clock(steps.since, steps.until, zone)} to {day:%H:%M:%S %Z}{since}")
    for text in fields(
        [
            ("depth", _bar_line(series, lambda point: point.backlog, _figure)),
            ("in/s", _bar_line(series, lambda point: point.in_per_second, _rate)),
            ("out/s", _bar_line(series, lambda point: point.out_per_second, _rate)),
        ]
    ):
        line(text)
    for gap in series.gaps:
        span = f"{_second(gap.since, zone)} to {_second(gap.until, zone)}"
        line(f"{_unknown()} {span}: no worker, server or console was running")
    for mark in series.marks:
        scope = "" if mark.function_id is None else f" of {mark.function_id}"
        what = f"{mark.action}{scope} by {mark.author or 'nobody named'}"
        line(
            one_line(f"! {_second(mark.at, zone)} {what}{f', {mark.cancellation_id}' if mark.cancellation_id else ''}")
        )
    line()
    titles = ("at", "queued", "scheduled", "running", "failed", "cancelling", "in/s", "out/s")
    rows = [_row(point, zone) for point in _every_so_often(series.points)]
    for text in table([Column(title, right=title != "at") for title in titles], rows, terminal_width()):
        line(text)


def _bar_line(series: Series, figure: Callable[[Point], float | None], words: Callable[[float | None], str]) -> str:
    values = [figure(point) for point in series.points]
    known = [value for value in values if value is not None]
    shown = _bars(highest_of_each(values, WIDTH))
    return f"{shown}  {words(min(known))} to {words(max(known))}" if known else shown


def _every_so_often(points: Sequence[Point]) -> list[Point]:
    """The last one is the present."""
    apart = max(1, len(points) // ROWS)
    return list(points[::-1][::apart][::-1])


def _row(point: Point, zone: tzinfo) -> tuple[str, ...]:
    figures = (point.queued, point.scheduled, point.running, point.failed, point.cancelling)
    rates = (point.in_per_second, point.out_per_second)
    return (_second(point.at, zone), *map(_figure, figures), *map(_rate, rates))


def _second(moment: datetime, zone: tzinfo) -> str:
    return f"{in_zone(moment, zone):%H:%M:%S}"


def _figure(value: float | None) -> str:
    return "?" if value is None else number(int(value))


def _rate(value: float | None) -> str:
    return "?" if value is None else rate(value)


def _bars(values: Sequence[float | None]) -> str:
    return sparkline(values, WIDTH, BLOCKS if _has_blocks() else PLAIN).replace(UNKNOWN, _unknown())


def _unknown() -> str:
    return "·" if _has_blocks() else "?"


def _has_blocks() -> bool:
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
