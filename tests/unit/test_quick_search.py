"""What the search takes a short cut for is what it would be without: times, and the densest slice of a scale."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest

from secateur.cel.diagnostics import EvaluationError
from secateur.cel.timestamps import SECOND, parse_timestamp
from secateur.looking.intervals import _Ends
from secateur.looking.scales import _seconds

PARTS = (
    ("2026", "0001", "9999", "0000", "1969", "10000", "２０２６"),
    ("-01-01", "-02-29", "-02-30", "-12-31", "-13-01", "-W1-1"),
    ("T", "t", " ", ""),
    ("00:00:00", "23:59:59", "24:00:00", "12:60:00", "12:00:60", "12:00"),
    ("", ".5", ".123456", ".1234567", ".000001", ".", ",5"),
    ("Z", "z", "+00:00", "+05:30", "-0800", ""),
)


def read(text: str) -> float | None:
    try:
        return parse_timestamp(text).nanoseconds / SECOND
    except EvaluationError:
        return None


def test_times_are_read_as_the_language_reads_them() -> None:
    chance = random.Random(0)
    texts = {"".join(chance.choice(part) for part in PARTS) for _ in range(20_000)}
    texts |= {"", "today", "2026-11-27T00:00:00Z\n", "2026-11-27T00:00:00ZZ"}
    assert sum(read(text) is not None for text in texts) > 100
    assert {text for text in texts if _seconds(text) != read(text)} == set()


def plainly_densest(points: list[tuple[float, int, int]], totals: tuple[int, int], weight: float) -> tuple[int, int]:
    """The shortest of the last and densest slices, of all that there are."""
    floods = [0, *accumulate(flood for _, flood, _ in points)]
    baselines = [0, *accumulate(baseline for _, _, baseline in points)]
    one, other = max(1, totals[1]), weight * max(1, totals[0])
    ahead = [flood * one - baseline * other for flood, baseline in zip(floods, baselines, strict=True)]
    best, found = 0.0, (0, 0)
    lowest = 0
    for end, height in enumerate(ahead):
        if height <= ahead[lowest]:
            lowest = end
        if height - ahead[lowest] > best:
            best, found = height - ahead[lowest], (lowest, end)
    return found


@pytest.mark.parametrize("seed", range(200))
def test_the_densest_slice_is_found_among_fewer_places(seed: int) -> None:
    chance = random.Random(seed)
    odds = chance.choice([(9, 1, 0), (1, 9, 0), (5, 5, 0), (5, 5, 5), (1, 1, 9)])
    points = []
    for number in range(chance.choice([1, 2, 5, 60, 400])):
        kind = chance.choices(("flood", "baseline", "both"), odds)[0]
        flood = chance.randrange(1, 4) if kind != "baseline" else 0
        baseline = chance.randrange(1, 4) if kind != "flood" else 0
        points.append((float(number), flood, baseline))
    floods = [0, *accumulate(flood for _, flood, _ in points)]
    baselines = [0, *accumulate(baseline for _, _, baseline in points)]
    totals = floods[-1] + chance.randrange(50), baselines[-1] + chance.randrange(50)
    ends = _Ends(points, floods, baselines, totals)
    for weight in (1.0, 2.0, 5.0, 0.5, 0.02, chance.random()):
        assert ends.densest(weight) == plainly_densest(points, totals, weight)
