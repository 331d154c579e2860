"""Filters for a flood: the shortest conditions that distinguish what arrives from what is usual.

A flood is a mixture: part of what arrives is as usual, and the rest has something in common. Among all conditions, the
one that describes exactly that rest distinguishes the two samples best, by any measure of likelihood: it is a
sufficient statistic of the question "flood or baseline?". So the search maximises the evidence, less the cost of a
condition. A condition has a cost because one of many candidates fits by chance, and because a longer condition always
fits better.

This module is pure: it computes everything from the samples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from secateur.cel import EvaluationError, ExpressionError, Filter
from secateur.cel import compile as compile_source
from secateur.cel.paths import Path
from secateur.looking.conditions import MOST, NEARLY, Condition, alike, chosen, excess_of, overlapping, score_of
from secateur.looking.conjuncts import Conjunct, conjuncts, ladder, ranges
from secateur.looking.contrasts import Contrast, Extent, FieldEvents
from secateur.looking.scales import Scale, scales
from secateur.looking.steadiness import Steadiness

LEAST_SHARE = 0.006
LEAST_RUNS = 8
"""The fewest runs of the flood that a condition must match."""

POOL = 260
"""How many conjuncts are tried in pairs."""

BEAM = 80
"""How many pairs are tried with a third conjunct."""

REFINED = 5
"""How many conjuncts and pairs have their intervals fitted again, to the events that the other conjuncts match."""

LEAST_SCORE = 0.5
"""The least score in nats; a condition with less fits by chance."""

THIRDS = 120
"""How many conjuncts are tried as the third."""

MOST_OF_FIELD = 10
"""The most conjuncts of one field."""

KEPT = 30
"""How many conditions of each length are kept."""

LIKELY = 6
"""How many candidates of each sort are counted: the best conditions, longer ones, and those with little evidence."""

WEAK = 60
"""How many conjuncts are tried in pairs even if they have little evidence."""

LEAST_EVIDENCE = 0.3
"""The least evidence, in nats, for a conjunct to be tried at all. It is low, because a second look may find more."""

COUNTED = 40
"""The most candidates that are counted on more runs."""

_BY_VALUE = {"value", "values", "range", "prefix", "suffix", "size"}


@dataclass(frozen=True, slots=True)
class SuggestedFilter:
    """A filter and its figures, which come from evaluating it on the samples."""

    filter: Filter
    condition: Condition
    extent: Extent
    flood_share: float
    baseline_share: float | None
    """None if there is no baseline."""
    precision: float | None
    """The part of its matches in the flood that is more than usual."""
    recall: float | None
    """The part of the flood's excess that it matches."""


