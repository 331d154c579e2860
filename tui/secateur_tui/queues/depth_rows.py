"""Live depth as rows: the tree of apps and functions, its totals, and which function is the flood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from secateur.ledger.steps import InForce
from secateur.looking import depth as looking
from secateur.looking.depth import Trend, growth_of
from secateur.runs import FunctionDepth, Scope
from secateur.words.figures import duration, number, rate
from secateur.words.lines import one_line, shorten_middle_to
from secateur.words.tables import Column
from secateur_tui.frame.columns import Cell, Row

_FLOOD_SHARE = 0.5
_FLOOD_AT_LEAST = 100

_UNKNOWN = "–"

COLUMNS = (
    Column("name", "app / function", right=False, shrinks_to=18, grows_to=34),
    Column("marks", " ", right=False, minimum=2, blank_if="", only_news=True, rank=45),
    Column("queued", minimum=7),
    Column("scheduled", "scheduled", "sched", blank_if="0", rank=29),
    Column("running", "running", "run", rank=30),
    Column("lost", "lost", blank_if="0", only_news=True, rank=25),
    Column("failed", "failed", "fail", blank_if="0", only_news=True, rank=35),
    Column("cancelling", "cancelling", "canc", blank_if="0", rank=10),
    Column("oldest", "oldest", minimum=7, rank=40),
    Column("in", "in/s", minimum=5, rank=48),
    Column("out", "out/s", minimum=5, rank=47),
    Column("drains", "drains in", minimum=9),
    Column("spark", "last 15 min", "last 15m", right=False, minimum=10, grows_to=96, rank=28),
)

SORTS = tuple(column.key for column in COLUMNS if column.key not in ("marks", "spark"))
SORT_NAMES = {"in": "in/s", "out": "out/s", "drains": "growth"}
"""Where the name of an order is not that of its column."""


def columns_of(depths: Sequence[FunctionDepth]) -> list[Column]:
    """Without those that no queue here can fill, or has anything to say in."""
    unknown = {
        "failed": not any(each.failed for each in depths),
        "in": depths and all(each.in_per_second is None for each in depths),
        "out": depths and all(each.out_per_second is None for each in depths),
    }
    return [column for column in COLUMNS if not unknown.get(column.key)]


STANDING, IN_FORCE, PAUSED = "✂∞", "✂", "‖"


@dataclass(frozen=True, slots=True)
class Branch:
    """An app, with its functions that are shown."""

    total: FunctionDepth
    functions: Sequence[FunctionDepth]


@dataclass(frozen=True, slots=True)
class QueueKey:
    """The cursor's key on the row of a whole queue, where there are several."""

    name: str


@dataclass(frozen=True, slots=True)
class Stem:
    """A queue with its apps that are shown. It has a row where it is one of several, and has several apps."""

    total: FunctionDepth
    branches: Sequence[Branch]
    key: QueueKey | None = None


def scope_of(depth: FunctionDepth) -> Scope:
    return Scope(depth.app_id, depth.function_id or None)


def total_of(app_id: str, depths: Sequence[FunctionDepth]) -> FunctionDepth:
    """The sum of several functions, as the depth of a nameless function."""
    queued = scheduled = running = cancelling = lost = 0
    failed = sum(depth.failed or 0 for depth in depths)
    growth = 0.0
    oldest: datetime | None = None
    for depth in depths:
        queued += depth.queued
        scheduled += depth.scheduled
        running += depth.running
        cancelling += depth.cancelling
        lost += depth.lost
        growth += growth_of(depth)
        since = depth.oldest_claimable_at
        if since is not None and (oldest is None or since < oldest):
            oldest = since
    return FunctionDepth(
        app_id=app_id,
        function_id="",
        queued=queued,
        scheduled=scheduled,
        running=running,
        cancelling=cancelling,
        failed=None if any(depth.failed is None for depth in depths) else failed,
        lost=lost,
        oldest_started_at=None,
        oldest_claimable_at=oldest,
        in_per_second=_sum(depth.in_per_second for depth in depths),
        out_per_second=_sum(depth.out_per_second for depth in depths),
        growth_per_second=growth,
        as_of=depths[0].as_of if depths else datetime.min.replace(tzinfo=UTC),
        paused=bool(depths) and all(depth.paused for depth in depths),
    )


def _sum(figures: Iterable[float | None]) -> float | None:
    """None if one of them is not known."""
    found = [*figures]
    known = [each for each in found if each is not None]
    return sum(known) if len(known) == len(found) else None


def tree(
    depths: Iterable[FunctionDepth], sort: str = "name", find: str = "", *, backwards: bool = False
) -> list[Branch]:
    """Apps with their functions, both in the order of `sort`; filtered by `find`, ignoring case."""
    wanted = find.casefold()
    apps: dict[str, list[FunctionDepth]] = {}
    for depth in depths:
        if not wanted or wanted in f"{depth.app_id} / {depth.function_id}".casefold():
            apps.setdefault(depth.app_id, []).append(depth)
    for found in apps.values():
        found.sort(key=lambda depth: _order(depth, sort), reverse=backwards)
    branches = [Branch(total_of(app_id, found), found) for app_id, found in apps.items()]
    return sorted(branches, key=lambda branch: _order(branch.total, sort), reverse=backwards)


