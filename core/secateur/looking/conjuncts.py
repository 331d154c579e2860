"""The conditions on one field of an event: pieces of an expression, each with the events for which it is true."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from secateur.cel.authoring.picking import MISSING, access, condition, conjunct, has
from secateur.cel.paths import EACH, Path
from secateur.cel.syntax.writing import literal_text, text_literal
from secateur.cel.values import INT_MAX, INT_MIN
from secateur.looking.affixes import prefixes, suffixes
from secateur.looking.contrasts import Contrast, Extent, FieldEvents
from secateur.looking.intervals import Interval, intervals
from secateur.looking.scales import Scale

COMPARABLE = 0.2
"""For values in one list: the smallest part of the first value's rise in share that each other value must have."""

LONGEST_TEXT = 80
"""Longer strings are not suggested as values, only their prefixes."""

MOST_LISTED = 5
"""The most values in one `in`."""

FEWEST_TEXTS = 8
"""With fewer different strings in a field, prefixes and suffixes say no more than the strings themselves."""

MOST_AFFIXES = 12
"""The most prefixes, and suffixes, of one field."""


STEP = 1.4
"""Each interval of a ladder contains at least this many times as much of the baseline as the one before."""


@dataclass(frozen=True, slots=True)
class Conjunct:
    """One condition on one field."""

    path: Path
    kind: str
    """`value`, `values`, `range`, `prefix`, `suffix`, `missing`, `present`, `null`, `type` or `size`."""
    source: str
    """The expression."""
    value: Any
    """For people: the value, the prefix or suffix, the name of the type, or `[low, high]`."""
    extent: Extent
    cost: float
    """Nats of evidence that it needs before it is believed, on top of what every conjunct needs. A richer kind costs
    more, because some conjunct of a rich kind always fits."""


def conjuncts(contrast: Contrast, field: FieldEvents, scaled: Sequence[Scale], least: int) -> Iterator[Conjunct]:
    """All conditions on one field, and on the presence of the fields inside it.

    Values are included if at least `least` events have them.
    """
    yield from _presence(contrast, field)
    yield from _types(contrast, field)
    yield from _values(contrast, field, least)
    yield from _affixes(contrast, field, least)
    yield from ranges(contrast, scaled)


def _presence(contrast: Contrast, field: FieldEvents) -> Iterator[Conjunct]:
    """Whether a key is present or missing in the objects."""
    objects = field.types.get("map")
    if not objects or field.inside_list:
        return
    every = contrast.extent(objects)
    for key, child in field.children.items():
        present = contrast.extent(child.present)
        path = (*field.path, key)
        yield Conjunct(path, "missing", conjunct(path, MISSING), None, every - present, 1.0)
        yield Conjunct(path, "present", has(access(field.path), key), None, present, 2.0)


def _types(contrast: Contrast, field: FieldEvents) -> Iterator[Conjunct]:
    """Only if there are several types."""
    if field.nulls:
        yield Conjunct(field.path, "null", conjunct(field.path, None), None, contrast.extent(field.nulls), 0.5)
    others = [name for name in field.types if name != "null_type"]
    if len(others) < 2:
        return
    for name in others:
        source = condition(field.path, lambda text, name=name: f"type({text}) == {name}")  # type: ignore[misc]
        yield Conjunct(field.path, "type", source, name, contrast.extent(field.types[name]), 1.5)


def _values(contrast: Contrast, field: FieldEvents, least: int) -> Iterator[Conjunct]:
    found: list[Conjunct] = []
    variety = len(field.texts) + len(field.numbers)
    # The more values a field has, the more likely one of them stands out by chance.
    cost = 0.25 * min(12, variety.bit_length())
    columns: tuple[Mapping[Any, list[int]], ...] = (field.booleans, field.texts, field.numbers)
    for values in columns:
        for value, numbers in values.items():
            if len(numbers) < least or not _writable(value):
                continue
            source = conjunct(field.path, value)
            found.append(Conjunct(field.path, "value", source, value, contrast.extent(numbers), cost))
    yield from found
    yield from _listed(contrast, field, found)


