"""The base of every record that is written as JSON: by the command line, by the API, and in its documentation.

Each form is declared once, with what its fields mean: its JSON, and the schema of its JSON, both come from there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from secateur.instants import utc


def _instant(value: object) -> object:
    return utc(value) if isinstance(value, datetime) else value


def _identifier(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


Instant = Annotated[str, BeforeValidator(_instant), Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC, as `secateur.instants.utc` writes it."""

Identifier = Annotated[str, BeforeValidator(_identifier), Field(json_schema_extra={"format": "uuid"})]


class JsonForm(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @classmethod
    def of(cls, record: object, **more: Any) -> Self:
        """From the attributes of a record that are called like the fields; `more` are the other fields."""
        values = {name: getattr(record, name) for name in cls.model_fields if name not in more}
        return cls.model_validate({**values, **more})

    def as_json(self) -> dict[str, Any]:
        """As JSON has it: with the names that it has there, and in their order."""
        return self.model_dump(by_alias=True)
