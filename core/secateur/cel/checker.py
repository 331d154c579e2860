"""Overloads and types: from the parsed to the typed tree, collecting every problem on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from secateur.cel import messages as say
from secateur.cel import types
from secateur.cel.declarations import (
    ARITHMETIC,
    MACROS,
    MACROS_MEANT,
    ORDERED,
    Declarations,
    macro_usages,
)
from secateur.cel.diagnostics import EvaluationError, Fix, Reporter, Suggestion
from secateur.cel.hints import as_duration, as_timestamp, nearest
from secateur.cel.library import FUNCTIONS, MEANT, usages
from secateur.cel.names import Names
from secateur.cel.patterns import PatternError
from secateur.cel.syntax.ast import (
    Binary,
    Call,
    Comprehension,
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
from secateur.cel.types import BOOL, DYN, INT, NULL, NUMBERS, STRING, UINT, Type, accepts
from secateur.cel.values import INT_MAX, type_of

MAX_NESTING = 2
"""How deep macros may nest: three deep, 300 elements would take ten seconds for one run."""


def check_filter(node: Node, declarations: Declarations, reporter: Reporter) -> Node:
    """The typed tree of an expression that must be true or false. Problems go to `reporter`."""
    checked = Checker(declarations, reporter).check(node)
    if checked.type not in (BOOL, DYN):
        filters = isinstance(checked, Comprehension) and checked.macro == "filter"
        reporter.error(checked.span, say.result_is(checked.type), say.EXISTS_INSTEAD if filters else None)
    return checked


class Checker:
    """With `lenient`, problems are not reported. They fail, or are absorbed, when the expression is evaluated: the
    standard's behaviour without its optional check."""

    def __init__(self, declarations: Declarations, reporter: Reporter, *, lenient: bool = False) -> None:
        self._declarations = declarations
        self._reporter = reporter
        self._lenient = lenient
        self._names = Names(declarations, reporter.source, self._invalid)
        self._nesting = 0

    def check(self, node: Node) -> Node:
        match node:
            case Literal():
                return self._literal(node)
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case Has():
                return self._has(node)
            case Index():
                return self._index(node)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Logical():
                operands = tuple(self._boolean(operand, node.operator) for operand in node.operands)
                return replace(node, operands=operands, type=BOOL)
            case Conditional():
                condition = self._boolean(node.condition, "?:")
                then, otherwise = self.check(node.then), self.check(node.otherwise)
                type_ = types.join((then.type, otherwise.type))
                return replace(node, condition=condition, then=then, otherwise=otherwise, type=type_)
            case Call():
                return self._call(node)
            case Comprehension():
                return self._comprehension(node)
            case ListLiteral():
                elements = tuple(map(self.check, node.elements))
                type_ = types.list_of(types.join(element.type for element in elements))
                return replace(node, elements=elements, type=type_)
            case MapLiteral():
                return self._map(node)
            case Invalid():
                return self._invalid(node.span, node.message)
            case HasVariable():
                return node
            case _:
                assert_never(node)

    def _invalid(self, span: Span, message: str | None, suggestion: Suggestion | None = None) -> Invalid:
        if message is not None and not self._lenient:
            self._reporter.error(span, message, suggestion)
        return Invalid(span, message)

    def _mismatch(self, span: Span, message: str, suggestion: Suggestion | None = None) -> None:
        """Reports operands that match no overload. If lenient, the evaluation fails instead."""
        if not self._lenient:
            self._reporter.error(span, message, suggestion)

    def _literal(self, node: Literal) -> Node:
        if type(node.value) is int and node.value > INT_MAX:
            return self._invalid(node.span, say.LITERALS["out_of_range_int"])
        if isinstance(node.value, str) and "\0" in node.value:
            self._mismatch(node.span, say.NUL_CHARACTER)
        return replace(node, type=type_of(node.value))

    def _name(self, node: Name) -> Node:
        return self._names.variable(node.name, node.span) or self._names.unknown(node)

    def _select(self, node: Select) -> Node:
        path = _dotted(node)
        if path is not None and (variable := self._names.variable(path, node.span)):
            return variable
        if isinstance(node.operand, Name) and (unknown := self._names.unknown_field(node.operand, node)):
            return unknown
        operand = self.check(node.operand)
        if operand.type.name not in ("map", "dyn"):
            return self._no_field(node, operand)
        return replace(node, operand=operand, type=_value_type(operand.type))

    def _no_field(self, node: Select | Has, operand: Node) -> Node:
        message = say.no_field_on(operand.type, node.field)
        self._mismatch(node.field_span, message)
        return replace(node, operand=operand, type=DYN)

    def _has(self, node: Has) -> Node:
        if "\0" in node.field:
            self._mismatch(node.field_span, say.NUL_CHARACTER)
        if isinstance(node.operand, Name) and self._names.is_namespace(node.operand):
            name = f"{node.operand.name.removeprefix('.')}.{node.field}"
            if variable := self._declarations.variables.get(name):
                return HasVariable(name, node.span, BOOL) if variable.optional else Literal(True, node.span, BOOL)
            if reason := self._declarations.refused.get(name):
                return self._invalid(node.span, reason)
            if unknown := self._names.unknown_field(node.operand, node):
                return unknown
        operand = self.check(node.operand)
        if operand.type.name not in ("map", "dyn"):
            return self._no_field(node, operand)
        return replace(node, operand=operand, type=BOOL)

    def _index(self, node: Index) -> Node:
        name, key = node.operand, node.index.value if isinstance(node.index, Literal) else None
        if isinstance(name, Name) and self._names.is_namespace(name) and isinstance(key, str):
            return self._select(Select(name, key, node.span, node.index.span))
        operand, index = self.check(node.operand), self.check(node.index)
        result = DYN
        if operand.type.name == "list":
            result = operand.type.parameters[0]
            if index.type not in (DYN, *NUMBERS):
                self._mismatch(index.span, say.bad_index(operand.type, index.type))
        elif operand.type.name == "map":
            result = _value_type(operand.type)
            key = operand.type.parameters[0]
            if not accepts(key, index.type) and not (key in NUMBERS and index.type in NUMBERS):
                self._mismatch(index.span, say.bad_index(operand.type, index.type))
        elif operand.type != DYN:
            self._mismatch(node.span, say.not_indexable(operand.type))
        return replace(node, operand=operand, index=index, type=result)

    def _unary(self, node: Unary) -> Node:
        if node.operator == "!":
            return replace(node, operand=self._boolean(node.operand, "!"), type=BOOL)
        operand = self.check(node.operand)
        if operand.type not in (DYN, INT, types.DOUBLE):
            self._mismatch(node.span, say.operand("-", operand.type))
        return replace(node, operand=operand, type=operand.type)

    def _boolean(self, node: Node, operator: str) -> Node:
        checked = self.check(node)
        if checked.type not in (BOOL, DYN):
            self._mismatch(checked.span, say.not_boolean(operator, checked.type))
        return checked

    def _binary(self, node: Binary) -> Node:
        left, right = self._operand(node.left, node.right), self._operand(node.right, node.left)
        node = replace(node, left=left, right=right, type=BOOL)
        match node.operator:
            case "==" | "!=":
                self._equality(node)
            case "<" | "<=" | ">" | ">=":
                self._order(node)
            case "in":
                if right.type.name not in ("list", "map", "dyn"):
                    self._mismatch(node.operator_span, say.operands("in", left.type, right.type))
            case "+" | "-" | "*" | "/" | "%":
                return self._arithmetic(node)
            case _:
                assert_never(node.operator)
        return node

    def _operand(self, node: Node, other: Node) -> Node:
        """Checks one side. A bare word beside a path is probably a string without its quotes."""
        quotable = not isinstance(other, (Literal, Name))
        if (
            isinstance(node, Name)
            and node.name[0] != "."
            and quotable
            and self._names.variable(node.name, node.span) is None
        ):
            return self._names.unknown(node, quotable=True)
        return self.check(node)

    def _equality(self, node: Binary) -> None:
        left, right = node.left.type, node.right.type
        if _comparable(left, right) or accepts(left, right):
            return
        if NULL in (left, right):
            if not self._lenient:
                self._reporter.warning(node.span, say.never_equal(left, right))
            return
        self._mismatch(node.operator_span, say.operands(node.operator, left, right), as_timestamp(node))

    def _order(self, node: Binary) -> None:
        left, right = node.left.type, node.right.type
        if not (_comparable(left, right) and left in (*ORDERED, DYN) and right in (*ORDERED, DYN)):
            self._mismatch(node.operator_span, say.operands(node.operator, left, right), as_timestamp(node))

    def _arithmetic(self, node: Binary) -> Node:
        left, right = node.left.type, node.right.type
        fitting = [
            (first, second, result)
            for first, second, result in ARITHMETIC[node.operator]
            if accepts(first, left) and accepts(second, right)
        ]
        if not fitting:
            self._mismatch(node.operator_span, say.operands(node.operator, left, right), as_duration(node))
            return replace(node, type=DYN)
        type_ = types.join(result for _, _, result in fitting)
        return replace(node, type=types.join((left, right)) if type_ == types.LIST else type_)

    def _call(self, node: Call) -> Node:
        function = FUNCTIONS.get(node.function)
        if function is None:
            return self._unknown_function(node)
        overloads = function.overloads
        target = None if node.target is None else self.check(node.target)
        checked = replace(node, target=target, arguments=tuple(map(self.check, node.arguments)))
        given = tuple(operand.type for operand in checked.operands)
        possible = function.overloads_for(len(given), member=target is not None)
        fitting = [overload for overload in possible if all(map(accepts, overload.parameters, given))]
        if not fitting:
            alike = [overload for overload in overloads if overload.member == (target is not None)] or overloads
            self._mismatch(node.name_span, say.no_overload(node.function, given, usages(node.function, alike)))
            return replace(checked, type=DYN)
        if not self._lenient:
            self._arguments(checked)
        return replace(checked, type=types.join(overload.result for overload in fitting))

    def _arguments(self, node: Call) -> None:
        """Reports errors that do not depend on the run: a literal that is not a valid pattern, time or duration."""
        function, last = FUNCTIONS[node.function], node.operands[-1]
        overloads = function.overloads_for(len(node.operands), member=node.target is not None)
        if function.reads is None or all(each.parameters[-1] != STRING for each in overloads):
            return
        try:
            if isinstance(last, Literal) and isinstance(last.value, str):
                function.reads(last.value)
            elif function.not_literal is not None:
                self._mismatch(last.span, function.not_literal)
        except PatternError as error:
            self._mismatch(last.span, str(error), error.hint)
        except EvaluationError as error:
            self._mismatch(last.span, str(error))

    def _comprehension(self, node: Comprehension) -> Node:
        operand = self.check(node.operand)
        element = DYN
        if operand.type.name in ("list", "map"):
            element = operand.type.parameters[0]
        elif operand.type != DYN:
            self._mismatch(node.name_span, say.not_iterable(node.macro, operand.type))
        if self._nesting == MAX_NESTING:
            self._reporter.error(node.name_span, say.macros_too_deep(MAX_NESTING))
            return Invalid(node.span)
        outer = self._names.elements
        self._names.elements, self._nesting = {**outer, node.variable: element}, self._nesting + 1
        predicate = node.predicate and self._boolean(node.predicate, node.macro)
        transform = node.transform and self.check(node.transform)
        self._names.elements, self._nesting = outer, self._nesting - 1
        type_ = BOOL
        if node.macro in ("map", "filter"):
            type_ = types.list_of(transform.type if transform else element)
        return replace(node, operand=operand, predicate=predicate, transform=transform, type=type_)

    def _unknown_function(self, node: Call) -> Node:
        name = node.function
        if node.target is not None:
            self.check(node.target)
        if name in MACROS:
            return self._invalid(node.name_span, say.macro_usage(name, macro_usages(name)))
        meant = MEANT.get(name) or MACROS_MEANT.get(name) or nearest(name, (*FUNCTIONS, *MACROS, "has"))
        if meant not in MACROS:
            for argument in node.arguments:
                self.check(argument)
        suggestion = None
        if meant:
            suggestion = say.did_you_mean(meant, Fix(node.name_span, meant) if _could_call(meant, node) else None)
        return self._invalid(node.name_span, say.unknown_function(name), suggestion)

    def _map(self, node: MapLiteral) -> Node:
        entries = tuple((self.check(key), self.check(value)) for key, value in node.entries)
        for key, _ in entries:
            if key.type not in (DYN, INT, UINT, BOOL, STRING):
                self._mismatch(key.span, say.bad_key(key.type))
        key_type = types.join(key.type for key, _ in entries)
        return replace(node, entries=entries, type=types.map_of(key_type, types.join(v.type for _, v in entries)))


def _dotted(node: Node) -> str | None:
    """`a.b.c` as written, if it consists only of names."""
    match node:
        case Name():
            return node.name
        case Select():
            prefix = _dotted(node.operand)
            return prefix and f"{prefix}.{node.field}"
    return None


def _value_type(type_: Type) -> Type:
    return type_.parameters[1] if type_.name == "map" else DYN


def _comparable(left: Type, right: Type) -> bool:
    return left == right or DYN in (left, right) or (left in NUMBERS and right in NUMBERS)


def _could_call(function: str, node: Call) -> bool:
    """Whether the function takes this many arguments, and a receiver if there is one."""
    if function in MACROS:
        return node.target is not None and len(node.arguments) in map(len, MACROS[function])
    if function == "has":
        return node.target is None and len(node.arguments) == 1
    return bool(FUNCTIONS[function].overloads_for(len(node.operands), member=node.target is not None))