def _writable(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    return not isinstance(value, int) or INT_MIN <= value <= INT_MAX


def _listed(contrast: Contrast, field: FieldEvents, single: Sequence[Conjunct]) -> Iterator[Conjunct]:
    """Several values that each stand out by themselves, as one `in`."""
    scored = [(contrast.evidence(each.extent), each) for each in single if not isinstance(each.value, bool)]
    chosen = sorted((each for each in scored if each[0] > 8), key=lambda each: -each[0])
    if chosen:
        added = [_added(contrast, each.extent) for _, each in chosen]
        chosen = [each for each, more in zip(chosen, added, strict=True) if more >= COMPARABLE * added[0]]
    if not 2 <= len(chosen) <= MOST_LISTED or (field.path and field.path[-1] is EACH):
        return
    values = [each.value for _, each in chosen]
    extent = chosen[0][1].extent
    for _, each in chosen[1:]:
        extent |= each.extent
    literals = ", ".join(map(literal_text, values))
    source = condition(field.path, lambda text: f"{text} in [{literals}]")
    yield Conjunct(field.path, "values", source, values, extent, chosen[0][1].cost * len(values) + 2)


def _added(contrast: Contrast, extent: Extent) -> float:
    flood, baseline = contrast.shares(extent)
    return flood - baseline


def _affixes(contrast: Contrast, field: FieldEvents, least: int) -> Iterator[Conjunct]:
    if len(field.texts) < FEWEST_TEXTS:
        return
    before, during = map(Counter, field.text_column.before_and_during(contrast.baseline))
    counts = {text: (during.get(text, 0), before.get(text, 0)) for text in field.texts}
    totals = contrast.flood, contrast.baseline
    for kind, call, find in (("prefix", "startsWith", prefixes), ("suffix", "endsWith", suffixes)):
        scored = [(contrast.gain(each.flood, each.baseline, *totals), each) for each in find(counts, least)]
        scored = [each for each in scored if each[0] >= 4]
        # If several match the same texts, prefer the one that ends at a separator.
        scored.sort(key=lambda each: (-each[0], not each[1].at_boundary, len(each[1].text)))
        last = 0.0
        for gain, affix in scored[:MOST_AFFIXES]:
            if gain == last:
                continue
            last = gain
            extent = contrast.extent(number for text in affix.texts for number in field.texts[text])
            yield Conjunct(
                field.path,
                kind,
                _calls(field.path, call, affix.text),
                affix.text,
                extent,
                5.0 if affix.at_boundary else 7.0,
            )


def _calls(path: Path, function: str, affix: str) -> str:
    return condition(path, lambda text: f"{text}.{function}({text_literal(affix)})")


def ranges(contrast: Contrast, scaled: Sequence[Scale], among: Extent | None = None) -> Iterator[Conjunct]:
    """Intervals in which the flood lies, on these scales. With `among`, only these events count."""
    for scale in scaled:
        yield from _intervals(contrast, scale, among)


def ladder(contrast: Contrast, scaled: Sequence[Scale], conjunct: Conjunct) -> Iterator[Conjunct]:
    """The interval with either end moved further and further out, each time by a `STEP` of the baseline."""
    for scale in scaled:
        if scale.kind != conjunct.kind:
            continue
        points = _points(contrast, scale, None)
        inside = conjunct.extent
        chosen = [
            place
            for place, (_, numbers) in enumerate(scale.values)
            if all(_is_in(contrast, inside, number) for number in numbers)
        ]
        if not chosen or len(chosen) == len(points):
            continue
        low, high = chosen[0], chosen[-1]
        has_low, has_high = (bound is not None for bound in conjunct.value)
        slices = [(place, high) for place in _further(points, low, -1)] if has_low else []
        slices += [(low, place) for place in _further(points, high, 1)] if has_high else []
        for first, last in slices:
            interval = Interval(
                _lower_end(points, scale, first) if has_low else None,
                _upper_end(points, scale, last) if has_high else None,
            )
            if interval != Interval(None, None):
                yield _of_interval(contrast, scale, interval)


def _lower_end(points: Sequence[tuple[float, int, int]], scale: Scale, place: int) -> float | None:
    return scale.round(points[place - 1][0], points[place][0], points[place][0]) if place else None


def _upper_end(points: Sequence[tuple[float, int, int]], scale: Scale, place: int) -> float | None:
    if place + 1 == len(points):
        return None
    return scale.round(points[place][0], points[place + 1][0], points[place + 1][0])


def _is_in(contrast: Contrast, extent: Extent, number: int) -> bool:
    if number < contrast.baseline:
        return bool(extent.baseline >> number & 1)
    return bool(extent.flood >> (number - contrast.baseline) & 1)


def _further(points: Sequence[tuple[float, int, int]], start: int, step: int) -> Iterator[int]:
    passed, wanted, place = 0, 2, start + step
    while 0 <= place < len(points):
        passed += points[place][2]
        if passed >= wanted:
            yield place
            wanted = math.ceil(STEP * passed)
        place += step


def _intervals(contrast: Contrast, scale: Scale, among: Extent | None) -> Iterator[Conjunct]:
    totals = contrast.everything.counts if among is None else among.counts
    points = _points(contrast, scale, among)
    for interval in intervals(points, totals, scale.round):
        yield _of_interval(contrast, scale, interval)


def _of_interval(contrast: Contrast, scale: Scale, interval: Interval) -> Conjunct:
    bounds = [None if end is None else scale.show(end) for end in (interval.low, interval.high)]
    cost = 4.0 * sum(bound is not None for bound in bounds)
    return Conjunct(
        scale.path, scale.kind, scale.write(interval), bounds, contrast.extent(scale.between(interval)), cost
    )


def _points(contrast: Contrast, scale: Scale, among: Extent | None) -> list[tuple[float, int, int]]:
    """For each value: the value, and how many events of the flood and of the baseline have it."""
    if among is None:
        if contrast.baseline not in scale.points:
            scale.points[contrast.baseline] = [(value, *contrast.count(numbers)) for value, numbers in scale.values]
        return scale.points[contrast.baseline]
    during, before = (Counter(compress(scale.places, scale.pick(marks))) for marks in contrast.marks(among))
    keys = scale.keys
    return [(keys[place], during[place], before[place]) for place in sorted(during.keys() | before.keys())]
