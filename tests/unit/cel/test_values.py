"""Values from JSON and from text, as boxes, and the interval of decimals that a double stands for."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest

from secateur.cel import EvaluationError
from secateur.cel.sql.boxes import boxed_text, storable, unbox
from secateur.cel.sql.doubles import rounding_to
from secateur.cel.timestamps import format_duration, format_timestamp, parse_duration, parse_timestamp
from secateur.cel.values import (
    BoolKey,
    Duration,
    Timestamp,
    UInt,
    decode_exact,
    decode_json,
    decode_shown,
    encode_json,
    from_json,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-0", 0),
        ("1e2", 100),
        ("1.00e2", 100),
        ("1.50e1", 15.0),
        ("1.5e1", 15),
        ("1e-2", 0.01),
        ("0e99999", 0),
        ("1e30", 1e30),
        ("1e400", math.inf),
        ("-1e400", -math.inf),
        ("1e-400", 0.0),
        ("9" * 5000, math.inf),
        ("-" + "9" * 5000, -math.inf),
        ("0.1000000000000000055", 0.1),
    ],
)
def test_numbers_of_json_are_typed_as_jsonb_keeps_them(text: str, expected: float) -> None:
    found = from_json(decode_json(text))
    assert type(found) is type(expected)
    assert found == expected
    again = from_json(decode_json(encode_json(decode_json(text))))
    assert (type(again), again) == (type(found), found)


def test_integers_beyond_64_bits() -> None:
    assert type(from_json(2**63 - 1)) is int
    assert type(from_json(2**63)) is UInt
    assert type(from_json(2**64 - 1)) is UInt
    assert from_json(2**64) == 2.0**64
    assert from_json(-(2**63) - 1) == -(2.0**63)
    assert type(from_json(-(2**63) - 1)) is float
    assert from_json(True) is True


def test_a_zero_of_json_has_no_sign() -> None:
    assert math.copysign(1, from_json(decode_json("-0.0"))) == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("340282366920938463463374607431768211457", 2**128 + 1),
        ("1" + "0" * 400, 10**400),
        ("-1e400", -(10**400)),
        ("1.25e30", 125 * 10**28),
        ("-" + "9" * 4300, -(10**4300) + 1),
    ],
)
def test_integers_are_exact_as_far_as_python_reads_them(text: str, number: int) -> None:
    for decode in (decode_json, decode_exact, decode_shown):
        found = decode(text)
        assert type(found) is int
        assert found == number


@pytest.mark.parametrize("text", ["9" * 4301, "1e4300", "1e999999999", "-1e999999999", "1" * 400 + ".5"])
def test_a_number_that_python_cannot_hold_is_refused_for_a_function_and_shown_to_people(text: str) -> None:
    document = f'{{"n": [{text}]}}'
    with pytest.raises(ValueError, match="is too large for Python"):
        decode_exact(document)
    assert decode_shown(document) == {"n": [text]}
    assert decode_json(document) == {"n": [-math.inf if text.startswith("-") else math.inf]}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", "[" * 100_000])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder's own words
        decode_json(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        UInt(2**64 - 1),
        0.1,
        -0.0,
        math.inf,
        "😀",
        b"\x00\xff",
        Timestamp(1),
        Duration(-1),
        [1, UInt(1), 1.0, [None]],
        {"a": 1, 1: "b", UInt(2): 2.5, BoolKey.TRUE: False},
    ],
    ids=repr,
)
def test_a_box_keeps_value_and_type(value: object) -> None:
    found = unbox(boxed_text(value))
    assert repr(found) == repr(value)


def test_some_texts_cannot_be_stored() -> None:
    assert storable({"a": ["é😀"]})
    assert not storable("\0")
    assert not storable([{"\ud800": 1}])


def test_the_interval_of_a_double_is_exactly_what_rounds_to_it() -> None:
    random = Random(1)
    doubles = [0.0, 1.0, 100.0, 0.1, 2.0**53, 5e-324, 1.7976931348623157e308, -1.5]
    doubles += [math.ldexp(random.random(), random.randint(-1070, 1020)) for _ in range(200)]
    for value in doubles:
        ends = rounding_to(value)
        low, high = Fraction(Decimal(ends.low)), Fraction(Decimal(ends.high))
        step = (high - low) / 1000
        assert low < Fraction(value) < high
        assert _nearest(low + step) == _nearest(high - step) == value
        assert _nearest(low - step) < value < _nearest(high + step)
        assert (_nearest(low) == value) is (_nearest(high) == value) is ends.closed


def _nearest(value: Fraction) -> float:
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def test_infinity_has_no_interval() -> None:
    with pytest.raises(ValueError, match="not finite"):
        rounding_to(math.inf)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-21T00:00:00Z", "2024-01-21T00:00:00Z"),
        ("2024-01-21t01:02:03.120z", "2024-01-21T01:02:03.120Z"),
        ("2024-01-21T00:00:00.000001+02:00", "2024-01-20T22:00:00.000001Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_timestamps_from_and_to_text(text: str, expected: str) -> None:
    assert format_timestamp(parse_timestamp(text)) == expected


def test_finer_than_microseconds_only_if_asked_for() -> None:
    text = "2024-01-21T00:00:00.123456789Z"
    with pytest.raises(EvaluationError, match="finer than microseconds"):
        parse_timestamp(text)
    assert format_timestamp(parse_timestamp(text, nanoseconds=True)) == text
    with pytest.raises(EvaluationError, match="finer than microseconds"):
        parse_duration("1ns")
    assert parse_duration("1ns", nanoseconds=True) == Duration(1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1h30m", "5400s"), ("-1.5s", "-1.500s"), ("+.5ms", "0.000500s"), ("1h0m0.000001s", "3600.000001s")],
)
def test_durations_from_and_to_text(text: str, expected: str) -> None:
    assert format_duration(parse_duration(text)) == expected


def test_encodes_what_json_knows() -> None:
    value = {"a\n": [1, 1.5, 1e17, None, True, "é"]}
    assert json.loads(encode_json(value)) == value
    assert "100000000000000000.0" in encode_json(value)
