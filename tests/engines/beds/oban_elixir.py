"""Oban, of Elixir, which cannot be had here.

Its tables are described in oban_elixir.sql. What Oban does is done by statements of the same effect: insert, stage,
claim, finish, cancel, and hear of cancellations.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from beds import RAN, Bed
from beds.claiming import Statements, connected, work
from beds.processes import worker_process

INSERT = """
insert into oban_jobs (worker, queue, args, priority, max_attempts, state, scheduled_at)
values ($1, $2, $3, $4, $5, case when $6::interval is null then 'available' else 'scheduled' end::oban_job_state,
        timezone('UTC', now()) + coalesce($6, '0 s'))
returning id
"""

TELL = "select pg_notify($1, json_build_object('queue', $2::text)::text)"

STAGE = """
update oban_jobs set state = 'available'
 where state in ('scheduled', 'retryable') and scheduled_at <= timezone('UTC', now())
"""

CLAIM = """
with next as materialized (
  select id from oban_jobs
   where state = 'available' and queue = $1
   order by priority, scheduled_at, id
   limit $2
   for update skip locked
)
update oban_jobs as job
   set state = 'executing', attempt = job.attempt + 1,
       attempted_at = timezone('UTC', now()), attempted_by = array[$3, gen_random_uuid()::text]
  from next where job.id = next.id and job.attempt < job.max_attempts
returning job.id, job.args, job.attempt, job.max_attempts
"""

FINISH = """
update oban_jobs as job
   set state = $2::text::oban_job_state,
       completed_at = case when $2::text = 'completed' then timezone('UTC', now()) end,
       cancelled_at = case when $2::text = 'cancelled' then timezone('UTC', now()) end,
       discarded_at = case when $2::text = 'discarded' then timezone('UTC', now()) end,
       scheduled_at = case when $2::text = 'retryable' then timezone('UTC', now()) + interval '1 hour'
                           else job.scheduled_at end,
       errors = job.errors || case when $3::text is not null
         then array[jsonb_build_object('at', timezone('UTC', now()), 'attempt', job.attempt, 'error', $3::text)] end
 where job.id = $1
"""

CANCEL = """
with changed as (
  update oban_jobs set state = 'cancelled', cancelled_at = timezone('UTC', now())
   where id = $1 and state not in ('cancelled', 'completed', 'discarded')
  returning id
)
select pg_notify($2, json_build_object('action', 'pkill', 'job_id', $1::bigint)::text)
"""


class ObanElixir(Bed):
    engine: ClassVar[str] = "oban"
    missing: ClassVar[str | None] = None
    schema: ClassVar[str] = "public"
    prefix: ClassVar[str] = ""
    tables: ClassVar[tuple[str, ...]] = ("oban_jobs",)
    has_keys: ClassVar[bool] = False

    def __init__(self, url: str) -> None:
        self.url = url

    async def install(self) -> None:
        async with connected(self.url, self.schema) as connection:
            await connection.execute(RAN.replace("exists bed_ran", "exists public.bed_ran"))
            await connection.execute(Path(__file__).with_suffix(".sql").read_text())

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
        """`key` means nothing: its uniqueness is a question that the client asks before it inserts."""
        ids = []
        async with connected(self.url, self.schema) as connection, connection.transaction():
            for payload in payloads:
                attempts = 1 + payload.get("retries", 0)
                given = (task, queue, json.dumps(payload), priority, attempts, delay)
                ids.append(str(await connection.fetchval(INSERT, *given)))
            await connection.execute(TELL, f"{self.schema}.oban_insert", queue)
        return ids

    def worker(self, *, queue: str = "default", concurrency: int = 1) -> AbstractAsyncContextManager[Any]:
        return worker_process(__name__, self.url, self.schema, queue, str(concurrency))

    async def state(self, run_id: str) -> str | None:
        async with connected(self.url, self.schema) as connection:
            state: str | None = await connection.fetchval("select state from oban_jobs where id = $1", int(run_id))
            return state

    async def cancel(self, run_id: str) -> None:
        async with connected(self.url, self.schema) as connection:
            await connection.execute(CANCEL, int(run_id), f"{self.schema}.oban_signal")


class ObanElixirElsewhere(ObanElixir):
    """In a schema with a name that has to be quoted."""

    schema: ClassVar[str] = 'Jobs of "billing"'


BEDS = (ObanElixir, ObanElixirElsewhere)


if __name__ == "__main__":
    url, schema, queue, concurrency = sys.argv[1:]
    asyncio.run(work(url, schema, f"{schema}.oban_signal", Statements(CLAIM, FINISH, STAGE), queue, int(concurrency)))
