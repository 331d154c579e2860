"""The operators over values. Each either returns a value or raises `EvaluationError`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.limits import check_items, check_text
from secateur.cel.timestamps import check_duration, check_timestamp
from secateur.cel.values import (
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    BoolKey,
    Duration,
    Timestamp,
    UInt,
    Value,
    from_json,
    type_of,
)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


MAX_LEVELS = 64
"""How many levels of nested lists and maps a comparison descends."""


def equal(left: Value, right: Value) -> bool:
    """Whether two values are equal. Different types never are, except numbers, which compare by value.

    When an integer meets a double, it is first rounded to a double, as in Google's implementations. Raises
    `EvaluationError` if the values are equal for `MAX_LEVELS` levels and continue below.
    """
    result = _equal(left, right, MAX_LEVELS)
    if result is None:
        raise EvaluationError(say.compared_too_deep(MAX_LEVELS))
    return result


def _equal(left: Value, right: Value, levels: int) -> bool | None:
    if _is_number(left) and _is_number(right):
        left, right = from_json(left), from_json(right)
        if isinstance(left, float) or isinstance(right, float):
            return float(left) == float(right)
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and _all_equal(zip(left, right, strict=True), levels)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and _all_equal(((value, right[key]) for key, value in left.items()), levels)
    return type(left) is type(right) and bool(left == right)


def _all_equal(pairs: Iterable[tuple[Value, Value]], levels: int) -> bool | None:
    """Whether all pairs are equal: False if one is not, None if none is unequal but one is too deep to tell."""
    if levels == 0:
        return None
    results = [True]
    for one, other in pairs:
        result = _equal(one, other, levels - 1)
        if result is False:
            return False
        results.append(bool(result))
    return all(results) or None


def unequal(left: Value, right: Value) -> bool:
    return not equal(left, right)


def _order(operator: str, compare: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def ordered(left: Value, right: Value) -> bool:
        kind = type(left)
        if kind is type(right) and kind in (str, int, float, bool, bytes, UInt, Timestamp, Duration):
            return compare(left, right)
        if _is_number(left) and _is_number(right):
            if isinstance(left, float) or isinstance(right, float):
                return compare(float(left), float(right))
            return compare(left, right)
        raise EvaluationError(say.no_operation(operator, type_of(left), type_of(right)))

    return ordered


def contains(element: Value, container: Value) -> bool:
    """`element in container`."""
    if isinstance(container, list):
        results = [_equal(element, item, MAX_LEVELS) for item in container]
        if True not in results and None in results:
            raise EvaluationError(say.compared_too_deep(MAX_LEVELS))
        return True in results
    if isinstance(container, dict) and isinstance(element, (str, int, float)):
        return map_key(element) in container
    raise EvaluationError(say.no_operation("in", type_of(element), type_of(container)))


def map_key(value: Value) -> Value:
    """The key that a map stores `value` under. A double with an integral value finds the integer key."""
    if isinstance(value, bool):
        return BoolKey(value)
    return value


def index(container: Value, key: Value) -> Value:
    if isinstance(container, list):
        if not _is_number(key) or (isinstance(key, float) and not key.is_integer()):
            raise EvaluationError(say.bad_index(type_of(container), type_of(key)))
        if not 0 <= key < len(container):
            raise EvaluationError(say.out_of_bounds(key, len(container)))
        return from_json(container[int(key)])
    if isinstance(container, dict) and isinstance(key, (str, int, float)):
        try:
            return from_json(container[map_key(key)])
        except KeyError:
            raise EvaluationError(say.no_such_key(show(key))) from None
    if isinstance(container, dict):
        raise EvaluationError(say.bad_index(type_of(container), type_of(key)))
    raise EvaluationError(say.not_indexable(type_of(container)))


def build_map(entries: list[tuple[Value, Value]]) -> dict[Value, Value]:
    built: dict[Value, Value] = {}
    for key, value in entries:
        if not isinstance(key, (str, int)):
            raise EvaluationError(say.bad_key(type_of(key)))
        if map_key(key) in built:
            raise EvaluationError(say.repeated_key(show(key)))
        built[map_key(key)] = value
    return built


def show(value: Value) -> str:
    """A scalar as CEL source."""
    if isinstance(value, str):
        return f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _int(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError(say.OVERFLOW)
    return value


def _uint(value: int) -> UInt:
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError(say.OVERFLOW)
    return UInt(value)


def negate(value: Value) -> Value:
    if type(value) is int:
        return _int(-value)
    if type(value) is float:
        return -value
    raise EvaluationError(say.no_negation("-", type_of(value)))


def _add(left: Value, right: Value) -> Value:
    match left, right:
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return check_timestamp(left.nanoseconds + right.nanoseconds)
        case Duration(), Duration():
            return check_duration(left.nanoseconds + right.nanoseconds)
        case (str(), str()) | (bytes(), bytes()):
            check_text(len(left) + len(right))
            return left + right
        case list(), list():
            check_items(len(left) + len(right))
            return left + right
    return _numeric("+", left, right, lambda a, b: a + b, lambda a, b: a + b)


def _subtract(left: Value, right: Value) -> Value:
    match left, right:
        case Timestamp(), Duration():
            return check_timestamp(left.nanoseconds - right.nanoseconds)
        case Timestamp(), Timestamp():
            if not INT_MIN <= left.nanoseconds - right.nanoseconds <= INT_MAX:
                raise EvaluationError(say.DURATION_RANGE)
            return Duration(left.nanoseconds - right.nanoseconds)
        case Duration(), Duration():
            return check_duration(left.nanoseconds - right.nanoseconds)
    return _numeric("-", left, right, lambda a, b: a - b, lambda a, b: a - b)


def _multiply(left: Value, right: Value) -> Value:
    return _numeric("*", left, right, lambda a, b: a * b, lambda a, b: a * b)


def _divide(left: Value, right: Value) -> Value:
    return _numeric("/", left, right, _truncated_division, _float_division)


def _modulo(left: Value, right: Value) -> Value:
    return _numeric("%", left, right, _truncated_remainder, None)


def _numeric(
    operator: str,
    left: Value,
    right: Value,
    integers: Callable[[int, int], int],
    doubles: Callable[[float, float], float] | None,
) -> Value:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _int(integers(left, right))
        if kind is UInt:
            return _uint(integers(int(left), int(right)))
        if kind is float and doubles is not None:
            return doubles(left, right)
    raise EvaluationError(say.no_operation(operator, type_of(left), type_of(right)))


def _truncated_division(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError(say.DIVISION_BY_ZERO)
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _truncated_remainder(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError(say.DIVISION_BY_ZERO)
    if right == -1:
        return 0 * _int(-left)  # overflows where the division would
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


def _float_division(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


BINARY: Mapping[str, Callable[[Value, Value], Value]] = {
    "==": equal,
    "!=": unequal,
    "<": _order("<", lambda left, right: bool(left < right)),
    "<=": _order("<=", lambda left, right: bool(left <= right)),
    ">": _order(">", lambda left, right: bool(left > right)),
    ">=": _order(">=", lambda left, right: bool(left >= right)),
    "in": contains,
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _modulo,
}
