"""Expressions of any type over any variables, as `secateur eval` evaluates them."""

from __future__ import annotations

import math

import pytest

from secateur.cel.evaluation import same
from secateur.cel.values import BoolKey, Duration, Timestamp, UInt, Value

BIG = 2**70


def deep(value: Value) -> Value:
    for _ in range(2_000):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}),
        ([math.nan], [math.nan]),
        ([BIG], [float(BIG)]),
        ([2**63], [UInt(2**63)]),
        ({BoolKey.TRUE: 1, "true": 2}, {"true": 2, BoolKey.TRUE: 1}),
        (deep(1), deep(1)),
    ],
)
def test_same(one: Value, other: Value) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, UInt(1)),
        (1, True),
        (0.0, -0.0),
        ([1], [1.0]),
        ({"a": [1]}, {"a": [1.0]}),
        ({"a": 1}, {"a": 1, "b": None}),
        ({"a": None}, {"b": None}),
        ({1: 0}, {UInt(1): 0}),
        ({1: 0}, {"1": 0}),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ("a", b"a"),
        ("e\u0301", "\u00e9"),
        (Timestamp(0), Timestamp(1)),
        (Timestamp(0), Duration(0)),
        ([], {}),
        (None, False),
        (deep(1), deep(2)),
    ],
)
def test_a_real_difference_is_told(one: Value, other: Value) -> None:
    assert not same(one, other)
    assert not same(other, one)
