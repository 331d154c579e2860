"""Warnings about a valid expression that probably does not do what its author meant, in general or for these payloads.

A warning never prevents anything: a sample may miss the one run that is searched for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from secateur.cel.authoring import remarks
from secateur.cel.authoring.constancy import remark_constants
from secateur.cel.authoring.shapes import Field, Shape
from secateur.cel.declarations import ARITHMETIC
from secateur.cel.diagnostics import Diagnostic, Fix, Reporter, Suggestion
from secateur.cel.hints import nearest
from secateur.cel.library import FUNCTIONS
from secateur.cel.messages import compare_it, did_you_mean, write_instead
from secateur.cel.paths import EACH, EVENT, Bindings, Path, bindings_below, dotted, path_in, path_of
from secateur.cel.syntax.ast import (
    Binary,
    Call,
    Comprehension,
    Conditional,
    Has,
    Index,
    ListLiteral,
    Literal,
    Logical,
    Node,
    Select,
    Span,
    Unary,
)
from secateur.cel.syntax.writing import field_access, literal_text, text_literal
from secateur.cel.types import DOUBLE, DYN, INT, TIMESTAMP, UINT, Type, accepts
from secateur.cel.values import type_of

if TYPE_CHECKING:
    from secateur.cel.filters import Filter

_NUMBERS = {INT.name, UINT.name, DOUBLE.name}


def advise(filter_: Filter, shape: Shape | None = None) -> tuple[Diagnostic, ...]:
    """The filter's own warnings, and those that follow from a sample of the runs that it is meant for."""
    reporter = Reporter(filter_.source)
    remark_constants(filter_.expression, reporter)
    if shape is not None and shape.sampled:
        adviser = _Adviser(filter_.source, shape, reporter)
        adviser.condition(filter_.expression, EVENT)
        adviser.visit(filter_.expression, EVENT)
    reporter.diagnostics += filter_.warnings
    return reporter.ordered("warning")


