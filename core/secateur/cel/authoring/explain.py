"""Why an expression matches one run or does not: every part with its value or its error.

`obstacles` are the conditions that keep a run out: of those joined by `&&`, the ones that are not true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.cel.diagnostics import EvaluationError
from secateur.cel.filters import run_variables
from secateur.cel.paths import children, reads_nothing
from secateur.cel.python.evaluator import evaluator
from secateur.cel.syntax.ast import Comprehension, Conditional, Has, Index, Literal, Logical, Name, Node, Select, Span
from secateur.cel.syntax.writing import value_text
from secateur.cel.values import Value, from_json

if TYPE_CHECKING:
    from datetime import datetime

    from secateur.cel.filters import Filter
    from secateur.runs import Run

MAX_PARTS = 500
MAX_ELEMENTS = 10
"""Elements of a list for which a macro's condition is shown."""


@dataclass(frozen=True, slots=True)
class Part:
    """A sub-expression with its value, or with its error if that is not None."""

    text: str
    """As it stands in the source. For an element of a list, `binding` has the `x = …`."""
    span: Span
    value: Value = None
    error: str | None = None
    used: bool = True
    """False for the branch of a conditional that was not taken."""
    binding: tuple[str, Value] | None = None
    """The variable of a macro and the element that it stands for."""
    parts: tuple[Part, ...] = ()

    @property
    def outcome(self) -> str:
        """The value as an expression would write it, or the error; empty if a part below has the same error."""
        if not self.used:
            return ""
        if self.error is None:
            return value_text(self.value)
        return "" if any(part.error == self.error for part in self.parts) else self.error

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Part]]:
        """The part and everything below it, parents first, each with its depth."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)


def explain(filter_: Filter, run: Run, now: datetime) -> Part:
    """The whole expression for that run, with its parts below it. Never raises for what a payload may hold."""
    return _Explainer(filter_.source).part(filter_.expression, run_variables(run, now))


def obstacles(filter_: Filter, run: Run, now: datetime) -> tuple[Part, ...]:
    """The conditions that keep the run out; none for a run that matches.

    Only one of them makes a near miss: without it the run would match.
    """
    return tuple(_Explainer(filter_.source).obstacles(filter_.expression, run_variables(run, now)))


def may_be_missed(filter_: Filter) -> bool:
    """Whether there can be near misses: it takes several conditions for one of them alone to keep a run out."""
    return isinstance(filter_.expression, Logical) and filter_.expression.operator == "&&"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an expression says of a run, and the parts of it that decided."""

    matches: bool | None
    """None if it cannot be evaluated; then it does not match."""
    parts: tuple[Part, ...]
    """For a run that matches, those that make the whole true; else its obstacles."""


def judge(filter_: Filter, run: Run, now: datetime, arrived: Value = None) -> Judgement:
    """`arrived` is the value of `async`, where the expression is a function's own. Never raises."""
    explainer, variables = _Explainer(filter_.source), {**run_variables(run, now), "async": arrived}
    value, error = _evaluate(filter_.expression, variables)
    if value is True:
        return Judgement(True, tuple(explainer.grounds(filter_.expression, variables)))
    return Judgement(None if error else False, tuple(explainer.obstacles(filter_.expression, variables)))


class _Explainer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._left = MAX_PARTS

    def part(self, node: Node, variables: Mapping[str, Value], *, used: bool = True) -> Part:
        self._left -= 1
        if not used:
            return Part(self._text(node), node.span, used=False)
        value, error = _evaluate(node, variables)
        return Part(self._text(node), node.span, value, error, parts=tuple(self._parts(node, variables)))

    def _text(self, node: Node) -> str:
        return " ".join(self._source[node.span.start : node.span.end].split())

    def _parts(self, node: Node, variables: Mapping[str, Value]) -> Iterator[Part]:
        """What is worth showing below a node: not literals, and of a path only the whole."""
        if isinstance(node, Comprehension):
            yield from self._elements(node, variables)
            return
        chosen = _chosen(node, variables)
        for child in _visible(node):
            if self._left <= 0:
                return
            yield self.part(child, variables, used=chosen is None or child in (chosen, node.condition))  # type: ignore[union-attr]

    def _elements(self, node: Comprehension, variables: Mapping[str, Value]) -> Iterator[Part]:
        yield self.part(node.operand, variables)
        container, _ = _evaluate(node.operand, variables)
        body = node.predicate if node.predicate is not None else node.transform
        if body is None or not isinstance(container, (list, dict)):
            return
        for element in list(container)[:MAX_ELEMENTS]:
            if self._left <= 0:
                return
            value = from_json(element)
            each = self.part(body, {**variables, node.variable: value})
            yield Part(each.text, each.span, each.value, each.error, True, (node.variable, value), each.parts)

    def obstacles(self, node: Node, variables: Mapping[str, Value]) -> Iterator[Part]:
        value, _ = _evaluate(node, variables)
        if value is True:
            return
        if isinstance(node, Logical) and node.operator == "&&":
            for operand in node.operands:
                yield from self.obstacles(operand, variables)
        elif self._left > 0:
            yield self.part(node, variables)

    def grounds(self, node: Node, variables: Mapping[str, Value]) -> Iterator[Part]:
        """Of a condition that is true: all operands of `&&`, the first true one of `||`, the branch that was taken."""
        if isinstance(node, Logical) and node.operator == "&&":
            for operand in node.operands:
                yield from self.grounds(operand, variables)
        elif isinstance(node, Logical):
            yield from self.grounds(next(each for each in node.operands if _is_true(each, variables)), variables)
        elif isinstance(node, Conditional) and (chosen := _chosen(node, variables)) is not None:
            yield self.part(node.condition, variables)
            yield from self.grounds(chosen, variables)
        elif self._left > 0:
            yield self.part(node, variables)


def _is_true(node: Node, variables: Mapping[str, Value]) -> bool:
    return _evaluate(node, variables)[0] is True


def _evaluate(node: Node, variables: Mapping[str, Value]) -> tuple[Value, str | None]:
    try:
        return evaluator(node)(variables), None
    except EvaluationError as error:
        return None, error.message


def _chosen(node: Node, variables: Mapping[str, Value]) -> Node | None:
    """The branch that a conditional takes, or its condition if that fails; None for any other node."""
    if not isinstance(node, Conditional):
        return None
    value, _ = _evaluate(node.condition, variables)
    return {True: node.then, False: node.otherwise}.get(value) if isinstance(value, bool) else node.condition


def _visible(node: Node) -> Iterator[Node]:
    """The nodes below that are worth showing: no constants, no parts of a path."""
    if isinstance(node, Has) or _is_path(node):
        return
    for child in children(node):
        if not reads_nothing(child):
            yield child


def _is_path(node: Node) -> bool:
    while isinstance(node, Select) or (isinstance(node, Index) and isinstance(node.index, Literal)):
        node = node.operand
    return isinstance(node, Name)
