"""River, of Go, which cannot be had here.

Its schema is described in river.sql. Jobs are inserted by its Python client, riverqueue from PyPI. What a client in Go
does beyond that is done by statements of the same effect: claim, finish, cancel, and hear of cancellations.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from beds import RAN, Bed
from beds.claiming import Statements, connected, quoted, work
from beds.processes import worker_process

CLAIM = """
with next as (
  select id from river_job
   where state = 'available' and queue = $1 and scheduled_at <= now()
   order by priority, scheduled_at, id
   limit $2
   for update skip locked
)
update river_job as job
   set state = 'running', attempt = job.attempt + 1,
       attempted_at = now(), attempted_by = array_append(job.attempted_by, $3)
  from next where job.id = next.id
returning job.id, job.kind, job.args, job.attempt, job.max_attempts
"""

FINISH = """
update river_job as job
   set state = $2::text::river_job_state,
       finalized_at = case when $2::text = 'retryable' then null else now() end,
       scheduled_at = case when $2::text = 'retryable' then now() + interval '1 hour' else job.scheduled_at end,
       errors = job.errors || case when $3::text is not null
         then array[jsonb_build_object('at', now(), 'attempt', job.attempt, 'error', $3::text)] end
 where job.id = $1 and job.state = 'running'
"""

SCHEDULE = """
update river_job set state = 'available' where state in ('scheduled', 'retryable') and scheduled_at <= now()
"""

MAKE_UNIQUE = """
update river_job set unique_key = sha256($1), unique_states = B'11110101' where id = any ($2::bigint[])
"""

CANCEL = """
with job as (
  select * from river_job where id = $1 and finalized_at is null for update
), told as (
  select pg_notify($2, json_build_object('action', 'cancel', 'job_id', job.id, 'queue', job.queue)::text) from job
)
update river_job
   set state = case when job.state = 'running' then job.state else 'cancelled' end,
       finalized_at = case when job.state = 'running' then null else now() end,
       metadata = jsonb_set(job.metadata, '{cancel_attempted_at}', to_jsonb(now()))
  from job, told where river_job.id = job.id
"""


class River(Bed):
    engine: ClassVar[str] = "river"
    missing: ClassVar[str | None] = (
        None if find_spec("riverqueue") and find_spec("greenlet") else "the package riverqueue is not installed"
    )
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("river_job",)
    usual_priority: ClassVar[int] = 1

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        async with connected(self.url, self.schema) as connection:
            await connection.execute(RAN.replace("exists bed_ran", "exists public.bed_ran"))
            await connection.execute(Path(__file__).with_name("river.sql").read_text())

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
        from riverqueue import AsyncClient, InsertOpts
        from riverqueue.driver.riversqlalchemy import AsyncDriver
        from sqlalchemy.ext.asyncio import create_async_engine

        @dataclass
        class Args:
            payload: dict[str, Any]
            kind: str = task

            def to_json(self) -> str:
                return json.dumps(self.payload)

        engine = create_async_engine(
            self.url.replace("postgresql:", "postgresql+asyncpg:", 1),
            connect_args={"server_settings": {"search_path": quoted(self.schema)}},
        )
        try:
            ids = []
            async with engine.begin() as transaction:
                client = AsyncClient(AsyncDriver(transaction))
                for payload in payloads:
                    options = InsertOpts(
                        queue=queue, priority=min(4, max(1, priority)), max_attempts=1 + payload.get("retries", 0)
                    )
                    if delay is not None:
                        options.scheduled_at = datetime.now(UTC) + delay
                    ids.append(str((await client.insert(Args(payload), options)).job.id))
        finally:
            await engine.dispose()
        if key is not None:
            await self._make_unique(ids, key)
        return ids

    async def _make_unique(self, ids: list[str], key: str) -> None:
        """As the client in Go inserts them; the one in Python does not know the columns of migration 6."""
        async with connected(self.url, self.schema) as connection:
            await connection.execute(
                MAKE_UNIQUE,
                key.encode(),
                [int(id) for id in ids],
            )

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, self.url, self.schema, queue, str(concurrency))

    async def state(self, run_id: str) -> str | None:
        async with connected(self.url, self.schema) as connection:
            state: str | None = await connection.fetchval("select state from river_job where id = $1", int(run_id))
            return state

    async def cancel(self, run_id: str) -> None:
        async with connected(self.url, self.schema) as connection:
            await connection.execute(CANCEL, int(run_id), f"{self.schema}.river_control")


class RiverElsewhere(River):
    """In a schema with a name that has to be quoted."""

    schema: ClassVar[str] = 'Jobs of "billing"'


BEDS = (River, RiverElsewhere)


if __name__ == "__main__":
    url, schema, queue, concurrency = sys.argv[1:]
    statements = Statements(CLAIM, FINISH, SCHEDULE)
    asyncio.run(work(url, schema, f"{schema}.river_control", statements, queue, int(concurrency)))
