"""What stands out, as rows and in words: for floods and blast radii, wide and narrow, and where there is nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from secateur.looking.blast import BlastRadius
from secateur.looking.hot_values import Hit, HotField, HotValue
from secateur.looking.suggestions import Baseline, Suggestion, Suggestions
from secateur.looking.wording import of_several
from secateur.runs import Scope
from secateur.words.lines import cells
from secateur_tui.frame.hot_rows import View, bar, heading, rows

NOW = datetime(2026, 1, 21, 14, 0, tzinfo=UTC)
SCOPE = Scope("billing", "vendor-syncs")
ACME = "event.data.vendor_id == 'acme_inc'"


def value(shown: object, share: float, other: float | None, kind: str = "value") -> HotValue:
    return HotValue(kind, shown, share, other, 100.0, f"event.data.vendor_id == {shown!r}", "false")


def field(path: str, *values: HotValue) -> HotField:
    return HotField(path, values, 100.0)


def found(baseline: Baseline, *fields: HotField, since: timedelta | None = timedelta(minutes=40)) -> Suggestions:
    known = baseline is not Baseline.NONE
    suggestion = Suggestion(
        *(ACME, 0.96, 0.04 if known else None, 0.998 if known else None, 1.0 if known else None),
        *(75_112, (Hit("event.data.region", "eu", 41),)),
    )
    return Suggestions(
        *(None if since is None else NOW - since, None, True, baseline, 5_012 if known else 0, 4_980),
        *((suggestion,) if fields else (), fields, NOW),
    )


VENDORS = field(
    "event.data.vendor_id",
    value("acme_inc", 0.96, 0.04),
    value("globex", 0.02, 0.41),
    value([500, None], 0.01, 0.0, "range"),
    value("initech", 0.01, 0.2),
)


SHOWN = [
    "4,980 runs, against billing / vendor-syncs before 13:20          now  before",
    "event.data.vendor_id == 'acme_inc'                              96 %     4 %",
    "vendor_id acme_inc ██┃████████████████████████████████████▍     96 %     4 %",
]


def shown(view: View, width: int) -> list[str]:
    return [heading(view, "", width).plain, *(row.line.plain for row in rows(view, width))]


def test_a_flood_is_contrasted_with_what_came_before() -> None:
    view = View.of_arrivals(found(Baseline.BEFORE, VENDORS, field("event.name", value("x", 1.0, 1.0))), SCOPE)
    assert shown(view, 76)[:3] == SHOWN
    first = view.picks[0]
    assert first.shares == "96 % of arrivals since 13:20, 4 % before"
    assert (first.figures, first.also) == (
        "precision 99.8 %, recall 100 %; about 75,112 unfinished runs match",
        "41 of eu",
    )
    assert [each.label for each in view.picks[1:4]] == ["acme_inc", "globex", "from 500"]


@pytest.mark.parametrize("width", [31, 43, 56, 76, 116, 196])
@pytest.mark.parametrize("baseline", [*Baseline])
def test_rows_fit_into_any_width_and_have_keys(width: int, baseline: Baseline) -> None:
    view = View.of_arrivals(found(baseline, VENDORS, field("event.data.`a b`", value("課金" * 20, 0.5, None))), SCOPE)
    made = rows(view, width)
    assert all(cells(row.line.plain) <= max(width, 24) for row in made)
    assert len({row.key for row in made}) == len(made)
    assert heading(view, " · 2m 00s ago", width).cell_length <= max(width, 18)


def test_a_filter_that_is_too_long_keeps_what_tells_it_from_others() -> None:
    view = View.of_arrivals(found(Baseline.BEFORE, field("event.data.vendor_id", value("acme_inc", 0.96, 0.04))), SCOPE)
    assert shown(view, 36)[1].startswith("…vendor_id == 'ac")
    assert shown(view, 70)[1].startswith(ACME)


def test_the_other_functions_and_nothing_are_named_as_what_they_are() -> None:
    others = View.of_arrivals(found(Baseline.OTHERS, VENDORS), SCOPE)
    assert (others.about, others.titles) == ("4,980 runs, against billing's other functions", ("now", "others"))
    assert others.picks[0].shares == "96 % of arrivals since 13:20, 4 % of the other functions"
    alone = View.of_arrivals(found(Baseline.NONE, VENDORS, since=None), SCOPE)
    assert alone.titles == ("now", "")
    assert alone.picks[0].shares == "96 % of all that is kept"
    assert alone.picks[0].figures == "about 75,112 unfinished runs match"


def test_what_nothing_means_depends_on_what_was_asked() -> None:
    assert View.of_arrivals(found(Baseline.BEFORE), SCOPE).nothing == "what arrives is like what it is compared with"
    assert View.of_arrivals(found(Baseline.NONE), SCOPE).nothing == "no value is frequent"
    nothing_matches = View.of_matches(BlastRadius(0, 2_120, (VENDORS,), None, NOW))
    assert (nothing_matches.picks, nothing_matches.nothing) == ((), "nothing matches")


def test_a_blast_radius_is_matches_against_the_rest() -> None:
    view = View.of_matches(BlastRadius(623, 1_497, (VENDORS,), None, NOW))
    assert (view.about, view.titles) == ("623 that match, against 1,497 that do not", ("match", "others"))
    assert view.picks[0].shares == "96 % of what matches, 4 % of the other runs"
    assert View.of_matches(BlastRadius(623, 0, (VENDORS,), None, NOW)).titles == ("match", "")


def test_a_day_is_named_where_it_is_not_today() -> None:
    view = View.of_arrivals(found(Baseline.BEFORE, VENDORS, since=timedelta(hours=20)), SCOPE)
    assert view.picks[0].shares == "96 % of arrivals since 01-20 18:00, 4 % before"


def test_several_values_are_told_with_their_shares() -> None:
    assert of_several(VENDORS) == "event.data.vendor_id: 96 % acme_inc, 2 % globex, 1 % from 500"


@pytest.mark.parametrize(
    ("share", "other", "drawn"),
    [
        (1.0, None, "████████"),
        (0.5, 0.0, "┃███    "),
        (0.5, 1.0, "████   ┃"),
        (0.001, None, "▏       "),
        (0.0, 0.5, "    ┃   "),
    ],
)
def test_a_bar_has_a_tick_where_the_share_was(share: float, other: float | None, drawn: str) -> None:
    assert bar(share, other, 8) == drawn


@pytest.mark.parametrize(
    ("baseline", "brief"),
    [
        (Baseline.BEFORE, "4,980 runs since 13:20"),
        (Baseline.OTHERS, "4,980 runs and the other functions"),
        (Baseline.NONE, "4,980 runs, nothing to compare with"),
    ],
)
def test_the_heading_takes_fewer_words_where_there_is_less_room(baseline: Baseline, brief: str) -> None:
    view = View.of_arrivals(found(baseline, VENDORS), SCOPE)
    assert heading(view, "", 52).plain.startswith(brief)


@pytest.mark.parametrize("share", [0.0, 0.0004, 0.005, 0.5, 0.995, 0.9997, 1.0])
def test_no_share_is_wider_than_its_column(share: float) -> None:
    view = View.of_arrivals(found(Baseline.BEFORE, field("event.name", value("x", share, 0.9996))), SCOPE)
    heading_, *lines = shown(view, 76)
    assert [cells(line) for line in lines] == [cells(heading_)] * len(lines)
    assert lines[1].endswith(">99.9 %")
