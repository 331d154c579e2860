"""The records that people read and audit, as tables. Migrations define the schema; a test compares the two."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Column, DateTime, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel


def _timestamp(*, nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


class App(SQLModel, table=True):
    """An app: the unit of the queue's locks."""

    __tablename__ = "apps"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    app_id: str = Field(primary_key=True, sa_type=Text)
    lock_key: int
    """The second integer of the app's advisory lock."""
    created_at: datetime = Field(sa_column=_timestamp())


class Function(SQLModel, table=True):
    """A function of an app, with what the queue needs to know of it."""

    __tablename__ = "functions"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    app_id: str = Field(primary_key=True, sa_type=Text)
    function_id: str = Field(primary_key=True, sa_type=Text)
    triggers: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    """Event names that start a run of it."""
    max_attempts: int
    created_at: datetime = Field(sa_column=_timestamp())


class Cancellation(SQLModel, table=True):
    """A committed cancellation. `tally` sums its deltas and is filled in by the reader."""

    __tablename__ = "cancellations"
    __table_args__: ClassVar[dict[str, str]] = {"schema": "secateur"}

    id: UUID = Field(primary_key=True)
    serial: int
    """The order of commits within the database, and the key of the sweep's advisory lock."""
    kind: str = Field(sa_type=Text)
    """`bulk`, by expression and window."""
    state: str = Field(sa_type=Text)
    """`active`, `complete`, `stopped` or `undone`."""
    app_id: str = Field(sa_type=Text)
    function_id: str | None = Field(default=None, sa_type=Text)
    if_: str | None = Field(default=None, sa_column=Column("if", Text, nullable=True))
    started_after: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))
    started_before: datetime = Field(sa_column=_timestamp())
    """Always set: without one in the request, the commit's own time."""
    standing: bool
    condition: str | None = Field(default=None, sa_type=Text)
    """The SQL that `if` was compiled to; None without an `if`."""
    parameters: dict[str, str | None] = Field(sa_column=Column(JSONB, nullable=False))
    compiler: int
    """Version of the compiler that wrote `condition`."""
    request: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    """The request as given, to tell a repeated commit from another one under the same key."""
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    source: str = Field(sa_type=Text)
    """`tui`, `cli`, `api` or `python`."""
    created_at: datetime = Field(sa_column=_timestamp())
    created_by: str = Field(sa_type=Text)
    """The author, as given by the client."""
    created_role: str = Field(sa_type=Text)
    """The database role that committed it."""
    expected: int | None = None
    """The exact count taken at the review."""
    expected_by_function: dict[str, int] | None = Field(default=None, sa_column=Column(JSONB, nullable=True))
    completed_at: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))
    stopped_at: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))
    stopped_by: str | None = Field(default=None, sa_type=Text)