class Search:
    """The search for conditions in one contrast."""

    def __init__(self, contrast: Contrast, checkpoint: Callable[[], None] = lambda: None) -> None:
        """`checkpoint` is called often; it may raise, to end the search."""
        self.contrast = contrast
        self.steadiness = Steadiness(contrast)
        self._checkpoint = checkpoint
        self._least = max(LEAST_RUNS, math.ceil(LEAST_SHARE * contrast.flood))
        self._scaled: list[tuple[Path, list[Scale]]] = []
        self.found: list[tuple[FieldEvents, list[Conjunct]]] = []
        self._steady: list[Conjunct] = []
        self._conditions: list[Condition] | None = None
        self._intervals: dict[tuple[Path, Extent], list[Conjunct]] = {}
        self._pool, self._every = self._gather()
        kinds = Counter(each.kind for each in self._pool)
        self._chance = {kind: math.log(1 + number) for kind, number in kinds.items()}

    def under(self, checkpoint: Callable[[], None]) -> Search:
        """The same search with another checkpoint."""
        self._checkpoint = checkpoint
        return self

    def best(self) -> list[Condition]:
        """The conditions worth suggesting, best first; none if flood and baseline are alike."""
        return chosen(self._found())

    def candidates(self) -> list[Condition]:
        """Conditions that may turn out to be the best once they are counted on more runs than the samples have."""
        found = self._found()
        likely = [*chosen(found)[:LIKELY], *self._narrower(found[:1], -math.inf), *self._ladder(found[:1])]
        singles = self._ranked(((each,) for each in self._pool[:WEAK]), -math.inf)
        pairs = self._ranked(combinations(self._pool[:WEAK], 2), -math.inf)
        triples = self._ranked(self._extended(pairs[:BEAM], self._pool[:WEAK]), -math.inf)
        weak = _of_different_fields(singles, MOST)[: 2 * LIKELY]
        weak += [each for found in (pairs, triples) for each in _of_different_fields(found, 1)[:LIKELY]]
        unique = {each.source: each for each in [*likely, *weak]}
        return list(unique.values())[:COUNTED]

    def _found(self) -> list[Condition]:
        """Every good condition, best first."""
        if self._conditions is None:
            found = self._among(self._pool)
            if not found:
                found = self._among(self._every)
            self._conditions = self._merged(found, self._narrower(found[:1], LEAST_SCORE))
        return self._conditions

    def _ladder(self, conditions: Sequence[Condition]) -> list[Condition]:
        """The conditions, with the ends of each interval moved further and further out."""
        found = []
        for condition in conditions:
            for place, conjunct in enumerate(condition.conjuncts):
                for path, scaled in self._scaled:
                    if path != conjunct.path or conjunct.kind not in ("range", "size"):
                        continue
                    for each in ladder(self.contrast, scaled, conjunct):
                        parts = (*condition.conjuncts[:place], each, *condition.conjuncts[place + 1 :])
                        wider = self._condition(parts, -math.inf)
                        if wider is not None:
                            found.append(wider)
        return found[: 3 * LIKELY]

    def _narrower(self, conditions: Sequence[Condition], worst: float) -> list[Condition]:
        """The conditions with one more conjunct on any field, even one that is not more frequent in the flood.

        The best of these take away more of the baseline than of the flood.
        """
        found: list[tuple[float, Condition]] = []
        for condition in conditions:
            if len(condition.conjuncts) >= MOST:
                continue
            flood, baseline = condition.extent.counts
            for each in self._steady:
                narrower = self._condition((*condition.conjuncts, each), worst)
                if narrower is None or narrower.excess < NEARLY * condition.excess:
                    continue
                if alike(narrower.extent, condition.extent):
                    continue
                found.append((self.contrast.gain(*narrower.extent.counts, flood, baseline), narrower))
            self._checkpoint()
        found.sort(key=lambda each: -each[0])
        return [each for _, each in found[:LIKELY]]

    def _gather(self) -> tuple[list[Conjunct], list[Conjunct]]:
        """Returns the conjuncts that stand out, and separately those true of all that arrives. Neither includes what
        follows the clock.
        """
        steady: list[tuple[float, Conjunct]] = []
        every: list[tuple[float, Conjunct]] = []
        for field in self.contrast.fields():
            self._checkpoint()
            follows = self.steadiness.follows_time(field)
            scaled = [] if follows or field.inside_list else list(scales(field))
            if scaled:
                self._scaled.append((field.path, scaled))
            found = list(conjuncts(self.contrast, field, scaled, self._least))
            self.found.append((field, found))
            if not follows:
                self._steady += found
            scored = [(self.contrast.evidence(each.extent), each) for each in found]
            scored.sort(key=lambda each: each[1].cost - each[0])
            for evidence, each in scored[:MOST_OF_FIELD]:
                if evidence < LEAST_EVIDENCE:
                    continue
                by_value = each.kind in _BY_VALUE and each.path == field.path
                if (follows and by_value) or self.steadiness.switches(each.extent):
                    continue
                everything = self.steadiness.describes_everything(each.extent)
                (every if everything else steady).append((evidence, each))
        return _strongest(steady), _strongest(every)

    def _among(self, pool: Sequence[Conjunct]) -> list[Condition]:
        """Every good condition made of these conjuncts, best first."""
        singles = self._ranked([(each,) for each in pool])
        pairs = self._ranked(combinations(pool, 2))
        within = self._refined([*singles[:REFINED], *pairs[:REFINED]])
        pairs = self._merged(pairs, [each for each in within if len(each.conjuncts) == 2])
        triples = self._ranked(self._extended(pairs[:BEAM], pool[:THIRDS]))
        triples += [each for each in within if len(each.conjuncts) == 3]
        triples += [each for each in self._refined(triples[:REFINED]) if len(each.conjuncts) == 3]
        singles = self._merged(singles, [each for each in within if len(each.conjuncts) == 1])
        return sorted([*singles[:KEPT], *pairs[:KEPT], *triples[:KEPT]], key=lambda each: -each.score)

    def _extended(self, conditions: Sequence[Condition], pool: Sequence[Conjunct]) -> Iterator[tuple[Conjunct, ...]]:
        for condition in conditions:
            for each in pool:
                if each not in condition.conjuncts:
                    yield (*condition.conjuncts, each)

    def _merged(self, one: list[Condition], other: list[Condition]) -> list[Condition]:
        return sorted([*one, *other], key=lambda each: -each.score)

    def _ranked(self, candidates: Iterable[tuple[Conjunct, ...]], worst: float = LEAST_SCORE) -> list[Condition]:
        found: list[Condition] = []
        seen: set[frozenset[int]] = set()
        for number, parts in enumerate(candidates):
            if number % 1000 == 0:
                self._checkpoint()
            if len(parts) > 2:  # a third one is added to pairs that may share one
                same = frozenset(map(id, parts))
                if same in seen:
                    continue
                seen.add(same)
            condition = self._condition(parts, worst)
            if condition is None:
                continue
            found.append(condition)
            if len(found) > 4 * BEAM:
                found.sort(key=lambda each: -each.score)
                del found[BEAM:]
                worst = found[-1].score
        found.sort(key=lambda each: -each.score)
        return found[:BEAM]

    def _condition(self, parts: tuple[Conjunct, ...], worst: float) -> Condition | None:
        """None if its score is not above `worst`, if too few runs match, or if two conjuncts overlap."""
        flood, baseline = parts[0].extent.flood, parts[0].extent.baseline
        for each in parts[1:]:
            flood &= each.extent.flood
            baseline &= each.extent.baseline
        counts = flood.bit_count(), baseline.bit_count()
        if counts[0] < self._least:
            return None
        evidence = self.contrast.gain(*counts, self.contrast.flood, self.contrast.baseline)
        cost = sum(each.cost + self._chance.get(each.kind, 3.0) for each in parts)
        score = score_of(evidence, len(parts), cost)
        if score <= worst or (len(parts) > 1 and overlapping(parts)):
            return None
        excess = excess_of(counts[0] / self.contrast.flood, counts[1] / max(1, self.contrast.baseline))
        return Condition(
            parts, Extent(flood, baseline), cost, score, excess, (*counts, self.contrast.flood, self.contrast.baseline)
        )

    def _refined(self, conditions: Sequence[Condition]) -> list[Condition]:
        """The conditions with an interval on each scale, fitted to the events that the other conjuncts match."""
        found: list[Condition] = []
        for condition in conditions:
            for path, scaled in self._scaled:
                self._checkpoint()
                others = tuple(each for each in condition.conjuncts if each.path != path)
                if not others or len(others) >= MOST:
                    continue
                among = others[0].extent
                for each in others[1:]:
                    among &= each.extent
                for each in self._fitted(path, scaled, among):
                    refined = self._condition((*others, each), LEAST_SCORE)
                    if refined is not None:
                        found.append(refined)
        return found

    def _fitted(self, path: Path, scaled: list[Scale], among: Extent) -> list[Conjunct]:
        """Intervals on these scales. They are cached, because many conditions search them among the same events."""
        known = self._intervals.get((path, among))
        if known is not None:
            return [replace(each) for each in known]
        found = self._intervals[path, among] = list(ranges(self.contrast, scaled, among))
        return found


