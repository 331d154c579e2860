"""Numbers, durations and texts as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len

from secateur.instants import readable
from secateur.words.figures import about, ago, duration
from secateur.words.lines import fit, one_line, shorten, shorten_middle


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-3, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1m 00s"), (8_060, "2h 14m"), (86_400 * 3 + 4 * 3600, "3d 4h")],
)
def test_durations_have_two_units_at_most(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_an_age_becomes_a_date_after_a_week() -> None:
    now = datetime(2026, 1, 21, 12, tzinfo=UTC)
    assert ago(now - timedelta(seconds=2), now) == "just now"
    assert ago(now - timedelta(hours=2), now) == "2h 00m ago"
    assert ago(now - timedelta(days=8), now) == "2026-01-13"


def test_an_instant_shows_fractions_only_where_there_are_any() -> None:
    moment = datetime(2026, 1, 21, 12, tzinfo=UTC)
    assert readable(moment) == "2026-01-21 12:00:00 UTC"
    assert readable(moment.replace(microsecond=120)) == "2026-01-21 12:00:00.00012 UTC"


def test_an_instant_is_cut_to_so_many_digits() -> None:
    moment = datetime(2026, 1, 21, 12, 0, 0, 120, tzinfo=UTC)
    assert readable(moment, digits=3) == "2026-01-21 12:00:00 UTC"
    assert readable(moment, digits=0) == "2026-01-21 12:00:00 UTC"
    assert readable(moment.replace(microsecond=120_000), digits=3) == "2026-01-21 12:00:00.12 UTC"


@pytest.mark.parametrize(
    ("guess", "low", "high", "expected"),
    [
        (75_112, 74_318, 75_877, ("75,100", "74,300 – 75,900")),
        (1_234_567, 1_200_000, 1_300_000, ("1,230,000", "1,200,000 – 1,300,000")),
        (3, 1, 10, ("3", "1 – 10")),
        (0, 0, 0, ("0", "0 – 0")),
        (623, None, None, ("623", "")),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_bears_out(
    guess: int, low: int | None, high: int | None, expected: tuple[str, str]
) -> None:
    assert about(guess, low, high) == expected


def test_text_from_outside_stays_on_one_line() -> None:
    assert one_line("a\nb\x1b[31m\tc") == r"a\nb\x1b[31m\tc"


@pytest.mark.parametrize("text", ["", "short", "a rather long text", "課金システム"])
def test_fitting_is_exact_in_cells(text: str) -> None:
    assert all(cell_len(fit(text, width)) == width for width in range(20))


@pytest.mark.parametrize("text", ["short", "a rather long text", "課金システム", "two\nlines"])
def test_what_is_shortened_fits_and_says_that_it_was_cut(text: str) -> None:
    for width in range(20):
        short = shorten(text, width)
        assert cell_len(short) <= width
        assert short == one_line(text) or not short or short.endswith("…")


def test_the_middle_is_left_out_of_long_messages() -> None:
    assert shorten_middle("as it is") == "as it is"
    assert shorten_middle("x" * 150 + "y" * 150) == "x" * 100 + "…" + "y" * 100
