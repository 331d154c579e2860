"""Sends events: an event starts the runs that it triggers, and cancels runs whose functions name it in `cancel_on`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from secateur import bounds
from secateur.bounds import optional, problem_of_key, problem_of_name
from secateur.engines.base import Effect, Sending, Sent
from secateur.engines.native.events import OWN_EVENT
from secateur.errors import Problem, ReadOnly, RequestError
from secateur.postgres.database import Database
from secateur.postgres.sqlstates import keeping_events
from secateur.postgres.statements import Statements
from secateur.spans import traceparent

_SQL = Statements.load("secateur.engines.native", "sending.sql")


class NativeSending(Sending):
    """Sends events with the database's function `send`."""

    _database: Database

    async def send(self, event: object, text: str, *, idempotency_key: str | None = None) -> Sent:
        require_event(event)
        return await send_event(self._database, text, idempotency_key=idempotency_key)


def require_event(event: object) -> None:
    """Raises `RequestError` for an event without a name, for the queue's own event, and for an invalid `event.id` or
    `event.ts`."""
    if not isinstance(event, Mapping):
        raise RequestError([Problem("event", "must be a JSON object")])
    name, ts = event.get("name"), event.get("ts")
    if not isinstance(name, str) or not name:
        raise RequestError([Problem("name", "is required, and must be a string that is not empty")])
    if name == OWN_EVENT:
        raise RequestError([Problem("name", f"{OWN_EVENT} is reserved; the queue sends it when it cancels a run")])
    id_fits = event.get("id") is None or _is(event["id"], str, int, float)
    ts_fits = ts is None or _is(ts, int) or (_is(ts, float) and ts.is_integer())
    bounds.require(
        {
            "name": problem_of_name(name),
            "id": None if id_fits else "must be a string or a number",
            "ts": None if ts_fits else "must be a whole number of milliseconds since 1970",
        }
    )


def _is(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


async def send_event(database: Database, event: str, *, idempotency_key: str | None = None) -> Sent:
    """Send an event, given as JSON text. It starts runs each time, unless it repeats an idempotency key.

    Raises `RequestError` if Postgres cannot store it as JSON, `IdempotencyConflict` if the key was used for a
    different event, and `ReadOnly`.
    """
    if database.read_only:
        raise ReadOnly("this session is read-only: it cannot send events")
    bounds.require({"idempotency_key": optional(problem_of_key(idempotency_key), idempotency_key)})
    with keeping_events():
        rows = await database.fetch(
            _SQL["send"], event, idempotency_key, traceparent(), repeatable=idempotency_key is not None
        )
    return Sent(
        runs=tuple(_effect(row, "run_id") for row in rows if row["run_id"] is not None),
        cancellations=tuple(_effect(row, "cancellation_id") for row in rows if row["cancellation_id"] is not None),
    )


def _effect(row: asyncpg.Record, name: str) -> Effect:
    return Effect(row[name], row["app_id"], row["function_id"])
