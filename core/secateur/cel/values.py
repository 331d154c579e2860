"""Values at run time.

| type      | in Python                                                                   |
|-----------|-----------------------------------------------------------------------------|
| null      | None                                                                        |
| bool      | bool                                                                        |
| int       | int, within 64 bits                                                         |
| uint      | UInt                                                                        |
| double    | float                                                                       |
| string    | str; bytes: bytes                                                           |
| timestamp | Timestamp; duration: Duration; type: types.Type                             |
| list      | list                                                                        |
| map       | dict, keys str, int, UInt or, for true and false, BoolKey (since True == 1) |

Plain JSON is a subset, up to its numbers, which `from_json` maps: without a fraction int, beyond int64 uint,
beyond uint64 double; with a fraction double. A double is the nearest one, and infinite beyond the largest, as
IEEE 754 rounds; so `0.1000000000000000055` is `0.1`, and 1e400 is greater than every finite number. A zero
from JSON has no sign, since jsonb keeps none: `decode_json` takes it off.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from secateur.cel import types
from secateur.cel.types import Type

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1

Value: TypeAlias = Any
"""One of the types above."""


class UInt(int):
    """An unsigned integer; equal to the int of the same value, as the language wants."""

    __slots__ = ()


class BoolKey(Enum):
    """A boolean as the key of a map."""

    FALSE = False
    TRUE = True


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    nanoseconds: int
    """Since 1970-01-01T00:00:00Z."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanoseconds: int


def type_of(value: Value) -> Type:
    """The run-time type; lists and maps without their parameters."""
    match value:
        case None:
            return types.NULL
        case bool():
            return types.BOOL
        case UInt():
            return types.UINT
        case int():
            return types.INT
        case float():
            return types.DOUBLE
        case str():
            return types.STRING
        case bytes():
            return types.BYTES
        case list():
            return types.LIST
        case dict():
            return types.MAP
        case Timestamp():
            return types.TIMESTAMP
        case Duration():
            return types.DURATION
        case Type():
            return types.TYPE
    raise TypeError(f"{type(value).__name__} is not a value of the language")


def from_json(value: Value) -> Value:
    """One value as it is found in decoded JSON; what is inside of a list or an object is left as it is."""
    kind = type(value)
    if kind is int and not INT_MIN <= value <= INT_MAX:
        return _large(value)
    return value


def _large(value: int) -> UInt | float:
    return UInt(value) if 0 < value <= UINT_MAX else nearest_double(value)


def nearest_double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


LONGEST_INTEGER = 4300
"""Digits of an integer that Python reads and writes; more take it too long."""


def decode_json(text: str) -> Value:
    """Decode JSON for the language, from text as a client sends it or as jsonb prints it.

    Integers are exact, since `from_json` comes later; what no Python number holds is infinite, as the nearest double
    is. jsonb keeps a number's digits and not its exponent, so `1e2` is `100` there and an int here. Raises ValueError
    for what is not JSON.
    """
    return _decode(_FOR_THE_LANGUAGE, text)


def decode_exact(text: str) -> Value:
    """The same for a function, which may keep what it gets: raises ValueError for a number that it cannot be given."""
    return _decode(_EXACT, text)


def decode_shown(text: str) -> Value:
    """The same for people: a number that no Python number holds is its text, with all its digits."""
    return _decode(_SHOWN, text)


def _decode(decoder: json.JSONDecoder, text: str) -> Value:
    try:
        decoded: Value = decoder.decode(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    return decoded


_NUMBER = re.compile(r"(-?\d+)(?:\.(\d+))?[eE]([+-]?\d+)")


def _decoder(beyond: Callable[[str], Value]) -> json.JSONDecoder:
    """`beyond` is given a number that neither an int of `LONGEST_INTEGER` digits nor a finite float holds.

    Each is made once: that takes as long as decoding a small event.
    """

    def integer(text: str) -> Value:
        return int(text) if len(text.lstrip("-")) <= LONGEST_INTEGER else beyond(text)

    def fraction(text: str) -> Value:
        match = _NUMBER.fullmatch(text)
        if match is not None:
            whole, digits, exponent = match[1], match[2] or "", int(match[3][:9])
            if exponent >= len(digits):
                if not (whole + digits).strip("-0"):
                    return 0
                zeros = exponent - len(digits)
                if len((whole + digits).lstrip("-0")) + zeros > LONGEST_INTEGER:
                    return beyond(text)
                return int((whole + digits).lstrip("0") + "0" * zeros)
        double = float(text) + 0.0
        return beyond(text) if math.isinf(double) else double

    return json.JSONDecoder(parse_int=integer, parse_float=fraction, parse_constant=_no_constant)


def _infinite(text: str) -> float:
    return -math.inf if text.startswith("-") else math.inf


def _refuse(text: str) -> Value:
    shown = text if len(text) <= 30 else f"{text[:20]}… ({len(text):,} characters)"
    raise ValueError(f"the number {shown} is too large for Python")


def _no_constant(text: str) -> Value:
    raise ValueError(f"{text} is not JSON")


_FOR_THE_LANGUAGE, _EXACT, _SHOWN = _decoder(_infinite), _decoder(_refuse), _decoder(str)


def encode_json(value: Value) -> str:
    """Plain JSON such that jsonb, and `decode_json`, find the same types of numbers in it."""
    match value:
        case float():
            if math.isinf(value):
                return "1e400" if value > 0 else "-1e400"
            return f"{value:.1f}" if value.is_integer() else repr(value)
        case list():
            return f"[{','.join(map(encode_json, value))}]"
        case dict():
            return f"{{{','.join(f'{encode_json(key)}:{encode_json(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
