"""chancy, from PyPI: its schema, its API, its worker. The queue's jobs are run by the executor that can cancel them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import asyncpg

from beds import RAN, Bed
from beds.processes import Job, worker_process

if TYPE_CHECKING:
    from chancy import Chancy as App


class Chancy(Bed):
    engine: ClassVar[str] = "chancy"
    missing: ClassVar[str | None] = None if find_spec("chancy") else "the package chancy is not installed"
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = "chancy_"
    path: ClassVar[str] = "beds.chancy."
    tables: ClassVar[tuple[str, ...]] = ("chancy_jobs",)

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        await connection.close()
        async with make_app(self.url, self.prefix) as app:
            await app.migrate()

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
        from chancy import Job

        template = Job(func=f"{__name__}.{task}", queue=queue, priority=priority, unique_key=key)
        if delay is not None:
            template = template.with_scheduled_at(datetime.now(UTC) + delay)
        async with make_app(self.url, self.prefix) as app:
            pushed = [await app.push(template.with_kwargs(**payload)) for payload in payloads]
            return [str(reference.identifier) for reference in pushed]

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(
            __name__, self.url, self.prefix, queue, str(concurrency), environment={"BED_URL": self.url}
        )

    async def state(self, run_id: str) -> str | None:
        from chancy import Reference

        async with make_app(self.url, self.prefix) as app:
            job = await app.get_job(Reference(UUID(run_id)))
            return None if job is None else str(job.state.value)

    async def cancel(self, run_id: str) -> None:
        from chancy import Reference

        async with make_app(self.url, self.prefix) as app:
            await app.cancel_job(Reference(UUID(run_id)))


class ChancyElsewhere(Chancy):
    """With a prefix that has to be quoted."""

    prefix: ClassVar[str] = "Late night "
    tables: ClassVar[tuple[str, ...]] = ("Late night jobs",)


BEDS = (Chancy, ChancyElsewhere)


def make_app(url: str, prefix: str) -> App:
    from chancy import Chancy as App

    return App(url, prefix=prefix, log=logging.getLogger("chancy"))


_job = Job(os.environ.get("BED_URL", ""))


async def sync(**payload: Any) -> None:
    await _job.run(payload)


async def mail(**payload: Any) -> None:
    await _job.run(payload)


async def work(url: str, prefix: str, queue: str, concurrency: int) -> None:
    from chancy import Chancy as App
    from chancy import Queue, Worker

    async with make_app(url, prefix) as app:
        await app.declare(
            Queue(queue, concurrency=concurrency, executor=App.Executor.Async, polling_interval=1, eager_polling=True),
            upsert=True,
        )
        async with Worker(app, register_signal_handlers=True) as worker:
            await worker.wait_for_shutdown()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
