"""The line under the queues says the worst thing on the screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from secateur.ledger.steps import InForce
from secateur.runs import FunctionDepth, Scope
from secateur.words.tables import lay_out
from secateur_tui.queues import depth_rows
from secateur_tui.queues.pausing import offer
from secateur_tui.queues.status import worst

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


def depth(queued: int, growth: float = 0.0, *, waited: int = 300, **more: object) -> FunctionDepth:
    """A function whose backlog grows by so much a second, or shrinks."""
    found = FunctionDepth(
        app_id="billing",
        function_id="vendor-syncs",
        queued=queued,
        scheduled=0,
        running=3,
        cancelling=0,
        oldest_started_at=None,
        oldest_claimable_at=NOW - timedelta(seconds=waited) if queued else None,
        in_per_second=max(0.0, growth) + 10,
        out_per_second=10 - min(0.0, growth),
        growth_per_second=growth,
        as_of=NOW,
    )
    return replace(found, **more)  # type: ignore[arg-type]


QUIET = depth(0, function_id="quiet")
STANDS_STILL = {"in_per_second": 0.0, "out_per_second": 0.0, "running": 0}


@pytest.mark.parametrize(
    ("depths", "says"),
    [
        ([depth(0), QUIET], "✓ no queue is flooded"),
        ([depth(9, 3.0), QUIET], "✓ no queue is flooded"),
        ([depth(5_000, 20.0), QUIET], "▲ flood: billing / vendor-syncs  5,000 queued (100 %), +20.0/s"),
        ([depth(5_000, 20.0, paused=True), QUIET], "paused ‖"),
        ([depth(5_000, -0.0), QUIET], "5,000 queued (100 %), ±0.0/s"),
        ([depth(22_209, -22.0), QUIET], "▼ draining: billing / vendor-syncs  22,209 queued, empty in 16m 49s"),
        ([depth(500, -22.0), QUIET], "✓ no queue is flooded"),
        ([depth(78, **STANDS_STILL), QUIET], "! stalled for 5m 00s: billing / vendor-syncs  78 runs wait"),
        ([depth(4, waited=20, **STANDS_STILL), QUIET], "✓ no queue is flooded"),
        ([depth(1, **{**STANDS_STILL, "running": 1}), QUIET], "✓ no queue is flooded"),
        (
            [depth(60, 4.0), depth(40, 9.0, function_id="b"), QUIET],
            "▲ growing: 2 functions, such as billing / b  +13.0/s",
        ),
        ([depth(30, **{**STANDS_STILL, "running": 2, "lost": 2})], "! stalled"),
        ([depth(0, running=2, lost=2)], "! 2 runs lost: billing / vendor-syncs"),
        ([depth(40, **{**STANDS_STILL, "paused": True})], "‖ paused: billing / vendor-syncs  40 runs wait"),
        ([depth(0, failed=35)], "35 runs failed for good: billing / vendor-syncs"),
    ],
)
def test_it_says_the_worst(depths: list[FunctionDepth], says: str) -> None:
    assert says in worst(depths, 120).plain


@pytest.mark.parametrize(
    ("width", "says"),
    [
        (80, "▲ flood: billing / vendor-syncs  184,000 queued (100 %), +111/s"),
        (60, "▲ flood: billing / vendor-syncs  184,000 queued, +111/s"),
        (50, "▲ flood: vendor-syncs  184,000 queued, +111/s"),
    ],
)
def test_in_little_room_the_flood_keeps_its_rate(width: int, says: str) -> None:
    shown = worst([depth(184_000, 111.0), QUIET], width)
    assert shown.plain.strip() == says
    assert shown.cell_length <= width


@pytest.mark.parametrize("marks", ["", "✂", "✂∞"])
@pytest.mark.parametrize("failed", ["0", "35", "1,204"])
def test_no_figure_gives_way_to_another_at_eighty_columns(marks: str, failed: str) -> None:
    """Neither to failed runs nor to a mark: the line of the last minutes does."""
    longest = {"name": "   vendor-syncs-of-tuesday", "marks": marks}
    total = {column.key: column.blank_if or "–" for column in depth_rows.COLUMNS}
    total |= {"name": "12 functions", "queued": "184,000", "scheduled": "1,871", "running": "21", "failed": failed}
    total |= {"oldest": "2h 15m", "in": "131.2", "out": "20.3", "drains": "growing ▲", "marks": marks}
    shown = [column.key for column in lay_out(depth_rows.COLUMNS, [longest, total], 77).columns]
    assert {"queued", "scheduled", "running", "oldest", "in", "out", "drains"} <= set(shown)
    assert ("failed" in shown) == (failed != "0")


def test_what_a_cancellation_takes_is_no_growth() -> None:
    """124 runs a second come, and none of them goes out; all the same the backlog shrinks."""
    shrinking = depth(23_557, -22.0, in_per_second=124.0, out_per_second=0.0)
    assert "▼" in depth_rows.outlook(shrinking).text
    assert depth_rows.flood([shrinking]) is None


def test_only_the_flood_is_red() -> None:
    flooding, growing = depth(90_000, 20.0), depth(20_000, 5.0, function_id="other")
    name = depth_rows.Cell("")
    red = {key for key, cell in depth_rows.row(flooding, name, "", "", flooding=True).items() if "danger" in cell.tone}
    assert {"queued", "drains", "spark"} == red
    assert not [
        cell for cell in depth_rows.row(growing, name, "", "", flooding=False).values() if "danger" in cell.tone
    ]


@pytest.mark.parametrize(
    ("in_force", "paused", "marks"),
    [
        ([], False, ""),
        ([], True, "‖"),
        ([InForce("billing", "vendor-syncs", 1, None)], False, "✂"),
        ([InForce("billing", None, 1, None)], True, "✂‖"),
        ([InForce("billing", "vendor-syncs", 2, NOW + timedelta(hours=2))], False, "✂∞"),
        ([InForce("billing", "invoices", 1, None)], False, ""),
        ([InForce("crm", None, 1, None)], False, ""),
    ],
)
def test_a_row_has_the_marks_of_what_holds(in_force: list[InForce], paused: bool, marks: str) -> None:
    known = {Scope(each.app_id, each.function_id): each for each in in_force}
    assert depth_rows.marks(Scope("billing", "vendor-syncs"), known, paused=paused) == marks


def test_what_is_not_known_is_no_zero() -> None:
    def shown(*depths: FunctionDepth) -> list[str]:
        total = depth_rows.total_of("billing", depths)
        cells = depth_rows.row(total, depth_rows.Cell(""), "", "", flooding=False)
        return [cells[name].text for name in ("failed", "in", "out", "queued")]

    unknown = depth(5, failed=None, in_per_second=None, out_per_second=None)
    assert shown(unknown, depth(5)) == ["–", "–", "–", "10"]
    assert shown(depth(5, failed=1), depth(5, failed=2)) == ["3", "20.0", "20.0", "10"]


def test_the_rate_of_a_flood_is_never_cut() -> None:
    flooding = depth(176_889, 1_234.0, function_id="a-function-whose-name-is-longer-than-the-whole-line", paused=True)
    for width in (58, 78):
        line = worst([flooding], width)
        assert line.cell_length <= width
        assert "a-fun" in line.plain
        assert "line  176,889 queued, +1,234/s, paused ‖" in line.plain


def test_queues_are_a_level_of_their_own_where_they_have_several_apps() -> None:
    depths = [
        depth(n, app_id=app) for n, app in ((5, "jobs/mail"), (700, "jobs/exports"), (90, "river/mail"), (8, "x"))
    ]
    found = depth_rows.stems(depth_rows.tree(depths, "queued"), lambda app: app.rpartition("/")[0] or "own", "queued")
    shown = [(each.key, each.total.queued, [branch.total.app_id for branch in each.branches]) for each in found]
    assert shown == [
        (depth_rows.QueueKey("jobs"), 705, ["jobs/exports", "jobs/mail"]),
        (None, 90, ["river/mail"]),
        (None, 8, ["x"]),
    ]
    [alone] = depth_rows.stems(depth_rows.tree(depths), lambda _: None, "name")
    assert alone.key is None


def test_no_column_is_shown_that_the_queue_cannot_fill() -> None:
    keys = lambda *depths: {column.key for column in depth_rows.columns_of(depths)}  # noqa: E731
    assert keys(depth(3, failed=None, in_per_second=None, out_per_second=None)).isdisjoint({"failed", "in", "out"})
    assert {"failed", "in", "out"} <= keys(depth(3, failed=2), depth(3, failed=None, in_per_second=None))


@pytest.mark.parametrize(
    ("queued", "says"),
    [(0, "\nWhatever arrives waits."), (1, "1 run that is due waits, and"), (2, "2 runs that are due wait, and")],
)
def test_a_pause_counts_what_waits_as_people_say_it(queued: int, says: str) -> None:
    its = [depth(queued)]
    assert says in offer(its[0].scope, its).question.text.plain
