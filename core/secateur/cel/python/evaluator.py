"""The expression in Python: a typed tree becomes nested closures over plain JSON.

A closure takes the variables by their full names. It returns a value, or raises `EvaluationError` with the span of the
innermost sub-expression that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.python.builtins import bind_function
from secateur.cel.python.comprehensions import Program, Variables, comprehension
from secateur.cel.python.operations import BINARY, build_map, index, negate
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
from secateur.cel.values import Value, from_json, type_of


def evaluator(node: Node, *, nanoseconds: bool = False) -> Program:
    """Compile a checked tree. With `nanoseconds`, times are finer than Postgres can store."""
    return _Compiler(nanoseconds).compile(node)


class _Compiler:
    def __init__(self, nanoseconds: bool) -> None:
        self._nanoseconds = nanoseconds

    def compile(self, node: Node) -> Program:
        match node:
            case Literal(value=value):
                return lambda variables: value
            case Name():
                return _variable(node)
            case HasVariable(name=name):
                return lambda variables: variables.get(name) is not None
            case Select():
                return _select(self.compile(node.operand), node)
            case Has():
                return _has(self.compile(node.operand), node)
            case Index():
                return _binary(index, self.compile(node.operand), self.compile(node.index), node.span)
            case Unary(operator="!"):
                return _not(self.compile(node.operand), node)
            case Unary():
                return _call(negate, (self.compile(node.operand),), node.span)
            case Binary():
                left, right = self.compile(node.left), self.compile(node.right)
                return _binary(BINARY[node.operator], left, right, node.span)
            case Logical():
                operands = tuple((self.compile(operand), operand.span) for operand in node.operands)
                return _logical(operands, node.operator, decisive=node.operator == "||")
            case Conditional():
                return self._conditional(node)
            case Call():
                function = bind_function(node, nanoseconds=self._nanoseconds)
                return _call(function, tuple(map(self.compile, node.operands)), node.span)
            case Comprehension():
                return self._comprehension(node)
            case ListLiteral():
                elements = tuple(map(self.compile, node.elements))
                return lambda variables: [element(variables) for element in elements]
            case MapLiteral():
                return self._map(node)
            case Invalid():
                return _invalid(node)
            case _:
                assert_never(node)

    def _comprehension(self, node: Comprehension) -> Program:
        predicate = self.compile(node.predicate) if node.predicate else None
        transform = self.compile(node.transform) if node.transform else None
        return comprehension(node, self.compile(node.operand), predicate, transform)

    def _conditional(self, node: Conditional) -> Program:
        condition, span = self.compile(node.condition), node.condition.span
        then, otherwise = self.compile(node.then), self.compile(node.otherwise)

        def conditional(variables: Variables) -> Value:
            chosen = condition(variables)
            if chosen is True:
                return then(variables)
            if chosen is False:
                return otherwise(variables)
            raise EvaluationError(say.not_boolean("?:", type_of(chosen)), span)

        return conditional

    def _map(self, node: MapLiteral) -> Program:
        entries = tuple((self.compile(key), self.compile(value)) for key, value in node.entries)

        def build(variables: Variables) -> Value:
            try:
                return build_map([(key(variables), value(variables)) for key, value in entries])
            except EvaluationError as error:
                raise _placed(error, node.span) from None

        return build


def _placed(error: EvaluationError, span: Span) -> EvaluationError:
    if error.span is None:
        error.span = span
    return error


def _variable(node: Name) -> Program:
    name, span = node.name, node.span

    def variable(variables: Variables) -> Value:
        try:
            return from_json(variables[name])
        except KeyError:
            raise EvaluationError(say.no_value(name), span) from None

    return variable


def _path(node: Node) -> str:
    match node:
        case Name():
            return node.name
        case Select() | Has():
            return f"{_path(node.operand)}.{node.field}"
    return "…"


def _select(operand: Program, node: Select | Has) -> Program:
    field, span = node.field, node.field_span

    def select(variables: Variables) -> Value:
        container = operand(variables)
        if type(container) is not dict:
            raise EvaluationError(say.no_field_on(type_of(container), _path(node)), span)
        try:
            return from_json(container[field])
        except KeyError:
            raise EvaluationError(say.no_such_field(_path(node)), span) from None

    return select


def _has(operand: Program, node: Has) -> Program:
    field, span = node.field, node.field_span

    def has(variables: Variables) -> Value:
        container = operand(variables)
        if type(container) is not dict:
            raise EvaluationError(say.no_field_on(type_of(container), _path(node)), span)
        return field in container

    return has


def _not(operand: Program, node: Unary) -> Program:
    span = node.operand.span

    def negated(variables: Variables) -> Value:
        value = operand(variables)
        if type(value) is not bool:
            raise EvaluationError(say.not_boolean("!", type_of(value)), span)
        return not value

    return negated


def _binary(operation: Callable[[Value, Value], Value], left: Program, right: Program, span: Span) -> Program:
    def binary(variables: Variables) -> Value:
        one, other = left(variables), right(variables)
        try:
            return operation(one, other)
        except EvaluationError as error:
            raise _placed(error, span) from None

    return binary


def _call(call: Callable[..., Value], operands: tuple[Program, ...], span: Span) -> Program:
    def called(variables: Variables) -> Value:
        values = [operand(variables) for operand in operands]
        try:
            return call(*values)
        except EvaluationError as error:
            raise _placed(error, span) from None

    return called


def _logical(operands: tuple[tuple[Program, Span], ...], operator: str, *, decisive: bool) -> Program:
    """One decisive operand decides, wherever it stands and whatever other operand fails."""

    def logical(variables: Variables) -> Value:
        failure: EvaluationError | None = None
        for operand, span in operands:
            try:
                value = operand(variables)
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or EvaluationError(say.not_boolean(operator, type_of(value)), span)
        if failure is not None:
            raise failure
        return not decisive

    return logical


def _invalid(node: Invalid) -> Program:
    def invalid(variables: Variables) -> Value:
        raise EvaluationError(node.message or say.NOT_TRUE_OR_FALSE, node.span)

    return invalid
