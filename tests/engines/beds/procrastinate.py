"""procrastinate, from PyPI: its schema, its API, its worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.processes import Job, worker_process

if TYPE_CHECKING:
    from procrastinate import App


class Procrastinate(Bed):
    engine: ClassVar[str] = "procrastinate"
    missing: ClassVar[str | None] = None if find_spec("procrastinate") else "the package procrastinate is not installed"
    schema: ClassVar[str] = "public"
    tables: ClassVar[tuple[str, ...]] = ("procrastinate_jobs",)
    prefix: ClassVar[str] = ""

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        await connection.execute(f"create schema if not exists {quoted(self.schema)}")
        await connection.close()
        async with self.opened() as app:
            await app.schema_manager.apply_schema_async()

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
        async with self.opened() as app:
            deferrer = app.configure_task(
                task,
                queue=queue,
                priority=priority,
                schedule_in=None if delay is None else {"seconds": delay.total_seconds()},
                queueing_lock=key,
            )
            return [str(job) for job in await deferrer.batch_defer_async(*payloads)]

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, self.url, self.schema, queue, str(concurrency))

    async def state(self, run_id: str) -> str | None:
        async with self.opened() as app:
            for job in await app.job_manager.list_jobs_async(id=int(run_id)):
                return str(job.status)
        return None

    async def cancel(self, run_id: str) -> None:
        async with self.opened() as app:
            await app.job_manager.cancel_job_by_id_async(int(run_id), abort=True)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[App]:
        async with make_app(self.url, self.schema).open_async() as app:
            yield app


class ProcrastinateElsewhere(Procrastinate):
    """In a schema with a name that has to be quoted."""

    schema: ClassVar[str] = 'Jobs of "billing"'


BEDS = (Procrastinate, ProcrastinateElsewhere)


def make_app(url: str, schema: str) -> App:
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=url, kwargs={"options": f"-c search_path={option(quoted(schema))}"}))
    job = Job(url)

    async def perform(**payload: Any) -> None:
        await job.run(payload)

    for name in ("sync", "mail"):
        app.task(perform, name=name)
    return app


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def option(value: str) -> str:
    """As a part of libpq's `options`."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


async def work(url: str, schema: str, queue: str, concurrency: int) -> None:
    async with make_app(url, schema).open_async() as app:
        await app.run_worker_async(queues=[queue], concurrency=concurrency, delete_jobs="never")


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