def stems(
    branches: Sequence[Branch], queue_of: Callable[[str], str | None], sort: str, *, backwards: bool = False
) -> list[Stem]:
    """The branches by their queues, in the order of `sort`; `queue_of` gives none where there is only one."""
    queues: dict[str | None, list[Branch]] = {}
    for branch in branches:
        queues.setdefault(queue_of(branch.total.app_id), []).append(branch)
    found = [
        Stem(
            total_of(name or "", [branch.total for branch in those]),
            those,
            None if name is None or len(those) == 1 else QueueKey(name),
        )
        for name, those in queues.items()
    ]
    return sorted(found, key=lambda stem: _order(stem.total, sort), reverse=backwards)


def _order(depth: FunctionDepth, sort: str) -> tuple[float, str, str]:
    """Names from a to z, figures from the largest down."""
    largest_first = 0.0
    match sort:
        case "name":
            pass
        case "oldest":
            oldest = depth.oldest_claimable_at
            largest_first = oldest.timestamp() if oldest else float("inf")
        case "in":
            largest_first = -(depth.in_per_second or 0.0)
        case "out":
            largest_first = -(depth.out_per_second or 0.0)
        case "drains":
            largest_first = -growth_of(depth)
        case _:
            largest_first = -float(getattr(depth, sort) or 0)
    return largest_first, depth.app_id, depth.function_id


def flood(depths: Sequence[FunctionDepth]) -> FunctionDepth | None:
    """The function that holds most of the queued runs, many of them, and does not drain; None if there is none."""
    if not depths:
        return None
    worst = max(depths, key=lambda depth: depth.queued)
    everything = sum(depth.queued for depth in depths)
    if worst.queued < max(_FLOOD_AT_LEAST, everything * _FLOOD_SHARE):
        return None
    return None if looking.outlook(worst).trend is Trend.DRAINING else worst


def outlook(depth: FunctionDepth, *, flooding: bool = False) -> Cell:
    """Where the queue is heading, as a word or a time, always with a sign. Only the flood is in red."""
    found = looking.outlook(depth)
    match found.trend:
        case Trend.PAUSED:
            return Cell("paused ‖", "warn")
        case Trend.EMPTY:
            return Cell("–  ", "quiet")
        case Trend.GROWING:
            return Cell("growing ▲", "danger" if flooding else "warn")
        case Trend.DRAINING:
            return Cell(f"{duration(found.drains_in_seconds or 0)} ▼", "good")
        case Trend.STEADY:
            return Cell("steady =", "quiet")
    return Cell("stalled !", "warn")


def marks(scope: Scope, in_force: Mapping[Scope, InForce], *, paused: bool) -> str:
    """What people did to the function, or to its app, that holds now."""
    found = [each for each in (in_force.get(scope), in_force.get(Scope(scope.app_id))) if each is not None]
    scissors = STANDING if any(each.standing_until for each in found) else IN_FORCE if found else ""
    return scissors + (PAUSED if paused else "")


def row(depth: FunctionDepth, name: Cell, marks: str, trend: str, *, flooding: bool) -> Row:
    """The cells of one function or app."""
    oldest = depth.oldest_claimable_at
    return {
        "name": name,
        "marks": Cell(marks, "warn"),
        "queued": _amount(depth.queued, "danger" if flooding else "plain"),
        "scheduled": _amount(depth.scheduled),
        "running": _amount(depth.running),
        "lost": _amount(depth.lost, "warn"),
        "failed": _amount(depth.failed, "warn"),
        "cancelling": _amount(depth.cancelling, "sweep"),
        "oldest": Cell(duration((depth.as_of - oldest).total_seconds()) if oldest else "–", "quiet"),
        "in": _rate(depth.in_per_second),
        "out": _rate(depth.out_per_second),
        "drains": outlook(depth, flooding=flooding),
        "spark": Cell(trend, "chart-danger" if flooding else "chart"),
    }


def folding_name(name: str, *, folded: bool, inner: bool = False) -> Cell:
    """Of an app or a queue; `inner` if it is below one."""
    return Cell(f"{STEP if inner else ''}{'▸' if folded else '▾'} {one_line(name)}", "strong")


def function_name(
    depth: FunctionDepth, width: int, *, flooding: bool, marked: bool = False, inner: bool = False
) -> Cell:
    """The name in so many cells; too long a one loses its middle, for names that begin alike may end differently."""
    indent = (STEP if inner else "") + (MARKED if marked else INDENT)
    name = shorten_middle_to(depth.function_id, width - len(indent))
    return Cell(indent + name, "danger" if flooding else "key" if marked else "plain")


STEP = "  "
"""Of apps under their queue, and of all that is below them."""
INDENT = "   "
"""Of functions, under their app."""
MARKED = " ● "
"""In its place, of those that are to be in one filter."""


def _amount(value: int | None, tone: str = "plain") -> Cell:
    return Cell(_UNKNOWN if value is None else number(value), tone if value else "quiet")


def _rate(value: float | None) -> Cell:
    return Cell(_UNKNOWN if value is None else rate(value), "plain" if value else "quiet")
