"""How far the truth may be from what a sample of pages says.

Postgres draws whole pages, and the runs of a page entered together, so they are alike: the spread *between* pages says
how much a sample tells, and it may be far less than so many runs drawn one by one would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

Z = 1.96
"""For intervals that hold the truth in 95 of 100 samples."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many runs match, and between which numbers that lies at 95 %."""

    matched: int
    low: int
    high: int


def estimate(pages: Iterable[tuple[int, int]], total: int, share: float) -> Estimate:
    """What `pages`, each with its runs of the scope and how many of them match, say of `total` runs.

    `share` of the table was drawn, from 0 to 1. At least one page must hold a run of the scope.

    The interval is Wilson's, which holds for rare matches too, for as many independent runs as would have had the
    spread that the pages have. Where all pages say the same, because nothing or everything matches, each of them
    counts as one such run: those that were not drawn may all be of the other kind.
    """
    drawn = [page for page in pages if page[0] > 0]
    runs, matched = sum(page[0] for page in drawn), sum(page[1] for page in drawn)
    part = matched / runs
    if 0 < matched < runs:
        deviation = sum((hits - part * size) ** 2 for size, hits in drawn) / runs**2
        variance = deviation * len(drawn) / max(1, len(drawn) - 1)
        independent = min(float(runs), part * (1 - part) / variance) if variance else float(runs)
        # Student's quantile, nearly: a spread that was seen in a few places only is itself not known well.
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
