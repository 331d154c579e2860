"""A worker of an engine whose own cannot be had: it does by statements of the same effect what that one does."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from beds.processes import Job


@dataclass(frozen=True)
class Statements:
    claim: str
    """Of the queue $1, at most $2 jobs, by the worker $3; gives id, args, attempt, max_attempts."""
    finish: str
    """Of the job $1: its state $2 becomes `completed`, `cancelled`, `discarded` or `retryable`, its error $3."""
    schedule: str
    """Jobs whose time has come can be claimed from then on."""


class Worker:
    """Claims as many jobs as it has hands free, and stops those whose cancellation it hears of."""

    def __init__(self, pool: asyncpg.Pool, job: Job, statements: Statements, queue: str, concurrency: int) -> None:
        self._pool, self._job, self._statements = pool, job, statements
        self._queue, self._concurrency = queue, concurrency
        self._running: dict[int, asyncio.Task[None]] = {}
        self._performing: set[asyncio.Task[None]] = set()
        self._name = f"{os.uname().nodename}_{os.getpid()}"

    async def work(self) -> None:
        while True:
            await self._pool.execute(self._statements.schedule)
            if free := self._concurrency - len(self._performing):
                for claimed in await self._pool.fetch(self._statements.claim, self._queue, free, self._name):
                    job = asyncio.create_task(self._job.run(json.loads(claimed["args"])))
                    self._running[claimed["id"]] = job
                    task = asyncio.create_task(self._perform(claimed, job))
                    self._performing.add(task)
                    task.add_done_callback(self._performing.discard)
            await asyncio.sleep(0.05)

    def hear(self, _connection: object, _pid: int, _channel: str, message: str) -> None:
        said = json.loads(message)
        if said["action"] in ("cancel", "pkill") and (task := self._running.get(said["job_id"])) is not None:
            task.cancel()

    async def _perform(self, claimed: asyncpg.Record, job: asyncio.Task[None]) -> None:
        """A cancellation ends the job, and never what notes its end: that one would be running for ever."""
        state, error = "completed", None
        try:
            await job
        except asyncio.CancelledError:
            state, error = "cancelled", "job cancelled remotely"
        except Exception as failure:
            state = "retryable" if claimed["attempt"] < claimed["max_attempts"] else "discarded"
            error = str(failure)
        del self._running[claimed["id"]]
        await self._pool.execute(self._statements.finish, claimed["id"], state, error)


async def work(url: str, schema: str, channel: str, statements: Statements, queue: str, concurrency: int) -> None:
    """Until it is told to stop. It hears of cancellations by `channel`."""
    path = {"search_path": quoted(schema)}
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=4, server_settings=path) as pool,
        connected(url, schema) as listening,
    ):
        worker = Worker(pool, Job(url), statements, queue, concurrency)
        await listening.add_listener(channel, worker.hear)
        await worker.work()


@asynccontextmanager
async def connected(url: str, schema: str) -> AsyncIterator[asyncpg.Connection]:
    """With the schema, which is made where it is not there, as the search path."""
    connection = await asyncpg.connect(url, server_settings={"search_path": quoted(schema)})
    try:
        await connection.execute(f"create schema if not exists {quoted(schema)}")
        yield connection
    finally:
        await connection.close()


def quoted(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'