def _strongest(scored: list[tuple[float, Conjunct]]) -> list[Conjunct]:
    scored.sort(key=lambda each: each[1].cost - each[0])
    return [each for _, each in scored[:POOL]]


def _of_different_fields(conditions: Iterable[Condition], most: int) -> list[Condition]:
    """Keeps at most `most` conditions on the same fields."""
    found: Counter[frozenset[Path]] = Counter()
    kept = []
    for each in conditions:
        found[each.paths] += 1
        if found[each.paths] <= most:
            kept.append(each)
    return kept


def suggested_filters(
    search: Search,
    flood: Sequence[Mapping[str, Any]],
    baseline: Sequence[Mapping[str, Any]],
    conditions: Sequence[Condition] | None = None,
) -> list[SuggestedFilter]:
    """Suggests up to `MOST` filters, the shortest first.

    `flood` and `baseline` are the variables of the events that were searched. `conditions` are the search's
    `candidates` after they were counted on more runs; without them, what the samples say is used.
    """
    contrast = search.contrast
    suggested: list[SuggestedFilter] = []
    best = search.best() if conditions is None else chosen(_believed(conditions))
    for condition in best:
        if len(suggested) == MOST:
            break
        try:
            filter_ = compile_source(condition.source)
        except ExpressionError:
            continue  # too much for the language's bounds
        extent = Extent(_matching(filter_, flood), _matching(filter_, baseline))
        share, usual = contrast.shares(extent)
        before = usual if contrast.baseline else None
        suggested.append(SuggestedFilter(filter_, condition, extent, share, before, None, None))
    if contrast.baseline:
        suggested = _rated(suggested)
    return sorted(suggested, key=lambda each: len(each.condition.conjuncts))


