"""What Queues says in a line: the worst thing on the screen, whatever it is."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from secateur.looking.depth import NEGLIGIBLE, Trend, growth_of, outlook, waited_seconds
from secateur.runs import FunctionDepth
from secateur.words.figures import change, duration, number, rate, runs
from secateur.words.lines import one_line, shorten_middle_to
from secateur_tui.queues.depth_rows import flood
from secateur_tui.session import Feed
from secateur_tui.themes import toned

SLOW_DRAIN_SECONDS = 600.0
"""A queue that drains for longer is worth a line."""


def status(feed: Feed, history_key: str, width: int) -> Content:
    """One line of it, in so many cells, and lines for what is wrong with secateur's own work."""
    if feed.problem is not None:
        return toned((f" ! {one_line(str(feed.problem))}", "error"))
    if feed.as_of is None:
        return toned((" asking the database…", "quiet"))
    if not feed.depths:
        return Content("")
    return worst(feed.depths, width) + _sweep_line(feed, history_key) + _drift_line(feed)


def worst(depths: Sequence[FunctionDepth], width: int) -> Content:
    """The first of these that is true."""
    if (deepest := flood(depths)) is not None:
        return _flood_line(deepest, depths, width)
    for find in (_stalled_line, _lost_line, _growing_line, _draining_line, _paused_line, _failed_line):
        if (line := find(depths)) is not None:
            return line
    return toned((" ✓ no queue is flooded, and none stands still", "quiet"))


def _is(depth: FunctionDepth, trend: Trend) -> bool:
    return outlook(depth).trend is trend


def _flood_line(deepest: FunctionDepth, depths: Sequence[FunctionDepth], width: int) -> Content:
    """Where there is too little room the share goes first, then the app, then the name's middle; never the rate."""
    everything = sum(depth.queued for depth in depths)
    share = f" ({deepest.queued * 100 // max(1, everything)} %)"

    def line(name: str, share: str) -> Content:
        return toned(
            (" ▲ flood: ", "danger"),
            (name, "strong"),
            (f"  {number(deepest.queued)} queued", "danger"),
            (f"{share}, {change(growth_of(deepest))}/s", "plain"),
            (", paused ‖" if deepest.paused else "", "warn"),
        )

    function = one_line(deepest.function_id)
    lines = [line(_name(deepest), share), line(_name(deepest), ""), line(function, "")]
    if (fits := next((each for each in lines if each.cell_length <= width), None)) is not None:
        return fits
    return line(shorten_middle_to(deepest.function_id, max(1, width - line("", "").cell_length)), "")


def _stalled_line(depths: Sequence[FunctionDepth]) -> Content | None:
    stalled = [depth for depth in depths if _is(depth, Trend.STALLED)]
    if not stalled:
        return None
    waiting = sum(depth.queued for depth in stalled)
    longest = max(waited_seconds(depth) for depth in stalled)
    where = _name(stalled[0]) if len(stalled) == 1 else f"{number(len(stalled))} functions"
    return toned(
        (f" ! stalled for {duration(longest)}: ", "warn"),
        (where, "strong"),
        (f"  {runs(waiting)} wait, and no worker takes them", "plain"),
    )


def _lost_line(depths: Sequence[FunctionDepth]) -> Content | None:
    lost = [depth for depth in depths if depth.lost]
    if not lost:
        return None
    many = sum(depth.lost for depth in lost)
    return toned((f" ! {runs(many)} lost: ", "warn"), (f"{_names(lost)}; their workers are gone", "plain"))


def _growing_line(depths: Sequence[FunctionDepth]) -> Content | None:
    growing = [depth for depth in depths if _is(depth, Trend.GROWING)]
    if not growing:
        return None
    growing.sort(key=growth_of, reverse=True)
    total = sum(growth_of(depth) for depth in growing)
    return toned((f" ▲ growing: {_names(growing)}", "warn"), (f"  +{rate(max(NEGLIGIBLE, total))}/s", "plain"))


def _draining_line(depths: Sequence[FunctionDepth]) -> Content | None:
    """The one that takes longest, if it takes long."""
    draining = [(outlook(depth).drains_in_seconds or 0.0, depth) for depth in depths if _is(depth, Trend.DRAINING)]
    left, slowest = max(draining, key=lambda each: each[0], default=(0.0, None))
    if slowest is None or left < SLOW_DRAIN_SECONDS:
        return None
    return toned(
        (f" ▼ draining: {_name(slowest)}", "good"),
        (f"  {number(slowest.queued)} queued, empty in {duration(left)}", "plain"),
    )


def _paused_line(depths: Sequence[FunctionDepth]) -> Content | None:
    paused = [depth for depth in depths if depth.paused and depth.queued]
    if not paused:
        return None
    waiting = sum(depth.queued for depth in paused)
    waits = "waits" if waiting == 1 else "wait"
    return toned((f" ‖ paused: {_names(paused)}", "warn"), (f"  {runs(waiting)} {waits}", "plain"))


def _failed_line(depths: Sequence[FunctionDepth]) -> Content | None:
    failed = [depth for depth in depths if depth.failed]
    if not failed:
        return None
    return toned((f" {runs(sum(depth.failed or 0 for depth in failed))} failed for good: {_names(failed)}", "quiet"))


def _names(depths: Sequence[FunctionDepth]) -> str:
    if len(depths) == 1:
        return _name(depths[0])
    return f"{number(len(depths))} functions, such as {_name(depths[0])}"


def _name(depth: FunctionDepth) -> str:
    return f"{one_line(depth.app_id)} / {one_line(depth.function_id)}"


def _sweep_line(feed: Feed, history_key: str) -> Content:
    """A warning that a sweep fails, or that no process sweeps; the guarantee holds regardless."""
    if not feed.activity.problems:
        return Content("")
    many = len(feed.activity.problems)
    what = "a sweep makes" if many == 1 else f"{many} sweeps make"
    return toned(
        (f"\n ! {what} no progress, ", "error"),
        (f"{history_key} shows which: {one_line(feed.activity.problems[0].error)}", "plain"),
    )


def _drift_line(feed: Feed) -> Content:
    """What the last comparison of the depth with the rows found, if it found a difference."""
    drift = sum(depth.drift for depth in feed.depths)
    checked = max((depth.checked_at for depth in feed.depths if depth.checked_at), default=None)
    if not drift or checked is None:
        return Content("")
    return toned((f"\n   the depth was off by {runs(drift)} at {checked:%H:%M} UTC, and was put right", "quiet"))
