"""absurd, from PyPI: its schema as `absurdctl` brings it along, its client, its worker."""

from __future__ import annotations

import asyncio
import signal
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
    from absurd_sdk import AsyncAbsurd

PACKAGES = {"absurd_sdk": "absurd-sdk", "absurdctl": "absurdctl"}


class Absurd(Bed):
    engine: ClassVar[str] = "absurd"
    missing: ClassVar[str | None] = next(
        (f"the package {package} is not installed" for module, package in PACKAGES.items() if not find_spec(module)),
        None,
    )
    schema: ClassVar[str] = "absurd"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("t_default", "r_default", "t_idle", "r_idle")
    has_keys: ClassVar[bool] = False
    storage: ClassVar[str] = "unpartitioned"

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        from absurdctl import BUNDLED_SCHEMA_SQL

        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        # What `absurdctl init` runs through psql.
        await connection.execute(BUNDLED_SCHEMA_SQL)
        await connection.close()
        async with self.opened() as app:
            for queue in ("default", "idle"):
                await app.create_queue(queue, storage_mode=self.storage)

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
        """There is no priority. Nothing can be spawned for later, so the task is put to sleep as if it had done it."""
        async with self.opened(queue) as app:
            if queue not in await app.list_queues():
                await app.create_queue(queue, storage_mode=self.storage)
            spawned = [
                await app.spawn(task, payload, queue=queue, max_attempts=1, idempotency_key=key) for payload in payloads
            ]
        ids = [str(each["task_id"]) for each in spawned]
        if delay is not None:
            await self._put_to_sleep(queue, ids, delay)
        return ids

    async def _put_to_sleep(self, queue: str, ids: list[str], delay: timedelta) -> None:
        name = queue.replace('"', '""')
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(
                f"""with run as (update absurd."r_{name}" set state = 'sleeping', available_at = now() + $2
                                  where task_id = any ($1::uuid[]))
                    update absurd."t_{name}" set state = 'sleeping' where task_id = any ($1::uuid[])""",
                ids,
                delay,
            )
        finally:
            await connection.close()

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, self.url, queue, str(concurrency))

    async def state(self, run_id: str) -> str | None:
        async with self.opened() as app:
            for queue in await app.list_queues():
                found = await app.fetch_task_result(run_id, queue_name=queue)
                if found is not None:
                    return str(found.state)
        return None

    async def cancel(self, run_id: str) -> None:
        async with self.opened() as app:
            for queue in await app.list_queues():
                if await app.fetch_task_result(run_id, queue_name=queue) is not None:
                    await app.cancel_task(run_id, queue_name=queue)

    @asynccontextmanager
    async def opened(self, queue: str = "default") -> AsyncIterator[AsyncAbsurd]:
        app = make_app(self.url, queue)
        try:
            yield app
        finally:
            await app.close()


class AbsurdPartitioned(Absurd):
    """Its tables are partitioned by the time in their ids."""

    storage: ClassVar[str] = "partitioned"


BEDS = (Absurd, AbsurdPartitioned)


def make_app(url: str, queue: str) -> AsyncAbsurd:
    from absurd_sdk import AsyncAbsurd

    return AsyncAbsurd(url, queue_name=queue)


async def work(url: str, queue: str, concurrency: int) -> None:
    app = make_app(url, queue)
    job = Job(url)

    async def perform(payload: dict[str, Any], context: Any) -> None:
        await job.run(payload, context.heartbeat)

    for name in ("sync", "mail"):
        app.register_task(name, queue=queue)(perform)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.stop_worker)
    await app.start_worker(concurrency=concurrency, poll_interval=0.1)
    await app.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
