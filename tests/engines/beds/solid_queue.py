"""Solid Queue 1.5, without Ruby: tables after the catalog, jobs as ActiveJob writes them, its claims issued by hand.

See `rails.py`. The dispatcher's part, which makes scheduled jobs ready, is the worker's here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, ClassVar

import asyncpg

from beds import RAN, Bed
from beds.processes import Job, worker_process
from beds.rails import payload_of, serialized

JOBS = """
create table solid_queue_jobs (
  id bigserial primary key,
  queue_name character varying not null,
  class_name character varying not null,
  arguments text,
  priority integer not null default 0,
  active_job_id character varying,
  scheduled_at timestamp(6),
  finished_at timestamp(6),
  concurrency_key character varying,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null);
create index on solid_queue_jobs (active_job_id);
create index on solid_queue_jobs (class_name);
create index on solid_queue_jobs (finished_at);
create index on solid_queue_jobs (queue_name, finished_at);
create index on solid_queue_jobs (scheduled_at, finished_at);
create table solid_queue_processes (
  id bigserial primary key,
  kind character varying not null,
  last_heartbeat_at timestamp(6) not null,
  supervisor_id bigint,
  pid integer not null,
  hostname character varying,
  metadata text,
  created_at timestamp(6) not null,
  name character varying not null);
create index on solid_queue_processes (last_heartbeat_at);
create table solid_queue_semaphores (
  id bigserial primary key,
  key character varying not null unique,
  value integer not null default 1,
  expires_at timestamp(6) not null,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null);
create table solid_queue_pauses (
  id bigserial primary key,
  queue_name character varying not null unique,
  created_at timestamp(6) not null);
"""

EXECUTIONS = """
create table solid_queue_{kind}_executions (
  id bigserial primary key,
  job_id bigint not null unique references solid_queue_jobs on delete cascade,
  {columns}
  created_at timestamp(6) not null default timezone('UTC', now()));
"""

PLACE = "queue_name character varying not null, priority integer not null default 0,"
COLUMNS = {
    "ready": PLACE,
    "scheduled": f"{PLACE} scheduled_at timestamp(6) not null,",
    "blocked": f"{PLACE} concurrency_key character varying not null, expires_at timestamp(6) not null,",
    "claimed": "process_id bigint,",
    "failed": "error text,",
    "recurring": "task_key character varying not null, run_at timestamp(6) not null,",
}

INDEXES = """
create index on solid_queue_ready_executions (priority, job_id);
create index on solid_queue_ready_executions (queue_name, priority, job_id);
create index on solid_queue_scheduled_executions (scheduled_at, priority, job_id);
create index on solid_queue_blocked_executions (concurrency_key, priority, job_id);
create index on solid_queue_claimed_executions (process_id, job_id);
"""


class SolidQueue(Bed):
    engine: ClassVar[str] = "solid_queue"
    missing: ClassVar[str | None] = None
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = (
        "solid_queue_jobs",
        *(f"solid_queue_{kind}_executions" for kind in ("ready", "scheduled", "blocked")),
    )

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(RAN)
            await connection.execute(f'create schema if not exists "{self.schema}"')
            await connection.execute(f'set search_path to "{self.schema}"')
            await connection.execute(JOBS)
            for kind, columns in COLUMNS.items():
                await connection.execute(EXECUTIONS.format(kind=kind, columns=columns))
            await connection.execute(INDEXES)
        finally:
            await connection.close()

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
        """A job with a concurrency key is ready if its semaphore is free, and blocked if not."""
        connection = await connected(self.url, self.schema)
        try:
            async with connection.transaction():
                return [
                    str(await _insert(connection, serialized(task, queue, priority, payload), delay, key))
                    for payload in payloads
                ]
        finally:
            await connection.close()

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, self.url, self.schema, queue, str(concurrency))

    async def state(self, run_id: str) -> str | None:
        """As SolidQueue::Job#status finds it."""
        connection = await connected(self.url, self.schema)
        try:
            job = await connection.fetchrow("select * from solid_queue_jobs where id = $1", int(run_id))
            if job is None:
                return None
            if job["finished_at"] is not None:
                return "finished"
            for kind in ("ready", "claimed", "failed", "scheduled", "blocked"):
                executions = f"solid_queue_{kind}_executions"
                if await connection.fetchval(f"select true from {executions} where job_id = $1", int(run_id)):
                    return kind
            return "none"
        finally:
            await connection.close()

    async def cancel(self, run_id: str) -> None:
        """As SolidQueue::Job#discard: the job and its execution are deleted, and its semaphore is given back."""
        connection = await connected(self.url, self.schema)
        try:
            async with connection.transaction():
                ready = await connection.fetchval(
                    "select true from solid_queue_ready_executions where job_id = $1 for update", int(run_id)
                )
                key = await connection.fetchval(
                    "delete from solid_queue_jobs where id = $1 returning concurrency_key", int(run_id)
                )
                if ready and key is not None:
                    await connection.execute("update solid_queue_semaphores set value = value + 1 where key = $1", key)
        finally:
            await connection.close()


class SolidQueueElsewhere(SolidQueue):
    schema: ClassVar[str] = "Rails queue"


BEDS = (SolidQueue, SolidQueueElsewhere)


async def connected(url: str, schema: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings={"search_path": f'"{schema}"'})


