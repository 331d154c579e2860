"""What the behaviour suite needs of a queue besides its engine: to fill it, to work it off, to read it from outside."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from secateur.postgres.database import Database


class QueueUnderTest(Protocol):
    """A queue on its own schema, without the engine under test."""

    async def enqueue(
        self,
        app: str,
        function: str,
        data: dict[str, Any],
        *,
        started_at: datetime | None = None,
        scheduled_for: datetime | None = None,
    ) -> UUID: ...

    async def claim(self, app: str, most: int = 100) -> set[UUID]: ...

    async def may_go_on(self, run: UUID) -> bool:
        """Whether the next step of a claimed run would begin."""
        ...


class NativeQueue:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.claims: dict[UUID, tuple[str, UUID, UUID]] = {}

    async def enqueue(
        self,
        app: str,
        function: str,
        data: dict[str, Any],
        *,
        started_at: datetime | None = None,
        scheduled_for: datetime | None = None,
    ) -> UUID:
        event = json.dumps({"name": "test", "data": data})
        run: UUID = await self.database.fetchval(
            "select secateur.enqueue($1, $2, $3, $4, 0, $5)", app, function, event, scheduled_for, started_at
        )
        return run

    async def claim(self, app: str, most: int = 100) -> set[UUID]:
        rows = await self.database.fetch("select * from secateur.claim($1, null, $2, 'tester', '1 hour')", app, most)
        self.claims |= {row["id"]: (app, row["id"], row["claim_token"]) for row in rows}
        return {row["id"] for row in rows}

    async def may_go_on(self, run: UUID) -> bool:
        granted: bool = await self.database.fetchval(
            "select secateur.begin_step($1, $2, $3, 'next')", *self.claims[run]
        )
        return granted


QUEUES = {"native": NativeQueue}
"""One for each engine that is registered; a test sees to it."""
