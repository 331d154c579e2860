"""pgqueuer, from PyPI: its schema, its API, its worker.

`python -m beds.pgqueuer api|worker …`: it reads its settings from the environment, once a process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.processes import Api, Job, python_environment, serve, told_to_stop, worker_process

if TYPE_CHECKING:
    from pgqueuer.queries import Queries


class PgQueuer(Bed):
    """The task is its entrypoint; it has nothing that groups them."""

    engine: ClassVar[str] = "pgqueuer"
    missing: ClassVar[str | None] = None if find_spec("pgqueuer") else "the package pgqueuer is not installed"
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("pgqueuer",)
    has_queues: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def environment(self) -> dict[str, str]:
        return {**python_environment(), "PGQUEUER_SCHEMA": self.schema, "PGQUEUER_PREFIX": self.prefix}

    @cached_property
    def api(self) -> Api:
        return Api([sys.executable, "-m", __name__, "api", self.url], self.environment)

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
        seconds = None if delay is None else delay.total_seconds()
        given = {"task": task, "priority": priority, "delay": seconds, "key": key}
        ids: list[str] = await self.api.call("enqueue", payloads=list(payloads), **given)
        return ids

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, "worker", self.url, str(concurrency), environment=self.environment)

    async def state(self, run_id: str) -> str | None:
        state: str | None = await self.api.call("state", run_id=run_id)
        return state

    async def cancel(self, run_id: str) -> None:
        """Its row is gone then."""
        await self.api.call("cancel", run_id=run_id)


class PgQueuerElsewhere(PgQueuer):
    """In a schema of its own, under a prefix: names that it does not quote."""

    schema: ClassVar[str] = "billing_jobs"
    prefix: ClassVar[str] = "mail_"
    tables: ClassVar[tuple[str, ...]] = ("mail_pgqueuer",)


BEDS = (PgQueuer, PgQueuerElsewhere)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Queries]:
    from pgqueuer.queries import Queries

    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        yield Queries.from_asyncpg_pool(pool)


class Calls:
    """What can be asked of its API, by name."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def install(self) -> None:
        await self._queries.install()

    async def enqueue(
        self, payloads: list[dict[str, Any]], task: str, priority: int, delay: float | None, key: str | None
    ) -> list[str]:
        number = len(payloads)
        ids = await self._queries.enqueue(
            [task] * number,
            [json.dumps(payload, ensure_ascii=bool(index % 2)).encode() for index, payload in enumerate(payloads)],
            [priority] * number,
            [None if delay is None else timedelta(seconds=delay)] * number,
            [key] * number,
        )
        return [str(id) for id in ids]

    async def state(self, run_id: str) -> str | None:
        job = await self._queries.queue_job_by_id(int(run_id))
        return None if job is None else job.status

    async def cancel(self, run_id: str) -> None:
        await self._queries.mark_job_as_cancelled([int(run_id)])


async def work(url: str, concurrency: int) -> None:
    from pgqueuer import PgQueuer as Application
    from pgqueuer.models import Context
    from pgqueuer.models import Job as Claimed

    jobs = Job(url)
    async with asyncpg.create_pool(url, min_size=2, max_size=4) as pool:
        application = Application.from_asyncpg_pool(pool)

        async def perform(claimed: Claimed, context: Context) -> None:
            with context.cancellation:
                await jobs.run(json.loads(claimed.payload or b"{}"))

        for name in ("sync", "mail"):
            application.entrypoint(name, concurrency_limit=concurrency, accepts_context=True, on_failure="hold")(
                perform
            )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(application.run(batch_size=10, dequeue_timeout=timedelta(seconds=1)))
            await told_to_stop()
            application.shutdown.set()


async def main(what: str, url: str, *more: str) -> None:
    if what == "worker":
        return await work(url, int(more[0]))
    async with opened(url) as queries:
        return await serve(Calls(queries))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
