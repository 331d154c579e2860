"""The values of each field that stand out: their share of what arrives, against the share that they had before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secateur.cel.paths import EACH, Path
from secateur.looking.conjuncts import Conjunct, access
from secateur.looking.contrasts import Contrast
from secateur.looking.proposals import Proposal, Search

LEAST_SHARE = 0.01
"""Of the flood, or of the baseline, for a value to be listed."""

MOST_VALUES = 8
"""Of one field."""


@dataclass(frozen=True, slots=True)
class HotValue:
    kind: str
    """As a conjunct's."""
    value: Any
    flood_share: float
    baseline_share: float | None
    """None without a baseline."""
    if_: str
    """The condition that it is so."""


@dataclass(frozen=True, slots=True)
class HotField:
    path: str
    """As an expression selects it; `[]` stands for the elements of a list."""
    values: tuple[HotValue, ...]
    """The most frequent in the flood first."""
    skew: float
    """How much the values tell about flood or baseline: nats."""


def hot_fields(search: Search, limit: int) -> list[HotField]:
    """The fields with values that several runs have, the most skewed first; what follows the clock comes last."""
    contrast = search.contrast
    by_path: dict[Path, list[Conjunct]] = {}
    late: set[Path] = set()
    for field, conjuncts in search.found:
        if search.steadiness.follows_time(field):
            late.add(field.path)
        for each in conjuncts:
            if each.kind != "present" and max(contrast.shares(each.extent)) >= LEAST_SHARE:
                by_path.setdefault(each.path, []).append(each)
    found = []
    for path, values in by_path.items():
        skew = max(_skew(contrast, each) for each in values)
        shown = sorted(values, key=lambda each: _order(contrast, each))[:MOST_VALUES]
        found.append((path in late, HotField(written(path), tuple(_hot(contrast, each) for each in shown), skew)))
    found.sort(key=lambda each: (each[0], -each[1].skew, each[1].path))
    return [hot for _, hot in found[:limit]]


def written(path: Path) -> str:
    """The field as an expression selects it, with `[]` for the elements of a list."""
    text = "event"
    while EACH in path:
        at = path.index(EACH)
        text, path = f"{access(path[:at], text)}[]", path[at + 1 :]
    return access(path, text)


def _skew(contrast: Contrast, conjunct: Conjunct) -> float:
    """Also of what has become rare."""
    return max(contrast.evidence(conjunct.extent), contrast.evidence(contrast.everything - conjunct.extent) / 2)


def _order(contrast: Contrast, conjunct: Conjunct) -> tuple[bool, float]:
    """Plain values first, and what is made of them after."""
    return conjunct.kind in ("range", "prefix", "suffix", "size", "values"), -contrast.shares(conjunct.extent)[0]


def _hot(contrast: Contrast, conjunct: Conjunct) -> HotValue:
    flood, baseline = contrast.shares(conjunct.extent)
    usual = baseline if contrast.baseline else None
    return HotValue(conjunct.kind, conjunct.value, flood, usual, conjunct.source)


@dataclass(frozen=True, slots=True)
class Hit:
    """What a filter hits beside what it is for: so many of the flood's sample."""

    path: str
    value: Any
    runs: int


def also_hits(search: Search, proposal: Proposal) -> list[Hit]:
    """Of the field that is most of one value among the matches, the other values that are hit: two at most.

    A filter by region hits nearly all of one vendor, and 41 runs of another.
    """
    contrast, matches = search.contrast, proposal.extent.flood
    count = matches.bit_count()
    best, hits = 0.0, []
    for field, conjuncts in search.found:
        values = [each for each in conjuncts if each.kind == "value" and each.path == field.path]
        if field.path in proposal.condition.paths or field.inside_list or len(values) < 2:
            continue
        counted = sorted(((each.extent.flood & matches).bit_count(), str(each.value), each) for each in values)
        most, _, main = counted[-1]
        share = most / max(1, count)
        # Only a field that the flood is about: its main value is far more frequent there than usual.
        if not max(best, 0.5) < share < 1 or contrast.evidence(main.extent) < 10:
            continue
        best, hits = share, [Hit(written(field.path), each.value, n) for n, _, each in counted[-2:-4:-1] if n]
    return hits
