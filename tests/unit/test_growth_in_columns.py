"""Growth is told from columns, which is quicker: the same is found as sample by sample."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from math import sin
from typing import Any

import pytest
from plain_growth import growing_since as plainly

from secateur.engines.native.history import _backlogs, _by_function
from secateur.looking.growth import growing_since, ladder
from secateur.samples import Backlogs, Sample

NOW = datetime(2026, 3, 14, 3, 0, tzinfo=UTC)


def a_history(chance: random.Random) -> list[Sample]:
    """A level, waves, jumps, slopes and bursts by chance, with gaps; at times of a whole second or of none."""
    level, wave = chance.choice([0, 3, 50, 5000, 200_000]), chance.choice([0, 0, 0.3, 1])
    begin, speed = -chance.expovariate(1 / 20_000), chance.choice([0, 0.01, 0.3, 5, 100, -0.3])
    jump = chance.choice([0, 0, 30, 3000])
    every, high = chance.choice([600, 3600, 90_000]), chance.choice([0, 0, 500])
    noise, missing = chance.choice([0, 0.02, 0.5]), chance.choice([0, 0, 0.1, 0.6])
    drains = chance.random()
    samples: list[Sample] = []
    entered = drained = last = 0
    for steps in ladder(NOW):
        for number in range(1, (steps.until - steps.since) // steps.length + 1):
            at = steps.since + number * steps.length - timedelta(seconds=chance.choice([0, 0, chance.random() * 9]))
            if chance.random() < missing:
                continue
            second = (at - NOW).total_seconds()
            depth = level * (1 + wave * sin(second / 13_750)) + high * max(0.0, 1 - 3 * (second % every) / every)
            depth += (jump + (second - begin) * speed) if second > begin else 0
            backlog = max(0, round(depth * (1 + noise * chance.gauss(0, 1))))
            traffic = round(steps.length.total_seconds() * drains)
            entered += traffic + max(0, backlog - last)
            drained += traffic + max(0, last - backlog)
            last = backlog
            samples.append(Sample(at, backlog // 2, backlog - backlog // 2, 5, 0, 0, entered, drained))
    return samples


@pytest.mark.parametrize("seed", range(40))
def test_the_same_growth_is_found_as_sample_by_sample(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        samples = a_history(chance)
        expected = plainly(samples)
        assert growing_since(samples) == expected
        assert growing_since(Backlogs.of(samples)) == expected


def test_the_random_histories_are_of_both_kinds() -> None:
    """Else the comparison would compare nothing."""
    chance = random.Random(0)
    grows = [growing_since(a_history(chance)) is not None for _ in range(300)]
    assert 30 < sum(grows) < 270


def some_rows(chance: random.Random) -> list[dict[str, Any]]:
    """As the statement returns them, with the app itself among the functions, which are listed in any order."""
    names, rows = ["", *(f"function-{n}" for n in range(8))], []
    missing, cut = chance.choice([0, 0.2, 0.7]), chance.choice([0, 0.5])
    totals = {name: [0, 0] for name in names}
    for number in range(30):
        there = [name for name in chance.sample(names, len(names)) if chance.random() >= missing]
        for name in there:
            totals[name][0] += chance.randrange(50)
            totals[name][1] += chance.randrange(50)
        row: dict[str, Any] = {
            figure: [chance.randrange(20) for _ in there] for figure in ("queued", "scheduled", "running", "failed")
        }
        row |= {"entered": [totals[name][0] for name in there], "drained": [totals[name][1] for name in there]}
        row |= {"at": NOW + timedelta(seconds=10 * number), "cut": chance.random() < cut, "cancelling": None}
        empty = not there
        row["function_ids"] = None if empty else there
        rows.append({name: None if empty and isinstance(value, list) else value for name, value in row.items()})
    return rows


@pytest.mark.parametrize("seed", range(60))
def test_columns_have_what_samples_have(seed: int) -> None:
    rows = some_rows(random.Random(seed))
    expected = {name: Backlogs.of(samples) for name, samples in _by_function(rows).items()}
    found = _backlogs(rows)
    assert set(found) == set(expected)
    for name, columns in found.items():
        one = expected[name]
        assert list(columns.times.at) == one.times.at
        assert list(columns.backlogs) == one.backlogs
        assert (list(columns.entered), list(columns.drained)) == (one.entered, one.drained)
