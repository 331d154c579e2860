"""The expression in SQL: a typed tree becomes a condition and its parameters.

The condition is three-valued: true, false, or NULL for an error. `and`, `or` and `not` then absorb errors just as the
language does. No part of it can raise, because Postgres guarantees an order of evaluation only inside CASE. Every
literal and every field name becomes a parameter.

Common comparisons become Postgres operators on jsonb. Everything else calls versioned functions of the schema
`secateur_cel`, which take boxes (see boxes.py).

Example: `event.data.vendor == 'acme' && event.data.amount + 1 > event.data.limit`. `Generator.sql` goes down the tree,
and each node returns its SQL with the form that the value has in it (forms.py):

    event.data.vendor     run.event -> 'data' -> 'vendor'              JSON: as it stands in the payload
    'acme'                not written yet                              CONSTANT: takes the form that its neighbour needs
    … == …                <vendor> = '"acme"'::jsonb                   BOOL: jsonb compared with jsonb, no helper
    event.data.amount + 1 int_v1(json_int_v1(<amount>) + 1::numeric)   NUMBER: NULL, an error, for a double such as 1.5
    … > event.data.limit  less_v1(box_json_v1(<limit>), box_number_v1(<sum>))   BOOL: the limit may be of any type
    … && …                (<equal> and <less>)                         BOOL: false and NULL is false

Every literal and field name above stands as a parameter in the real text: `run.event -> $1::text -> $2::text = …`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, assert_never

from secateur.cel import messages as say
from secateur.cel import timestamps as times
from secateur.cel.diagnostics import EvaluationError, Reporter
from secateur.cel.python.operations import build_map
from secateur.cel.sql.alternatives import gathered
from secateur.cel.sql.boxes import storable
from secateur.cel.sql.calls import Calls
from secateur.cel.sql.columns import COLUMNS, NOW, Columns
from secateur.cel.sql.comparisons import compare, number_rounding, within
from secateur.cel.sql.converting import Forms
from secateur.cel.sql.forms import ERROR, Form, Sql, boolean, constant
from secateur.cel.sql.loops import Loops
from secateur.cel.syntax.ast import (
    Binary,
    Call,
    Comprehension,
    Conditional,
    Has,
    HasVariable,
    Index,
    Invalid,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Name,
    Node,
    Select,
    Span,
    Unary,
)
from secateur.cel.types import BOOL, INT
from secateur.cel.values import Duration, Value

MAX_SQL: Final = 200_000

_HELPER = re.compile(r"\bsecateur_cel\.(\w+)")
_PLACEHOLDER = re.compile(r"\$(\w+)\b")
_NAMED = ("now", "async")
"""Placeholders for values known only later: the time, and the event that arrives."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A boolean expression over a relation called `run`.

    It may read `run.id, app_id, function_id, event, started_at, priority` and, in searches, `status, attempt,
    scheduled_for`; over `COLUMNS_OF_PARTS` also `name, data`. Every parameter is text and is cast where it is used;
    `$now` stands for the frozen time, `$async` for the event that cancels, as JSON. Over `COLUMNS`, a field that only
    some queues have is a parameter with its name, such as `$queue`.
    """

    sql: str
    parameters: tuple[str | None, ...]

    @property
    def helpers(self) -> frozenset[str]:
        """The functions of the schema `secateur_cel` that it calls, and that must be installed for it to run."""
        return frozenset(_HELPER.findall(self.sql))

    def bind(self, first: int, now: datetime | None, arrived: str | None = None) -> tuple[str, list[str | None]]:
        """The SQL with its placeholders from `$first` on, and the values for them; `arrived` is an event's JSON."""
        values = list(self.parameters)
        places: dict[str, int] = {}
        moment = None if now is None else times.format_timestamp(times.from_datetime(now))
        for name, value in zip(_NAMED, (moment, arrived), strict=True):
            if f"${name}" in self.sql:
                if value is None:
                    raise ValueError(f"the condition needs ${name}")
                values.append(value)
                places[name] = len(values)

        def renumbered(match: re.Match[str]) -> str:
            number = places.get(match[1]) or int(match[1])
            return f"${first + number - 1}"

        return _PLACEHOLDER.sub(renumbered, self.sql), values

    def stored(self) -> tuple[str, dict[str, str | None]]:
        """What a cancellation stores: the SQL and its parameters by number. The commit adds the named ones."""
        return self.sql, {str(number): value for number, value in enumerate(self.parameters, start=1)}


