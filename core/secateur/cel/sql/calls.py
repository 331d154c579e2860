"""Calls in SQL: the templates of the library, and the functions whose SQL depends on how their operands are written."""

from __future__ import annotations

from collections.abc import Callable

from secateur.cel import messages as say
from secateur.cel import timestamps as times
from secateur.cel.diagnostics import EvaluationError, Reporter
from secateur.cel.library import FUNCTIONS, CelFunction, Overload
from secateur.cel.patterns import PatternError, translate
from secateur.cel.sql.converting import Forms
from secateur.cel.sql.forms import ERROR, Form, Sql, boolean, constant, content
from secateur.cel.syntax.ast import Call, Literal
from secateur.cel.types import BOOL, INT, STRING, Type
from secateur.cel.values import Value
from secateur.cel.zones import zone

_RESULTS = {BOOL: Form.BOOL, STRING: Form.TEXT, INT: Form.NUMBER}
"""The form in which a template gives a type; any other is a box."""


class Calls:
    """With `fold`, literal times and durations are parsed beforehand."""

    def __init__(self, forms: Forms, reporter: Reporter, *, fold: bool) -> None:
        self._forms = forms
        self._reporter = reporter
        self._fold = fold

    def sql(self, node: Call, operands: tuple[Sql, ...]) -> Sql:
        function = FUNCTIONS[node.function]
        overloads = function.overloads_for(len(operands), member=node.target is not None)
        if not overloads:
            return ERROR
        if function.sql is not None:
            return self._filled(function, function.sql, overloads, operands)
        match function.name, operands:
            case "matches", (text, pattern):
                return self._matches(node, self._forms.string(text), pattern.value)
            case "size", (sized,):
                return self._size(sized)
            case "timestamp", (given,):
                self._check_fraction(node, times.parse_timestamp)
                return self._timestamp(given)
            case "duration", (given,):
                self._check_fraction(node, times.parse_duration)
                folded = self._folded(times.parse_duration, given)
                return folded or Sql(f"secateur_cel.to_duration_v1({self._forms.box(given)})", Form.BOX)
            case "dyn", (given,):
                return given
        return self._part(node, operands)

    def _filled(
        self, function: CelFunction, template: str, overloads: list[Overload], operands: tuple[Sql, ...]
    ) -> Sql:
        """The function's template with its operands, and with defaults for omitted ones."""
        overload = max(function.overloads, key=lambda each: len(each.parameters))
        missing = len(overload.parameters) - len(operands)
        if missing and function.defaults:
            operands = (*operands, *map(constant, function.defaults[-missing:]))
        else:
            overload = overloads[0]
        kinds = [{each.parameters[place] for each in overloads} for place in range(len(overloads[0].parameters))]
        kinds += [{type_} for type_ in overload.parameters[len(kinds) :]]
        texts = [self._operand(sql, types) for sql, types in zip(operands, kinds, strict=True)]
        form = Form.BOX if function.boxed else _RESULTS.get(overload.result, Form.BOX)
        return Sql(template.format(*texts, all=", ".join(texts)), form)

    def _operand(self, sql: Sql, types: set[Type]) -> str:
        """The operand in the form in which templates take its type."""
        if types == {STRING}:
            return self._forms.string(sql)
        return self._forms.whole(sql) if types == {INT} else self._forms.box(sql)

    def _matches(self, node: Call, text: str, pattern: Value) -> Sql:
        span = node.operands[1].span
        try:
            if isinstance(pattern, str):
                return boolean(f"({text}) ~ {self._forms.text_parameter(translate(pattern))}")
            self._reporter.error(span, say.PATTERN_NOT_LITERAL)
        except PatternError as error:
            self._reporter.error(span, str(error), error.hint)
        return ERROR

    def _part(self, node: Call, operands: tuple[Sql, ...]) -> Sql:
        """`getHours` and so on; the time zone is passed as a table."""
        moment, *places = operands
        table = "[]"
        if places:
            table = self._zone(node, places[0].value)
        name, place = self._forms.text_parameter(node.function[3:]), self._forms.text_parameter(table)
        return Sql(f"secateur_cel.part_v2({self._forms.box(moment)}, {name}, {place}::jsonb)", Form.NUMBER)

    def _zone(self, node: Call, name: Value) -> str:
        span = node.operands[1].span
        try:
            if isinstance(name, str):
                return zone(name).text()
            self._reporter.error(span, say.ZONE_NOT_LITERAL)
        except EvaluationError as error:
            self._reporter.error(span, str(error))
        return "[]"

    def _size(self, sized: Sql) -> Sql:
        if sized.form is Form.TEXT:
            return Sql(f"length({sized.text})::numeric", Form.NUMBER)
        if sized.form is Form.JSON and sized.plain:
            path = sized.text
            lengths = f"'string' then length({content(sized)}) when 'array' then jsonb_array_length({path})"
            other = f"'object' then secateur_cel.json_size_v1({path})"
            return Sql(f"(case jsonb_typeof({path}) when {lengths} when {other} end)", Form.NUMBER)
        if sized.form is Form.JSON:
            return Sql(f"secateur_cel.json_size_v1({sized.text})", Form.NUMBER)
        return Sql(f"secateur_cel.size_v1({self._forms.box(sized)})", Form.NUMBER)

    def _timestamp(self, given: Sql) -> Sql:
        if given.form is Form.TIME:
            return given
        if folded := self._folded(times.parse_timestamp, given):
            return folded
        if given.form is Form.JSON:
            return Sql(f"secateur_cel.json_timestamp_v1({given.text})", Form.TIME)
        if given.form is Form.NUMBER:
            return Sql(f"secateur_cel.seconds_v1({given.text})", Form.TIME)
        return Sql(f"secateur_cel.to_timestamp_v1({self._forms.box(given)})", Form.TIME)

    def _folded(self, parse: Callable[[str], Value], given: Sql) -> Sql | None:
        """The time or duration that a literal text means, so that it is not parsed again for every row."""
        if not self._fold or not isinstance(given.value, str):
            return None
        try:
            return constant(parse(given.value))
        except EvaluationError:
            return None

    def _check_fraction(self, node: Call, parse: Callable[[str], Value]) -> None:
        """Refuses a literal time that is finer than Postgres can store; otherwise every evaluation would fail."""
        given = node.operands[0]
        if isinstance(given, Literal) and isinstance(given.value, str):
            try:
                parse(given.value)
            except EvaluationError as error:
                if error.message == say.SUB_MICROSECOND:
                    self._reporter.error(given.span, error.message)
