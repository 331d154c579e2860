"""The normalised source: one form, the same meaning, formatting it again changes nothing."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from random import Random
from typing import Any

import pytest
from blocks import blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from random_expressions import expression

from secateur.cel import ExpressionError, Span
from secateur.cel.diagnostics import Reporter
from secateur.cel.syntax.formatter import format_source
from secateur.cel.syntax.parser import parse


def meaning(source: str) -> Any:
    reporter = Reporter(source)
    parsed = parse(source, reporter)
    assert parsed is not None, reporter.diagnostics
    return without_spans(parsed)


def without_spans(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(without_spans, value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = (getattr(value, field.name) for field in fields(value))
        return (type(value), *(without_spans(part) for part in parts if not isinstance(part, Span)))
    return (type(value), repr(value))


def comments(source: str) -> list[str]:
    return re.findall(r"// note \d+", source)


@pytest.mark.parametrize(("source", "expected"), blocks("formatted.txt"))
def test_formats(source: str, expected: str) -> None:
    assert format_source(source, 60) == expected
    assert format_source(expected, 60) == expected


def test_what_does_not_parse_is_refused() -> None:
    with pytest.raises(ExpressionError):
        format_source("event.data.x = 1")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 120), st.integers(0, 6))
def test_says_the_same_and_stays_as_it_is(seed: int, width: int, noise: int) -> None:
    random = Random(seed)
    source = scattered(expression(random, random.randint(1, 5)), random, noise)
    formatted = format_source(source, width)
    assert meaning(formatted) == meaning(source)
    assert format_source(formatted, width) == formatted
    assert sorted(comments(formatted)) == sorted(comments(source))


def scattered(source: str, random: Random, noise: int) -> str:
    """The source with line ends and comments wherever blanks are."""
    pieces = re.split(r"( )(?=(?:[^'\"]|'[^']*'|\"[^\"]*\")*$)", source)
    for number in range(noise):
        place = random.randrange(len(pieces))
        if pieces[place] == " ":
            pieces[place] = random.choice((f" // note {number}\n", f"\n// note {number}\n  ", "\n", "   "))
    return "".join(pieces)
