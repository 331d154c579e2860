"""What no run changes is worked out once: `event.data.amount > 5 + 1000000` compares with one number.

A part becomes what its author could have written instead, so that later stages meet nothing new. A part that fails
stays as it is, and fails for every run. SQL and requirements are made of the folded tree. The evaluator in Python,
explanations and warnings keep the tree as it was written.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

from secateur.cel.diagnostics import EvaluationError
from secateur.cel.paths import children
from secateur.cel.python.evaluator import evaluator
from secateur.cel.sql.boxes import storable
from secateur.cel.syntax.ast import (
    Binary,
    Call,
    Conditional,
    Has,
    HasVariable,
    Index,
    Invalid,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Name,
    Node,
    Select,
    Span,
    Unary,
)
from secateur.cel.timestamps import format_duration, format_timestamp
from secateur.cel.types import BOOL, DURATION, STRING, TIMESTAMP, join, list_of
from secateur.cel.values import Duration, Timestamp, Value, from_json, type_of

_OF_TIMES = ("timestamp", "duration")
"""The only functions that are worked out: a time has no other literal."""


def folded(node: Node) -> Node:
    """The checked tree with its constant parts worked out."""
    if isinstance(node, Literal | Name | HasVariable | Invalid):
        return node
    node = _with_folded_parts(node)
    match node:
        case Unary() | Binary() | Logical() | Conditional() | Select() | Has() | Index():
            if all(map(_is_known, children(node))):
                return _worked_out(node)
        case Call(function=function, operands=(operand,)) if function in _OF_TIMES and operand.type != STRING:
            if _is_known(operand):
                return _worked_out(node)
    return _without_neutral(node) if isinstance(node, Logical) else node


def _with_folded_parts(node: Node) -> Node:
    parts = {each.name: getattr(node, each.name) for each in fields(node)}
    changed = {name: new for name, old in parts.items() if (new := _folded_part(old)) is not old}
    return replace(node, **changed) if changed else node


def _folded_part(part: Any) -> Any:
    if isinstance(part, Node):
        return folded(part)
    if isinstance(part, tuple):
        parts = tuple(map(_folded_part, part))
        return part if all(new is old for new, old in zip(parts, part, strict=True)) else parts
    return part


def _is_known(node: Node) -> bool:
    """Whether it is a literal. One that Postgres cannot store is left where it is, so that it is reported."""
    match node:
        case Literal(value=value):
            return storable(value)
        case ListLiteral(elements=elements):
            return all(map(_is_known, elements))
        case MapLiteral(entries=entries):
            return all(_is_known(part) for entry in entries for part in entry)
        case Call(function=function, operands=(Literal(value=str(text)),)):
            return function in _OF_TIMES and storable(text)
    return False


def _worked_out(node: Node) -> Node:
    try:
        value = evaluator(node)({})
    except EvaluationError:
        return node
    return _written(value, node.span) or node


def _written(value: Value, span: Span) -> Node | None:
    """The value as a literal; None if it has none that is worth writing."""
    match value:
        case Timestamp():
            return Call("timestamp", None, (Literal(format_timestamp(value), span, STRING),), span, span, TIMESTAMP)
        case Duration():
            return Call("duration", None, (Literal(format_duration(value), span, STRING),), span, span, DURATION)
        case list():
            elements = tuple(_written(from_json(item), span) for item in value)
            known = tuple(element for element in elements if element is not None)
            made = ListLiteral(known, span, list_of(join(element.type for element in known)))
            return made if len(known) == len(elements) else None
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str() | bytes():
            return Literal(value, span, type_of(value))
    return None


def _without_neutral(node: Logical) -> Node:
    """Without the operands that say nothing, such as `true &&`. One that decides stays, so that the rest is checked."""
    neutral = node.operator == "&&"
    rest = tuple(each for each in node.operands if not (isinstance(each, Literal) and each.value is neutral))
    if len(rest) == 1 and rest[0].type == BOOL:
        return rest[0]
    return node if len(rest) == len(node.operands) else replace(node, operands=rest)
