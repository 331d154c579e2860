"""Macros in SQL: a chain of `map` and `filter`, with the operation that ends it, becomes one loop.

Example: `event.data.items.filter(i, i.quantity > 1).map(i, i.price).exists(p, p > 100)` visits each item once and turns
it into a small integer, its *verdict*, instead of building two lists of boxes:

    secateur_cel.exists_v1(array(select
      case <quantity > 1> when true then
        case <price > 100> when true then 1 when false then 2 else case when <price> is not null then 3 end end
      when false then 0 end
    from secateur_cel.json_items_v1(<items>) item1))

This differs from `exists(i, i.quantity > 1 && i.price > 100)` in its errors. `filter` and `map` fail if any of their
elements fails, so a verdict of NULL is an error, whatever the other verdicts are. `exists` and `all` ignore an error of
their own predicate if another element decides; that is verdict 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from secateur.cel.paths import children
from secateur.cel.sql.comparisons import compare
from secateur.cel.sql.converting import Forms
from secateur.cel.sql.forms import Form, Sql, boolean
from secateur.cel.syntax.ast import (
    Binary,
    Call,
    Comprehension,
    Conditional,
    Has,
    Index,
    ListLiteral,
    Logical,
    MapLiteral,
    Name,
    Node,
    Select,
    Unary,
)

_LEFT_OUT: Final = "0"
"""Left out by the first step. The other elements form a list, which may have at most 10,000 elements."""
_TRUE: Final = "1"
_FALSE: Final = "2"
"""Or left out by a later step."""
_ERROR: Final = "3"

_MOST_REPEATED: Final = 4
"""Repeated calls of helpers, if a value is used more than once. Beyond that, a list is collected first."""
_IN_A_LOOP: Final = 10
"""Each use in an inner loop counts as this many uses."""


class LoopScope(Protocol):
    """The part of the generator that loops need."""

    def sql(self, node: Node) -> Sql: ...

    def next_item(self) -> str:
        """The SQL name of the next loop's element."""
        ...

    def inside(self, node: Node, variable: str, value: Sql) -> Sql:
        """The SQL of a node in the body of the next loop, where the variable has that value."""
        ...


@dataclass(frozen=True, slots=True)
class _End:
    """What a chain ends in."""

    uses: int
    """How often the value of an element is written."""
    element: Callable[[Sql, str], str]
    """What becomes of an element's value. The second argument is SQL that must not be NULL, or nothing."""
    left_out: tuple[str, str]
    """What becomes of an element that the first step, or a later one, leaves out."""
    result: Callable[[str], Sql]
    """The result, from the sub-select that returns the elements."""


@dataclass(frozen=True, slots=True)
class _Test:
    """What an element must pass before the next step: a predicate, or a check that a value is not an error."""

    sql: str
    left_out: int | None = None
    """For a predicate: which of the end's two values of `left_out` applies."""


