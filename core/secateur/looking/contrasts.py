"""Two samples of events side by side, field by field: which events have what, as sets of bits.

A set is one integer for each sample; bit *n* is the sample's event *n*, in the order of arrival. So every question of a
search, such as how many events of the flood have both this and that, is an AND and a count of bits.

Memory is bounded as in `secateur.cel.authoring.shapes`: by the number of fields, their depth, and the keys of one
object.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from sys import float_info
from types import NoneType
from typing import Any

from secateur.cel.authoring import shapes
from secateur.cel.authoring.shapes import MAX_DEPTH, MAX_ELEMENTS, MAX_KEYS, MAX_PATHS, Shape
from secateur.cel.paths import EACH, Path
from secateur.cel.values import INT_MAX, INT_MIN, from_json, type_of

Number = int | float

ONE = ord("1")


@dataclass(frozen=True, slots=True)
class Extent:
    """The events of each sample for which something is true."""

    flood: int
    baseline: int

    def __and__(self, other: Extent) -> Extent:
        return Extent(self.flood & other.flood, self.baseline & other.baseline)

    def __or__(self, other: Extent) -> Extent:
        return Extent(self.flood | other.flood, self.baseline | other.baseline)

    def __sub__(self, other: Extent) -> Extent:
        return Extent(self.flood & ~other.flood, self.baseline & ~other.baseline)

    @property
    def counts(self) -> tuple[int, int]:
        return self.flood.bit_count(), self.baseline.bit_count()


@dataclass(frozen=True, slots=True)
class EventColumn:
    """Values, each with the number of its event, in the order of the events."""

    values: list[Any] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def of_types(self, *types: type) -> EventColumn:
        pairs = [pair for pair in zip(self.values, self.numbers, strict=True) if type(pair[0]) in types]
        return EventColumn([value for value, _ in pairs], [number for _, number in pairs])

    def by_value(self) -> dict[Any, list[int]]:
        found: dict[Any, list[int]] = {}
        for value, number in zip(self.values, self.numbers, strict=True):
            if value in found:
                found[value].append(number)
            else:
                found[value] = [number]
        return found

    def before_and_during(self, first: int) -> tuple[list[Any], list[Any]]:
        """The values of the events numbered below `first`, and those of the others."""
        place = bisect_left(self.numbers, first)
        return self.values[:place], self.values[place:]


@dataclass(slots=True)
class FieldEvents:
    """One path below `event`, with the numbers of the events that have it, by type and value.

    The baseline's events are numbered first, then the flood's. Below a list, an event is listed once for each element.
    """

    path: Path
    present: list[int] = field(default_factory=list)
    nulls: list[int] = field(default_factory=list)
    booleans: dict[bool, list[int]] = field(default_factory=dict)
    texts: dict[str, list[int]] = field(default_factory=dict)
    numbers: dict[Number, list[int]] = field(default_factory=dict)
    """1 and 1.0 are the same value, as in the language."""
    text_column: EventColumn = field(default_factory=EventColumn)
    number_column: EventColumn = field(default_factory=EventColumn)
    types: dict[str, list[int]] = field(default_factory=dict)
    """By the name of the type in the language."""
    sizes: dict[int, list[int]] = field(default_factory=dict)
    """Of lists, by their number of elements."""
    children: dict[str, FieldEvents] = field(default_factory=dict)
    each: FieldEvents | None = None

    @property
    def inside_list(self) -> bool:
        return EACH in self.path


class Contrast:
    """The events of a flood against those of a baseline, which may be empty. Both are in the order of arrival."""

    def __init__(self, flood: Sequence[Any], baseline: Sequence[Any]) -> None:
        self.flood, self.baseline = len(flood), len(baseline)
        self.event = FieldEvents(())
        self._paths = 0
        nothing = bytes(self.flood + self.baseline)
        self._marked: tuple[Extent, tuple[bytes, bytes]] = Extent(0, 0), (nothing, nothing)
        self._logs = [0.0] + [count * math.log(count) for count in range(1, self.flood + self.baseline + 1)]
        self._read(self.event, EventColumn([*baseline, *flood], list(range(self.baseline + self.flood))))

    @property
    def everything(self) -> Extent:
        return Extent((1 << self.flood) - 1, (1 << self.baseline) - 1)

    def fields(self) -> Iterator[FieldEvents]:
        """Every field, parents first."""
        pending = [self.event]
        while pending:
            found = pending.pop()
            yield found
            pending += found.children.values()
            if found.each is not None:
                pending.append(found.each)

    def shape(self) -> Shape:
        """How often each field is present, and with which types, in both samples together; without values."""
        fields = {
            each.path: shapes.Field(
                each.path, len(each.present), 0, {name: len(numbers) for name, numbers in each.types.items()}
            )
            for each in self.fields()
        }
        return Shape(self.flood + self.baseline, fields)

    def count(self, numbers: Sequence[int]) -> tuple[int, int]:
        """How many of these events, in ascending order, belong to the flood, and how many to the baseline."""
        if len(numbers) == 1:  # most values of an identifier
            return (0, 1) if numbers[0] < self.baseline else (1, 0)
        before = bisect_left(numbers, self.baseline)
        return len(numbers) - before, before

    def extent(self, numbers: Iterable[int]) -> Extent:
        """The events with these numbers; see `FieldEvents`."""
        digits = bytearray(b"0") * (self.flood + self.baseline)
        for number in numbers:
            digits[number] = ONE
        digits.reverse()
        return Extent(int(digits[: self.flood] or b"0", 2), int(digits[self.flood :] or b"0", 2))

    def marks(self, extent: Extent) -> tuple[bytes, bytes]:
        """For the flood and for the baseline: a byte for each event number, 1 if the event is in the extent and in that
        sample.
        """
        if self._marked[0] != extent:
            during = _bits(extent.flood, self.flood)
            before = _bits(extent.baseline, self.baseline)
            self._marked = extent, (bytes(self.baseline) + during, before + bytes(self.flood))
        return self._marked[1]

    def shares(self, extent: Extent) -> tuple[float, float]:
        flood, baseline = extent.counts
        return flood / max(1, self.flood), baseline / max(1, self.baseline)

    def evidence(self, extent: Extent, among: Extent | None = None) -> float:
        """How strongly the extent distinguishes the flood from the baseline, in nats: the logarithm of a likelihood
        ratio.

        It is 0 unless the extent is more frequent in the flood. With `among`, only these events of both samples count.
        """
        flood, baseline = (extent if among is None else extent & among).counts
        if among is None:
            return self.gain(flood, baseline, self.flood, self.baseline)
        return self.gain(flood, baseline, *among.counts)

    def gain(self, flood: int, baseline: int, all_flood: int, all_baseline: int) -> float:
        """The evidence of such counts; see `evidence`."""
        if flood * all_baseline <= baseline * all_flood:
            return 0.0
        flood, baseline = min(flood, all_flood), min(baseline, all_baseline)  # elements may be more than events
        logs, every, hit = self._logs, all_flood + all_baseline, flood + baseline
        inside = logs[flood] + logs[baseline] - logs[hit]
        outside = logs[all_flood - flood] + logs[all_baseline - baseline] - logs[every - hit]
        return inside + outside + logs[every] - logs[all_flood] - logs[all_baseline]

    def _read(self, here: FieldEvents, column: EventColumn) -> None:
        """All values of one path at once: one call for each value would take several times as long."""
        here.present = column.numbers
        kinds = set(map(type, column.values))
        for kind in sorted(kinds, key=_TYPES.index):
            of_kind = column if len(kinds) == 1 else column.of_types(kind)
            if kind is dict:
                here.types["map"] = of_kind.numbers
                self._read_objects(here, of_kind)
            elif kind is list:
                here.types["list"] = of_kind.numbers
                self._read_lists(here, of_kind)
            elif kind is str:
                here.types["string"] = of_kind.numbers
                here.text_column, here.texts = of_kind, of_kind.by_value()
            elif kind is bool:
                here.types["bool"] = of_kind.numbers
                here.booleans = of_kind.by_value()
            elif kind is NoneType:
                here.types["null_type"] = here.nulls = of_kind.numbers
        if int in kinds or float in kinds:
            self._read_numbers(here, column if kinds <= {int, float} else column.of_types(int, float))

    def _read_numbers(self, here: FieldEvents, column: EventColumn) -> None:
        values = column.values
        if set(map(type, values)) == {int} and min(values) >= INT_MIN and max(values) <= INT_MAX:
            here.types["int"] = column.numbers
        else:
            for value, number in zip(column.values, column.numbers, strict=True):
                here.types.setdefault(type_of(from_json(value)).name, []).append(number)
            pairs = zip(column.values, column.numbers, strict=True)
            finite = [pair for pair in pairs if -float_info.max <= pair[0] <= float_info.max]
            column = EventColumn([value for value, _ in finite], [number for _, number in finite])
        here.number_column, here.numbers = column, column.by_value()

    def _read_objects(self, here: FieldEvents, column: EventColumn) -> None:
        if len(here.path) >= MAX_DEPTH:
            return
        columns: dict[str, EventColumn] = {}
        for value, number in zip(column.values, column.numbers, strict=True):
            if len(value) > MAX_KEYS:
                continue
            for key, inner in value.items():
                below = columns.get(key)
                if below is None:
                    child = self._below(here, key)
                    if child is None:
                        continue
                    here.children[key] = child
                    below = columns[key] = EventColumn()
                below.values.append(inner)
                below.numbers.append(number)
        for key, below in columns.items():
            self._read(here.children[key], below)

    def _read_lists(self, here: FieldEvents, column: EventColumn) -> None:
        elements = EventColumn()
        for value, number in zip(column.values, column.numbers, strict=True):
            here.sizes.setdefault(len(value), []).append(number)
            read = value[:MAX_ELEMENTS]
            elements.values.extend(read)
            elements.numbers.extend([number] * len(read))
        if not here.inside_list and len(here.path) < MAX_DEPTH and elements.values:
            here.each = self._below(here, EACH)
            if here.each is not None:
                self._read(here.each, elements)

    def _below(self, here: FieldEvents, key: str | None) -> FieldEvents | None:
        if self._paths >= MAX_PATHS:
            return None
        self._paths += 1
        return FieldEvents((*here.path, key))


def _bits(mask: int, size: int) -> bytes:
    """The bits, lowest first, as bytes 0 and 1."""
    return f"{mask:0{size}b}"[::-1].encode()[:size].translate(_DIGITS)


_TYPES = (dict, list, str, bool, int, float, NoneType)
"""Of decoded JSON."""

_DIGITS = bytes.maketrans(b"01", b"\0\1")
