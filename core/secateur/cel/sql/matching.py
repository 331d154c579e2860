"""SQL that is true for exactly the same runs as the condition, but cheaper. It is for counts.

Where nothing but *true* matters, false and error may merge, so that Postgres can compare without first asking for
types: under `&&` and `||`, never under `!`, `==` or `?:`. What has no such form is left to the generator.

A containment (`@>`) says as much as equality of a field with a string, a boolean or null, is quicker than extracting
the field, and can use a GIN index (jsonb_path_ops) where somebody made one. jsonpath in strict mode compares numbers
without extracting them either; of its answers only *true* is the language's.
"""

from __future__ import annotations

from typing import Any

from secateur.cel.diagnostics import Reporter
from secateur.cel.sql.boxes import storable
from secateur.cel.sql.forms import Forms
from secateur.cel.sql.generator import COLUMNS, Condition, Generator, condition_of
from secateur.cel.sql.jsonpaths import accessor, equality_of, order_of, path_of, quoted, some_element, test_of
from secateur.cel.syntax.ast import Binary, Call, Comprehension, ListLiteral, Literal, Logical, Node
from secateur.cel.values import UInt, Value


def generate_matching(node: Node, reporter: Reporter) -> Condition:
    """SQL that is true where the checked filter is true, and false or NULL elsewhere, without distinction."""
    forms = Forms()
    matching = _Matching(forms, Generator(forms, COLUMNS, reporter, fold=True))
    return condition_of(matching.sql(node), forms.parameters)


class _Matching:
    def __init__(self, forms: Forms, exact: Generator) -> None:
        self._forms = forms
        self._exact = exact

    def sql(self, node: Node) -> str:
        if (some := some_element(node)) is not None:
            return f"({self._path_match(some)} and {self._as_generated(node)})"
        match node:
            case Logical(operator="&&", operands=operands):
                return self._all(operands)
            case Logical(operands=operands):
                return f"({' or '.join(map(self.sql, operands))})"
            case Binary(operator="=="):
                equality = equality_of(node)
                return self._contains(document_of(*equality)) if equality else self._of_integers(node)
            case Binary(operator="<" | "<=" | ">" | ">="):
                return self._order(node) or self._of_integers(node)
            case Binary(operator="in", left=left, right=ListLiteral(elements=elements)):
                return self._in(left, elements) or self._as_generated(node)
            case Call(function="startsWith", target=target, arguments=(Literal(value=str(prefix)),)):
                return self._starts(target, prefix) or self._as_generated(node)
            case Comprehension(macro="exists"):
                return self._exists(node) or self._as_generated(node)
            case _:
                return self._as_generated(node)

    def _as_generated(self, node: Node) -> str:
        return self._forms.bool(self._exact.sql(node))

    def _all(self, operands: tuple[Node, ...]) -> str:
        """Merges equalities on different fields into one containment."""
        document: dict[str, Any] = {}
        others = []
        for operand in operands:
            found = equality_of(operand)
            if found is None or not merge(document, *found):
                others.append(self.sql(operand))
        terms = [self._contains(document), *others] if document else others
        return f"({' and '.join(terms)})"

    def _contains(self, document: dict[str, Any]) -> str:
        return f"run.event @> {self._forms.json_parameter(document)}"

    def _order(self, node: Binary) -> str | None:
        found = order_of(node)
        return self._path_match(f"{accessor(found[0])} {found[1]}") if found else None

    def _exists(self, node: Comprehension) -> str | None:
        path = path_of(node.operand)
        test = None if node.predicate is None else test_of(node.predicate, {node.variable: ()})
        return self._path_match(f"exists({accessor(path)}[*] ? ({test}))") if path and test else None

    def _of_integers(self, node: Binary) -> str:
        """Integer arithmetic. jsonpath comes first: it finds all matches, maybe more, as it accepts doubles."""
        exact = self._as_generated(node)
        left, right = _integer(node.left), _integer(node.right)
        if left is None or right is None or not isinstance(node.left, Binary):
            return exact
        return f"({self._path_match(f'{left} {node.operator} {right}')} and {exact})"

    def _starts(self, target: Node | None, prefix: str) -> str | None:
        path = None if target is None else path_of(target)
        if path is None or not storable(prefix):
            return None
        return self._path_match(f"{accessor(path)} starts with {quoted(prefix)}")

    def _path_match(self, predicate: str) -> str:
        jsonpath = self._forms.text_parameter(f"strict {predicate}")
        return f"jsonb_path_match(run.event, {jsonpath}::jsonpath, silent => true)"

    def _in(self, left: Node, elements: tuple[Node, ...]) -> str | None:
        """A field in a list of strings. The field's type is checked only if the text is in the list."""
        path = path_of(left)
        texts = [each.value for each in elements if isinstance(each, Literal) and isinstance(each.value, str)]
        if path is None or not texts or len(texts) < len(elements) or not storable(list(texts)):
            return None
        *above, last = map(self._forms.text_parameter, path)
        parent = " -> ".join(["run.event", *above])
        hit = f"{parent} ->> {last} = any (array[{', '.join(map(self._forms.text_parameter, texts))}])"
        return f"({hit} and jsonb_typeof({parent} -> {last}) = 'string')"


def _integer(node: Node) -> str | None:
    """As jsonpath: a literal int, or arithmetic that fails unless all operands are ints."""
    match node:
        case Literal(value=int(value)) if not isinstance(value, bool | UInt):
            return f"({value})"
        case Binary(operator="+" | "-" | "*" | "%" as operator, left=left, right=right):
            sides = _integer(left), _integer(right)
            if sides == (None, None):
                return None  # two fields: they may be doubles, which round
            one, other = (known or _field(side) for known, side in zip(sides, (left, right), strict=True))
            return None if one is None or other is None else f"({one} {operator} {other})"
    return None


def _field(node: Node) -> str | None:
    path = path_of(node)
    return None if path is None else accessor(path)


def document_of(path: tuple[str, ...], value: Value) -> dict[str, Any]:
    document: dict[str, Any] = {}
    merge(document, path, value)
    return document


def merge(document: dict[str, Any], path: tuple[str, ...], value: Value) -> bool:
    """Put the value at its path. False if the document has something else there."""
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
