"""The forms that a value takes in SQL, and conversions between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from secateur.cel.sql.boxes import boxed_text
from secateur.cel.timestamps import format_timestamp
from secateur.cel.values import Timestamp, Value, encode_json


class Form(Enum):
    """The Postgres type that holds the value. NULL is always an error, never the language's null."""

    CONSTANT = auto()
    """A literal that is not written yet: it takes the form that the other operand needs."""
    BOOL = auto()
    TEXT = auto()
    TIME = auto()
    """timestamptz"""
    NUMBER = auto()
    """numeric, holding an int"""
    JSON = auto()
    """jsonb, as it stands in the payload"""
    BOX = auto()
    """jsonb, tagged with the type"""


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL that binds at least as tightly as a comparison.

    `plain` means that it is cheap enough to be written twice. `value` is the value of a constant.
    """

    text: str
    form: Form
    plain: bool = False
    value: Value = None
    content: str = ""
    """For JSON: SQL for the text in it, if it is a string."""
    column: str = ""
    """For JSON: the bare column, if that is NULL where the value is null. Neither has fields."""
    parts: Mapping[str, Sql] = field(default_factory=dict, compare=False)
    """For an object: the fields that are columns of their own."""

    @property
    def holder(self) -> str:
        """For JSON: what fields are read of."""
        return self.column or self.text


def constant(value: Value) -> Sql:
    return Sql("", Form.CONSTANT, plain=True, value=value)


def boolean(text: str) -> Sql:
    return Sql(text, Form.BOOL)


ERROR = boolean("null::boolean")
"""A boolean that is an error for every payload."""


def content(sql: Sql) -> str:
    """The text in a JSON string."""
    return sql.content or f"{sql.text} #>> array[]::text[]"


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
