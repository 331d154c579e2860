"""What a cancellation in another engine's queue means, and the statements that find its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from secateur.cel import ExpressionError, compile
from secateur.engines.foreign.installation import Installation
from secateur.errors import DatabaseError
from secateur.instants import read_rfc3339
from secateur.runs import Scope, Window

if TYPE_CHECKING:
    import asyncpg

    from secateur.cel import Filter
    from secateur.engines.foreign.source import ForeignSource


@dataclass(frozen=True, slots=True)
class JobRule:
    """One cancellation, as it is executed: compiled from its source.

    The SQL that its record keeps is never executed here, since it would run with the rights of whoever sweeps.
    """

    id: UUID
    scope: Scope
    """By the app's own name."""
    window: Window
    filter: Filter | None
    now: datetime | None


def rule_of(document: str, installation: str) -> JobRule:
    """The rule of a record. Raises `DatabaseError` if this program cannot compile its `if`."""
    record: dict[str, Any] = json.loads(document)
    try:
        filter = None if record["if"] is None else compile(record["if"])
    except ExpressionError as error:
        raise DatabaseError(f"the condition of cancellation {record['id']} cannot be compiled: {error}") from error
    now = record["parameters"].get("now")
    return JobRule(
        id=UUID(record["id"]),
        scope=Scope(record["app_id"].removeprefix(f"{installation}/"), record["function_id"]),
        window=Window(_instant(record["started_after"]), _instant(record["started_before"])),
        filter=filter,
        now=_instant(now),
    )


class RuleReader:
    """Finds the runs of rules, in an open transaction."""

    def __init__(self, source: ForeignSource, installation: Installation) -> None:
        self._source = source
        self._installation = installation

    async def matching(self, connection: asyncpg.Connection, rule: JobRule, most: int) -> list[str]:
        """The ids of up to `most` unfinished runs, in the order in which workers claim."""
        order = self._installation.file.statements["claim_order"]
        sql = self._source.sql("matching").replace("{claim_order}", order)
        return [row["id"] for row in await self._fetch(connection, sql, rule, most)]

    async def matching_of(
        self, connection: asyncpg.Connection, rule: JobRule, ids: Sequence[str], *, unfinished: bool = True
    ) -> Sequence[Mapping[str, Any]]:
        """Those of the runs that the rule matches, and that are unfinished, or have ended."""
        state = self._installation.file.statements["unfinished" if unfinished else "ended"]
        sql = self._source.sql("matching_of").replace("{these}", self._these(5)).replace("{state}", f"({state})")
        return await self._fetch(connection, sql, rule, list(ids))

    async def states_of(self, connection: asyncpg.Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Id, function and status of those of the runs that are there."""
        sql = self._source.sql("states_of").replace("{these}", self._these(1))
        return {row["id"]: row for row in await connection.fetch(sql, list(ids))}

    async def states_of_gone(self, connection: asyncpg.Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Id and status of those whose rows are gone, as far as the engine keeps a log of how they ended."""
        here = self._installation
        asked = here.each("gone") if "gone" in here.file.statements else []
        return {row["id"]: row for sql in asked for row in await connection.fetch(sql, list(ids))}

    async def _fetch(
        self, connection: asyncpg.Connection, sql: str, rule: JobRule, fifth: object
    ) -> Sequence[Mapping[str, Any]]:
        window = rule.window
        parameters: list[object] = [
            *(rule.scope.app_id, rule.scope.function_id, window.started_after, window.started_before, fifth)
        ]
        condition = "true"
        if rule.filter is not None:
            condition, more = self._source.forms(rule.filter).matching.bind(len(parameters) + 1, rule.now)
            parameters += more
        rows: Sequence[Mapping[str, Any]] = await connection.fetch(
            sql.replace("{condition}", f"({condition})"), *parameters
        )
        return rows

    def _these(self, place: int) -> str:
        """The runs whose ids are in the parameter of that number."""
        file = self._installation.file
        if "these" in file.statements:
            return f"({self._installation.sql('these')})".replace("$1", f"${place}")
        if "one" in file.statements:
            return f"run.id = any (${place}::text[])"
        return f"run.key = any (${place}::text[]::{file.ids}[])"


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment, fraction = read_rfc3339(text)
    return moment.replace(microsecond=int(fraction[:6].ljust(6, "0")))
