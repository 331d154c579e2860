"""Where a relation called `run` has the things that an expression reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secateur.cel.declarations import RUN_FIELDS
from secateur.cel.sql.forms import Form, Sql
from secateur.cel.types import STRING


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The SQL of each variable. Equal only to itself, so that SQL generated over it can be cached."""

    variables: Mapping[str, Sql]

    @property
    def event(self) -> Sql:
        return self.variables["event"]


def _field(name: str, text: str, json: str) -> Sql:
    """One of `RUN_FIELDS`, as text or JSON according to its type."""
    is_text = RUN_FIELDS[name].type == STRING
    return Sql(text if is_text else json, Form.TEXT if is_text else Form.JSON, plain=True)


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
        **{f"run.{name}": _field(name, f"${name}::text", f"${name}::text::jsonb") for name in RUN_FIELDS},
    }
)
"""The event is a column. Stored conditions read these columns, whatever the queue. Fields that only some queues have
are parameters in them: the caller passes those of the run."""

_NAME = Sql("coalesce(to_jsonb(run.name), 'null'::jsonb)", Form.JSON, plain=True, content="run.name")
_DATA = Sql("coalesce(run.data, 'null'::jsonb)", Form.JSON, plain=True, column="run.data")

COLUMNS_OF_PARTS: Final = Columns(
    {
        **COLUMNS.variables,
        "event": Sql("run.event", Form.JSON, plain=True, parts={"name": _NAME, "data": _DATA}),
        **{f"run.{name}": _field(name, f"run.{name}", f"run.{name}") for name in RUN_FIELDS},
    }
)
"""The event is `jsonb_build_object('name', run.name, 'data', run.data)`, of a text and a jsonb column.

Reading these columns needs no event to be built, and can use the indexes of the table below. Fields that only some
queues have are columns of their names: text, or jsonb for a list; NULL where a run has none.
"""
