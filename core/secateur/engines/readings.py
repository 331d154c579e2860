"""One reading of a queue: its transaction, what its statements are asked with, and what their rows say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from secateur.engines.base import Selection
from secateur.engines.searching import RunSearch
from secateur.postgres.statements import fill
from secateur.runs import Count, CountedBy, RunStatus

if TYPE_CHECKING:
    import asyncpg


@dataclass(frozen=True, slots=True)
class Reading:
    """An open transaction to read in, and how its answers are to be taken."""

    connection: asyncpg.Connection
    as_of: datetime
    source: CountedBy
    replica_failed: str | None


def scoped(selection: Selection) -> list[object]:
    scope, window = selection.scope, selection.window
    return [scope.app_id, scope.function_id, window.started_after, window.started_before]


def directed(sql: str, search: RunSearch) -> str:
    """The statement with the order of the search in the place of its signs."""
    if search.newest:
        return fill(sql, {"order": "desc", "reverse": "asc", "past": "<", "until": ">="})
    return fill(sql, {"order": "asc", "reverse": "desc", "past": ">", "until": "<="})


def counted(
    rows: Sequence[Any],
    reading: Reading,
    selection: Selection,
    *,
    exact: bool,
    total: int,
    errors: int | None,
    scale: float = 1,
) -> Count:
    by_status = dict.fromkeys(selection.statuses, 0)
    by_function: dict[str, int] = {}
    for row in rows:
        by_status[RunStatus(row["status"])] += row["matched"]
        if row["matched"]:
            by_function[row["function_id"]] = by_function.get(row["function_id"], 0) + row["matched"]
    matched = round(sum(by_status.values()) * scale)
    return Count(
        matched=matched,
        total=max(total, matched + round((errors or 0) * scale)),
        exact=exact,
        errors=None if errors is None else round(errors * scale),
        as_of=reading.as_of,
        source=reading.source,
        replica_failed=reading.replica_failed,
        by_status={status: round(matched * scale) for status, matched in by_status.items()},
        by_function={name: round(matched * scale) for name, matched in by_function.items()},
    )
