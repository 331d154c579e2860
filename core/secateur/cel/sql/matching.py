"""SQL that is true for exactly the same runs as the condition, but cheaper. It is for counts.

Where nothing but *true* matters, false and error may merge, so that Postgres can compare without first asking for
types: under `&&` and `||`, and in what `?:` chooses from, but never under `!` or `==`. What has no such form is left to
the generator.

A containment (`@>`) says as much as equality of a field with a string, a boolean or null, is quicker than extracting
the field, and can use a GIN index (jsonb_path_ops) where somebody made one. jsonpath in strict mode compares numbers
without extracting them either; of its answers only *true* is the language's.
"""

from __future__ import annotations

from typing import Any

from secateur.cel.diagnostics import Reporter
from secateur.cel.sql.alternatives import gathered
from secateur.cel.sql.boxes import storable
from secateur.cel.sql.columns import COLUMNS, Columns
from secateur.cel.sql.converting import Forms
from secateur.cel.sql.forms import Sql
from secateur.cel.sql.generator import Condition, Generator, condition_of
from secateur.cel.sql.jsonpaths import Keys, accessor, equality_of, exists_in, keys_of, order_of, quoted, some_element
from secateur.cel.syntax.ast import Binary, Call, Comprehension, Conditional, ListLiteral, Literal, Logical, Node
from secateur.cel.values import UInt, Value


def generate_matching(node: Node, reporter: Reporter, columns: Columns = COLUMNS) -> Condition:
    """SQL that is true where the checked filter is true, and false or NULL elsewhere, without distinction."""
    forms = Forms()
    matching = _Matching(forms, columns.event, Generator(forms, columns.variables, reporter, fold=True, stored=False))
    return condition_of(matching.sql(node), forms.parameters)


