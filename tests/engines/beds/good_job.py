"""GoodJob 4.19, without Ruby: tables after the catalog, jobs as ActiveJob writes them, its claims issued by hand.

See `rails.py`. The worker claims as the strategy `skiplocked` does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg

from beds import RAN, Bed
from beds.processes import Job, worker_process
from beds.rails import payload_of, serialized

TABLES = """
create table good_jobs (
  id uuid primary key default gen_random_uuid(),
  queue_name text,
  priority integer,
  serialized_params jsonb,
  scheduled_at timestamp(6),
  performed_at timestamp(6),
  finished_at timestamp(6),
  error text,
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null,
  active_job_id uuid,
  concurrency_key text,
  cron_key text,
  cron_at timestamp(6),
  batch_id uuid,
  executions_count integer,
  job_class text,
  error_event smallint,
  labels text[],
  locked_by_id uuid,
  locked_at timestamp(6),
  lock_type smallint);
create index on good_jobs (scheduled_at) where finished_at is null;
create index on good_jobs (queue_name, scheduled_at) where finished_at is null;
create index on good_jobs (concurrency_key) where finished_at is null;
create index on good_jobs (priority desc nulls last, created_at) where finished_at is null;
create index on good_jobs (priority nulls last, created_at) where finished_at is null;
create index on good_jobs (priority, scheduled_at, id) where finished_at is null;
create index on good_jobs (queue_name, scheduled_at, id) where finished_at is null;
create index on good_jobs (priority nulls last, scheduled_at, id) where finished_at is null and locked_by_id is null;
create index on good_jobs (locked_by_id) where locked_by_id is not null;
create index on good_jobs (finished_at) where finished_at is not null;
create index on good_jobs (finished_at desc) where finished_at is not null and error is not null;
create index on good_jobs (id) where finished_at is null or error is not null;
create index on good_jobs (created_at);
create index on good_jobs (job_class);
create index on good_jobs (queue_name);
create table good_job_processes (
  id uuid primary key default gen_random_uuid(),
  created_at timestamp(6) not null,
  updated_at timestamp(6) not null,
  state jsonb,
  lock_type smallint);
"""


class GoodJob(Bed):
    engine: ClassVar[str] = "good_job"
    missing: ClassVar[str | None] = None
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("good_jobs",)
    has_keys: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(RAN)
            await connection.execute(f'create schema if not exists "{self.schema}"')
            await connection.execute(f'set search_path to "{self.schema}"')
            await connection.execute(TABLES)
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
        jobs = [serialized(task, queue, priority, payload) for payload in payloads]
        connection = await connected(self.url, self.schema)
        try:
            await connection.executemany(
                """insert into good_jobs (id, active_job_id, job_class, queue_name, priority, serialized_params,
                                          scheduled_at, concurrency_key, created_at, updated_at)
                   values ($1, $1, $2, $3, $4, $5, timezone('UTC', clock_timestamp()) + coalesce($6, interval '0'), $7,
                           timezone('UTC', clock_timestamp()), timezone('UTC', clock_timestamp()))""",
                [(job["job_id"], job["job_class"], queue, priority, json.dumps(job), delay, key) for job in jobs],
            )
        finally:
            await connection.close()
        return [str(job["job_id"]) for job in jobs]

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, self.url, self.schema, queue, str(concurrency))

    async def state(self, run_id: str) -> str | None:
        """By the conditions of GoodJob::Job's scopes, in their words."""
        connection = await connected(self.url, self.schema)
        try:
            state: str | None = await connection.fetchval(
                """select case when finished_at is not null and error is null then 'succeeded'
                               when finished_at is not null then 'discarded'
                               when performed_at is not null then 'running'
                               when scheduled_at <= timezone('UTC', now()) then 'queued'
                               else 'scheduled' end
                     from good_jobs where id = $1""",
                UUID(run_id),
            )
            return state
        finally:
            await connection.close()

    async def cancel(self, run_id: str) -> None:
        """As GoodJob::Job#discard_job."""
        connection = await connected(self.url, self.schema)
        try:
            await connection.execute(
                """update good_jobs set finished_at = timezone('UTC', clock_timestamp()), error_event = 5,
                          error = 'GoodJob::Job::DiscardJobError: Discarded through dashboard'
                    where id = $1 and finished_at is null""",
                UUID(run_id),
            )
        finally:
            await connection.close()


class GoodJobElsewhere(GoodJob):
    schema: ClassVar[str] = "Good jobs"


BEDS = (GoodJob, GoodJobElsewhere)


async def connected(url: str, schema: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings={"search_path": f'"{schema}"'})


class Worker:
    """What GoodJob's scheduler asks of the database."""

    def __init__(self, url: str, schema: str, queue: str) -> None:
        self.url, self.schema, self.queue = url, schema, queue
        self.id = uuid4()
        self.job = Job(url)

    async def start(self) -> None:
        self.pool = await asyncpg.create_pool(self.url, server_settings={"search_path": f'"{self.schema}"'})
        await self.pool.execute(
            """insert into good_job_processes (id, created_at, updated_at, state)
               values ($1, timezone('UTC', now()), timezone('UTC', now()), '{}')""",
            self.id,
        )

    async def claim(self) -> asyncpg.Record | None:
        return await self.pool.fetchrow(
            """with next as (
                 select id from good_jobs
                  where finished_at is null and locked_by_id is null and queue_name = $1
                    and scheduled_at <= timezone('UTC', now())
                  order by priority nulls last, created_at limit 1 for update skip locked
               )
               update good_jobs as job set locked_by_id = $2, locked_at = timezone('UTC', now()), lock_type = 1
                 from next where job.id = next.id returning job.*""",
            self.queue,
            self.id,
        )

    async def perform(self, row: asyncpg.Record) -> None:
        await self.pool.execute(
            """update good_jobs set performed_at = timezone('UTC', clock_timestamp()),
                      executions_count = coalesce(executions_count, 0) + 1 where id = $1""",
            row["id"],
        )
        error = None
        try:
            await self.job.run(payload_of(json.loads(row["serialized_params"])))
        except RuntimeError as raised:
            error = f"RuntimeError: {raised}"
        await self.pool.execute(
            """update good_jobs set finished_at = timezone('UTC', clock_timestamp()), error = $2, error_event = $3,
                      locked_by_id = null, locked_at = null, lock_type = null
                where id = $1""",
            row["id"],
            error,
            None if error is None else 1,
        )


async def work(url: str, schema: str, queue: str, concurrency: int) -> None:
    worker = Worker(url, schema, queue)
    await worker.start()

    async def one() -> None:
        while True:
            row = await worker.claim()
            if row is None:
                await asyncio.sleep(0.1)
            else:
                await worker.perform(row)

    await asyncio.gather(*(one() for _ in range(concurrency)))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
