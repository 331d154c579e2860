"""Evaluates any expression, of any type, over any given variables, as `secateur eval` does.

Nothing is declared beforehand, so nothing is checked. A mistake in the expression is an error when it is evaluated, and
may be absorbed, as the standard says.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secateur.cel import timestamps as times
from secateur.cel import types
from secateur.cel.checker import Checker
from secateur.cel.declarations import SEARCH, Declarations, Variable
from secateur.cel.diagnostics import EvaluationError, Reporter
from secateur.cel.filters import flatten
from secateur.cel.python.evaluator import evaluator
from secateur.cel.sql.boxes import unbox
from secateur.cel.sql.generator import Condition, generate_value, given
from secateur.cel.syntax.ast import Node
from secateur.cel.syntax.parser import parse
from secateur.cel.values import BoolKey, Duration, Timestamp, Value, from_json, type_of


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An expression and its variables, ready to be evaluated in either way."""

    source: str
    expression: Node
    variables: Mapping[str, Value]
    declarations: Declarations

    def in_python(self, *, nanoseconds: bool = False) -> Value:
        """The value. Raises `EvaluationError`. `nanoseconds`: also times finer than Postgres keeps."""
        return evaluator(self.expression, nanoseconds=nanoseconds)(self.variables)

    def in_sql(self) -> Condition:
        """SQL whose only column decodes to the value by `decode`. Raises `ExpressionError` if the expression has no
        SQL form."""
        reporter = Reporter(self.source)
        variables = {
            name: given(value, json=self.declarations.variables[name].json) for name, value in self.variables.items()
        }
        query = generate_value(self.expression, variables, reporter)
        reporter.raise_errors()
        return query


def prepare(source: str, variables: Mapping[str, object], types_: Mapping[str, types.Type] | None = None) -> Evaluation:
    """Parse `source` for these variables: plain JSON by `decode_json`, or datetimes. Raises `ExpressionError`.

    A variable in `types_` is declared with that type and may hold any value of the language; every other one
    is dyn and plain JSON. A known variable that is not given, such as `run`, has no value.
    """
    reporter = Reporter(source)
    parsed = parse(source, reporter)
    reporter.raise_errors()
    assert parsed is not None, "the parser reports what it cannot read"  # noqa: S101
    declared = types_ or {}
    flat = {name: _time(name, value) for name, value in flatten(variables).items()}
    known = {name: _variable(value, declared.get(name)) for name, value in flat.items()}
    declarations = Declarations(known) if declared else SEARCH.extended(known)
    expression = Checker(declarations, reporter, lenient=True).check(parsed)
    reporter.raise_errors()
    return Evaluation(source, expression, flat, declarations)


def _time(name: str, value: Value) -> Value:
    """`now`, `run.started_at` and `run.scheduled_for` may be given as text."""
    known = SEARCH.variables.get(name)
    if known is not None and known.type == types.TIMESTAMP and isinstance(value, str):
        return times.parse_timestamp(value)
    return value


def _variable(value: Value, declared: types.Type | None) -> Variable:
    if declared is not None:
        return Variable(declared)
    return Variable(types.TIMESTAMP) if isinstance(value, Timestamp) else Variable(types.DYN, json=True)


def decode(box: str | None) -> Value:
    """The value of the result of `Evaluation.in_sql`. Raises `EvaluationError` for NULL."""
    if box is None:
        raise EvaluationError("the database could not evaluate the expression")
    return unbox(box)


def same(left: Value, right: Value) -> bool:
    """Whether no expression could tell the values apart: alike in type and content at every level.

    Unlike `==` of the language, NaN is the same as itself, and `1` is not the same as `1.0`, since `1 / 2` is not
    `1.0 / 2.0`. The order of a map's keys means nothing. Numbers of plain JSON are what `from_json` makes of them.
    """
    pairs = [(left, right)]
    while pairs:  # no recursion: an event may be nested more deeply than Python's stack
        one, other = map(from_json, pairs.pop())
        if type_of(one) != type_of(other):
            return False
        match one:
            case list():
                if len(one) != len(other):
                    return False
                pairs += zip(one, other, strict=True)
            case dict():
                mine, theirs = _by_type(one), _by_type(other)
                if mine.keys() != theirs.keys():
                    return False
                pairs += ((value, theirs[key]) for key, value in mine.items())
            case float():
                if repr(one) != repr(other):
                    return False
            case _:
                if one != other:
                    return False
    return True


def _by_type(entries: dict[Value, Value]) -> dict[tuple[type, Value], Value]:
    """The entries under keys that keep `1` and `1u` apart."""
    return {(type(key), key): value for key, value in entries.items()}


def as_json(value: Value) -> Any:
    """The value by protobuf's JSON mapping, but with int and uint as numbers."""
    match value:
        case float():
            if math.isfinite(value):
                return value
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case bytes():
            return base64.b64encode(value).decode()
        case Timestamp():
            return times.format_timestamp(value)
        case Duration():
            return times.format_duration(value)
        case types.Type():
            return value.name
        case list():
            return [as_json(item) for item in value]
        case dict():
            return {_key(key): as_json(item) for key, item in value.items()}
    return value


def _key(key: Value) -> str:
    return str(key.value).lower() if isinstance(key, BoolKey) else str(key)


def type_name(value: Value) -> str:
    """The type as the language calls it: int, null_type, google.protobuf.Timestamp, …"""
    return type_of(value).name
