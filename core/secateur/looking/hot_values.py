"""The values of each field that stand out: their share of what arrives, against the share that they had before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from secateur.cel.authoring.picking import MISSING, access, guarded, negated, negation
from secateur.cel.authoring.shapes import Shape
from secateur.cel.paths import EACH, Path
from secateur.looking.conjuncts import Conjunct
from secateur.looking.contrasts import Contrast, Field
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
    skew: float
    """How much it tells about flood or baseline: nats."""
    if_: str
    """The condition that it is so."""
    unless: str
    """The condition that it is not so, true also of runs that lack the field."""


@dataclass(frozen=True, slots=True)
class HotField:
    path: str
    """As an expression selects it; `[]` stands for the elements of a list."""
    values: tuple[HotValue, ...]
    """The most skewed first."""
    skew: float
    """Of the most skewed value."""


def hot_fields(search: Search, limit: int) -> list[HotField]:
    """The fields with values that several runs have, the most skewed first; what follows the clock comes last."""
    contrast = search.contrast
    by_path: dict[Path, list[Conjunct]] = {}
    late: set[Path] = set()
    shape = contrast.shape()
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
        hot = tuple(_hot(contrast, each, shape) for each in shown)
        found.append((path in late, HotField(written(path), hot, skew)))
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


def _order(contrast: Contrast, conjunct: Conjunct) -> tuple[float, float]:
    """The most skewed first; of two that are nearly so, the plain value."""
    derived = conjunct.kind in ("range", "prefix", "suffix", "size", "values")
    return -_skew(contrast, conjunct) * (0.9 if derived else 1.0), -contrast.shares(conjunct.extent)[0]


def _hot(contrast: Contrast, conjunct: Conjunct, shape: Shape) -> HotValue:
    flood, baseline = contrast.shares(conjunct.extent)
    return HotValue(
        conjunct.kind,
        conjunct.value,
        flood,
        baseline if contrast.baseline else None,
        _skew(contrast, conjunct),
        conjunct.source,
        _unless(conjunct, shape),
    )


_OF_KIND = {"prefix": "string", "suffix": "string", "size": "list"}
"""What a field is where such a condition of it can be true."""


def _unless(conjunct: Conjunct, shape: Shape) -> str:
    match conjunct.kind:
        case "value":
            return negation(conjunct.path, conjunct.value, shape)
        case "null":
            return negation(conjunct.path, None, shape)
        case "missing":
            return negation(conjunct.path, MISSING, shape)
    return guarded(conjunct.path, negated(conjunct.source), shape, _OF_KIND.get(conjunct.kind, ""))


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
    mostly = _mostly_of_one(search, proposal.extent.flood, proposal.condition.paths)
    return [] if mostly is None else [Hit(written(mostly[0].path), each.value, n) for n, each in mostly[1][1:3]]


def mixed_field(search: Search, but: Collection[Path]) -> HotField | None:
    """The field, but none of these, that is most of one value in the flood, and not all, with its values there."""
    everything = search.contrast.everything.flood
    mostly = _mostly_of_one(search, everything, but)
    if mostly is None:
        return None
    shape = search.contrast.shape()
    hot = tuple(_hot(search.contrast, each, shape) for _, each in mostly[1][:MOST_VALUES])
    return HotField(written(mostly[0].path), hot, hot[0].skew)


def _mostly_of_one(
    search: Search, matches: int, but: Collection[Path]
) -> tuple[Field, list[tuple[int, Conjunct]]] | None:
    """The field that is about what matches, with how many of these have each of its values; the most frequent first.

    Its main value is far more frequent in the flood than usual; of others, that says nothing.
    """
    count = max(1, matches.bit_count())
    best, found = 0.5, None
    for field, conjuncts in search.found:
        values = [each for each in conjuncts if each.kind == "value" and each.path == field.path]
        if field.path in but or field.inside_list or len(values) < 2:
            continue
        counted = [((each.extent.flood & matches).bit_count(), each) for each in values]
        counted = sorted(((n, each) for n, each in counted if n), key=lambda each: (-each[0], str(each[1].value)))
        if not counted:
            continue
        share = counted[0][0] / count
        if best < share < 1 and search.contrast.evidence(counted[0][1].extent) >= 10:
            best, found = share, (field, counted)
    return found
