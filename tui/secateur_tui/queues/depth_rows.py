"""Live depth as rows: the tree of apps and functions, its totals, and which function is the flood."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from secateur.looking.depth import NEGLIGIBLE, drains_in
from secateur.runs import FunctionDepth, Scope
from secateur.words.figures import duration, number, rate
from secateur.words.lines import one_line
from secateur.words.tables import EXTRA, Column
from secateur_tui.frame.bars import sparkline
from secateur_tui.frame.columns import Cell, Row

SORTS = ("name", "queued", "oldest", "growth")

SPARK_WIDTH = 12
_SAMPLES_A_BAR = 5
_FLOOD_SHARE = 0.5
_FLOOD_AT_LEAST = 100
_SLOW_DRAIN_SECONDS = 600.0

COLUMNS = (
    Column("name", "app / function", right=False, shrinks_to=10, grows_to=26),
    Column("queued", "queued", minimum=7),
    Column("scheduled", "scheduled", "sched", blank_if="0", rank=20),
    Column("running", "running", "run", rank=30),
    Column("lost", "lost", blank_if="0", only_news=True, rank=25),
    Column("failed", "failed", "fail", blank_if="0", only_news=True, rank=35),
    Column("cancelling", "cancelling", "canc", blank_if="0", rank=10),
    Column("oldest", "oldest", minimum=7, rank=40),
    Column("in", "in/s", minimum=5),
    Column("out", "out/s", minimum=5),
    Column("drains", "drains in", minimum=9),
    Column("spark", "last minute", minimum=SPARK_WIDTH, rank=EXTRA),
)


@dataclass(frozen=True, slots=True)
class Branch:
    """An app, with its functions that are shown."""

    total: FunctionDepth
    functions: tuple[FunctionDepth, ...]


@dataclass(slots=True)
class Trends:
    """The recent number of queued runs, per scope; each bar of the sparkline combines several samples."""

    bars: dict[Scope, deque[int]] = field(default_factory=dict)
    taken: int = 0

    def add(self, depths: Sequence[FunctionDepth]) -> None:
        for total in [*depths, *(branch.total for branch in tree(depths))]:
            bars = self.bars.setdefault(scope_of(total), deque(maxlen=SPARK_WIDTH))
            if bars and self.taken % _SAMPLES_A_BAR:
                bars.pop()
            bars.append(total.queued)
        self.taken += 1

    def line(self, scope: Scope) -> str:
        return sparkline(tuple(self.bars.get(scope, ())), SPARK_WIDTH)


def scope_of(depth: FunctionDepth) -> Scope:
    return Scope(depth.app_id, depth.function_id or None)


def total_of(app_id: str, depths: Sequence[FunctionDepth]) -> FunctionDepth:
    """The sum of several functions, as the depth of a nameless function."""
    oldest = [depth.oldest_started_at for depth in depths if depth.oldest_started_at is not None]
    return FunctionDepth(
        app_id=app_id,
        function_id="",
        queued=sum(depth.queued for depth in depths),
        scheduled=sum(depth.scheduled for depth in depths),
        running=sum(depth.running for depth in depths),
        cancelling=sum(depth.cancelling for depth in depths),
        failed=sum(depth.failed for depth in depths),
        lost=sum(depth.lost for depth in depths),
        oldest_started_at=min(oldest, default=None),
        in_per_second=sum(depth.in_per_second for depth in depths),
        out_per_second=sum(depth.out_per_second for depth in depths),
        as_of=max((depth.as_of for depth in depths), default=datetime.min),
        paused=bool(depths) and all(depth.paused for depth in depths),
    )


def tree(depths: Iterable[FunctionDepth], sort: str = "name", find: str = "") -> list[Branch]:
    """Apps with their functions, both in the order of `sort`; filtered by `find`, ignoring case."""
    wanted = find.casefold()
    apps: dict[str, list[FunctionDepth]] = {}
    for depth in depths:
        if wanted in f"{depth.app_id} / {depth.function_id}".casefold():
            apps.setdefault(depth.app_id, []).append(depth)
    branches = [
        Branch(total_of(app_id, found), tuple(sorted(found, key=lambda depth: _order(depth, sort))))
        for app_id, found in apps.items()
    ]
    return sorted(branches, key=lambda branch: _order(branch.total, sort))


def _order(depth: FunctionDepth, sort: str) -> tuple[float, str, str]:
    largest_first = 0.0
    match sort:
        case "queued":
            largest_first = -float(depth.queued)
        case "oldest":
            oldest = depth.oldest_started_at
            largest_first = oldest.timestamp() if oldest else float("inf")
        case "growth":
            largest_first = depth.out_per_second - depth.in_per_second
    return largest_first, depth.app_id, depth.function_id


def flood(depths: Sequence[FunctionDepth]) -> FunctionDepth | None:
    """The function that holds most of the queued runs and will not finish them soon; None if there is none."""
    if not depths:
        return None
    worst = max(depths, key=lambda depth: depth.queued)
    everything = sum(depth.queued for depth in depths)
    if worst.queued < max(_FLOOD_AT_LEAST, everything * _FLOOD_SHARE):
        return None
    left = drains_in(worst.queued, worst.in_per_second, worst.out_per_second)
    return worst if left is None or left > _SLOW_DRAIN_SECONDS else None


def outlook(depth: FunctionDepth) -> Cell:
    """Where the queue is heading, as a word or a time, always with a sign."""
    if depth.paused:
        return Cell("paused ‖", "warn")
    if depth.queued == 0:
        return Cell("–  ", "quiet")
    if depth.in_per_second - depth.out_per_second >= NEGLIGIBLE:
        return Cell("growing ▲", "danger" if depth.queued >= _FLOOD_AT_LEAST else "warn")
    left = drains_in(depth.queued, depth.in_per_second, depth.out_per_second)
    if left is not None:
        return Cell(f"{duration(left)} ▼", "good")
    return Cell("steady =", "quiet") if depth.out_per_second else Cell("stalled !", "warn")


def row(depth: FunctionDepth, name: Cell, now: datetime, trend: str, *, flooding: bool) -> Row:
    """The cells of one function or app."""
    oldest = depth.oldest_started_at
    look = outlook(depth)
    return {
        "name": name,
        "queued": _amount(depth.queued, "danger" if flooding else "plain"),
        "scheduled": _amount(depth.scheduled),
        "running": _amount(depth.running),
        "lost": _amount(depth.lost, "warn"),
        "failed": _amount(depth.failed, "error"),
        "cancelling": _amount(depth.cancelling, "sweep"),
        "oldest": Cell(duration((now - oldest).total_seconds()) if oldest else "–", "error" if flooding else "quiet"),
        "in": Cell(rate(depth.in_per_second), "plain" if depth.in_per_second else "quiet"),
        "out": Cell(rate(depth.out_per_second), "plain" if depth.out_per_second else "quiet"),
        "drains": look,
        "spark": Cell(trend, "chart-danger" if look.tone == "danger" else "chart"),
    }


def app_name(branch: Branch, *, folded: bool) -> Cell:
    return Cell(f"{'▸' if folded else '▾'} {one_line(branch.total.app_id)}", "strong")


def function_name(depth: FunctionDepth, *, flooding: bool) -> Cell:
    return Cell(f"    {one_line(depth.function_id)}", "danger" if flooding else "plain")


def _amount(value: int, tone: str = "plain") -> Cell:
    return Cell(number(value), tone if value else "quiet")
