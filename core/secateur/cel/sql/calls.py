"""Calls in SQL: operators of Postgres for the common ones, the helpers for the rest."""

from __future__ import annotations

from collections.abc import Callable

from secateur.cel import messages as say
from secateur.cel import timestamps as times
from secateur.cel.declarations import ZONED
from secateur.cel.diagnostics import EvaluationError, Reporter
from secateur.cel.patterns import PatternError, translate
from secateur.cel.sql.forms import ERROR, Form, Forms, Sql, boolean, constant, content
from secateur.cel.syntax.ast import Call, Literal
from secateur.cel.values import Value
from secateur.cel.zones import zone

_CONVERSIONS = frozenset({"int", "uint", "double", "string", "bytes", "bool", "duration", "type"})

_SEARCHES = {"indexOf": "index_of", "lastIndexOf": "last_index_of"}


class Calls:
    """`fold` lets literal times and durations be read beforehand."""

    def __init__(self, forms: Forms, reporter: Reporter, *, fold: bool) -> None:
        self._forms = forms
        self._reporter = reporter
        self._fold = fold

    def sql(self, node: Call, operands: tuple[Sql, ...]) -> Sql:
        if node.function in ("timestamp", "duration"):
            self._check_fraction(node)
        match node.function, operands:
            case (("startsWith" | "endsWith" | "contains"), (text, part)):
                return self._in_text(node.function, self._forms.string(text), self._forms.string(part))
            case "matches", (text, pattern):
                return self._matches(node, self._forms.string(text), pattern.value)
            case "size", (sized,):
                return self._size(sized)
            case "timestamp", (given,):
                return self._timestamp(given)
            case "duration", (given,) if folded := self._folded(times.parse_duration, given):
                return folded
            case "dyn", (given,):
                return given
            case function, (given,) if function in _CONVERSIONS:
                box = self._forms.box(given)
                return Sql(f"secateur_cel.to_{function}_v1({box})", Form.BOX)
            case function, _ if function in ZONED and node.target is not None:
                return self._part(node, operands)
        return ERROR if node.target is None else self._on_text(node.function, operands)

    def _in_text(self, function: str, text: str, part: str) -> Sql:
        if function == "startsWith":
            return boolean(f"starts_with({text}, {part})")
        if function == "contains":
            return boolean(f"strpos({text}, {part}) > 0")
        return boolean(f"right({text}, length({part})) = {part}")

    def _matches(self, node: Call, text: str, pattern: Value) -> Sql:
        span = node.operands[1].span
        try:
            if isinstance(pattern, str):
                return boolean(f"({text}) ~ {self._forms.text_parameter(translate(pattern))}")
            self._reporter.error(span, say.PATTERN_NOT_LITERAL)
        except PatternError as error:
            self._reporter.error(span, str(error), error.hint)
        return ERROR

    def _on_text(self, function: str, operands: tuple[Sql, ...]) -> Sql:
        """The string functions; an operand left out becomes the one that means the same."""
        forms = self._forms
        match function, operands:
            case (("lowerAscii" | "upperAscii" | "trim"), (text,)):
                return _text(f"{function.removesuffix('Ascii')}_v1", forms.string(text))
            case "charAt", (text, place):
                return _text("char_at_v1", forms.string(text), forms.whole(place))
            case "substring", (text, *places) if len(places) in (1, 2):
                return _text("substring_v1", forms.string(text), *map(forms.whole, places))
            case "indexOf", (text, part):
                return self._on_text(function, (text, part, constant(0)))
            case (("indexOf" | "lastIndexOf"), (text, part, *places)) if len(places) < 2:
                arguments = (forms.string(text), forms.string(part), *map(forms.whole, places))
                return Sql(_called(f"{_SEARCHES[function]}_v1", *arguments), Form.NUMBER)
            case ("replace", (_, _, _)) | ("split", (_, _)):
                return self._on_text(function, (*operands, constant(-1)))
            case "replace", (text, old, new, most):
                return _text("replace_v1", *map(forms.string, (text, old, new)), forms.whole(most))
            case "split", (text, separator, most):
                arguments = (forms.string(text), forms.string(separator), forms.whole(most))
                return Sql(_called("split_v1", *arguments), Form.BOX)
            case "join", (items,):
                return self._on_text(function, (items, constant("")))
            case "join", (items, separator):
                return _text("join_v1", forms.box(items), forms.string(separator))
        return ERROR

    def _part(self, node: Call, operands: tuple[Sql, ...]) -> Sql:
        """`getHours` and so on; the time zone goes along as a table."""
        moment, *places = operands
        table = "[]"
        if places:
            table = self._zone(node, places[0].value)
        name, place = self._forms.text_parameter(node.function[3:]), self._forms.text_parameter(table)
        return Sql(_called("part_v2", self._forms.box(moment), name, f"{place}::jsonb"), Form.NUMBER)

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
        """The time or duration that a literal text means, so that it is not read again for every row."""
        if not self._fold or not isinstance(given.value, str):
            return None
        try:
            return constant(parse(given.value))
        except EvaluationError:
            return None

    def _check_fraction(self, node: Call) -> None:
        """A literal time finer than what Postgres keeps is refused, rather than an error of the expression."""
        given = node.operands[0]
        if isinstance(given, Literal) and isinstance(given.value, str):
            parse = times.parse_timestamp if node.function == "timestamp" else times.parse_duration
            try:
                parse(given.value)
            except EvaluationError as error:
                if error.message == say.SUB_MICROSECOND:
                    self._reporter.error(given.span, error.message)


def _called(helper: str, *arguments: str) -> str:
    return f"secateur_cel.{helper}({', '.join(arguments)})"


def _text(helper: str, *arguments: str) -> Sql:
    return Sql(_called(helper, *arguments), Form.TEXT)
