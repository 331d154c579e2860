"""Conditions of one to three conjuncts: how much each says, and which of them are worth proposing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from secateur.cel.paths import Path
from secateur.looking.conjuncts import Conjunct
from secateur.looking.contrasts import Extent

MOST = 3
"""Proposals, and conjuncts of one."""

ALIKE = 0.97
"""Two conditions that have so many events in common are one."""

SPARE = 8
"""Conditions to propose, with some in case that one does not compile."""

WIDER = 1.01
"""How much more of the flood a second condition on the same fields must take in."""

NEARLY = 0.8
"""The part of the best one's score, and of the flood, that a narrower condition must have to be proposed beside it."""

LEAST_OUTSIDE = 0.15
"""Of the baseline, to tell what is usual there."""

CLEARLY = 1.5
"""Standard deviations of what a wider interval has more: less is chance."""

LENGTH_SHARE = 0.015
"""The part of the evidence by which a further conjunct must improve it, however many events there are."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Conjuncts that hold together."""

    conjuncts: tuple[Conjunct, ...]
    extent: Extent
    cost: float
    score: float
    """Nats: the evidence, less what it costs."""
    excess: float
    """The part of the arrivals that is more than usual, were it just this."""
    counts: tuple[int, int, int, int]
    """Of the flood and of the baseline those that it is true of, and all: of the samples, or of more runs."""

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
        """As more runs have it than the samples: so many of so many."""
        score = score_of(evidence(flood, baseline, all_flood, all_baseline), len(self.conjuncts), self.cost)
        excess = excess_of(flood / max(1, all_flood), baseline / max(1, all_baseline))
        return replace(self, score=score, excess=excess, counts=(flood, baseline, all_flood, all_baseline))


def evidence(flood: int, baseline: int, all_flood: int, all_baseline: int) -> float:
    """How strongly so many of so many tell the flood from the baseline, in nats; 0 if no more frequent in the flood.

    The logarithm of the likelihood ratio of two shares against one.
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
    """The part of the arrivals that is more than usual, were it just what a condition matches.

    Of the rest nothing is more frequent than usual, so it says how much is usual: (1 - f) = (1 - x)(1 - b).
    """
    return max(0.0, (share - usual) / (1 - usual)) if usual < 1 else 0.0


def overlapping(parts: tuple[Conjunct, ...]) -> bool:
    """Whether two of them are about the same field, or about one and what is in it."""
    return any(
        one.path == other.path[: len(one.path)] or other.path == one.path[: len(other.path)]
        for one, other in combinations(parts, 2)
    )


def chosen(found: Sequence[Condition]) -> list[Condition]:
    """Of conditions, the best first, those to propose: the best, what says something else, and a narrower one.

    The evidence hardly tells whether a further conjunct describes the flood or just this sample of it. So a narrower
    condition that is nearly as good as the best takes the last place. Of intervals of one field, the one that tells
    most is narrower than the flood's where much is usual there. So the second place has the widest that has more than
    usual up to its ends.
    """
    different = _different(found)
    if not different:
        return []
    best = different[0]
    if best.is_interval:
        of_the_same = [each for each in found if each.paths == best.paths]
        widest = _widest(best, of_the_same)
        different = [best, widest, *(each for each in different[1:] if each.paths != best.paths)]
        if widest is best:
            del different[1]
    narrower = next((each for each in found if _is_narrower(each, best)), None)
    if narrower is not None and narrower not in different[:MOST]:
        different.insert(MOST - 1, narrower)
    return different


def _widest(best: Condition, found: Sequence[Condition]) -> Condition:
    """Of the best one and wider ones, the narrowest that has nearly all that is more than usual.

    What is usual is taken from outside of all of them.
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
    """Whether the one is true wherever the other is."""
    return not (other - one).flood and not (other - one).baseline and one != other


def _is_narrower(condition: Condition, best: Condition) -> bool:
    return (
        condition.paths > best.paths
        and not alike(condition.extent, best.extent)
        and condition.score >= NEARLY * best.score
        and condition.excess >= NEARLY * best.excess
    )


def _different(found: Sequence[Condition]) -> list[Condition]:
    """The best, without those that say the same in other words, or more words; the best first."""
    kept: list[Condition] = []
    for condition in found:
        if condition.score < 0.05 * found[0].score:
            continue
        if any(_same(condition, other) for other in kept):
            continue
        twins = [place for place, other in enumerate(kept) if other.paths == condition.paths]
        if len(twins) > 1:
            # Of the same fields, the surest and the widest: what lies between takes the place of something else.
            kept[twins[-1]] = condition
            continue
        kept.append(condition)
        if len(kept) >= SPARE:
            break
    return kept


def _same(condition: Condition, other: Condition) -> bool:
    if alike(condition.extent, other.extent):
        return True
    # A wider one that has the same fields is worth a proposal: it may take in more of the flood.
    return condition.paths >= other.paths and condition.excess < WIDER * other.excess


def alike(one: Extent, other: Extent) -> bool:
    """Whether they are hardly ever true of different events."""
    both, either = one & other, one | other
    return all(a >= ALIKE * b for a, b in zip(both.counts, either.counts, strict=True))
