"""What payloads look like, judged by a sample: which fields they have, how often, with which types and values.

Memory is bounded whatever the payloads are: so many paths, so deep, so many values each. Of a field with more
distinct values than are counted, those that make up a good part of it are still found (Misra and Gries).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from secateur.cel.paths import EACH, Path
from secateur.cel.values import from_json, type_of

Scalar: TypeAlias = str | int | float | bool | None

MAX_PATHS = 2_000
MAX_DEPTH = 8
MAX_KEYS = 200
"""Keys of one object. If there are more, they are data, such as ids, and not field names."""
MAX_ELEMENTS = 20
"""Elements of one list that are read."""
MAX_VALUES = 64
MAX_TEXT = 80
"""A longer text is not one of a few fixed values."""
NOTABLE_SHARE = 0.01
"""Of a field with too many values to count, those at least this frequent are kept."""


@dataclass(frozen=True, slots=True)
class Field:
    """One path of the sample. `count` is how often it was there, out of `of` runs or list elements."""

    path: Path
    count: int
    of: int
    types: Mapping[str, int]
    """How often it had each type, by the language's name for the type, the most frequent first."""
    values: tuple[tuple[Scalar, int], ...] = ()
    """The frequent values, the most frequent first; empty if almost all values differ."""
    all_values: bool = False
    """Whether `values` has every value that occurs, with exact counts."""

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The summary of `sampled` payloads."""

    sampled: int
    fields: Mapping[Path, Field]
    _children: Mapping[Path, tuple[Field, ...]] = field(repr=False, default_factory=dict)
    truncated: frozenset[Path] = frozenset()
    """Objects of which not every key was counted."""

    def children(self, path: Path) -> tuple[Field, ...]:
        """The fields directly below, the most frequent first."""
        return self._children.get(path, ())

    def knows(self, path: Path) -> bool:
        """Whether the absence of a field below `path` means anything."""
        above = self.fields.get(path)
        return self.sampled > 0 and path not in self.truncated and above is not None and "map" in above.types


class _Tally:
    """One path while it is counted."""

    __slots__ = ("count", "overflowed", "types", "values")

    def __init__(self) -> None:
        self.count = 0
        self.types: dict[str, int] = {}
        self.values: dict[tuple[str, Scalar], int] = {}
        self.overflowed = False

    def value(self, key: tuple[str, Scalar]) -> None:
        values = self.values
        if key in values:
            values[key] += 1
        elif len(values) < MAX_VALUES:
            values[key] = 1
        else:
            self.overflowed = True
            self.values = {known: count - 1 for known, count in values.items() if count > 1}

    def frequent(self) -> tuple[tuple[Scalar, int], ...]:
        least: float = 1
        if self.overflowed:
            least = max(2, self.count * NOTABLE_SHARE)
        elif 1 < len(self.values) > self.count / 2:
            least = 2
        found = [(key[1], count) for key, count in self.values.items() if count >= least]
        return tuple(sorted(found, key=lambda item: (-item[1], str(item[0]))))


class Sampler:
    """Takes one decoded payload after the other."""

    def __init__(self) -> None:
        self._sampled = 0
        self._tallies: dict[Path, _Tally] = {}
        self._truncated: set[Path] = set()

    def add(self, payload: Any) -> None:
        self._sampled += 1
        self._visit((), payload)

    def _visit(self, path: Path, raw: Any) -> None:
        tally = self._tallies.get(path)
        if tally is None:
            if len(self._tallies) >= MAX_PATHS:
                self._truncated.add(path[:-1])
                return
            tally = self._tallies[path] = _Tally()
        tally.count += 1
        value = from_json(raw)
        name = type_of(value).name
        tally.types[name] = tally.types.get(name, 0) + 1
        if name == "map":
            self._object(path, value)
        elif name == "list":
            self._list(path, value)
        elif name != "string" or len(value) <= MAX_TEXT:
            tally.value((name, value))
        else:
            tally.overflowed = True

    def _object(self, path: Path, value: dict[str, Any]) -> None:
        if len(path) >= MAX_DEPTH or len(value) > MAX_KEYS:
            self._truncated.add(path)
            return
        for key, inner in value.items():
            self._visit((*path, key), inner)

    def _list(self, path: Path, value: list[Any]) -> None:
        if len(path) >= MAX_DEPTH:
            return
        for element in value[:MAX_ELEMENTS]:
            self._visit((*path, EACH), element)

    def shape(self) -> Shape:
        fields = {path: self._field(path, tally) for path, tally in self._tallies.items()}
        children: dict[Path, list[Field]] = {}
        for path, found in fields.items():
            if path:
                children.setdefault(path[:-1], []).append(found)
        ordered = {
            path: tuple(sorted(below, key=lambda each: (-each.count, each.path[-1] or "")))
            for path, below in children.items()
        }
        return Shape(self._sampled, fields, ordered, frozenset(self._truncated))

    def _field(self, path: Path, tally: _Tally) -> Field:
        types = dict(sorted(tally.types.items(), key=lambda item: (-item[1], item[0])))
        values = tally.frequent()
        all_values = not tally.overflowed and len(values) == len(tally.values)
        return Field(path, tally.count, self._containers(path), types, values, all_values)

    def _containers(self, path: Path) -> int:
        """What `count` is out of: the runs or, inside of lists, the elements around it."""
        if EACH not in path:
            return self._sampled
        if path[-1] is EACH:
            return self._tallies[path].count
        innermost = len(path) - path[::-1].index(EACH)
        return self._tallies[path[:innermost]].count