class _Matching:
    def __init__(self, forms: Forms, event: Sql, exact: Generator) -> None:
        self._forms = forms
        self._event = event
        self._exact = exact

    def sql(self, node: Node) -> str:
        if (some := some_element(node)) is not None:
            return f"({self._some_element(*some)} and {self._as_generated(node)})"
        match node:
            case Logical(operator="&&"):
                return self._all(gathered(node))
            case Logical():
                return f"({' or '.join(map(self.sql, gathered(node)))})"
            case Binary(operator="=="):
                equality = equality_of(node)
                return self._equal(node, *equality) if equality else self._of_integers(node)
            case Binary(operator="<" | "<=" | ">" | ">="):
                return self._order(node) or self._of_integers(node)
            case Binary(operator="in", left=left, right=ListLiteral(elements=elements)):
                return self._in(left, elements) or self._as_generated(node)
            case Call(function="startsWith", target=target, arguments=(Literal(value=str(prefix)),)):
                return self._starts(target, prefix) or self._as_generated(node)
            case Conditional(condition=condition, then=then, otherwise=otherwise):
                sides = f"when true then {self.sql(then)} when false then {self.sql(otherwise)}"
                return f"(case {self._as_generated(condition)} {sides} end)"
            case Comprehension(macro="exists"):
                return self._exists(node) or self._as_generated(node)
            case _:
                return self._as_generated(node)

    def _as_generated(self, node: Node) -> str:
        return self._forms.bool(self._exact.sql(node))

    def _all(self, operands: tuple[Node, ...]) -> str:
        """Merges equalities on different fields of a column into one containment."""
        documents: dict[str, dict[str, Any]] = {}
        others = []
        for operand in operands:
            found = equality_of(operand)
            column, keys = self._place_of(found[0]) if found else (self._event, ())
            if not found or not keys or not merge(documents.setdefault(column.holder, {}), keys, found[1]):
                others.append(self.sql(operand))
        terms = [self._contains(holder, document) for holder, document in documents.items()]
        return f"({' and '.join([*terms, *others])})"

    def _equal(self, node: Node, path: Keys, value: Value) -> str:
        column, keys = self._place_of(path)
        if keys:
            return self._contains(column.holder, document_of(keys, value))
        if column.content and isinstance(value, str):
            return f"{column.content} = {self._forms.text_parameter(value)}"
        return self._as_generated(node)  # containment would also find a list that has the value

    def _contains(self, holder: str, document: dict[str, Any]) -> str:
        return f"{holder} @> {self._forms.json_parameter(document)}"

    def _place_of(self, path: Keys) -> tuple[Sql, Keys]:
        """The column that holds the field, and the keys that lead to it from there."""
        column = self._event
        while path and path[0] in column.parts:
            column, path = column.parts[path[0]], path[1:]
        return column, path

    def _order(self, node: Binary) -> str | None:
        found = order_of(node)
        if found is None:
            return None
        column, keys = self._place_of(found[0])
        return self._path_match(column, f"{accessor(keys)} {found[1]}")

    def _exists(self, node: Comprehension) -> str | None:
        path = keys_of(node.operand)
        if path is None or node.predicate is None:
            return None
        column, keys = self._place_of(path)
        found = exists_in(keys, node.predicate, node.variable)
        return None if found is None else self._path_match(column, found)

    def _some_element(self, path: Keys, test: str) -> str:
        column, keys = self._place_of(path)
        return self._path_match(column, f"exists({accessor(keys)}[*] ? ({test}))")

    def _of_integers(self, node: Binary) -> str:
        """Integer arithmetic. jsonpath comes first: it finds all matches, maybe more, as it accepts doubles."""
        exact = self._as_generated(node)
        columns: list[Sql] = []
        left, right = self._integer(node.left, columns), self._integer(node.right, columns)
        if left is None or right is None or not isinstance(node.left, Binary):
            return exact
        if len({column.holder for column in columns}) != 1:
            return exact
        return f"({self._path_match(columns[0], f'{left} {node.operator} {right}')} and {exact})"

    def _integer(self, node: Node, columns: list[Sql]) -> str | None:
        """As jsonpath: a literal int, or arithmetic that fails unless all operands are ints.

        `columns` gets the columns of its fields.
        """
        match node:
            case Literal(value=int(value)) if not isinstance(value, bool | UInt):
                return f"({value})"
            case Binary(operator="+" | "-" | "*" | "%" as operator, left=left, right=right):
                sides = self._integer(left, columns), self._integer(right, columns)
                if sides == (None, None):
                    return None  # two fields: they may be doubles, which round
                one, other = (
                    known or self._field(side, columns) for known, side in zip(sides, (left, right), strict=True)
                )
                return None if one is None or other is None else f"({one} {operator} {other})"
        return None

    def _field(self, node: Node, columns: list[Sql]) -> str | None:
        if (path := keys_of(node)) is None:
            return None
        column, keys = self._place_of(path)
        columns.append(column)
        return accessor(keys)

    def _starts(self, target: Node | None, prefix: str) -> str | None:
        path = None if target is None else keys_of(target)
        if path is None or not storable(prefix):
            return None
        column, keys = self._place_of(path)
        if not keys and column.content:
            return f"starts_with({column.content}, {self._forms.text_parameter(prefix)})"
        return self._path_match(column, f"{accessor(keys)} starts with {quoted(prefix)}")

    def _path_match(self, column: Sql, predicate: str) -> str:
        jsonpath = self._forms.text_parameter(f"strict {predicate}")
        return f"jsonb_path_match({column.holder}, {jsonpath}::jsonpath, silent => true)"

    def _in(self, left: Node, elements: tuple[Node, ...]) -> str | None:
        """A field in a list of strings. The field's type is checked only if the text is in the list."""
        path = keys_of(left)
        texts = [each.value for each in elements if isinstance(each, Literal) and isinstance(each.value, str)]
        if path is None or not texts or len(texts) < len(elements) or not storable(list(texts)):
            return None
        column, keys = self._place_of(path)
        listed = f"any (array[{', '.join(map(self._forms.text_parameter, texts))}])"
        if not keys:
            return f"{column.content} = {listed}" if column.content else None
        *above, last = map(self._forms.text_parameter, keys)
        parent = " -> ".join([column.holder, *above])
        return f"({parent} ->> {last} = {listed} and jsonb_typeof({parent} -> {last}) = 'string')"


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
