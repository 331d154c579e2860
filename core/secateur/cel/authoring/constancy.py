"""Parts of an expression that are always true or always false, whatever the payload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

from secateur.cel.authoring import remarks
from secateur.cel.diagnostics import EvaluationError, Reporter
from secateur.cel.messages import write_instead
from secateur.cel.paths import children, reads_nothing
from secateur.cel.python.evaluator import evaluator
from secateur.cel.python.operations import BINARY
from secateur.cel.syntax.ast import MIRRORED, Binary, Literal, Logical, Node, Span, Unary
from secateur.cel.syntax.scanner import scan
from secateur.cel.types import BOOL, Type
from secateur.cel.values import Value

_LOWER, _UPPER = (">", ">="), ("<", "<=")


def remark_constants(root: Node, reporter: Reporter) -> None:
    """Warn of every part whose value no payload can change."""
    if (value := _constant(root)) is not None:
        message = remarks.ALWAYS_TRUE if value is True else remarks.ALWAYS_FALSE
        reporter.warning(root.span, value.message if isinstance(value, _Failure) else message)
        return
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Logical):
            _chain(node, reporter)
        for child in children(node):
            value = _constant(child) if _decides(node) else _failure(child)
            if value is None:
                pending.append(child)
            elif isinstance(value, _Failure):
                reporter.warning(child.span, value.message)
            else:
                reporter.warning(child.span, remarks.PART_ALWAYS_TRUE if value else remarks.PART_ALWAYS_FALSE)


def _decides(node: Node) -> bool:
    """Whether a constant right below this node is a condition, not a value to compare with."""
    return isinstance(node, Logical) or (isinstance(node, Unary) and node.operator == "!")


@dataclass(frozen=True, slots=True)
class _Failure:
    message: str


def _constant(node: Node) -> bool | _Failure | None:
    """The value of a boolean that reads no variable; None for anything else."""
    if node.type != BOOL or not reads_nothing(node):
        return None
    value = _value(node)
    return value if isinstance(value, bool | _Failure) else None


def _failure(node: Node) -> _Failure | None:
    """Of a part that reads no variable and fails, such as `1 / 0`."""
    if isinstance(node, Literal) or not reads_nothing(node):
        return None
    value = _value(node)
    return value if isinstance(value, _Failure) else None


def _value(node: Node) -> Value | _Failure:
    try:
        return evaluator(node)({})
    except EvaluationError as error:
        return _Failure(remarks.always_fails(error.message))


@dataclass(frozen=True, slots=True)
class _Bound:
    """`path operator value`."""

    operator: str
    value: Value
    text: str
    span: Span


def _chain(node: Logical, reporter: Reporter) -> None:
    """Warn of two comparisons of the same operand that cannot both be true (`&&`), or of which one always is (`||`)."""
    bounds: dict[_Key, list[_Bound]] = {}
    for operand in node.operands:
        if isinstance(operand, Binary) and operand.operator in MIRRORED:
            for side, other, operator in (
                (operand.left, operand.right, operand.operator),
                (operand.right, operand.left, MIRRORED[operand.operator]),
            ):
                if reads_nothing(other) and not reads_nothing(side):
                    text = reporter.source[side.span.start : side.span.end]
                    try:
                        bound = _Bound(operator, evaluator(other)({}), text, operand.span)
                    except EvaluationError:
                        continue
                    bounds.setdefault(_key(side), []).append(bound)
    for found in bounds.values():
        for position, second in enumerate(found):
            firsts = found[:position]
            if node.operator == "&&" and any(_exclude(first, second) for first in firsts):
                reporter.warning(second.span, remarks.never_together(second.text))
                break
            if node.operator == "||" and any(_cover(first, second) for first in firsts):
                place = _operator_before(second.span, reporter.source)
                reporter.warning(place, remarks.one_of_both(second.text), write_instead("&&", place))
                break


def _operator_before(operand: Span, source: str) -> Span:
    """Where the `||` in front of the operand is."""
    signs = [token for token in scan(source) if token.text == "||" and token.start < operand.start]
    return Span(signs[-1].start, signs[-1].end)


def _exclude(first: _Bound, second: _Bound) -> bool:
    """Whether no value satisfies both."""
    if first.operator == "==" or second.operator == "==":
        fixed, other = (first, second) if first.operator == "==" else (second, first)
        return not _holds(other.operator, fixed.value, other.value)
    lower, upper = (first, second) if first.operator in _LOWER else (second, first)
    if lower.operator not in _LOWER or upper.operator not in _UPPER:
        return False
    strict = lower.operator == ">" or upper.operator == "<"
    return _holds(">=" if strict else ">", lower.value, upper.value)


def _cover(first: _Bound, second: _Bound) -> bool:
    """`x != 1 || x != 2`."""
    return first.operator == second.operator == "!=" and not _holds("==", first.value, second.value)


def _holds(operator: str, left: Value, right: Value) -> bool:
    try:
        return BINARY[operator](left, right) is True
    except EvaluationError:
        return False


_Key: TypeAlias = tuple[Any, ...]


def _key(node: Node) -> _Key:
    """Equal for equal nodes, wherever they are in the source."""
    return (type(node).__name__, *_parts(getattr(node, each.name) for each in fields(node)))


def _parts(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (Span, Type)):
            continue
        if isinstance(value, tuple):
            yield tuple(_parts(value))
        elif is_dataclass(value) and not isinstance(value, type) and hasattr(value, "span"):
            yield _key(value)  # type: ignore[arg-type]  # only nodes have a span
        else:
            yield (type(value).__name__, repr(value))
