"""Prefixes and suffixes that many strings have in common."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

SHORTEST = 2
LONGEST = 60

_BOUNDARY = re.compile(r".*[^0-9A-Za-z]", re.DOTALL)
"""A text up to its last separator."""


@dataclass(frozen=True, slots=True)
class Affix:
    text: str
    flood: int
    """How many events of the flood have the affix."""
    baseline: int
    texts: Sequence[str]
    """The texts that have the affix."""

    @property
    def at_boundary(self) -> bool:
        return not (self.text[0].isalnum() and self.text[-1].isalnum())


def prefixes(counts: Mapping[str, tuple[int, int]], least: int) -> Iterator[Affix]:
    """Prefixes that at least `least` events of the flood have. `counts` has each text's events in flood and baseline.

    Where texts fork, the part that they share is a prefix, and so is that part up to its last separator.
    """
    ordered = sorted(counts)
    pairs = [counts[text] for text in ordered]
    floods = [0, *accumulate([flood for flood, _ in pairs])]
    baselines = [0, *accumulate([baseline for _, baseline in pairs])]
    seen: set[str] = set()
    pending = [(0, len(ordered))]
    while pending:
        start, end = pending.pop()
        if floods[end] - floods[start] < least or end - start < 2:
            continue
        common = _common(ordered[start], ordered[end - 1])
        for prefix in {common, _to_boundary(common)} - seen:
            if SHORTEST <= len(prefix) <= LONGEST:
                seen.add(prefix)
                first, last = bisect_left(ordered, prefix), _behind(ordered, prefix)
                yield Affix(
                    prefix, floods[last] - floods[first], baselines[last] - baselines[first], ordered[first:last]
                )
        if len(common) < LONGEST:
            pending += _forks(ordered, start, end, len(common))


def suffixes(counts: Mapping[str, tuple[int, int]], least: int) -> Iterator[Affix]:
    """Like `prefixes`, from the end."""
    for turned in prefixes({text[::-1]: count for text, count in counts.items()}, least):
        texts = [text[::-1] for text in turned.texts]
        yield Affix(turned.text[::-1], turned.flood, turned.baseline, texts)


def _common(one: str, other: str) -> str:
    length = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return min(one, other, key=len) if length is None else one[:length]


def _to_boundary(prefix: str) -> str:
    match = _BOUNDARY.match(prefix)
    return match[0] if match else ""


def _behind(ordered: list[str], prefix: str, start: int = 0, end: int | None = None) -> int:
    """The index after the last text that has the prefix."""
    last = ord(prefix[-1])
    if last == 0x10FFFF:
        return len(ordered) if end is None else end
    return bisect_left(ordered, prefix[:-1] + chr(last + 1), start, len(ordered) if end is None else end)


def _forks(ordered: list[str], start: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """Divides the texts from `start` to `end`, whose first `length` characters are the same, by the next character."""
    while start < end:
        text = ordered[start]
        if len(text) == length:
            start += 1
            continue
        stop = _behind(ordered, text[: length + 1], start, end)
        yield start, stop
        start = stop
