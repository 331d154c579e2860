"""What an event must contain for a condition to be true of its run, as documents for Postgres's containment (`@>`).

Claims check these first: if an event contains no active cancellation's documents, no condition needs to be evaluated on
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from secateur.cel.sql.boxes import storable
from secateur.cel.sql.jsonpaths import equality_of, keys_of
from secateur.cel.sql.matching import document_of, merge
from secateur.cel.syntax.ast import Binary, ListLiteral, Literal, Logical, Node
from secateur.cel.values import encode_json

MOST_DOCUMENTS = 20
"""With more documents, checking them would cost as much as evaluating the condition."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Whenever the condition is true, the event contains one of `documents`; if `suffices`, the converse holds too."""

    documents: tuple[dict[str, Any], ...]
    suffices: bool

    def stored(self) -> list[str]:
        """As JSON."""
        return [encode_json(document) for document in self.documents]


def requirement_of(node: Node) -> Requirement | None:
    """None if no such document follows from the checked filter."""
    match node:
        case Logical(operator="&&", operands=operands):
            return _of_all(operands)
        case Logical(operator="||", operands=operands):
            return _of_any([requirement_of(operand) for operand in operands])
        case Binary(operator="==") if (equality := equality_of(node)) is not None:
            return Requirement((document_of(*equality),), suffices=True)
        case Binary(operator="in", left=left, right=ListLiteral(elements=elements)):
            return _of_elements(left, elements)
    return None


def _of_all(operands: tuple[Node, ...]) -> Requirement | None:
    """Merges equalities on different fields into one document. Without any, the shortest requirement is enough."""
    document: dict[str, Any] = {}
    rest = []
    for operand in operands:
        equality = equality_of(operand)
        if equality is None or not merge(document, *equality):
            rest.append(operand)
    if document:
        return Requirement((document,), suffices=not rest)
    known = [found for found in map(requirement_of, rest) if found is not None]
    shortest = min(known, key=lambda found: len(found.documents), default=None)
    return shortest and Requirement(shortest.documents, suffices=False)


def _of_any(parts: Iterable[Requirement | None]) -> Requirement | None:
    documents: list[dict[str, Any]] = []
    suffices = True
    for part in parts:
        if part is None:
            return None
        documents += part.documents
        suffices = suffices and part.suffices
    return Requirement(tuple(documents), suffices) if 0 < len(documents) <= MOST_DOCUMENTS else None


def _of_elements(left: Node, elements: tuple[Node, ...]) -> Requirement | None:
    path = keys_of(left)
    values = [element.value for element in elements if isinstance(element, Literal)]
    if path is None or len(values) < len(elements) or not all(isinstance(value, str) for value in values):
        return None
    return _of_any(
        Requirement((document_of(path, value),), suffices=True) if storable(value) else None for value in values
    )
