"""The forms that a value takes in SQL; `secateur.cel.sql.converting` converts between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from secateur.cel.values import Value


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
    """For JSON: the bare column, if it is NULL where the value is null. Neither has fields."""
    parts: Mapping[str, Sql] = field(default_factory=dict, compare=False)
    """For an object: the fields that are columns of their own."""

    @property
    def holder(self) -> str:
        """For JSON: the SQL from which fields are read."""
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
