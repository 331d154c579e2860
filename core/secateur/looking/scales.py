"""Fields as numbers on a scale: numbers, sizes, times and dates; and how an interval of each is written."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import accumulate, islice
from operator import itemgetter
from typing import Any

from secateur.cel.authoring.picking import access
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.paths import Path
from secateur.cel.syntax.writing import literal_text, text_literal
from secateur.cel.timestamps import SECOND, format_timestamp, parse_timestamp
from secateur.cel.values import Timestamp
from secateur.looking.contrasts import FieldEvents
from secateur.looking.intervals import Interval, Round, round_time, roundest


@dataclass(frozen=True)
class Scale:
    """A field as numbers, and how to write an interval of it."""

    path: Path
    kind: str
    values: Sequence[tuple[float, Sequence[int]]]
    """In ascending order, each with the events that have it."""
    write: Callable[[Interval], str]
    show: Callable[[float], Any]
    round: Round = roundest

    @cached_property
    def keys(self) -> list[float]:
        return [value for value, _ in self.values]

    @cached_property
    def events(self) -> list[int]:
        """The events, in the order of their values."""
        return [number for _, numbers in self.values for number in numbers]

    @cached_property
    def starts(self) -> list[int]:
        """For each value, and for the end: how many of `events` come before it."""
        return [0, *accumulate([len(numbers) for _, numbers in self.values])]

    @cached_property
    def places(self) -> list[int]:
        """For each of `events`: the index of its value."""
        return [place for place, (_, numbers) in enumerate(self.values) for _ in numbers]

    @cached_property
    def pick(self) -> Callable[[Sequence[int]], Sequence[int]]:
        """Sorts marks from the order of the events into the order of the values."""
        return itemgetter(*self.events)

    @cached_property
    def points(self) -> dict[int, list[tuple[float, int, int]]]:
        """What `_points` returned for all events, by the number of the flood's first event."""
        return {}

    def between(self, interval: Interval) -> Sequence[int]:
        """The events whose value is in the interval."""
        first = 0 if interval.low is None else bisect_left(self.keys, interval.low)
        last = len(self.keys) if interval.high is None else bisect_left(self.keys, interval.high)
        return self.events[self.starts[first] : self.starts[max(first, last)]]


FEWEST_ON_A_SCALE = 4
"""With fewer distinct values, single values say enough."""


def scales(field: FieldEvents) -> Iterator[Scale]:
    """The scales that the field can be put on: numbers, sizes, times and dates."""
    path = field.path
    text = access(path)
    if len(field.numbers) >= FEWEST_ON_A_SCALE:
        yield Scale(
            path, "range", sorted(field.numbers.items()), lambda interval: _between(text, interval, literal_text), _same
        )
    if len(field.sizes) >= 2:
        sizes = sorted((float(size), numbers) for size, numbers in field.sizes.items())
        yield Scale(path, "size", sizes, lambda interval: _between(f"size({text})", interval, _whole), int)
    for read, written, show in (
        (_seconds, f"timestamp({text})", _time),
        (_midnight, text, _date),
    ):
        moments = _moments(field, read)
        if len(moments) >= FEWEST_ON_A_SCALE:
            # Several texts may be the same time, so the events have to be sorted again.
            yield _scale_of_times(
                path,
                {at: sorted(numbers) if len(numbers) > 1 else numbers for at, numbers in moments.items()},
                written,
                show,
            )


def _scale_of_times(
    path: Path, moments: Mapping[float, list[int]], written: str, show: Callable[[float], str]
) -> Scale:
    def literal(value: float) -> str:
        text = text_literal(show(value))
        return f"timestamp({text})" if written.startswith("timestamp(") else text

    return Scale(
        path, "range", sorted(moments.items()), lambda interval: _between(written, interval, literal), show, round_time
    )


def _between(text: str, interval: Interval, literal: Callable[[float], str]) -> str:
    ends = []
    if interval.low is not None:
        ends.append(f"{text} >= {literal(interval.low)}")
    if interval.high is not None:
        ends.append(f"{text} < {literal(interval.high)}")
    return " && ".join(ends)


def _whole(value: float) -> str:
    return str(-int(-value // 1))


def _same(value: float) -> float:
    return value


def _time(seconds: float) -> str:
    return format_timestamp(Timestamp(round(seconds * SECOND)))


def _date(seconds: float) -> str:
    return _time(-(-seconds // 86400) * 86400)[:10]


_EPOCH = datetime(1970, 1, 1)

_PLAIN_UTC = re.compile(r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d{1,6}))?Z", re.ASCII)
"""How nearly all times are written. They are read as `parse_timestamp` reads them, in a fifth of the time."""


def _seconds(text: str) -> float | None:
    plain = _PLAIN_UTC.fullmatch(text)
    if plain is not None:
        try:
            since = datetime.fromisoformat(plain[1]) - _EPOCH
        except ValueError:
            return None
        return ((since.days * 86400 + since.seconds) * SECOND + int((plain[2] or "").ljust(9, "0"))) / SECOND
    try:
        return parse_timestamp(text).nanoseconds / SECOND
    except EvaluationError:
        return None


def _midnight(text: str) -> float | None:
    return _seconds(f"{text}T00:00:00Z") if len(text) == 10 else None


def _moments(field: FieldEvents, read: Callable[[str], float | None]) -> Mapping[float, list[int]]:
    """The texts that are times, by seconds since 1970; empty if hardly any text is a time."""
    moments: dict[float, list[int]] = {}
    texts = iter(field.texts.items())
    if not any(read(text) is not None for text, _ in islice(texts, 20)):
        return moments
    for text, numbers in field.texts.items():
        moment = read(text)
        if moment is not None:
            moments.setdefault(moment, []).extend(numbers)
    return moments