def generate(node: Node, reporter: Reporter, columns: Columns = COLUMNS, *, stored: bool = True) -> Condition:
    """The condition for a checked filter. Parts that cannot become SQL are reported to `reporter`."""
    forms = Forms()
    sql = forms.bool(Generator(forms, columns.variables, reporter, fold=True, stored=stored).sql(node))
    if len(sql) > MAX_SQL:
        reporter.error(node.span, say.TOO_LARGE)
    return condition_of(sql, forms.parameters)


def generate_value(node: Node, variables: Mapping[str, Sql], reporter: Reporter) -> Condition:
    """SQL whose result is the expression's value in a box, NULL for an error.

    `variables` says where each is found: a column, or a given value by `given`. Nothing is computed beforehand: every
    call runs in Postgres.
    """
    forms = Forms()
    sql = forms.box(Generator(forms, variables, reporter, fold=False).sql(node))
    return condition_of(sql, forms.parameters)


def given(value: Value, *, json: bool) -> Sql:
    """A variable that becomes a parameter; `json` if it is plain JSON."""
    return Sql("", Form.JSON, plain=True, value=value) if json else constant(value)


def condition_of(sql: str, parameters: Sequence[str]) -> Condition:
    """A condition with its parameters in the order of their use, without unused ones."""
    used = list(dict.fromkeys(number for number in _PLACEHOLDER.findall(sql) if number.isdigit()))
    places = {number: place for place, number in enumerate(used, start=1)}
    renumbered = _PLACEHOLDER.sub(lambda match: f"${places.get(match[1], match[1])}", sql)
    return Condition(renumbered, tuple(parameters[int(number) - 1] for number in used))


_YEAR = 366 * 86_400 * 1_000_000_000
_ARITHMETIC = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "modulo"}