class _Adviser:
    def __init__(self, source: str, shape: Shape, reporter: Reporter) -> None:
        self._source, self._shape, self._reporter = source, shape, reporter
        self._missed: set[Path] = set()

    def visit(self, node: Node, bindings: Bindings) -> None:
        pending = [(node, bindings)]
        while pending:
            node, bindings = pending.pop()
            match node:
                case Select() | Has() | Index():
                    self._field(node, bindings)
                case Binary():
                    self._binary(node, bindings)
                case Call():
                    self._call(node, bindings)
                case Logical() | Unary() | Conditional() | Comprehension():
                    self._conditions_of(node, bindings)
            pending += reversed(bindings_below(node, bindings))

    def condition(self, node: Node, bindings: Bindings, *, negated: bool = False) -> None:
        """Warns about a field that is used as a condition, and is never true or false."""
        path = path_of(node, bindings)
        field = None if path is None else self._shape.fields.get(path)
        if field is None or "bool" in field.types or not field.types:
            return
        text, seen = self._text(node), remarks.any_of(list(field.types))
        suggestion = None
        if set(field.types) == {"list"}:
            filled = f"size({text}) > 0"
            suggestion = write_instead(f"({filled})" if negated else filled, node.span)
        elif field.values and isinstance(field.values[0][0], str | int | float):
            compared = f"{text} == {literal_text(field.values[0][0])}"
            suggestion = compare_it(f"({compared})" if negated else compared, node.span)
        self._warn(node.span, remarks.not_a_condition(dotted(field.path), seen), suggestion)

    def _conditions_of(self, node: Logical | Unary | Conditional | Comprehension, bindings: Bindings) -> None:
        match node:
            case Logical():
                conditions: tuple[Node, ...] = node.operands
            case Unary():
                conditions = (node.operand,) if node.operator == "!" else ()
            case Conditional():
                conditions = (node.condition,)
            case Comprehension():
                conditions = () if node.predicate is None else (node.predicate,)
        below = {id(child): within for child, within in bindings_below(node, bindings)}
        for each in conditions:
            self.condition(each, below[id(each)], negated=isinstance(node, Unary))

    def _warn(self, span: Span, message: str, suggestion: Suggestion | None = None) -> None:
        self._reporter.warning(span, message, suggestion)

    def _text(self, node: Node) -> str:
        return self._source[node.span.start : node.span.end]

    def _field(self, node: Select | Has | Index, bindings: Bindings) -> None:
        """Warns about a field that no sampled run has. For `event.a.b` where no run has `a`, only `a` is named."""
        path = path_in(node, bindings)
        if path is None or path[-1] is EACH or path in self._shape.fields or path in self._missed:
            return
        if not self._shape.knows(path[:-1]):
            self._field_of_what_has_none(node, path)
            return
        self._missed.add(path)
        around = self._shape.fields[path[:-1]]
        if EACH in path:
            message = remarks.no_element_has(dotted(path), around.count)
        else:
            message = remarks.nobody_has(dotted(path), self._shape.sampled)
        span, meant = self._meant(node, path)
        self._warn(span, message, did_you_mean(meant, Fix(span, meant)) if meant else None)

    def _field_of_what_has_none(self, node: Select | Has | Index, path: Path) -> None:
        """Warns about a field of a text, a number or, as in `event.data.items.price`, of a list."""
        above = self._shape.fields.get(path[:-1])
        if above is None or not above.types or "map" in above.types or isinstance(node, Index):
            return
        self._missed.add(path)
        suggestion = None
        if any(each.path == (*path[:-1], EACH, path[-1]) for each in self._shape.children((*path[:-1], EACH))):
            elements = f"{self._text(node.operand)}.exists(item, item{field_access(node.field)} …)"
            suggestion = Suggestion(f"ask its elements, such as `{elements}`")
        seen = remarks.any_of(list(above.types))
        self._warn(node.field_span, remarks.has_no_fields(dotted(above.path), seen, str(path[-1])), suggestion)

    def _meant(self, node: Select | Has | Index, path: Path) -> tuple[Span, str | None]:
        """What to replace and with what: the sibling with the nearest name, or the path of a field with this name."""
        place, name = node.index.span if isinstance(node, Index) else node.field_span, str(path[-1])
        siblings = [str(each.path[-1]) for each in self._shape.children(path[:-1]) if each.path[-1] is not EACH]
        if near := nearest(name, siblings):
            if self._source[place.end - 1] in "'\"":  # in brackets
                return place, text_literal(near)
            access = field_access(near)
            if access == f".{near}":
                return place, near
            if isinstance(node, Has):
                return Span(node.operand.span.end, place.end), f"[{text_literal(near)}]"
            return node.span, f"{self._text(node.operand)}[{text_literal(near)}]"
        elsewhere = [other for other in self._shape.fields if other and other[-1] == name and EACH not in other]
        if not elsewhere or isinstance(node, Has):
            return place, None
        return node.span, "event" + "".join(field_access(str(key)) for key in min(elsewhere, key=len))

    def _seen(self, node: Node, bindings: Bindings) -> tuple[Field | None, Mapping[str, int]]:
        """The types that a node has in the sample; empty if they are not known."""
        path = path_of(node, bindings)
        field = None if path is None else self._shape.fields.get(path)
        if field is not None:
            return field, field.types
        return None, {} if node.type == DYN else {node.type.name: 1}

    def _binary(self, node: Binary, bindings: Bindings) -> None:
        left, right = self._seen(node.left, bindings), self._seen(node.right, bindings)
        if node.operator in ARITHMETIC:
            self._arithmetic(node, left, right)
            return
        if node.operator == "in":
            self._membership(node, left[0])
            return
        if left[0] is not None:
            self._comparison(node, node.left, left[0], node.right, right[1])
        elif right[0] is not None:
            self._comparison(node, node.right, right[0], node.left, left[1])

    def _comparison(self, node: Binary, side: Node, field: Field, other: Node, types: Mapping[str, int]) -> None:
        if not types:
            return
        equality = node.operator in ("==", "!=")
        if any(_alike(one, another) for one in field.types for another in types):
            if equality and isinstance(other, Literal):
                self._value(field, other)
            return
        path, seen, given = dotted(field.path), remarks.any_of(list(field.types)), remarks.any_of(list(types))
        if other.type.name == "null_type":
            return  # this asks for a JSON null, which may just be missing from the sample
        say = {"==": remarks.never_equal, "!=": remarks.always_unequal}.get(node.operator, remarks.not_comparable)
        span, instead = self._conversion(side, field, other, equality)
        suggestion = write_instead(instead, span) if span and instead else None
        self._warn(span or node.span, say(path, seen, given), suggestion)

    def _conversion(
        self, side: Node, field: Field, other: Node, equality: bool
    ) -> tuple[Span, str] | tuple[None, None]:
        """The side to change and its new text, so that the types fit."""
        seen, text = set(field.types), self._text(side)
        if other.type == TIMESTAMP:
            return side.span, f"timestamp({text}{' / 1000' if seen <= _NUMBERS else ''})"
        if not isinstance(other, Literal):
            return None, None
        value = other.value
        if seen == {"string"} and type(value) in (int, float):
            if equality:
                return other.span, text_literal(self._text(other))
            return (side.span, f"double({text})") if _all_numeric(field) else (None, None)
        if seen == {"string"} and isinstance(value, bool):
            return other.span, text_literal(literal_text(value))
        if isinstance(value, str) and seen <= _NUMBERS and _is_number(value):
            return other.span, value
        if isinstance(value, str) and seen == {"bool"} and value.lower() in ("true", "false"):
            return other.span, value.lower()
        return None, None

    def _value(self, field: Field, literal: Literal) -> None:
        """Warns about a value that the sample does not contain, if the field has only a few values."""
        value = literal.value
        if not field.all_values or any(_same(value, known) for known, _ in field.values):
            return
        suggestion = None
        if isinstance(value, str):
            if near := nearest(value, [known for known, _ in field.values if isinstance(known, str)]):
                suggestion = did_you_mean(literal_text(near), Fix(literal.span, literal_text(near)))
        elif isinstance(value, int) and len(field.values) > 8:
            return  # a number, not a member of a small set
        self._warn(literal.span, remarks.never_that_value(dotted(field.path), self._shape.sampled), suggestion)

    def _membership(self, node: Binary, field: Field | None) -> None:
        if field is None or not isinstance(node.right, ListLiteral):
            return
        literals = [element for element in node.right.elements if isinstance(element, Literal)]
        if len(literals) < len(node.right.elements):
            return
        if literals and not any(_alike(seen, type_of(each.value).name) for seen in field.types for each in literals):
            seen = remarks.any_of(list(field.types))
            self._warn(node.span, remarks.never_contained(dotted(field.path), seen))
            return
        for literal in literals:
            self._value(field, literal)

    def _call(self, node: Call, bindings: Bindings) -> None:
        """Warns about an operand if none of its sampled types fits any overload."""
        overloads = FUNCTIONS[node.function].overloads_for(len(node.operands), member=node.target is not None)
        for position, operand in enumerate(node.operands):
            field, types = self._seen(operand, bindings)
            wanted = [overload.parameters[position] for overload in overloads]
            if field is None or not wanted or _any_fits(wanted, types):
                continue
            path, seen = dotted(field.path), remarks.any_of(list(types))
            suggestion = None
            if _stringable(wanted, types):
                suggestion = write_instead(f"string({self._text(operand)})", operand.span)
            self._warn(operand.span, remarks.not_taken(node.function, path, seen), suggestion)

    def _arithmetic(
        self,
        node: Binary,
        left: tuple[Field | None, Mapping[str, int]],
        right: tuple[Field | None, Mapping[str, int]],
    ) -> None:
        """Warns that, for example, `amount * 1.5` fails for a payload with 60 instead of 60.5."""
        for side, (field, types), (_, others) in ((node.left, left, right), (node.right, right, left)):
            if field is None or not others:
                continue
            swapped = side is node.right
            failing = {name: n for name, n in types.items() if not _computes(node.operator, name, others, swapped)}
            if not failing:
                continue
            share = remarks.percentage(sum(failing.values()) / max(1, sum(types.values())))
            suggestion = None
            if set(failing) <= _NUMBERS:
                suggestion = write_instead(f"double({self._text(side)})", side.span)
            seen, given = remarks.any_of(list(failing)), remarks.any_of(list(others))
            message = remarks.arithmetic_fails(node.operator, dotted(field.path), seen, given, share)
            self._warn(side.span, message, suggestion)
            return


def _alike(one: str, other: str) -> bool:
    return one == other or (one in _NUMBERS and other in _NUMBERS)


def _same(value: object, known: object) -> bool:
    return value == known and isinstance(value, bool) == isinstance(known, bool)


def _any_fits(wanted: list[Type], types: Mapping[str, int]) -> bool:
    return any(expected == DYN or expected.name == name for expected in wanted for name in types)


def _stringable(wanted: list[Type], types: Mapping[str, int]) -> bool:
    return any(expected.name == "string" for expected in wanted) and set(types) <= {*_NUMBERS, "bool"}


def _computes(operator: str, name: str, others: Mapping[str, int], swapped: bool) -> bool:
    """Whether there is an operation for this type and any of the others."""
    pairs = [(other, name) if swapped else (name, other) for other in others]
    return any(
        accepts(first, Type(left)) and accepts(second, Type(right))
        for first, second, _ in ARITHMETIC[operator]
        for left, right in pairs
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip("+-.0123456789") == ""


def _all_numeric(field: Field) -> bool:
    return bool(field.values) and all(isinstance(value, str) and _is_number(value) for value, _ in field.values)
