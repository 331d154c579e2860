"""Conditions of one to three conjuncts: how strong the evidence for each is, and which of them are worth suggesting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from secateur.cel.paths import Path
from secateur.looking.conjuncts import Conjunct
from secateur.looking.contrasts import Extent

MOST = 3
"""The most suggestions, and the most conjuncts of a condition."""

ALIKE = 0.97
"""Two conditions count as the same if they share at least this fraction of their events."""

SPARE = 8
"""How many conditions are chosen: more than are suggested, in case one does not compile."""

WIDER = 1.01
"""How many times the first one's excess a second condition on the same fields needs, to be suggested too."""

NEARLY = 0.8
"""The least part of the best condition's score, and of its excess, for a narrower condition to be suggested beside it.
"""

FULLER = 0.3
"""The least part of the best condition's score for one with more excess to be suggested beside it."""

NEARLY_ALL = 0.9
"""The least part of the most excess that is certain, for a condition to count as one with more."""

CERTAINLY = 3.0
"""Standard deviations of the excess: among dozens of conditions, one seems to have more by chance."""

SHORTER = 0.5
"""The least part of the best condition's score for a shorter one to be suggested beside it."""

LEAST_OUTSIDE = 0.15
"""The smallest part of the baseline that must lie outside an interval, to tell from there what is usual."""

CLEARLY = 2.0
"""Standard deviations by which a wider interval must have more excess than a narrower one; a smaller difference is
chance."""

LENGTH_SHARE = 0.015
"""The least part by which each further conjunct must improve the evidence, however many events there are."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Conjuncts that are all true."""

    conjuncts: tuple[Conjunct, ...]
    extent: Extent
    cost: float
    score: float
    """The evidence less the cost, in nats."""
    excess: float
    """The part of the arrivals that is more than usual, if this condition alone describes what is unusual."""
    counts: tuple[int, int, int, int]
    """How many events of flood and baseline match, then how many each has: in the samples, or among more runs."""

    @property
    def is_interval(self) -> bool:
        return any(each.kind in ("range", "size") for each in self.conjuncts)

    @property
    def paths(self) -> frozenset[Path]:
        return frozenset(each.path for each in self.conjuncts)

    @property
    def source(self) -> str:
        return " && ".join(each.source for each in self.conjuncts)

    def counted(self, flood: int, baseline: int, all_flood: int, all_baseline: int) -> Condition:
        """The same condition, judged by counts of more runs than the samples have."""
        score = score_of(evidence(flood, baseline, all_flood, all_baseline), len(self.conjuncts), self.cost)
        excess = excess_of(flood / max(1, all_flood), baseline / max(1, all_baseline))
        return replace(self, score=score, excess=excess, counts=(flood, baseline, all_flood, all_baseline))


def evidence(flood: int, baseline: int, all_flood: int, all_baseline: int) -> float:
    """How strongly these counts distinguish the flood from the baseline, in nats; 0 unless the matches are more
    frequent in the flood.

    It is the logarithm of a likelihood ratio: two different shares against one common share.
    """
    if flood * all_baseline <= baseline * all_flood:
        return 0.0
    parts = flood, baseline, all_flood - flood, all_baseline - baseline, all_flood + all_baseline
    wholes = flood + baseline, all_flood + all_baseline - flood - baseline, all_flood, all_baseline
    return sum(map(_xlogx, parts)) - sum(map(_xlogx, wholes))


def _xlogx(count: int) -> float:
    return count * math.log(count) if count > 0 else 0.0


def score_of(evidence: float, conjuncts: int, cost: float) -> float:
    return evidence * (1 - LENGTH_SHARE * (conjuncts - 1)) - cost


def excess_of(share: float, usual: float) -> float:
    """The part of the arrivals that is more than usual, if only matching ones are unusual.

    The rest is then as usual, and shows how much is usual: (1 - f) = (1 - x)(1 - b), with the shares f of the flood and
    b of the baseline.
    """
    return max(0.0, (share - usual) / (1 - usual)) if usual < 1 else 0.0


def overlapping(parts: tuple[Conjunct, ...]) -> bool:
    """Whether two of the conjuncts are about the same field, or one is about a field inside the field of the other."""
    return any(
        one.path == other.path[: len(one.path)] or other.path == one.path[: len(other.path)]
        for one, other in combinations(parts, 2)
    )


