"""DBOS, from PyPI: its schema, its client, its executor.

Arguments are enqueued as `portable_json`, but for `Pickled`, which does as DBOS does unless it is told otherwise.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.processes import Job, python_environment, worker_process

if TYPE_CHECKING:
    from dbos import DBOSClient


class Dbos(Bed):
    engine: ClassVar[str] = "dbos"
    missing: ClassVar[str | None] = None if find_spec("dbos") else "the package dbos is not installed"
    schema: ClassVar[str] = "dbos"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("workflow_status", "workflow_input")
    portable: ClassVar[bool] = True

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(RAN)
        await connection.close()
        # What there is of its schema is made by an application that starts.
        command = [sys.executable, "-m", __name__, self.url, self.schema, "", "1"]
        made = await asyncio.to_thread(
            subprocess.run, command, env=python_environment(), capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr[-4000:]

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
        from dbos import EnqueueOptions, WorkflowSerializationFormat

        options = EnqueueOptions(workflow_name=task, queue_name=queue)
        if priority:
            options["priority"] = priority
        if self.portable:
            options["serialization_type"] = WorkflowSerializationFormat.PORTABLE
        if delay is not None:
            options["delay_seconds"] = delay.total_seconds()
        if key is not None:
            options["deduplication_id"] = key
        async with self.client() as client:
            handles = [await client.enqueue_async(options, **payload) for payload in payloads]
            return [handle.get_workflow_id() for handle in handles]

    def worker(
        self, *, queue: str = "default", concurrency: int = 1, limited: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        """`limited`: the queue has a limit that all executors share, for which they claim in REPEATABLE READ."""
        given = (self.url, self.schema, queue, str(concurrency))
        return worker_process(__name__, *given, *(["limited"] if limited else []))

    async def state(self, run_id: str) -> str | None:
        async with self.client() as client:
            for workflow in await client.list_workflows_async(workflow_ids=[run_id]):
                return str(workflow.status)
        return None

    async def cancel(self, run_id: str) -> None:
        async with self.client() as client:
            await client.cancel_workflow_async(run_id)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[DBOSClient]:
        from dbos import DBOSClient

        client = await asyncio.to_thread(
            lambda: DBOSClient(system_database_url=self.url, dbos_system_schema=self.schema)
        )
        try:
            yield client
        finally:
            await asyncio.to_thread(client.destroy)


class DbosElsewhere(Dbos):
    """In a schema with a name that has to be quoted."""

    schema: ClassVar[str] = "Steps of billing"


class Pickled(Dbos):
    schema: ClassVar[str] = "pickled"
    portable: ClassVar[bool] = False


BEDS = (Dbos, DbosElsewhere)


def work(url: str, schema: str, queue: str, concurrency: int, limited: bool) -> None:
    from dbos import DBOS, DBOSConfig

    DBOS(
        config=DBOSConfig(
            name="bed",
            system_database_url=url,
            dbos_system_schema=schema,
            application_version="1",
            executor_id="bed",
            log_level="ERROR",
        )
    )
    job = Job(url)

    async def perform(**payload: Any) -> None:
        # Every sleep is a step: a workflow that was cancelled takes no further one.
        await job.run(payload, lambda: DBOS.sleep_async(0.05))

    for name in ("sync", "mail"):
        DBOS.workflow(name=name)(perform)
    DBOS.launch()
    if queue:
        shared = concurrency if limited else None
        DBOS.register_queue(queue, global_concurrency=shared, worker_concurrency=concurrency, polling_interval_sec=0.1)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    DBOS.destroy()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), "limited" in sys.argv[5:])
