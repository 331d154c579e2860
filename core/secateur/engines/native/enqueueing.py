"""Putting runs into the queue from Python: one, several, any number by COPY, or by an event."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from secateur import bounds
from secateur.bounds import (
    INT_MAX,
    INT_MIN,
    optional,
    problem_of_instant,
    problem_of_key,
    problem_of_name,
    problem_of_number,
)
from secateur.engines.base import Sent
from secateur.engines.native.bulk import Events, enqueue_bulk
from secateur.engines.native.events import as_json
from secateur.engines.native.sending import require_event, send_event
from secateur.errors import Problem, ReadOnly, RequestError
from secateur.postgres.database import Database
from secateur.postgres.sqlstates import keeping_events
from secateur.postgres.statements import Statements
from secateur.spans import traceparent

NO_EVENTS = (str, bytes, bytearray, memoryview, Mapping)
"""What can be iterated and is one thing all the same: each character or key would become a run."""

_SQL = Statements.load("secateur.engines.native", "enqueueing.sql")


class Enqueueing:
    """The part of `Queue` that puts runs in."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def enqueue(
        self,
        app_id: str,
        function_id: str,
        event: object,
        *,
        scheduled_for: datetime | None = None,
        priority: int = 0,
        started_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> UUID:
        """Enqueue one run and return its id; a new app or function is created.

        `event` is anything that `json.dumps` accepts. A higher `priority` is claimed first. `started_at` is for
        imports. Times must be aware.

        With an `idempotency_key` the call can be repeated: for a day, the same key for the same function returns the
        run that is waiting, running or completed under that key, whatever its schedule and priority; with a different
        event it raises `IdempotencyConflict`. The key of a run that was cancelled or failed for good is free again.
        If the answer to a call is lost, the call is repeated once automatically.
        """
        self._refuse_if_read_only()
        bounds.require(
            _scope_problems(app_id, function_id)
            | {
                "scheduled_for": optional(problem_of_instant(scheduled_for), scheduled_for),
                "priority": _problem_of_priority(priority),
                "started_at": optional(problem_of_instant(started_at), started_at),
                "idempotency_key": optional(problem_of_key(idempotency_key), idempotency_key),
            }
        )
        text = as_json(event)
        with keeping_events():
            run_id: UUID = await self.database.fetchval(
                _SQL["enqueue"],
                app_id,
                function_id,
                text,
                scheduled_for,
                priority,
                started_at,
                idempotency_key,
                traceparent(),
                repeatable=idempotency_key is not None,
            )
        return run_id

    async def enqueue_many(
        self,
        app_id: str,
        function_id: str,
        events: Sequence[object],
        *,
        scheduled_for: Sequence[datetime | None] | None = None,
        priorities: Sequence[int] | None = None,
        started_at: Sequence[datetime | None] | None = None,
    ) -> list[UUID]:
        """Enqueue one run per event in one transaction, ideally thousands; returns the ids in the order of the events.

        The other sequences must be as long as `events`.
        """
        self._refuse_if_read_only()
        if isinstance(events, NO_EVENTS) or not isinstance(events, Sequence):
            raise RequestError([Problem("events", "must be a list of events")])
        columns: dict[str, Sequence[object] | None] = {
            "scheduled_for": scheduled_for,
            "priorities": priorities,
            "started_at": started_at,
        }
        bounds.require(_scope_problems(app_id, function_id))
        for name, values in columns.items():
            if values is None:
                continue
            if isinstance(values, NO_EVENTS) or not isinstance(values, Sequence):
                raise RequestError([Problem(name, "must be a list, or None")])
            if len(values) != len(events):
                raise RequestError([Problem(name, f"must have {len(events)} values, not {len(values)}")])
        bounds.require_instants("scheduled_for", scheduled_for or ())
        bounds.require_each("priorities", map(_problem_of_priority, priorities or ()))
        bounds.require_instants("started_at", started_at or ())
        texts = [as_json(event) for event in events]
        with keeping_events():
            rows = await self.database.fetch(
                _SQL["enqueue_many"], app_id, function_id, texts, *columns.values(), traceparent()
            )
        return [row[0] for row in rows]

    async def enqueue_bulk(
        self,
        app_id: str,
        function_id: str,
        events: Events,
        *,
        scheduled_for: datetime | None = None,
        priority: int = 0,
    ) -> int:
        """Enqueue one run per event of an iterable, sync or async, of any length, in one transaction; returns how many.

        A megabyte of events at a time is copied into a temporary table, while the next events are taken from the
        iterable and written as JSON, so that neither side waits for the other and they are never all in memory. Then
        all runs are inserted with the same `started_at`. (For fewer than about a thousand events, `enqueue_many` is
        faster: it creates no table.) No run can be claimed before this returns, and no run exists if it raises: an
        exception of the iterable is raised unchanged; an event that cannot be stored raises `RequestError` with its
        position. A cancellation completes only after the transactions that were open at its commit, so the iterable
        should be quick.
        """
        self._refuse_if_read_only()
        bounds.require(
            _scope_problems(app_id, function_id)
            | {
                "scheduled_for": optional(problem_of_instant(scheduled_for), scheduled_for),
                "priority": _problem_of_priority(priority),
                "events": None if _are_events(events) else "must be an iterable of events",
            }
        )
        return await enqueue_bulk(
            self.database, app_id, function_id, events, scheduled_for=scheduled_for, priority=priority
        )

    async def send(self, event: Mapping[str, object], *, idempotency_key: str | None = None) -> Sent:
        """Start a run of every function, in any app, that declares the event's name as a trigger (there may be none),
        and cancel the runs that functions declare in `cancel_on`. All in one transaction; returns the runs and the
        cancellations.

        With an `idempotency_key` the event can be sent again: as in `enqueue`, it starts one run per function that it
        triggers. Without one, an event with an `id` cancels once, but starts runs each time.
        """
        self._refuse_if_read_only()
        require_event(event)
        return await send_event(self.database, as_json(event), idempotency_key=idempotency_key)

    def _refuse_if_read_only(self) -> None:
        if self.database.read_only:
            raise ReadOnly("this connection is read-only: it cannot enqueue runs")


def _are_events(given: object) -> bool:
    return isinstance(given, Iterable | AsyncIterable) and not isinstance(given, NO_EVENTS)


def _scope_problems(app_id: object, function_id: object) -> dict[str, str | None]:
    """Check the names of the function that a run is enqueued for; the function may be new."""
    return {"app_id": problem_of_name(app_id), "function_id": problem_of_name(function_id)}


def _problem_of_priority(priority: object) -> str | None:
    return problem_of_number(priority, INT_MIN, INT_MAX)
