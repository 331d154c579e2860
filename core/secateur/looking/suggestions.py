"""What stands out in what arrives, and the filters that it suggests, as `secateur.looking.suggesting` finds them.

Screens ask `Reader.suggest` and `Reader.blast_radius` (see `secateur.looking.blast`), and offer both where
`Reader.can_suggest`. Each `HotField` has its `HotValue`s, most skewed first, each with the condition that it is so
(`if_`) and that it is not (`unless`); `secateur.cel.authoring.picking` writes these of any other field and value, and
adds them to an expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secateur.looking.hot_values import Hit, HotField

DEFAULT_FIELDS = 10


class Baseline(StrEnum):
    """What the flood is compared with."""

    BEFORE = "before"
    """The same scope before the flood, finished runs too."""
    OTHERS = "other_functions"
    """The app's other functions, at the time of the flood."""
    NONE = "none"
    """Nothing: frequencies alone."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A filter, and what it does to the samples. Shares are from 0 to 1; None where there is no baseline."""

    if_: str
    flood_share: float
    baseline_share: float | None
    precision: float | None
    """Of what it matches in the flood, the part that is more than usual."""
    recall: float | None
    """Of what is more than usual in the flood, the part that it matches."""
    matched_estimate: int
    """Unfinished runs of the scope, of any time, that it matches: about."""
    also_hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestions:
    since: datetime | None
    """When the flood began, as given or as found; None where arrivals have not grown: then it is all that is kept."""
    until: datetime | None
    since_found: bool
    """`since` was found in the times of the arrivals, and not given."""
    baseline: Baseline
    baseline_runs: int
    sampled: int
    """Runs of the flood that were looked at."""
    suggestions: tuple[Suggestion, ...]
    """The shortest first, three at most; none where nothing stands out."""
    fields: tuple[HotField, ...]
    """The most skewed first."""
    as_of: datetime