class Generator:
    """With `fold`, constants are computed beforehand. If the SQL may be `stored`, its text does not change without a
    new `COMPILER_VERSION`."""

    def __init__(
        self, forms: Forms, columns: Mapping[str, Sql], reporter: Reporter, *, fold: bool, stored: bool = True
    ) -> None:
        self._forms = forms
        self._columns = columns
        self._reporter = reporter
        self._fold = fold
        self._stored = stored
        self._calls = Calls(forms, reporter, fold=fold)
        self._loops = Loops(forms, self)
        self._nesting = 0

    def sql(self, node: Node) -> Sql:
        forms = self._forms
        match node:
            case Literal(value=value):
                self._check_text(value, node.span)
                return constant(value)
            case Name(name=name):
                return self._variable(name, node.span)
            case HasVariable(name=name):
                return boolean(f"({self._columns[name].text} is not null)")
            case Select(field=field):
                return self._select(self.sql(node.operand), field)
            case Has():
                self._check_text(node.field, node.field_span)
                return self._has(self.sql(node.operand), node.field)
            case Index():
                return self._index(node)
            case Unary(operator="!"):
                return boolean(f"(not {forms.bool(self.sql(node.operand))})")
            case Unary():
                return self._boxed("negate", self.sql(node.operand))
            case Binary():
                return self._binary(node)
            case Logical():
                joined = " and " if node.operator == "&&" else " or "
                return boolean(f"({joined.join(forms.bool(self.sql(operand)) for operand in gathered(node))})")
            case Conditional():
                return self._conditional(node)
            case Call(function="size", operands=(sized,)) if (count := self._loops.size(sized)) is not None:
                return count
            case Call():
                return self._calls.sql(node, tuple(map(self.sql, node.operands)))
            case Comprehension():
                return self._loops.macro(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Invalid():
                return ERROR
            case _:
                assert_never(node)

    def _variable(self, name: str, span: Span) -> Sql:
        """The variable's column, or the parameter that holds its value."""
        column = self._columns.get(name)
        if column is None:
            return Sql("null::jsonb", Form.BOX)
        self._check_text(column.value, span)
        if column.form is Form.JSON and not column.text:
            return replace(column, text=self._forms.json_parameter(column.value))
        return column

    def _check_text(self, value: Value, span: Span) -> None:
        if not storable(value):
            self._reporter.error(span, say.NOT_STORABLE)

    def _boxed(self, function: str, *operands: Sql) -> Sql:
        arguments = ", ".join(map(self._forms.box, operands))
        return Sql(f"secateur_cel.{function}_v1({arguments})", Form.BOX)

    def _select(self, operand: Sql, field: str) -> Sql:
        if (part := operand.parts.get(field)) is not None:
            return part
        name = self._forms.text_parameter(field)
        if operand.form is Form.JSON:
            path = f"{operand.holder} -> {name}"
            return Sql(path, Form.JSON, plain=operand.plain, content=f"{operand.holder} ->> {name}")
        return Sql(f"secateur_cel.select_v1({self._forms.box(operand)}, {name})", Form.BOX)

    def _has(self, operand: Sql, field: str) -> Sql:
        if field in operand.parts:
            return constant(True)
        name, path = self._forms.text_parameter(field), operand.holder
        if operand.form is not Form.JSON:
            return boolean(f"secateur_cel.has_v1({self._forms.box(operand)}, {name})")
        if operand.plain:
            return boolean(f"case jsonb_typeof({path}) when 'object' then {path} ? {name} end")
        return boolean(f"secateur_cel.json_has_v1({path}, {name})")

    def _index(self, node: Index) -> Sql:
        operand, index = self.sql(node.operand), self.sql(node.index)
        if operand.form is Form.JSON and index.form is Form.CONSTANT:
            if isinstance(index.value, str):
                return self._select(operand, index.value)
            if type(index.value) is int and 0 <= index.value < 2**31:
                position = f"{self._forms.text_parameter(str(index.value))}::int"
                element = f"secateur_cel.json_element_v1({operand.text}, {position})"
                return Sql(element, Form.JSON, plain=operand.plain and not self._stored)
        return self._boxed("index", operand, index)

    def _binary(self, node: Binary) -> Sql:
        left = self.sql(node.left)
        if node.operator == "in" and (found := self._loops.contains(left, node.right)) is not None:
            return found
        right = self.sql(node.right)
        match node.operator:
            case "==" | "!=" | "<" | "<=" | ">" | ">=":
                return compare(node.operator, left, right, self._forms)
            case "in":
                return self._in(left, right)
            case "+" | "-" | "*" | "/" | "%":
                shifted = self._shifted(node.operator, left, right)
                return shifted or self._integers(node, left, right) or self._arithmetic(node, left, right)
            case _:
                assert_never(node.operator)

    def _arithmetic(self, node: Binary, left: Sql, right: Sql) -> Sql:
        return self._boxed(_ARITHMETIC[node.operator], left, right)

    def _integers(self, node: Binary, left: Sql, right: Sql) -> Sql | None:
        """Integer arithmetic in numeric, such as `event.data.amount * 2`, which is an error for a double."""
        divides = node.operator in ("/", "%")
        if node.type != INT or (divides and (type(right.value) is not int or right.value in (0, -1))):
            return None
        one, other = self._forms.integer(left), self._forms.integer(right)
        if one is None or other is None:
            return None
        if divides:
            return Sql(f"{'div' if node.operator == '/' else 'mod'}({one}, {other})", Form.NUMBER)
        return Sql(f"secateur_cel.int_v1({one} {node.operator} {other})", Form.NUMBER)

    def _shifted(self, operator: str, left: Sql, right: Sql) -> Sql | None:
        """A column's time plus or minus a literal duration."""
        if left.form is not Form.TIME or not isinstance(right.value, Duration):
            return None
        nanoseconds = right.value.nanoseconds if operator == "+" else -right.value.nanoseconds
        if left is NOW and abs(nanoseconds) < 1_000 * _YEAR:
            by = f"{self._forms.text_parameter(f'{nanoseconds // 1000} microseconds')}::interval"
            return Sql(f"({left.text} + {by})", Form.TIME)
        by = f"{self._forms.text_parameter(str(nanoseconds))}::numeric"
        return Sql(f"secateur_cel.shift_v1({left.text}, {by})", Form.TIME)

    def _in(self, element: Sql, container: Sql) -> Sql:
        native = None
        if container.form is Form.CONSTANT and isinstance(container.value, list):
            native = self._in_literal(element, container.value)
        elif container.form is Form.JSON and container.plain and isinstance(element.value, str):
            native = self._in_payload(element.value, container.text)
        return boolean(native) if native else self._as_boolean("in", element, container)

    def _as_boolean(self, function: str, *operands: Sql) -> Sql:
        return boolean(self._boxed(function, *operands).text)

    def _in_literal(self, element: Sql, values: list[Value]) -> str | None:
        forms = self._forms
        if not values or not element.plain or element.form not in (Form.JSON, Form.TEXT):
            return None
        texts = [value for value in values if isinstance(value, str)]
        if element.form is Form.TEXT:
            if len(texts) < len(values):
                return None
            return f"{element.text} = any (array[{', '.join(map(forms.text_parameter, texts))}])"
        scalars = [value for value in values if value is None or isinstance(value, (str, bool))]
        roundings = [
            number_rounding(value) for value in values if value is not None and not isinstance(value, (str, bool))
        ]
        if None in roundings:
            return None
        terms = [within(element.text, rounding, forms) for rounding in roundings if rounding]
        if scalars:
            terms.insert(0, f"{element.text} = any (array[{', '.join(map(forms.json_parameter, scalars))}])")
        return f"({' or '.join(terms)})"

    def _in_payload(self, text: str, path: str) -> str:
        item, key = self._forms.json_parameter(text), self._forms.text_parameter(text)
        inside = f"when 'array' then {path} @> {item} when 'object' then {path} ? {key}"
        return f"case jsonb_typeof({path}) {inside} end"

    def _conditional(self, node: Conditional) -> Sql:
        condition = self._forms.bool(self.sql(node.condition))
        then, otherwise = self.sql(node.then), self.sql(node.otherwise)
        if node.type == BOOL and not self._stored:
            one, other = map(self._forms.bool, (then, otherwise))
            return boolean(f"(case {condition} when true then {one} when false then {other} end)")
        form = then.form if then.form is otherwise.form and then.form is not Form.CONSTANT else Form.BOX
        one, other = (side.text if side.form is form else self._forms.box(side) for side in (then, otherwise))
        return Sql(f"(case {condition} when true then {one} when false then {other} end)", form)

    def next_item(self) -> str:
        return f"item{self._nesting + 1}"

    def inside(self, node: Node, variable: str, value: Sql) -> Sql:
        outer = self._columns
        self._columns = {**outer, variable: value}
        self._nesting += 1
        sql = self.sql(node)
        self._columns = outer
        self._nesting -= 1
        return sql

    def _list(self, node: ListLiteral) -> Sql:
        elements = list(map(self.sql, node.elements))
        if self._fold and all(element.form is Form.CONSTANT for element in elements):
            return constant([element.value for element in elements])
        return Sql(f"secateur_cel.list_v1(array[{', '.join(map(self._forms.box, elements))}]::jsonb[])", Form.BOX)

    def _map(self, node: MapLiteral) -> Sql:
        entries = [(self.sql(key), self.sql(value)) for key, value in node.entries]
        parts = [part for entry in entries for part in entry]
        if self._fold and all(part.form is Form.CONSTANT for part in parts):
            try:
                return constant(build_map([(key.value, value.value) for key, value in entries]))
            except EvaluationError:
                pass
        return Sql(f"secateur_cel.map_v1(array[{', '.join(map(self._forms.box, parts))}]::jsonb[])", Form.BOX)
