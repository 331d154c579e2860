"""Where a relation called `run` has what an expression reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secateur.cel.declarations import Declarations
from secateur.cel.sql.forms import Form, Sql
from secateur.cel.types import BOOL, INT, STRING, TIMESTAMP, Type


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The SQL of each variable. Equal only to itself, so that what is generated over it can be kept."""

    variables: Mapping[str, Sql]

    @property
    def event(self) -> Sql:
        return self.variables["event"]

    def with_fields_of(self, declarations: Declarations) -> Columns:
        """With the fields of `run` that are an engine's own: each is the column of its name."""
        own = {
            name: _column(name, variable.type)
            for name, variable in declarations.variables.items()
            if name.startswith("run.") and name not in self.variables
        }
        return Columns({**self.variables, **own}) if own else self


def _column(name: str, type_: Type) -> Sql:
    if type_ == INT:
        return Sql(f"{name}::numeric", Form.NUMBER, plain=True)
    return Sql(name, _FORMS.get(type_, Form.JSON), plain=True)


_FORMS = {STRING: Form.TEXT, BOOL: Form.BOOL, TIMESTAMP: Form.TIME}


NOW: Final = Sql("$now::text::timestamptz", Form.TIME, plain=True)

COLUMNS: Final = Columns(
    {
        "event": Sql("run.event", Form.JSON, plain=True),
        "run.id": Sql("run.id::text", Form.TEXT, plain=True),
        "run.app": Sql("run.app_id", Form.TEXT, plain=True),
        "run.function": Sql("run.function_id", Form.TEXT, plain=True),
        "run.status": Sql("run.status", Form.TEXT, plain=True),
        "run.started_at": Sql("run.started_at", Form.TIME, plain=True),
        "run.scheduled_for": Sql("run.scheduled_for", Form.TIME, plain=True),
        "run.priority": Sql("run.priority::numeric", Form.NUMBER, plain=True),
        "run.attempt": Sql("run.attempt::numeric", Form.NUMBER, plain=True),
        "now": NOW,
        "async": Sql("$async::text::jsonb", Form.JSON, plain=True),
    }
)
"""The event is a column. Stored conditions are over these, whatever the queue."""

_NAME = Sql("coalesce(to_jsonb(run.name), 'null'::jsonb)", Form.JSON, plain=True, content="run.name")
_DATA = Sql("coalesce(run.data, 'null'::jsonb)", Form.JSON, plain=True, column="run.data")

COLUMNS_OF_PARTS: Final = Columns(
    {
        **COLUMNS.variables,
        "event": Sql("run.event", Form.JSON, plain=True, parts={"name": _NAME, "data": _DATA}),
    }
)
"""The event is `jsonb_build_object('name', run.name, 'data', run.data)`, of a text and a jsonb column.

What is read of these columns costs no building of the event, and the indexes of the table below serve it.
"""
