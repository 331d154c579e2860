"""Estimates hold the truth as often as they say, and are wide where pages are unlike each other."""

from __future__ import annotations

import random

import pytest

from secateur.engines.sampling import estimate

PAGES, PER_PAGE = 2_000, 20
TOTAL = PAGES * PER_PAGE


def table(matching: list[bool]) -> list[tuple[int, int]]:
    return [(PER_PAGE, sum(matching[start : start + PER_PAGE])) for start in range(0, len(matching), PER_PAGE)]


def spread(rng: random.Random, share: float) -> list[bool]:
    return [rng.random() < share for _ in range(TOTAL)]


def in_stretches(rng: random.Random, share: float, stretches: int) -> list[bool]:
    matching = [False] * TOTAL
    length = round(TOTAL * share / stretches)
    for _ in range(stretches):
        start = rng.randrange(TOTAL - length)
        matching[start : start + length] = [True] * length
    return matching


def coverage(pages: list[tuple[int, int]], rng: random.Random, share: float = 0.1) -> tuple[float, float]:
    """Of 300 samples, how many hold the truth; and the median of the interval's width in runs."""
    truth = sum(page[1] for page in pages)
    held, widths = 0, []
    for _ in range(300):
        drawn = [page for page in pages if rng.random() < share]
        found = estimate(drawn, TOTAL, share)
        held += found.low <= truth <= found.high
        widths.append(found.high - found.low)
        assert sum(page[1] for page in drawn) <= found.low <= found.matched <= found.high <= TOTAL
    return held / 300, sorted(widths)[150]


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 0.3, 0.97, 1.0])
def test_of_runs_that_lie_anywhere(share: float) -> None:
    rng = random.Random(str(share))
    held, _ = coverage(table(spread(rng, share)), rng)
    assert held >= 0.9


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.6])
@pytest.mark.parametrize("stretches", [1, 10])
def test_of_runs_that_lie_together(share: float, stretches: int) -> None:
    rng = random.Random(f"{share} {stretches}")
    held, width = coverage(table(in_stretches(rng, share, stretches)), rng)
    assert held >= 0.9
    assert width > 1.5 * coverage(table(spread(rng, share)), rng)[1]


def test_pages_of_which_the_scope_has_little() -> None:
    rng = random.Random(0)
    pages = [(runs, rng.randint(0, runs)) for runs in (rng.choice([0, 0, 1, 5]) for _ in range(PAGES))]
    total, truth = sum(page[0] for page in pages), sum(page[1] for page in pages)
    found = [estimate([page for page in pages if rng.random() < 0.2], total, 0.2) for _ in range(200)]
    assert sum(one.low <= truth <= one.high for one in found) >= 180


def test_a_sample_of_everything_is_exact() -> None:
    found = estimate([(20, 5), (20, 0), (0, 0)], 40, 1.0)
    assert (found.low, found.matched, found.high) == (5, 5, 5)


def test_nothing_seen_is_not_nothing_there() -> None:
    found = estimate([(20, 0)] * 100, 10_000_000, 0.001)
    assert (found.low, found.matched) == (0, 0)
    assert 300_000 < found.high < 400_000