def chosen(found: Sequence[Condition]) -> list[Condition]:
    """Chooses the conditions to suggest from those found, both best first: the best, then others that may be right if
    it is not.

    - Among intervals of one field, the strongest evidence is for an interval narrower than the flood's if much is usual
      there. So the second place is for the widest interval that still has more than usual at its ends.
    - The evidence is strongest for what was never usual, even if only a part of the flood is like that. Then another
      condition has clearly more excess.
    - A field that merely goes with the flood makes the best condition too narrow. Then a shorter one has as much
      excess.
    - The evidence hardly tells whether a further conjunct describes the flood or only this sample of it. So the last
      place is for a narrower condition that is nearly as good as the best, unless that one is too narrow itself.
    """
    different = _different(found)
    if not different:
        return []
    best = different[0]
    of_the_same = [each for each in found if each.paths == best.paths]
    widest = _widest(best, of_the_same) if best.is_interval else best
    others = [each for each in different[1:] if not best.is_interval or each.paths != best.paths]
    fuller = _fuller(best, widest, found)
    narrower = next((each for each in found if _is_narrower(each, best)), None) if fuller is None else None
    shorter = next((each for each in found if _is_shorter(each, best)), None)
    preferred = [each for each in (best, *([widest] if widest is not best else []), shorter) if each is not None]
    last = fuller or narrower
    if last is not None and last not in preferred:
        preferred = [*preferred, *(each for each in others if each not in preferred and each is not last)]
        preferred.insert(min(len(preferred), MOST - 1), last)
    return [*preferred, *(each for each in others if each not in preferred)]


def _fuller(best: Condition, widest: Condition, found: Sequence[Condition]) -> Condition | None:
    """The best condition that has clearly more excess than the best of all; None if there is none."""
    likely = [each for each in found if each.score >= FULLER * best.score]
    most = max(each.excess - CERTAINLY * _spread(each) for each in likely)
    if most <= best.excess:
        return None
    fuller = [each for each in likely if each.excess > max(best.excess, NEARLY_ALL * most)]
    first = next((each for each in fuller if not alike(each.extent, widest.extent)), None)
    if first is None or first.paths == best.paths or not first.is_interval:
        return first
    return _widest(first, [each for each in found if each.paths == first.paths])


def _spread(condition: Condition) -> float:
    """The standard deviation of the excess."""
    flood, baseline, all_flood, all_baseline = condition.counts
    chance = math.hypot(math.sqrt(flood) / max(1, all_flood), math.sqrt(baseline) / max(1, all_baseline))
    return chance / max(1 - baseline / max(1, all_baseline), 1 / max(1, all_baseline))


def _is_shorter(condition: Condition, best: Condition) -> bool:
    """Whether it describes as much of the flood as the best condition, with fewer conjuncts."""
    parts = {each.source for each in condition.conjuncts}
    return (
        parts < {each.source for each in best.conjuncts}
        and condition.score >= SHORTER * best.score
        and condition.excess >= ALIKE * best.excess
    )


def _widest(best: Condition, found: Sequence[Condition]) -> Condition:
    """Of the best interval and the wider ones around it, the narrowest that has nearly all of the excess.

    The part outside the widest one tells what is usual.
    """
    within = (1 - LEAST_OUTSIDE) * best.counts[3]
    nested = [best, *(each for each in found if each.counts[1] <= within and _holds(each.extent, best.extent))]
    nested.sort(key=lambda each: each.counts[0] + each.counts[1])
    all_flood, all_baseline = max(1, best.counts[2]), max(1, best.counts[3])
    flood, baseline = nested[-1].counts[:2]
    usual = ((all_flood - flood) / all_flood) / max((all_baseline - baseline) / all_baseline, 1 / all_baseline)
    more = [each.counts[0] / all_flood - usual * each.counts[1] / all_baseline for each in nested]
    most = max(range(len(nested)), key=more.__getitem__)
    for place, each in enumerate(nested[:most]):
        added, before = (max(0, nested[most].counts[side] - each.counts[side]) for side in (0, 1))
        chance = math.hypot(math.sqrt(added) / all_flood, usual * math.sqrt(before) / all_baseline)
        if more[most] - more[place] <= CLEARLY * chance:
            return each
    return nested[most]


def _holds(one: Extent, other: Extent) -> bool:
    """Whether `one` is true of every event of `other`, and of others."""
    return not (other - one).flood and not (other - one).baseline and one != other


def _is_narrower(condition: Condition, best: Condition) -> bool:
    return (
        condition.paths > best.paths
        and not alike(condition.extent, best.extent)
        and condition.score >= NEARLY * best.score
        and condition.excess >= NEARLY * best.excess
    )


def _different(found: Sequence[Condition]) -> list[Condition]:
    """The conditions, best first, without those that only repeat a better one in other words or in more words."""
    kept: list[Condition] = []
    for condition in found:
        if condition.score < 0.05 * found[0].score:
            continue
        if any(_same(condition, other) for other in kept):
            continue
        twins = [place for place, other in enumerate(kept) if other.paths == condition.paths]
        if len(twins) > 1:
            # On the same fields, the best and the widest are enough: others would displace different conditions.
            kept[twins[-1]] = condition
            continue
        kept.append(condition)
        if len(kept) >= SPARE:
            break
    return kept


def _same(condition: Condition, other: Condition) -> bool:
    if alike(condition.extent, other.extent):
        return True
    # A wider condition on the same fields is worth suggesting: it may match more of the flood.
    return condition.paths >= other.paths and condition.excess < WIDER * other.excess


def alike(one: Extent, other: Extent) -> bool:
    """Whether they are true of nearly the same events."""
    both, either = one & other, one | other
    return all(a >= ALIKE * b for a, b in zip(both.counts, either.counts, strict=True))
