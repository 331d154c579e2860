"""The macros over lists and maps, in Python.

`exists` and `all` are `||` and `&&` over the elements: one element can decide even if others fail. The other macros
fail at the first element that fails. A macro over a map visits the keys, ordered by type, then length, then value.
Both executions use this order, because jsonb does not keep the order of the JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from secateur.cel import messages as say
from secateur.cel.diagnostics import EvaluationError
from secateur.cel.limits import check_items
from secateur.cel.syntax.ast import Comprehension
from secateur.cel.values import BoolKey, Value, from_json, type_of

Variables: TypeAlias = Mapping[str, Value]
Program: TypeAlias = Callable[[Variables], Value]


def comprehension(
    node: Comprehension, operand: Program, predicate: Program | None, transform: Program | None
) -> Program:
    match node.macro:
        case "exists" | "all":
            assert predicate is not None, "the parser gives it one"  # noqa: S101
            return _decide(node, operand, predicate, decisive=node.macro == "exists")
        case "exists_one":
            return _exists_one(node, _chosen(node, operand, predicate))
        case "filter":
            return _collect(_chosen(node, operand, predicate), None, node.variable)
        case "map":
            return _collect(_chosen(node, operand, predicate), transform, node.variable)


def _decide(node: Comprehension, operand: Program, predicate: Program, *, decisive: bool) -> Program:
    def decide(variables: Variables) -> bool:
        failure: EvaluationError | None = None
        for scope in _scopes(node, operand(variables), variables):
            try:
                if _truth(node, predicate(scope)) is decisive:
                    return decisive
            except EvaluationError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return not decisive

    return decide


def _exists_one(node: Comprehension, chosen: Callable[[Variables], Iterator[Variables]]) -> Program:
    return lambda variables: sum(1 for _ in chosen(variables)) == 1


def _collect(chosen: Callable[[Variables], Iterator[Variables]], transform: Program | None, variable: str) -> Program:
    def collect(variables: Variables) -> list[Value]:
        built = [transform(scope) if transform else scope[variable] for scope in chosen(variables)]
        check_items(len(built))
        return built

    return collect


def _chosen(
    node: Comprehension, operand: Program, predicate: Program | None
) -> Callable[[Variables], Iterator[Variables]]:
    """The scope of each element for which the predicate is true."""

    def chosen(variables: Variables) -> Iterator[Variables]:
        for scope in _scopes(node, operand(variables), variables):
            if predicate is None or _truth(node, predicate(scope)):
                yield scope

    return chosen


def _scopes(node: Comprehension, container: Value, variables: Variables) -> Iterator[Variables]:
    """The variables for each element in turn. It is one mapping, changed in place."""
    if isinstance(container, dict):
        elements = [key.value if isinstance(key, BoolKey) else key for key in sorted(container, key=_order)]
    elif isinstance(container, list):
        elements = container
    else:
        raise EvaluationError(say.not_iterable(node.macro, type_of(container)), node.operand.span)
    scope = dict(variables)
    for element in elements:
        scope[node.variable] = from_json(element)
        yield scope


def _order(key: Value) -> tuple[int, int, Value]:
    if isinstance(key, BoolKey):
        return 0, 0, key.value
    if isinstance(key, str):
        content = key.encode("utf-8", "surrogatepass")
        return 2, len(content), content
    return 1, 0, key


def _truth(node: Comprehension, value: Value) -> bool:
    if type(value) is not bool:
        span = node.predicate.span if node.predicate else node.span
        raise EvaluationError(say.not_boolean(node.macro, type_of(value)), span)
    return value
