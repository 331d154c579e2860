"""Conversions between types, and what is asked of values of several types."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from secateur.cel import messages as say
from secateur.cel import timestamps as times
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.library.function import CelFunction, of, on
from secateur.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    LIST,
    MAP,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    Type,
)
from secateur.cel.values import INT_MAX, INT_MIN, UINT_MAX, Duration, Timestamp, UInt, Value, type_of


def _size(value: str | bytes | list[Value] | dict[Value, Value]) -> int:
    return len(value)


def _timestamp(value: Value, *, nanoseconds: bool) -> Value:
    if isinstance(value, str):
        return times.parse_timestamp(value, nanoseconds=nanoseconds)
    if type(value) is int:
        return times.check_timestamp(value * times.SECOND)
    return value


def _duration(value: Value, *, nanoseconds: bool) -> Value:
    if isinstance(value, str):
        return times.parse_duration(value, nanoseconds=nanoseconds)
    return value


_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_DOUBLE = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?|inf|infinity|nan)",
    re.IGNORECASE | re.ASCII,
)


def _int(value: Value) -> int:
    if type(value) is int:
        return value
    if isinstance(value, UInt) and value <= INT_MAX:
        return int(value)
    if isinstance(value, float) and -(2.0**63) < value < 2.0**63:
        return int(value)
    if isinstance(value, Timestamp):
        return value.nanoseconds // times.SECOND
    if isinstance(value, str) and _INTEGER.fullmatch(value) and INT_MIN <= int(value) <= INT_MAX:
        return int(value)
    raise _unconvertible("int", value)


def _uint(value: Value) -> UInt:
    if isinstance(value, UInt):
        return value
    if type(value) is int and value >= 0:
        return UInt(value)
    if isinstance(value, float) and 0 <= value < 2.0**64:
        return UInt(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value) and value[0] != "-" and int(value) <= UINT_MAX:
        return UInt(value)
    raise _unconvertible("uint", value)


def _double(value: str | float) -> float:
    if isinstance(value, str) and not _DOUBLE.fullmatch(value):
        raise _unconvertible("double", value)
    return float(value)


def _string(value: Value) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return format_double(value)
        case Timestamp():
            return times.format_timestamp(value)
        case Duration():
            return times.format_duration(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise EvaluationError(say.NOT_UTF8) from None
    raise TypeError(f"{type(value).__name__} has no text")


def format_double(value: float) -> str:
    """The shortest digits that give the same double, in C's `%g` layout."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value == 0:
        return "-0" if math.copysign(1.0, value) < 0 else "0"
    mantissa, _, exponent_text = f"{value!r}".partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    exponent = len(whole) - leading - 1 + int(exponent_text or 0)
    digits = digits.rstrip("0")
    if exponent < -4 or exponent >= 6:
        point = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}e{exponent:+03}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{sign}{whole}{'.' + fraction if fraction else ''}"


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


_TRUE = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "false", "FALSE", "False"})


def _bool(value: bool | str) -> bool:
    if isinstance(value, bool):
        return value
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise _unconvertible("bool", value)


def _unconvertible(target: str, value: str | float) -> EvaluationError:
    shown = f"'{value}'" if isinstance(value, str) else format_double(value) if isinstance(value, float) else str(value)
    return EvaluationError(say.cannot_convert(shown, target))


def _conversion(name: str, result: Type, *operands: Type, python: Callable[..., Value]) -> CelFunction:
    template = f"secateur_cel.to_{name}_v1({{0}})"
    return CelFunction(name, of(result, *((operand,) for operand in operands)), python, template, boxed=True)


_SIZED = ((STRING,), (BYTES,), (LIST,), (MAP,))

CONVERSIONS = (
    CelFunction("size", (*on(INT, *_SIZED), *of(INT, *_SIZED)), _size, sql=None, elsewhere=("length", "len", "count")),
    CelFunction(
        "timestamp",
        of(TIMESTAMP, (STRING,), (INT,), (TIMESTAMP,)),
        python=_timestamp,
        sql=None,
        nanoseconds=True,
        reads=times.parse_timestamp,
    ),
    CelFunction(
        "duration",
        of(DURATION, (STRING,), (DURATION,)),
        python=_duration,
        sql=None,
        nanoseconds=True,
        reads=times.parse_duration,
    ),
    _conversion("int", INT, INT, UINT, DOUBLE, STRING, TIMESTAMP, python=_int),
    _conversion("uint", UINT, UINT, INT, DOUBLE, STRING, python=_uint),
    _conversion("double", DOUBLE, DOUBLE, INT, UINT, STRING, python=_double),
    _conversion("string", STRING, STRING, BOOL, INT, UINT, DOUBLE, BYTES, TIMESTAMP, DURATION, python=_string),
    _conversion("bytes", BYTES, BYTES, STRING, python=_bytes),
    _conversion("bool", BOOL, BOOL, STRING, python=_bool),
    _conversion("type", TYPE, DYN, python=type_of),
    CelFunction("dyn", of(DYN, (DYN,)), python=lambda value: value, sql=None),
)
