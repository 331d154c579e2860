"""pg-boss, from npm: its schema, its API, its worker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.npm import command, environment, needs
from beds.processes import Api, worker_process

PACKAGE = "pg-boss"


class PgBoss(Bed):
    """The task is its queue. It has nothing that groups queues: every `queue` is the schema."""

    engine: ClassVar[str] = "pg-boss"
    missing: ClassVar[Any] = needs(PACKAGE)
    schema: ClassVar[str] = "pgboss"
    prefix: ClassVar[str] = ""
    has_doubles: ClassVar[bool] = True
    has_queues: ClassVar[bool] = False
    has_keys: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ("job", "queue")
    version: ClassVar[str | None] = None
    """None is the newest that this node runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def api(self) -> Api:
        return Api(command("pgboss.mjs", "api", self.url, self.schema), environment(PACKAGE, self.version))

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        await connection.close()
        await self.api.call("install")

    async def enqueue(
        self,
        payloads: Sequence[dict[str, Any]],
        *,
        task: str = "sync",
        queue: str = "default",
        priority: int = 0,
        delay: timedelta | None = None,
        key: str | None = None,
    ) -> list[str]:
        options: dict[str, Any] = {"priority": priority}
        if delay is not None:
            options["startAfter"] = delay.total_seconds()
        if key is not None:
            options["singletonKey"] = key
        jobs = [{"data": payload, "retries": payload.get("retries", 0), **options} for payload in payloads]
        return [f"{task}:{id}" for id in await self.api.call("enqueue", name=task, jobs=jobs)]

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(
            *command("pgboss.mjs", "worker", self.url, self.schema, str(concurrency)),
            environment=environment(PACKAGE, self.version),
        )

    async def state(self, run_id: str) -> str | None:
        name, id = run_id.split(":")
        state: str | None = await self.api.call("state", name=name, id=id)
        return state

    async def cancel(self, run_id: str) -> None:
        name, id = run_id.split(":")
        await self.api.call("cancel", name=name, id=id)


class PgBossElsewhere(PgBoss):
    """In a schema of another name; pg-boss refuses those that would have to be quoted."""

    schema: ClassVar[str] = "billing_jobs"


class PgBossTen(PgBossElsewhere):
    """Every queue in a partition of its own, and no column `blocked`."""

    version: ClassVar[str | None] = "10.4.2"
    missing: ClassVar[Any] = needs(PACKAGE, "10.4.2")


class PgBossEleven(PgBossElsewhere):
    """The oldest that the newest migrates; version 10 is one that it does not."""

    version: ClassVar[str | None] = "11.1.2"
    missing: ClassVar[Any] = needs(PACKAGE, "11.1.2")


BEDS = (PgBoss, PgBossElsewhere, PgBossTen)
