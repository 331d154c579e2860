"""What stands out among arrivals, and the filters that this suggests; `secateur.looking.suggesting` finds both.

Screens ask `Reader.suggest` and `Reader.blast_radius` (see `secateur.looking.blast`), and offer both if
`Reader.can_suggest`. Each `HotField` has its `HotValue`s, the most skewed first, each with the condition that a field
has this value (`if_`) and that it has not (`unless`). `secateur.cel.authoring.picking` writes such conditions for any
other field and value, and adds them to an expression.
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
    """The same scope before the flood, finished runs included."""
    OTHERS = "other_functions"
    """The app's other functions, at the time of the flood."""
    NONE = "none"
    """Nothing; only frequencies are known."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A filter and its effect on the samples. Shares are from 0 to 1; None if there is no baseline."""

    if_: str
    flood_share: float
    baseline_share: float | None
    precision: float | None
    """The part of its matches in the flood that is more than usual."""
    recall: float | None
    """The part of the flood's excess that it matches."""
    matched_estimate: int
    """About how many unfinished runs of the scope match, whenever they arrived."""
    also_hits: tuple[Hit, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestions:
    since: datetime | None
    """When the flood began, as given or found. None if arrivals have not grown; then all stored runs count as the
    flood."""
    until: datetime | None
    since_found: bool
    """Whether `since` was found in the times of the arrivals rather than given."""
    baseline: Baseline
    baseline_runs: int
    sampled: int
    """How many runs of the flood were sampled."""
    suggestions: tuple[Suggestion, ...]
    """The shortest first, three at most; none if nothing stands out."""
    fields: tuple[HotField, ...]
    """The most skewed first."""
    as_of: datetime
