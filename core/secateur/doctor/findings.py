"""What an examination finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.settings import Settings, Target

SQL = Statements.load("secateur.doctor", "doctor.sql")


class Severity(StrEnum):
    """From the harmless to the worst."""

    OK = "ok"
    NOTE = "note"
    """Good to know; nothing is wrong."""
    UNSEEN = "unseen"
    """It could not be examined, and may be anything."""
    WARNING = "warning"
    """It works, but something slows it down or will break it."""
    ERROR = "error"
    """It does not work, or a promise does not hold."""

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    """What was examined, such as `transactions`: a stable name for programs."""
    severity: Severity
    summary: str
    what_to_do: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """The figures behind the summary, as JSON has them."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined."""

    database: Database
    """Read-only."""
    settings: Settings
    target: Target


def worst(findings: Iterable[Finding]) -> Severity:
    return max((each.severity for each in findings), key=lambda severity: severity.rank, default=Severity.OK)