class Loops:
    def __init__(self, forms: Forms, scope: LoopScope) -> None:
        self._forms = forms
        self._scope = scope

    def macro(self, node: Comprehension) -> Sql:
        if node.macro in ("map", "filter"):
            operand, steps = chain(node)
            return self._loop(self._scope.sql(operand), steps, self._collecting(len(steps)))
        operand, steps = chain(node.operand)
        if not steps:
            return self._short(node, self._scope.sql(operand))
        return self._loop(self._scope.sql(operand), steps, self._deciding(node))

    def size(self, node: Node) -> Sql | None:
        """`node.size()`, if the node is a chain."""
        operand, steps = chain(node)
        return self._loop(self._scope.sql(operand), steps, _SIZE) if steps else None

    def contains(self, element: Sql, node: Node) -> Sql | None:
        """`element in node`, if the node is a chain and the element can be written for each of its elements."""
        operand, steps = chain(node)
        if not steps or not element.plain:
            return None
        found = self._loop(self._scope.sql(operand), steps, self._finding(element))
        if element.form is Form.CONSTANT:
            return found
        return boolean(f"(case when {element.text} is not null then {found.text} end)")

    def _short(self, node: Comprehension, operand: Sql) -> Sql:
        """A macro without a chain before it. `exists` and `all` stop at the first element that decides."""
        value = self._element(operand)
        assert node.predicate is not None, "the parser gives it one"  # noqa: S101
        wanted = self._forms.bool(self._scope.inside(node.predicate, node.variable, value))
        match node.macro:
            case "exists":
                return self._over(operand, wanted, lambda items: boolean(f"(true = any ({items}))"))
            case "all":
                return self._over(operand, wanted, lambda items: boolean(f"(true = all ({items}))"))
            case _:
                return self._over(operand, wanted, lambda items: boolean(f"secateur_cel.one_v1(array({items}))"))

    def _loop(self, operand: Sql, steps: Sequence[Comprehension], end: _End) -> Sql:
        value, unchecked = self._element(operand), ""
        tests: list[_Test] = []
        for place, step in enumerate(steps):
            for body in _bodies(step):
                made = self._scope.inside(body, step.variable, value)
                if unchecked and not _fails_with(body, step.variable):
                    tests.append(_Test(unchecked))
                unchecked = ""
                if body is step.predicate:
                    tests.append(_Test(self._forms.bool(made), min(place, 1)))
                else:
                    value, unchecked = made, made.text
            later = steps[place + 1 :]
            if step.transform and not value.plain and _repeated(value, _uses(later, end)) > _MOST_REPEATED:
                collecting = self._collecting(place + 1)
                collected = self._over(operand, _nested(tests, collecting, value, unchecked), collecting.result)
                return self._loop(collected, later, end)
        return self._over(operand, _nested(tests, end, value, unchecked), end.result)

    def _element(self, operand: Sql) -> Sql:
        return Sql(self._scope.next_item(), Form.JSON if operand.form is Form.JSON else Form.BOX, plain=True)

    def _over(self, operand: Sql, wanted: str, result: Callable[[str], Sql]) -> Sql:
        """The loop itself: `wanted` of each element, or an error if the operand is neither a list nor a map."""
        item = self._scope.next_item()
        if operand.form is Form.JSON:
            found = result(_select(wanted, f"json_items_v1({operand.text})", item))
            iterable = f"jsonb_typeof({operand.text}) in ('array', 'object')"
            return Sql(f"(case when {iterable} then {found.text} end)", found.form)
        wanted = f"case when {item} is not null then {wanted} end"
        return result(_select(wanted, f"items_v1({self._forms.box(operand)})", item))

    def _collecting(self, steps: int) -> _End:
        helper = "collect_v1" if steps == 1 else "collect_v2"
        return _End(
            1,
            lambda value, unchecked: self._forms.box(value),
            ("to_jsonb(false)", "to_jsonb(true)"),
            lambda items: Sql(f"secateur_cel.{helper}(array({items}))", Form.BOX),
        )

    def _deciding(self, node: Comprehension) -> _End:
        predicate = node.predicate
        assert predicate is not None, "the parser gives it one"  # noqa: S101

        def body(value: Sql) -> str:
            return self._forms.bool(self._scope.inside(predicate, node.variable, value))

        uses, strict = _occurrences(predicate, node.variable), _fails_with(predicate, node.variable)
        match node.macro:
            case "exists":
                return _existing(uses, body, _exists, strict=strict)
            case "all":
                return _existing(uses, lambda value: f"(not {body(value)})", _none, strict=strict)
            case _:
                return _counting(uses, body, lambda items: boolean(f"{_count(items).text} = 1"), strict=strict)

    def _finding(self, element: Sql) -> _End:
        return _existing(1, lambda value: compare("==", element, value, self._forms).text, _exists, strict=True)


def _existing(uses: int, body: Callable[[Sql], str], result: Callable[[str], Sql], *, strict: bool) -> _End:
    """Whether the body is true for an element. It is `strict` if it fails wherever the element's value is an error."""

    def element(value: Sql, unchecked: str) -> str:
        failed = f"case when {unchecked} is not null then {_ERROR} end" if unchecked and strict else _ERROR
        verdict = f"case {body(value)} when true then {_TRUE} when false then {_FALSE} else {failed} end"
        return verdict if strict else _checked(unchecked, verdict)

    return _End(uses, element, (_LEFT_OUT, _FALSE), result)


