"""Oban of Python, from PyPI: its schema, its API, its worker.

It needs Python 3.12, which need not be that of the tests.
`python -m beds.oban api|worker …` runs where the package is; see `pythons.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.packages import Missing
from beds.processes import Api, Job, python_environment, serve, told_to_stop, worker_process
from beds.pythons import python_with

if TYPE_CHECKING:
    import oban

VERSION = "0.7.0"


@cache
def interpreter() -> Path:
    """Raises `LookupError` where none can be had."""
    return python_with(f"oban=={VERSION}", "asyncpg", least=(3, 12))


class Oban(Bed):
    engine: ClassVar[str] = "oban"
    missing: ClassVar[Any] = Missing(interpreter)
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("oban_jobs",)
    has_keys: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def api(self) -> Api:
        return Api([str(interpreter()), "-m", __name__, "api", self.url, self.schema], python_environment())

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        await connection.execute(f"create schema if not exists {self.schema}")
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
        """`key` means nothing: it has no uniqueness without Oban Pro."""
        seconds = None if delay is None else delay.total_seconds()
        given = {"task": task, "queue": queue, "priority": priority, "delay": seconds}
        ids: list[str] = await self.api.call("enqueue", payloads=list(payloads), **given)
        return ids

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(
            str(interpreter()), "-m", __name__, "worker", self.url, self.schema, queue, str(concurrency)
        )

    async def state(self, run_id: str) -> str | None:
        state: str | None = await self.api.call("state", run_id=run_id)
        return state

    async def cancel(self, run_id: str) -> None:
        await self.api.call("cancel", run_id=run_id)


class ObanElsewhere(Oban):
    """In a schema of its own; it puts the name into its statements as it is."""

    schema: ClassVar[str] = "billing_jobs"


BEDS = (Oban, ObanElsewhere)


@asynccontextmanager
async def opened(url: str, schema: str, **settings: Any) -> AsyncIterator[oban.Oban]:
    import oban
    from psycopg_pool import AsyncConnectionPool

    async with AsyncConnectionPool(url, min_size=1, max_size=4, open=False) as pool:
        yield oban.Oban(pool=pool, prefix=schema, **settings)


class Calls:
    """What can be asked of its API, by name."""

    def __init__(self, client: oban.Oban, schema: str) -> None:
        self._client, self._schema = client, schema

    async def install(self) -> None:
        from oban.schema import install

        await install(self._client._query._pool, self._schema)

    async def enqueue(
        self, payloads: list[dict[str, Any]], task: str, queue: str, priority: int, delay: float | None
    ) -> list[str]:
        from oban import Job

        options: dict[str, Any] = {"queue": queue, "priority": priority}
        if delay is not None:
            options["scheduled_in"] = delay
        jobs = [Job(task, args=payload, max_attempts=1 + payload.get("retries", 0), **options) for payload in payloads]
        return [str(job.id) for job in await self._client.enqueue_many(jobs)]

    async def state(self, run_id: str) -> str | None:
        job = await self._client.get_job(int(run_id))
        return None if job is None else str(job.state)

    async def cancel(self, run_id: str) -> None:
        await self._client.cancel_job(int(run_id))


async def work(url: str, schema: str, queue: str, concurrency: int) -> None:
    from oban import Cancel, worker
    from oban.worker import _registry

    jobs, hears = Job(url), asyncio.Event()

    @worker()
    class Performing:
        async def process(self, job: Any) -> Any:
            await hears.wait()
            running = asyncio.create_task(jobs.run(job.args))
            while not (await asyncio.wait([running], timeout=0.02))[0]:
                if job.cancelled():
                    running.cancel()
                    await asyncio.wait([running])
                    return Cancel("not wanted any more")
            return running.result()

    _registry.update(sync=Performing, mail=Performing)
    async with opened(url, schema, queues={queue: concurrency}) as serving, serving:
        # It begins with the first jobs before it hears of cancellations.
        await serving._notifier.listen("signal", lambda channel, message: None, wait=True)
        hears.set()
        await told_to_stop()


async def main(what: str, url: str, schema: str, *more: str) -> None:
    if what == "worker":
        return await work(url, schema, more[0], int(more[1]))
    async with opened(url, schema) as client:
        return await serve(Calls(client, schema))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
