"""Tests that an index can answer: each is over one expression, and true of every run that the filter matches.

An index entry holds 100 characters of a text, or a number in thousandths, so that no event is too large for an index or
makes it fail: an enqueue must not notice the index. So the tests find more runs than the filter matches. They are added
to the condition and never replace it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from enum import StrEnum
from typing import Final

from secateur.cel.sql.boxes import storable
from secateur.cel.sql.columns import COLUMNS, Columns
from secateur.cel.sql.comparisons import number_rounding
from secateur.cel.sql.converting import Forms
from secateur.cel.sql.generator import Condition, condition_of
from secateur.cel.sql.jsonpaths import Keys, equality_of, keys_of
from secateur.cel.syntax.ast import MIRRORED, Binary, Call, ListLiteral, Literal, Logical, Node
from secateur.cel.values import Value

CHARACTERS: Final = 100
"""Of a text in an index: 400 bytes at most, where Postgres refuses 2,704."""

MOST: Final = 9 * 10**15
"""Numbers beyond this are indexed as this number. A thousand times as much fits into a bigint."""

PREFIX: Final = "secateur_if_"
"""The names of secateur's own filter indexes begin with this."""


class Indexed(StrEnum):
    """How the index stores the field."""

    TEXT = "text"
    """For `==`, `in` and `startsWith`."""
    NUMBER = "number"
    """For `==` and comparisons of order."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One field of the event that an index can look up."""

    path: Keys
    kind: Indexed
    expression: Condition
    """The indexed expression: text in the collation "C", or bigint. It is immutable, and raises for no event."""
    test: Condition
    """A test that is true of every run that the filter matches, and maybe of others."""

    @property
    def field(self) -> str:
        """The field's name in an expression."""
        return "event" + "".join(f".{key}" if re.fullmatch(r"[A-Za-z_]\w*", key) else f"[{key!r}]" for key in self.path)

    def index_of(self, queue: str) -> str:
        """The name of the index for it in the queue of that name."""
        about = "\0".join((queue, *self.path))
        return f"{PREFIX}{self.kind}_{hashlib.sha256(about.encode()).hexdigest()[:16]}"


def probes_of(expression: Node, columns: Columns = COLUMNS) -> tuple[Probe, ...]:
    """One probe for each conjunct of a checked filter that an index can serve; if several share an index, the first."""
    found: dict[tuple[Keys, Indexed], Probe] = {}
    for node in _conjuncts(expression):
        if (asked := _asked(node)) is None or (probe := _probe(*asked, columns)) is None:
            continue
        found.setdefault((probe.path, probe.kind), probe)
    return tuple(found.values())


def _conjuncts(node: Node) -> Iterator[Node]:
    if isinstance(node, Logical) and node.operator == "&&":
        for operand in node.operands:
            yield from _conjuncts(operand)
    else:
        yield node


_Test = Callable[[Forms, str], str]
"""Writes the test, given the SQL of the expression."""


def _asked(node: Node) -> tuple[Keys, Indexed, _Test] | None:
    match node:
        case Binary(operator="==") if (equal := equality_of(node)) is not None:
            path, value = equal
            return None if value is None else (path, Indexed.TEXT, _one_of([_text(value)]))
        case Binary(operator="in", left=left, right=ListLiteral(elements=elements)):
            texts = [each.value for each in elements if isinstance(each, Literal) and isinstance(each.value, str)]
            path_ = keys_of(left)
            if path_ is not None and texts and len(texts) == len(elements) and storable(list(texts)):
                return path_, Indexed.TEXT, _one_of([_text(each) for each in texts])
        case Call(function="startsWith", target=target, arguments=(Literal(value=str(prefix)),)):
            path_ = None if target is None else keys_of(target)
            if path_ is not None and prefix and storable(prefix):
                return path_, Indexed.TEXT, _begins(prefix)
        case Binary(operator="==" | "<" | "<=" | ">" | ">="):
            return _of_numbers(node)
    return None


def _text(value: Value) -> str:
    return (str(value).lower() if isinstance(value, bool) else str(value))[:CHARACTERS]


def _one_of(texts: list[str]) -> _Test:
    if len(texts) == 1:
        return lambda forms, it: f"{it} = {forms.text_parameter(texts[0])}"
    return lambda forms, it: f"{it} = any (array[{', '.join(map(forms.text_parameter, texts))}])"


def _begins(prefix: str) -> _Test:
    low = prefix[:CHARACTERS]
    high = _following(low)

    def test(forms: Forms, it: str) -> str:
        from_low = f"{it} >= {forms.text_parameter(low)}"
        return from_low if high is None else f"({from_low} and {it} < {forms.text_parameter(high)})"

    return test


def _following(text: str) -> str | None:
    """The first text, in the order of code points, after all that begin with this one; None if there is none."""
    while text and ord(text[-1]) == 0x10FFFF:
        text = text[:-1]
    if not text:
        return None
    after = ord(text[-1]) + 1
    return text[:-1] + chr(0xE000 if after == 0xD800 else after)


def _of_numbers(node: Binary) -> tuple[Keys, Indexed, _Test] | None:
    operator, path, number = node.operator, keys_of(node.left), node.right
    if path is None and operator in MIRRORED:
        operator, path, number = MIRRORED[operator], keys_of(node.right), node.left
    if path is None or not isinstance(number, Literal) or (rounding := number_rounding(number.value)) is None:
        return None
    # Numbers that equal the literal lie between the two ends; larger or smaller numbers lie beyond one of them.
    least, most = _thousandths(rounding.low), _thousandths(rounding.high)

    def test(forms: Forms, it: str) -> str:
        at_least = f"{it} >= {forms.text_parameter(str(least))}::bigint"
        at_most = f"{it} <= {forms.text_parameter(str(most))}::bigint"
        return {">": at_least, ">=": at_least, "<": at_most, "<=": at_most}.get(operator, f"({at_least} and {at_most})")

    return path, Indexed.NUMBER, test


_EXACTLY = Context(prec=2000)


def _thousandths(decimal: str) -> int:
    """The number as the index stores it."""
    number = _EXACTLY.create_decimal(decimal)
    bounded = min(max(number, Decimal(-MOST)), Decimal(MOST))
    return math.floor((bounded * 1000).to_integral_value(rounding=ROUND_FLOOR, context=_EXACTLY))


def _probe(path: Keys, kind: Indexed, test: _Test, columns: Columns) -> Probe | None:
    column, keys = columns.event, path
    while keys and keys[0] in column.parts:
        column, keys = column.parts[keys[0]], keys[1:]
    if not keys:
        return None  # a column of the queue's own
    forms = Forms()
    field = _field(forms, column.holder, keys, kind)
    tested = Forms()
    it = _field(tested, column.holder, keys, kind)
    sql = test(tested, f'{it} collate "C"' if kind is Indexed.TEXT else it)
    return Probe(path, kind, condition_of(field, forms.parameters), condition_of(sql, tested.parameters))


def _field(forms: Forms, holder: str, keys: Keys, kind: Indexed) -> str:
    *above, last = map(forms.text_parameter, keys)
    parent = " -> ".join([holder, *above])
    if kind is Indexed.TEXT:
        return f"left({parent} ->> {last}, {CHARACTERS})"
    value = f"({parent} -> {last})"
    bounded = f"least(greatest({value}::numeric, -{MOST}), {MOST})"
    return f"(case jsonb_typeof{value} when 'number' then floor({bounded} * 1000)::bigint end)"
