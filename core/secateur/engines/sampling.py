"""Estimates a count from a sample of pages, with an interval.

Postgres samples whole pages. The runs on a page were enqueued together, so they are alike, and a sample may tell far
less than the same number of runs drawn one by one. How much it tells depends on the spread *between* pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

Z = 1.96
"""For intervals that contain the true value in 95 of 100 samples."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many runs match, with a 95 % confidence interval."""

    matched: int
    low: int
    high: int


def estimate(pages: Iterable[tuple[int, int]], total: int, share: float) -> Estimate:
    """Estimate how many of `total` runs match, from `pages`: the runs of the scope on each page, and the matches.

    `share`, from 0 to 1, is the sampled part of the table. At least one page must hold a run of the scope.

    The interval is Wilson's, which is valid for rare matches too. Its sample size is the number of independent runs
    that would show the same spread as the pages. If no run or every run in the sample matches, the pages have no
    spread; each page then counts as one observation, because the pages not drawn may all differ.
    """
    drawn = [page for page in pages if page[0] > 0]
    runs, matched = sum(page[0] for page in drawn), sum(page[1] for page in drawn)
    part = matched / runs
    if 0 < matched < runs:
        deviation = sum((hits - part * size) ** 2 for size, hits in drawn) / runs**2
        variance = deviation * len(drawn) / max(1, len(drawn) - 1)
        independent = min(float(runs), part * (1 - part) / variance) if variance else float(runs)
        # Roughly Student's quantile: a spread estimated from only a few pages is itself uncertain.
        z = Z + (Z**3 + Z) / (4 * max(1.0, independent * min(part, 1 - part)))
    else:
        independent, z = float(len(drawn)), Z
    independent /= max(1e-9, 1 - share)
    centre = part + z * z / (2 * independent)
    spread = z * sqrt(part * (1 - part) / independent + (z / (2 * independent)) ** 2)
    scale = total / (1 + z * z / independent)
    low = max(matched, round((centre - spread) * scale))
    high = min(total - (runs - matched), round((centre + spread) * scale))
    guess = round(part * total)
    return Estimate(guess, min(low, guess), max(high, guess))
