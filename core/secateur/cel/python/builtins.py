"""The functions in Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from secateur.cel import messages as say
from secateur.cel import timestamps as times
from secateur.cel.declarations import CALENDAR, CLOCK, ZONED
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.patterns import matcher
from secateur.cel.python.strings import TEXT_FUNCTIONS, fits
from secateur.cel.syntax.ast import Call, Literal
from secateur.cel.values import INT_MAX, INT_MIN, UINT_MAX, Duration, Timestamp, UInt, Value, type_of
from secateur.cel.zones import UTC_ZONE, part, zone


@dataclass(frozen=True, slots=True)
class Function:
    call: Callable[..., Value]


def bind_function(node: Call, *, nanoseconds: bool) -> Function:
    """What a checked call does; a literal pattern is compiled once."""
    name = node.function
    count = len(node.operands)
    if name == "matches" and count == 2 and isinstance(node.operands[1], Literal):
        return Function(_literal_matches(node.operands[1].value))
    if name == "timestamp" and count == 1:
        return Function(partial(_timestamp, nanoseconds=nanoseconds))
    if name == "duration" and count == 1:
        return Function(partial(_duration, nanoseconds=nanoseconds))
    call, least, most = _FUNCTIONS[name]
    if not least <= count <= most or ((node.target is not None) != (name in _MEMBERS) and name not in _EITHER):
        return Function(lambda *given: _refuse(name, *given))
    return Function(call)


def _refuse(function: str, *given: Value) -> Value:
    raise EvaluationError(say.no_call(function, [type_of(value) for value in given]))


def _on_strings(name: str, call: Callable[[str, str], bool]) -> Callable[[Value, Value], bool]:
    def applied(text: Value, part: Value) -> bool:
        if isinstance(text, str) and isinstance(part, str):
            return call(text, part)
        return bool(_refuse(name, text, part))

    return applied


def _literal_matches(pattern: Value) -> Callable[[Value, Value], bool]:
    if not isinstance(pattern, str):
        return lambda text, given: bool(_refuse("matches", text, given))
    try:
        search = matcher(pattern)
    except EvaluationError as error:
        message = error.message
        return lambda text, given: bool(_raise(message))
    return lambda text, given: search(text) if isinstance(text, str) else bool(_refuse("matches", text, given))


def _raise(message: str) -> Value:
    raise EvaluationError(message)


def _size(value: Value) -> int:
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    return int(_refuse("size", value))


def _timestamp(value: Value, *, nanoseconds: bool) -> Value:
    if isinstance(value, str):
        return times.parse_timestamp(value, nanoseconds=nanoseconds)
    if type(value) is int:
        return times.check_timestamp(value * times.SECOND)
    return value if isinstance(value, Timestamp) else _refuse("timestamp", value)


def _duration(value: Value, *, nanoseconds: bool) -> Value:
    if isinstance(value, str):
        return times.parse_duration(value, nanoseconds=nanoseconds)
    return value if isinstance(value, Duration) else _refuse("duration", value)


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
    return int(_unconvertible("int", value))


def _uint(value: Value) -> UInt:
    if isinstance(value, UInt):
        return value
    if type(value) is int and value >= 0:
        return UInt(value)
    if isinstance(value, float) and 0 <= value < 2.0**64:
        return UInt(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value) and value[0] != "-" and int(value) <= UINT_MAX:
        return UInt(value)
    return UInt(_unconvertible("uint", value))


def _double(value: Value) -> float:
    if isinstance(value, str):
        return float(value) if _DOUBLE.fullmatch(value) else float(_unconvertible("double", value))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return float(_refuse("double", value))


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
    return str(_refuse("string", value))


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


def _bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else bytes(_refuse("bytes", value))


_TRUE = frozenset({"1", "t", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "false", "FALSE", "False"})


def _bool(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    return bool(_unconvertible("bool", value))


def _on_texts(name: str) -> tuple[Callable[..., Value], int, int]:
    call, expected, least = TEXT_FUNCTIONS[name]
    return (lambda *given: call(*given) if fits(name, given) else _refuse(name, *given)), least, len(expected)


def _part(name: str) -> Callable[..., Value]:
    def part_of(moment: Value, *place: Value) -> Value:
        if isinstance(moment, Timestamp) and all(isinstance(given, str) for given in place):
            return part(moment, name, zone(place[0]) if place else UTC_ZONE)
        if isinstance(moment, Duration) and name in CLOCK and not place:
            return times.count_of(name, moment)
        return _refuse(f"get{name}", moment, *place)

    return part_of


def _unconvertible(target: str, value: Value) -> Value:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        shown = f"'{value}'" if isinstance(value, str) else format_double(value) if isinstance(value, float) else value
        raise EvaluationError(say.cannot_convert(str(shown), target))
    return _refuse(target, value)


_PLAIN: Mapping[str, tuple[Callable[..., Value], int]] = {
    "startsWith": (_on_strings("startsWith", str.startswith), 2),
    "endsWith": (_on_strings("endsWith", str.endswith), 2),
    "contains": (_on_strings("contains", lambda text, part: part in text), 2),
    "matches": (_on_strings("matches", lambda text, pattern: matcher(pattern)(text)), 2),
    "size": (_size, 1),
    "int": (_int, 1),
    "uint": (_uint, 1),
    "double": (_double, 1),
    "string": (_string, 1),
    "bytes": (_bytes, 1),
    "bool": (_bool, 1),
    "type": (type_of, 1),
    "dyn": (lambda value: value, 1),
}
_FUNCTIONS: Mapping[str, tuple[Callable[..., Value], int, int]] = {
    **{name: (call, arity, arity) for name, (call, arity) in _PLAIN.items()},
    **{name: _on_texts(name) for name in TEXT_FUNCTIONS},
    **{f"get{name}": (_part(name), 1, 2) for name in (*CALENDAR, *CLOCK)},
}
"""Each with the least and the greatest number of operands."""

_MEMBERS = frozenset({"startsWith", "endsWith", "contains", *TEXT_FUNCTIONS, *ZONED})
_EITHER = frozenset({"matches", "size"})