def _counting(uses: int, body: Callable[[Sql], str], result: Callable[[str], Sql], *, strict: bool) -> _End:
    """For how many elements the body is true; an error of the body is one of the whole."""

    def element(value: Sql, unchecked: str) -> str:
        verdict = f"case {body(value)} when true then {_TRUE} when false then {_FALSE} end"
        return verdict if strict else _checked(unchecked, verdict)

    return _End(uses, element, (_LEFT_OUT, _FALSE), result)


def _checked(unchecked: str, sql: str) -> str:
    return f"case when {unchecked} is not null then {sql} end" if unchecked else sql


def _exists(items: str) -> Sql:
    return boolean(f"secateur_cel.exists_v1(array({items}))")


def _none(items: str) -> Sql:
    return boolean(f"(not {_exists(items).text})")


def _count(items: str) -> Sql:
    return Sql(f"secateur_cel.count_v1(array({items}))", Form.NUMBER)


_SIZE = _End(0, lambda _, unchecked: _checked(unchecked, _TRUE), (_LEFT_OUT, _FALSE), _count)


def chain(node: Node) -> tuple[Node, list[Comprehension]]:
    """The `map`s and `filter`s that end in the node, first to last, and what the first one goes over."""
    steps: list[Comprehension] = []
    while isinstance(node, Comprehension) and node.macro in ("map", "filter"):
        steps.insert(0, node)
        node = node.operand
    return node, steps


def _bodies(node: Comprehension) -> tuple[Node, ...]:
    return tuple(body for body in (node.predicate, node.transform) if body is not None)


def _select(wanted: str, items: str, item: str) -> str:
    return " ".join(("select", wanted, "from", f"secateur_cel.{items}", item))


def _nested(tests: Sequence[_Test], end: _End, value: Sql, unchecked: str) -> str:
    sql = end.element(value, unchecked)
    for test in reversed(tests):
        if test.left_out is None:
            sql = _checked(test.sql, sql)
        else:
            sql = f"case {test.sql} when true then {sql} when false then {end.left_out[test.left_out]} end"
    return sql


def _uses(later: Sequence[Comprehension], end: _End) -> int:
    """How often a value is written by the steps that come after the one that made it."""
    uses = 0
    for step in later:
        for body in _bodies(step):
            uses += _occurrences(body, step.variable)
        if step.transform:
            return uses
    return uses + end.uses


def _occurrences(node: Node, variable: str) -> int:
    match node:
        case Name(name=name):
            return int(name == variable)
        case Comprehension(operand=operand):
            bodies = () if node.variable == variable else _bodies(node)
            return _occurrences(operand, variable) + _IN_A_LOOP * sum(_occurrences(body, variable) for body in bodies)
    return sum(_occurrences(child, variable) for child in children(node))


def _repeated(value: Sql, uses: int) -> int:
    """The SQL that is written once more for each use after the first, in calls of helpers."""
    loops = value.text.count("select ")
    return max(0, uses - 1) * (value.text.count("secateur_cel.") + _IN_A_LOOP * loops + len(value.text) // 200)


def _fails_with(node: Node, variable: str) -> bool:
    """Whether the node is an error wherever the variable's value is one. False if that is not certain."""
    match node:
        case Name(name=name):
            return name == variable
        case Select(operand=operand) | Has(operand=operand) | Unary(operand=operand) | Comprehension(operand=operand):
            return _fails_with(operand, variable)
        case Binary() | Index() | Call() | ListLiteral() | MapLiteral():
            return any(_fails_with(child, variable) for child in children(node))
        case Logical(operands=operands):
            return all(_fails_with(operand, variable) for operand in operands)
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            sides = _fails_with(then, variable) and _fails_with(otherwise, variable)
            return sides or _fails_with(condition, variable)
    return False
