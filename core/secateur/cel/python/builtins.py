"""Calls in Python: the functions of the library, which first check the types of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.library import FUNCTIONS
from secateur.cel.syntax.ast import Call
from secateur.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, LIST, MAP, STRING, TIMESTAMP, UINT, Type
from secateur.cel.values import Duration, Timestamp, UInt, Value, type_of

_CLASSES: Mapping[str, type] = {
    BOOL.name: bool,
    INT.name: int,
    UINT.name: UInt,
    DOUBLE.name: float,
    STRING.name: str,
    BYTES.name: bytes,
    TIMESTAMP.name: Timestamp,
    DURATION.name: Duration,
    LIST.name: list,
    MAP.name: dict,
}


def bind_function(node: Call, *, nanoseconds: bool) -> Callable[..., Value]:
    """Computes a checked call from the values of its operands. Raises `EvaluationError`."""
    function = FUNCTIONS[node.function]
    python = partial(function.python, nanoseconds=nanoseconds) if function.nanoseconds else function.python
    overloads = function.overloads_for(len(node.operands), member=node.target is not None)
    taken = [overload.parameters for overload in overloads]

    def call(*given: Value) -> Value:
        if any(all(map(_is, given, parameters)) for parameters in taken):
            return python(*given)
        raise EvaluationError(say.no_call(function.name, [type_of(value) for value in given]))

    return call


def _is(value: Value, expected: Type) -> bool:
    """Whether the value has this type, and a list's elements have its element type."""
    if expected == DYN:
        return True
    if type(value) is not _CLASSES[expected.name]:
        return False
    return not isinstance(value, list) or expected == LIST or all(_is(item, expected.parameters[0]) for item in value)
