"""The smallest engine: a table that some application keeps its jobs in, watched with nothing of secateur installed."""

from __future__ import annotations

from secateur.cel.sql.columns import COLUMNS_OF_PARTS, Columns
from secateur.cel.words import QueueWords
from secateur.engines.relation import RelationSource
from secateur.errors import NotInstalled
from secateur.runs import FunctionDepth

TABLE = """
create table jobs (
  id bigint generated always as identity primary key,
  queue text not null,
  kind text not null,
  payload jsonb not null,
  done boolean not null default false,
  created_at timestamptz not null default clock_timestamp())
"""

DEPTH = """
select job.queue, job.kind, count(*) as queued, min(job.created_at) as oldest, clock_timestamp() as as_of
  from jobs as job where not job.done
 group by job.queue, job.kind order by job.queue, job.kind
"""


class PlainTable(RelationSource):
    """Can be read, and nothing else."""

    name: str = "plain"
    relation: str = """(
      select job.id, job.queue as app_id, job.kind as function_id, job.kind as name, job.payload as data,
             jsonb_build_object('name', job.kind, 'data', job.payload) as event,
             case when job.done then 'completed' else 'queued' end as status, job.created_at as started_at
        from jobs as job)"""
    words = QueueWords("plain", "payload")
    variables: Columns = COLUMNS_OF_PARTS

    @staticmethod
    def problem_of_run_id(run_id: str) -> str | None:
        return None if run_id.isascii() and run_id.isdigit() and len(run_id) < 19 else "must be a whole number"

    async def detect(self) -> str:
        if await self._database.fetchval("select to_regclass('jobs') is null"):
            raise NotInstalled(f"{self._database.description} has no table jobs")
        return "1"

    async def depth(self) -> list[FunctionDepth]:
        return [
            FunctionDepth(
                *(row["queue"], row["kind"], row["queued"], 0, 0, 0, row["oldest"], 0.0, 0.0, row["as_of"]),
                oldest_claimable_at=row["oldest"],
            )
            for row in await self._database.fetch(DEPTH)
        ]
