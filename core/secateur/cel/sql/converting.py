"""Conversions between the forms that a value takes in SQL."""

from __future__ import annotations

from secateur.cel.sql.boxes import boxed_text
from secateur.cel.sql.forms import ERROR, Form, Sql, content
from secateur.cel.timestamps import format_timestamp
from secateur.cel.values import Timestamp, Value, encode_json


class Forms:
    """Converts between forms, gathering parameters; equal parameters share a placeholder."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def text_parameter(self, value: str) -> str:
        return f"${self._numbers.setdefault(value, len(self._numbers) + 1)}::text"

    def json_parameter(self, value: Value) -> str:
        """A value that is plain JSON."""
        return f"{self.text_parameter(encode_json(value))}::jsonb"

    def box(self, sql: Sql) -> str:
        match sql.form:
            case Form.CONSTANT:
                return f"{self.text_parameter(boxed_text(sql.value))}::jsonb"
            case Form.BOX:
                return sql.text
        return f"secateur_cel.box_{sql.form.name.lower()}_v1({sql.text})"

    def bool(self, sql: Sql) -> str:
        match sql.form:
            case Form.BOOL:
                return sql.text
            case Form.CONSTANT if isinstance(sql.value, bool):
                return f"{self.text_parameter(str(sql.value).lower())}::boolean"
            case Form.JSON if sql.plain:
                return f"case jsonb_typeof({sql.text}) when 'boolean' then {sql.text} = 'true'::jsonb end"
            case Form.JSON:
                return f"secateur_cel.json_bool_v1({sql.text})"
            case Form.BOX:
                return f"secateur_cel.bool_v1({sql.text})"
        return ERROR.text

    def string(self, sql: Sql) -> str:
        match sql.form:
            case Form.TEXT:
                return sql.text
            case Form.CONSTANT if isinstance(sql.value, str):
                return self.text_parameter(sql.value)
            case Form.JSON if sql.plain:
                return f"case jsonb_typeof({sql.text}) when 'string' then {content(sql)} end"
            case Form.JSON:
                return f"secateur_cel.json_text_v1({sql.text})"
            case Form.BOX:
                return f"secateur_cel.text_v1({sql.text})"
        return "null::text"

    def time(self, sql: Sql) -> str | None:
        """None if the form does not guarantee a time."""
        match sql.form:
            case Form.TIME:
                return sql.text
            case Form.CONSTANT if isinstance(sql.value, Timestamp):
                return f"{self.text_parameter(format_timestamp(sql.value))}::timestamptz"
        return None

    def integer(self, sql: Sql) -> str | None:
        """As numeric, NULL if the value is not an int; None if there is no short way to write that."""
        if sql.form is Form.JSON:
            return f"secateur_cel.json_int_v1({sql.text})"
        return self.number(sql)

    def whole(self, sql: Sql) -> str:
        """As numeric, NULL if the value is not an int."""
        match sql.form:
            case Form.BOX:
                return f"secateur_cel.whole_v1({sql.text})"
        return self.integer(sql) or "null::numeric"

    def number(self, sql: Sql) -> str | None:
        """None if the form does not guarantee an int."""
        match sql.form:
            case Form.NUMBER:
                return sql.text
            case Form.CONSTANT if type(sql.value) is int:
                return f"{self.text_parameter(str(sql.value))}::numeric"
        return None
