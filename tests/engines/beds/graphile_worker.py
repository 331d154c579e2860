"""Graphile Worker, from npm: its schema, its API, its worker."""

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

PACKAGE = "graphile-worker"


class GraphileWorker(Bed):
    """The queue `default` is none: a named queue runs one job after the other."""

    engine: ClassVar[str] = "graphile-worker"
    missing: ClassVar[Any] = needs(PACKAGE)
    schema: ClassVar[str] = "graphile_worker"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("_private_jobs", "_private_job_queues")
    has_doubles: ClassVar[bool] = True
    cancelled_as: ClassVar[str] = "failed"
    keeps_ends: ClassVar[bool] = False
    version: ClassVar[str | None] = None
    """None is the newest that this node runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def api(self) -> Api:
        return Api(command("graphile_worker.mjs", "api", self.url, self.schema), environment(PACKAGE, self.version))

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
        if queue != "default":
            options["queueName"] = queue
        if delay is not None:
            options["runAt"] = delay.total_seconds()
        if key is not None:
            options["jobKey"] = key
        jobs = [{"payload": payload, "maxAttempts": 1 + payload.get("retries", 0), **options} for payload in payloads]
        return list(await self.api.call("enqueue", identifier=task, jobs=jobs))

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(
            *command("graphile_worker.mjs", "worker", self.url, self.schema, str(concurrency)),
            environment=environment(PACKAGE, self.version),
        )

    async def state(self, run_id: str) -> str | None:
        state: str | None = await self.api.call("state", id=run_id)
        return state

    async def cancel(self, run_id: str) -> None:
        """It has no cancelling but to let a job fail for good."""
        await self.api.call("cancel", id=run_id, reason="not wanted any more")


class GraphileWorkerElsewhere(GraphileWorker):
    """In a schema with a name that has to be quoted."""

    schema: ClassVar[str] = 'Jobs of "billing"'


class GraphileWorkerBefore(GraphileWorker):
    """One migration older."""

    version: ClassVar[str | None] = "0.17.3"
    missing: ClassVar[Any] = needs(PACKAGE, "0.17.3")


BEDS = (GraphileWorker, GraphileWorkerElsewhere)
