"""The values that stand out in each field: their share of what arrives, compared with their share before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from secateur.cel.authoring.picking import MISSING, access, guarded, negated, negation
from secateur.cel.authoring.shapes import Shape
from secateur.cel.paths import EACH, Path
from secateur.looking.conjuncts import Conjunct
from secateur.looking.contrasts import Contrast, FieldEvents
from secateur.looking.suggested_filters import Search, SuggestedFilter

LEAST_SHARE = 0.01
"""The smallest share of the flood or of the baseline for a value to be listed."""

MOST_VALUES = 8
"""The most values of one field."""


@dataclass(frozen=True, slots=True)
class HotValue:
    kind: str
    """The kind, as in `Conjunct`."""
    value: Any
    flood_share: float
    baseline_share: float | None
    """None if there is no baseline."""
    skew: float
    """How strongly it distinguishes flood and baseline, in nats."""
    if_: str
    """The condition that the field has this value."""
    unless: str
    """The condition that it does not, which is also true of runs that lack the field."""


@dataclass(frozen=True, slots=True)
class HotField:
    path: str
    """As an expression selects it, with `[]` for the elements of a list."""
    values: tuple[HotValue, ...]
    """The most skewed first."""
    skew: float
    """The evidence of the most skewed value."""


def hot_fields(search: Search, limit: int) -> list[HotField]:
    """The fields whose values several runs share, the most skewed first. Fields that follow the clock come last."""
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
    """How skewed the value is; also for values that have become rare."""
    return max(contrast.evidence(conjunct.extent), contrast.evidence(contrast.everything - conjunct.extent) / 2)


def _order(contrast: Contrast, conjunct: Conjunct) -> tuple[float, float]:
    """The most skewed first; between two that are nearly equal, the plain value."""
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
"""The type that a field must have for a condition of this kind to be true."""


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
    """Runs that a filter matches besides those it is meant for: how many of the flood's sample have this value."""

    path: str
    value: Any
    runs: int


def also_hits(search: Search, suggested: SuggestedFilter) -> list[Hit]:
    """Other values of the field on which most matches agree: two at most.

    For example, a filter by region matches mostly one vendor, and 41 runs of another.
    """
    mostly = _mostly_of_one(search, suggested.extent.flood, suggested.condition.paths)
    return [] if mostly is None else [Hit(written(mostly[0].path), each.value, n) for n, each in mostly[1][1:3]]


def mixed_field(search: Search, but: Collection[Path]) -> HotField | None:
    """The field in which most but not all of the flood has one value, with its values there; None if there is none.

    Ignores the fields in `but`.
    """
    everything = search.contrast.everything.flood
    mostly = _mostly_of_one(search, everything, but)
    if mostly is None:
        return None
    shape = search.contrast.shape()
    hot = tuple(_hot(search.contrast, each, shape) for _, each in mostly[1][:MOST_VALUES])
    return HotField(written(mostly[0].path), hot, hot[0].skew)


def _mostly_of_one(
    search: Search, matches: int, but: Collection[Path]
) -> tuple[FieldEvents, list[tuple[int, Conjunct]]] | None:
    """The field that best describes the matches, and how many matches have each of its values, the most frequent first.

    Its main value is far more frequent in the flood than usual; a field without such a value says nothing.
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
