"""Many alternatives for one field as a list: `x == 'a' || x == 'b' || …` is `x in ['a', 'b', …]`.

Postgres looks a value up in a long list by its hash. It would extract the field, and compare it, once for each
alternative: minutes for a list of ids that somebody pasted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from secateur.cel.sql.jsonpaths import Keys, equality_of
from secateur.cel.syntax.ast import Binary, ListLiteral, Literal, Logical, Node, Unary
from secateur.cel.types import BOOL

FEWEST: Final = 9
"""From so many constants on, Postgres hashes a list; each of fewer may find an index of its own."""


@dataclass(slots=True)
class _Alternatives:
    """The texts that one field is compared with, and the first of these comparisons."""

    first: Binary
    texts: list[Literal] = field(default_factory=list)

    def as_list(self, *, negated: bool) -> Node:
        compared = self.first.right if isinstance(self.first.left, Literal) else self.first.left
        listed = ListLiteral(tuple(self.texts), self.first.span)
        found = replace(self.first, operator="in", left=compared, right=listed)
        return Unary("!", found, found.span, found.operator_span, BOOL) if negated else found


def gathered(node: Logical) -> tuple[Node, ...]:
    """The operands; many that compare the same field with texts become one, at the end.

    `x != 'a' && x != 'b' && …` likewise. The order of operands does not matter to the value, nor to errors.
    """
    by_field: dict[Keys, _Alternatives] = {}
    compared: dict[int, Keys] = {}
    if len(node.operands) >= FEWEST:
        for place, operand in enumerate(node.operands):
            if (found := _comparison(operand, negated=node.operator == "&&")) is not None:
                keys, comparison, text = found
                by_field.setdefault(keys, _Alternatives(comparison)).texts.append(text)
                compared[place] = keys
    long = {keys: each for keys, each in by_field.items() if len(each.texts) >= FEWEST}
    if not long:
        return node.operands
    others = [each for place, each in enumerate(node.operands) if compared.get(place) not in long]
    return (*others, *(each.as_list(negated=node.operator == "&&") for each in long.values()))


def _comparison(node: Node, *, negated: bool) -> tuple[Keys, Binary, Literal] | None:
    """The field, the comparison and its text, of `field == 'text'` or, negated, `field != 'text'`."""
    if not isinstance(node, Binary) or node.operator != ("!=" if negated else "=="):
        return None
    if (found := equality_of(replace(node, operator="=="))) is None:
        return None
    keys, value = found
    text = node.left if isinstance(node.left, Literal) else node.right
    return (keys, node, text) if isinstance(value, str) and isinstance(text, Literal) else None