def _believed(conditions: Iterable[Condition]) -> list[Condition]:
    return sorted((each for each in conditions if each.score > LEAST_SCORE), key=lambda each: -each.score)


def _matching(filter_: Filter, events: Sequence[Mapping[str, Any]]) -> int:
    marks = bytearray((len(events) + 7) // 8)
    for number, variables in enumerate(events):
        try:
            matches = filter_.evaluate(variables) is True
        except EvaluationError:
            continue
        if matches:
            marks[number >> 3] |= 1 << (number & 7)
    return int.from_bytes(marks, "little")


def _rated(suggested: Sequence[SuggestedFilter]) -> list[SuggestedFilter]:
    """Adds precision and recall, from each filter's own excess."""
    excess = [excess_of(each.flood_share, each.baseline_share or 0.0) for each in suggested]
    # The first is the best condition: excess beyond its own would be of usual runs.
    most = excess[0] if excess else 0.0
    return [
        replace(
            each,
            precision=min(1.0, own / each.flood_share) if each.flood_share else 0.0,
            recall=min(1.0, own / most) if most else 0.0,
        )
        for each, own in zip(suggested, excess, strict=True)
    ]


FREQUENT = 0.2
"""The smallest share of a value for it to be suggested without a baseline."""


def frequent(search: Search, flood: Sequence[Mapping[str, Any]]) -> list[SuggestedFilter]:
    """For a flood without a baseline: the most frequent values of up to `MOST` fields, those of the most varied fields
    first.
    """
    contrast = search.contrast
    best: dict[Path, tuple[float, Conjunct]] = {}
    for field, found in search.found:
        if search.steadiness.follows_time(field):
            continue
        variety = len(field.texts) + len(field.numbers) + len(field.booleans)
        for each in found:
            share = contrast.shares(each.extent)[0]
            if each.kind in ("value", "null", "prefix") and FREQUENT <= share < 1:
                weight = share * math.log(1 + variety)
                best[each.path] = max(best.get(each.path, (0.0, each)), (weight, each), key=lambda pair: pair[0])
    chosen = sorted(best.values(), key=lambda pair: -pair[0])[:MOST]
    suggested = []
    for weight, each in chosen:
        filter_ = compile_source(each.source)
        extent = Extent(_matching(filter_, flood), 0)
        counts = (*extent.counts, contrast.flood, contrast.baseline)
        condition = Condition((each,), extent, each.cost, weight, 0.0, counts)
        suggested.append(SuggestedFilter(filter_, condition, extent, contrast.shares(extent)[0], None, None, None))
    return suggested