async def _insert(connection: asyncpg.Connection, job: dict[str, Any], delay: timedelta | None, key: str | None) -> int:
    id: int = await connection.fetchval(
        """insert into solid_queue_jobs
             (queue_name, class_name, arguments, priority, active_job_id, scheduled_at, concurrency_key, created_at,
              updated_at)
           values ($1, $2, $3, $4, $5, timezone('UTC', clock_timestamp()) + coalesce($6, interval '0'), $7,
                   timezone('UTC', clock_timestamp()), timezone('UTC', clock_timestamp()))
           returning id""",
        job["queue_name"],
        job["job_class"],
        json.dumps(job),
        job["priority"],
        job["job_id"],
        delay,
        key,
    )
    if delay is not None:
        await connection.execute(
            """insert into solid_queue_scheduled_executions (job_id, queue_name, priority, scheduled_at)
               select id, queue_name, priority, scheduled_at from solid_queue_jobs where id = $1""",
            id,
        )
    else:
        await _dispatch(connection, id)
    return id


async def _dispatch(connection: asyncpg.Connection, id: int) -> None:
    key = await connection.fetchval("select concurrency_key from solid_queue_jobs where id = $1", id)
    if key is None or await _has_place(connection, key):
        kind, column, value = "ready", "", ""
    else:
        kind, column, value = (
            "blocked",
            ", concurrency_key, expires_at",
            ", concurrency_key, timezone('UTC', now()) + '3 min'",
        )
    await connection.execute(
        f"""insert into solid_queue_{kind}_executions (job_id, queue_name, priority{column})
            select id, queue_name, priority{value} from solid_queue_jobs where id = $1""",
        id,
    )


async def _has_place(connection: asyncpg.Connection, key: str) -> bool:
    """Takes the semaphore's place, of which there is one."""
    taken = await connection.fetchval(
        """insert into solid_queue_semaphores (key, value, expires_at, created_at, updated_at)
           values ($1, 0, timezone('UTC', now()) + '3 min', timezone('UTC', now()), timezone('UTC', now()))
           on conflict (key) do update
             set value = solid_queue_semaphores.value - 1 where solid_queue_semaphores.value > 0
           returning true""",
        key,
    )
    return bool(taken)


class Worker:
    """What SolidQueue's worker and dispatcher ask of the database."""

    def __init__(self, url: str, schema: str, queue: str) -> None:
        self.url, self.schema, self.queue = url, schema, queue
        self.job = Job(url)

    async def start(self) -> None:
        self.pool = await asyncpg.create_pool(self.url, server_settings={"search_path": f'"{self.schema}"'})
        self.process: int = await self.pool.fetchval(
            """insert into solid_queue_processes (kind, last_heartbeat_at, pid, hostname, created_at, name)
               values ('Worker', timezone('UTC', now()), $1, 'bed', timezone('UTC', now()), 'worker-bed')
               returning id""",
            os.getpid(),
        )

    async def dispatch(self) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            for row in await connection.fetch(
                """select job_id from solid_queue_scheduled_executions where scheduled_at <= timezone('UTC', now())
                    order by scheduled_at, priority, job_id limit 500 for update skip locked"""
            ):
                await _dispatch(connection, row["job_id"])
                await connection.execute(
                    "delete from solid_queue_scheduled_executions where job_id = $1", row["job_id"]
                )

    async def claim(self, most: int) -> list[asyncpg.Record]:
        async with self.pool.acquire() as connection, connection.transaction():
            found = await connection.fetch(
                """select id, job_id from solid_queue_ready_executions where queue_name = $1
                    order by priority, job_id limit $2 for update skip locked""",
                self.queue,
                most,
            )
            ids = [row["job_id"] for row in found]
            await connection.execute(
                """insert into solid_queue_claimed_executions (job_id, process_id)
                   select job_id, $2 from unnest($1::bigint[]) as job_id""",
                ids,
                self.process,
            )
            claimed = await connection.fetch(
                """select job.* from solid_queue_claimed_executions as claimed
                     join solid_queue_jobs as job on job.id = claimed.job_id
                    where claimed.job_id = any ($1) and claimed.process_id = $2""",
                ids,
                self.process,
            )
            await connection.execute(
                "delete from solid_queue_ready_executions where job_id = any ($1)", [row["id"] for row in claimed]
            )
            return claimed

    async def perform(self, row: asyncpg.Record) -> None:
        error = None
        try:
            await self.job.run(payload_of(json.loads(row["arguments"])))
        except RuntimeError as raised:
            error = json.dumps({"exception_class": "RuntimeError", "message": str(raised), "backtrace": []})
        async with self.pool.acquire() as connection, connection.transaction():
            held = await connection.fetchval(
                "delete from solid_queue_claimed_executions where job_id = $1 returning true", row["id"]
            )
            if not held:
                return
            if error is None:
                await connection.execute(
                    "update solid_queue_jobs set finished_at = timezone('UTC', clock_timestamp()) where id = $1",
                    row["id"],
                )
            else:
                await connection.execute(
                    "insert into solid_queue_failed_executions (job_id, error) values ($1, $2)", row["id"], error
                )
            if row["concurrency_key"] is not None:
                await self._unblock(connection, row["concurrency_key"])

    async def _unblock(self, connection: asyncpg.Connection, key: str) -> None:
        await connection.execute("update solid_queue_semaphores set value = value + 1 where key = $1", key)
        next_one = await connection.fetchval(
            """select job_id from solid_queue_blocked_executions where concurrency_key = $1
                order by priority, job_id limit 1 for update skip locked""",
            key,
        )
        if next_one is not None:
            await connection.execute("delete from solid_queue_blocked_executions where job_id = $1", next_one)
            await _dispatch(connection, next_one)


async def work(url: str, schema: str, queue: str, concurrency: int) -> None:
    worker = Worker(url, schema, queue)
    await worker.start()
    running: set[asyncio.Task[None]] = set()
    while True:
        await worker.dispatch()
        if len(running) < concurrency:
            running |= {
                asyncio.ensure_future(worker.perform(row)) for row in await worker.claim(concurrency - len(running))
            }
        if running:
            done, running = await asyncio.wait(running, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        else:
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
