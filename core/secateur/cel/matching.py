"""SQL that is true exactly where the condition is, and cheaper: for counts, which only ask who matches.

Where nothing but *true* matters, false and error may merge, so that Postgres can compare without first asking for
types: under `&&` and `||`, never under `!`, `==` or `?:`. What has no such form is left to the generator.

A containment (`@>`) says as much as equality of a field with a string, a boolean or null, is quicker than extracting
the field, and can use a GIN index (jsonb_path_ops) where somebody made one. jsonpath in strict mode compares numbers
without extracting them either; of its answers only *true* is the language's.
"""

from __future__ import annotations

import json
from typing import Any

from secateur.cel.ast import Binary, Call, Comparison, Index, ListLiteral, Literal, Logical, Name, Node, Select
from secateur.cel.boxes import storable
from secateur.cel.comparisons import MIRRORED, beyond, number_rounding
from secateur.cel.diagnostics import Reporter
from secateur.cel.forms import Forms
from secateur.cel.generator import COLUMNS, Condition, Generator, condition_of
from secateur.cel.values import Value


def generate_matching(node: Node, reporter: Reporter) -> Condition:
    """SQL that is true where the checked filter is; elsewhere false or NULL, which says nothing."""
    forms = Forms()
    matching = _Matching(forms, Generator(forms, COLUMNS, reporter, fold=True))
    return condition_of(matching.sql(node), forms.parameters)


class _Matching:
    def __init__(self, forms: Forms, exact: Generator) -> None:
        self._forms = forms
        self._exact = exact

    def sql(self, node: Node) -> str:
        match node:
            case Logical(operator="&&", operands=operands):
                return self._all(operands)
            case Logical(operands=operands):
                return f"({' or '.join(map(self.sql, operands))})"
            case Binary(operator="=="):
                equality = _equality(node)
                return self._contains(_document(*equality)) if equality else self._as_generated(node)
            case Binary(operator="<" | "<=" | ">" | ">="):
                return self._order(node) or self._as_generated(node)
            case Binary(operator="in", left=left, right=ListLiteral(elements=elements)):
                return self._in(left, elements) or self._as_generated(node)
            case Call(function="startsWith", target=target, arguments=(Literal(value=str(prefix)),)):
                return self._starts(target, prefix) or self._as_generated(node)
            case _:
                return self._as_generated(node)

    def _as_generated(self, node: Node) -> str:
        return self._forms.bool(self._exact.sql(node))

    def _all(self, operands: tuple[Node, ...]) -> str:
        """The equalities among them become one containment, as far as they are about different fields."""
        document: dict[str, Any] = {}
        others = []
        for operand in operands:
            found = _equality(operand)
            if found is None or not _merge(document, *found):
                others.append(self.sql(operand))
        terms = [self._contains(document), *others] if document else others
        return f"({' and '.join(terms)})"

    def _contains(self, document: dict[str, Any]) -> str:
        return f"run.event @> {self._forms.json_parameter(document)}"

    def _order(self, node: Binary) -> str | None:
        """A field against a number, by jsonpath."""
        operator: Comparison = node.operator  # type: ignore[assignment]  # the caller matched it
        path, number = _path(node.left), node.right
        if path is None:
            operator, path, number = MIRRORED[operator], _path(node.right), node.left
        if path is None or not isinstance(number, Literal) or not (rounding := number_rounding(number.value)):
            return None
        sign, bound = beyond(operator, rounding)
        return self._path_match(path, f"{sign} {bound}")

    def _starts(self, target: Node | None, prefix: str) -> str | None:
        path = None if target is None else _path(target)
        if path is None or not storable(prefix):
            return None
        return self._path_match(path, f"starts with {_quoted(prefix)}")

    def _path_match(self, path: tuple[str, ...], predicate: str) -> str:
        keys = "".join(f".{_quoted(key)}" for key in path)
        jsonpath = self._forms.text_parameter(f"strict ${keys} {predicate}")
        return f"jsonb_path_match(run.event, {jsonpath}::jsonpath, silent => true)"

    def _in(self, left: Node, elements: tuple[Node, ...]) -> str | None:
        """A field among strings; the type is asked for only on a hit."""
        path = _path(left)
        texts = [each.value for each in elements if isinstance(each, Literal) and isinstance(each.value, str)]
        if path is None or not texts or len(texts) < len(elements) or not storable(list(texts)):
            return None
        *above, last = map(self._forms.text_parameter, path)
        parent = " -> ".join(["run.event", *above])
        hit = f"{parent} ->> {last} = any (array[{', '.join(map(self._forms.text_parameter, texts))}])"
        return f"({hit} and jsonb_typeof({parent} -> {last}) = 'string')"


def _quoted(text: str) -> str:
    """As jsonpath writes strings and keys."""
    return json.dumps(text, ensure_ascii=False)


def _path(node: Node) -> tuple[str, ...] | None:
    """The keys of a field of the event; None for anything else, the event itself included."""
    match node:
        case Select(operand=operand, field=key) | Index(operand=operand, index=Literal(value=str(key))):
            above = () if isinstance(operand, Name) and operand.name == "event" else _path(operand)
            return None if above is None or not storable(key) else (*above, key)
    return None


def _equality(node: Node) -> tuple[tuple[str, ...], Value] | None:
    """The field and the value, of a node that equates a field with a string, a boolean or null."""
    if not isinstance(node, Binary) or node.operator != "==":
        return None
    for one, other in ((node.left, node.right), (node.right, node.left)):
        path = _path(one)
        if path is not None and isinstance(other, Literal) and (other.value is None or _is_scalar(other.value)):
            return path, other.value
    return None


def _is_scalar(value: Value) -> bool:
    return isinstance(value, (str, bool)) and storable(value)


def _document(path: tuple[str, ...], value: Value) -> dict[str, Any]:
    document: dict[str, Any] = {}
    _merge(document, path, value)
    return document


def _merge(document: dict[str, Any], path: tuple[str, ...], value: Value) -> bool:
    """Put the value in at its path; False where something else stands there."""
    *above, last = path
    for key in above:
        below = document.setdefault(key, {})
        if not isinstance(below, dict):
            return False
        document = below
    if last in document:
        return document[last] == value and type(document[last]) is type(value)
    document[last] = value
    return True
