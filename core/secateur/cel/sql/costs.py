"""Estimates what an expression costs in Postgres before it runs, so that no filter can hold up a queue.

A filter is evaluated on every run that is claimed, and some of its operations cannot be interrupted. The sender bounds
the payload, so an honest payload's size is assumed. What an expression builds from its own literals is bounded only
here.

Costs are in microseconds for one run, sizes in elements of a list and characters of everything in it. Both are upper
bounds for literals and what is made of them, and guesses for a payload: within a factor of about five of what was
measured on Postgres 15. What costs more all the same is dealt with when it happens: see `verdicts` in conditions.sql.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secateur.cel import messages as say
from secateur.cel.diagnostics import Reporter
from secateur.cel.paths import children
from secateur.cel.syntax.ast import (
    Binary,
    Call,
    Comprehension,
    Conditional,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Name,
    Node,
)

MOST_MICROSECONDS: Final = 2_000_000
MOST_CHARACTERS: Final = 10_000_000
"""Characters in everything that one part of an expression builds."""

_LONGEST_TEXT: Final = 1_000_000
_LONGEST_LIST: Final = 10_000
_PAYLOAD_ELEMENTS: Final = 50
_PAYLOAD_CHARACTERS: Final = 50
"""Characters in one text."""

_STEP: Final = 0.5
"""For an operator or a field."""
_BOXED: Final = 5.0
"""For arithmetic and most functions: a call of PL/pgSQL."""
_CHARACTER: Final = 0.002
"""For reading or copying a character once."""
_MATCHED: Final = 0.01
"""For matching a character against a pattern."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bounds of a value. A text has no elements."""

    characters: float
    elements: float = 0


@dataclass(frozen=True, slots=True)
class CostEstimate:
    cost: float
    size: Size


_SCALAR = Size(8)
_UNKNOWN = Size(_PAYLOAD_CHARACTERS, _PAYLOAD_ELEMENTS)
"""For a value from the payload, which may be a text or a list."""


def check_costs(root: Node, reporter: Reporter) -> None:
    """Report every part that takes too long or builds too much, with the figure."""
    _Estimator(reporter).estimate(root, {})


class _Estimator:
    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._refused = False

    def estimate(self, node: Node, elements: Mapping[str, Size]) -> CostEstimate:
        """Raises nothing. Only the innermost part that exceeds a limit is reported."""
        estimate = self._of(node, elements)
        if not self._refused and estimate.size.characters > MOST_CHARACTERS:
            self._refused = True
            self._reporter.error(node.span, say.makes_too_much(estimate.size.characters), say.LOOP_OVER_LESS)
        elif not self._refused and estimate.cost > MOST_MICROSECONDS:
            self._refused = True
            self._reporter.error(node.span, say.takes_too_long(estimate.cost / 1e6), say.LOOP_OVER_LESS)
        return estimate

    def _of(self, node: Node, elements: Mapping[str, Size]) -> CostEstimate:
        match node:
            case Literal(value=value):
                return CostEstimate(0, Size(len(value)) if isinstance(value, (str, bytes)) else _SCALAR)
            case Name(name=name):
                return CostEstimate(0, elements.get(name, _UNKNOWN))
            case Comprehension():
                return self._loop(node, elements)
            case Call():
                return self._call(node, [self.estimate(operand, elements) for operand in node.operands])
        parts = [self.estimate(child, elements) for child in children(node)]
        cost = _STEP + sum(part.cost for part in parts)
        match node:
            case Binary(operator="+"):
                return self._sum(cost, parts)
            case Binary(operator="==" | "!=" | "<" | "<=" | ">" | ">="):
                return CostEstimate(cost + _CHARACTER * min(part.size.characters for part in parts), _SCALAR)
            case Binary(operator="in"):
                looked_through = parts[1].size.elements or parts[1].size.characters
                return CostEstimate(cost + _BOXED + _STEP / 5 * looked_through, _SCALAR)
            case Binary():
                return CostEstimate(cost + _BOXED, _SCALAR)
            case Logical():
                return CostEstimate(cost, _SCALAR)
            case Conditional():
                return CostEstimate(cost, _largest(parts[1:]))
            case ListLiteral() | MapLiteral():
                characters = sum(part.size.characters for part in parts)
                return CostEstimate(cost + _STEP * len(parts), Size(characters, len(parts)))
            case _:
                # A field or an element is no larger than the value it is taken from.
                return CostEstimate(cost, parts[0].size if parts else _UNKNOWN)

    def _sum(self, cost: float, parts: list[CostEstimate]) -> CostEstimate:
        size = Size(
            min(sum(part.size.characters for part in parts), _LONGEST_TEXT),
            min(sum(part.size.elements for part in parts), _LONGEST_LIST),
        )
        return CostEstimate(cost + _BOXED + _CHARACTER * size.characters, size)

    def _loop(self, node: Comprehension, elements: Mapping[str, Size]) -> CostEstimate:
        over = self.estimate(node.operand, elements)
        count = over.size.elements or _PAYLOAD_ELEMENTS
        element = Size(over.size.characters / max(1, over.size.elements), _PAYLOAD_ELEMENTS)
        inside = {**elements, node.variable: element}
        said = self.estimate(node.predicate, inside) if node.predicate else CostEstimate(0, _SCALAR)
        made = self.estimate(node.transform, inside) if node.transform else CostEstimate(0, element)
        cost = over.cost + count * (_STEP + said.cost + made.cost)
        if node.macro not in ("map", "filter"):
            return CostEstimate(cost, _SCALAR)
        size = Size(count * made.size.characters, count)
        return CostEstimate(cost + _CHARACTER * size.characters, size)

    def _call(self, node: Call, parts: list[CostEstimate]) -> CostEstimate:
        cost = sum(part.cost for part in parts)
        given = parts[0].size if parts else _SCALAR
        read = _CHARACTER * given.characters
        match node.function:
            case "matches":
                return CostEstimate(cost + _STEP + _MATCHED * given.characters, _SCALAR)
            case "startsWith" | "endsWith" | "contains" | "size":
                return CostEstimate(cost + _STEP + read, _SCALAR)
            case "replace" if len(parts) > 2:
                old, new = parts[1].size.characters, parts[2].size.characters
                times = given.characters / max(1, old)
                longest = min(_LONGEST_TEXT, given.characters + times * max(0, new - old) + (new if old == 0 else 0))
                return CostEstimate(cost + _BOXED + _CHARACTER * longest, Size(longest))
            case "split" if len(parts) > 1:
                count = min(_LONGEST_LIST, given.characters / max(1, parts[1].size.characters) + 1)
                return CostEstimate(cost + _BOXED + _STEP * count + read, Size(given.characters, count))
            case "join":
                separators = parts[1].size.characters if len(parts) > 1 else 0
                longest = min(_LONGEST_TEXT, given.characters + separators * given.elements)
                return CostEstimate(cost + _BOXED + _STEP * given.elements + _CHARACTER * longest, Size(longest))
            case _:
                return CostEstimate(cost + _BOXED + read, Size(given.characters, given.elements))


def _largest(parts: list[CostEstimate]) -> Size:
    return Size(max(part.size.characters for part in parts), max(part.size.elements for part in parts))
