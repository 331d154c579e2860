"""The incident that the pictures show: 318,000 runs waiting, nearly all of one function, most of one vendor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from secateur.postgres.database import Database

_ENQUEUE = """
select count(*)
  from (
    select secateur.enqueue_many(
             $1, $2, array_agg({event} order by nth),
             started_at => array_agg(now() + ((nth - $5) * $4::float8 - $3::float8) * interval '1 second' order by nth))
      from generate_series($5::int, $6::int) as nth
  ) as entered
"""
"""The `$5`th to the `$6`th run of a function: the first began `$3` seconds ago, and each `$4` s after another."""

_SYNC = """
jsonb_build_object('name', 'vendor/sync', 'data', jsonb_strip_nulls(jsonb_build_object(
  'vendor_id', case when nth % 25 < {acme} then 'acme_inc' else (array['globex', 'initech', 'hooli'])[1 + nth % 3] end,
  'amount', case when nth % 40000 <> 1 then 12 + nth * 37 % 4800 end,
  'region', (array['eu-west', 'eu-west', 'us-east'])[1 + nth % 3],
  'source', (array['webhook', 'schedule'])[1 + nth % 2])))
"""
_FLOOD, _USUAL = _SYNC.format(acme=24), _SYNC.format(acme=1)
"""24 of 25 runs are acme's; before, one of 25 was."""
_OTHER = "jsonb_build_object('name', 'other', 'data', jsonb_build_object('number', nth, 'region', 'eu-west'))"


AHEAD_SECONDS = 12.0
"""Rates are averages of ten seconds."""
_STEP_SECONDS = 0.5
_BURST = 0.0001
"""Seconds between runs that come all at once."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One function's runs: how many wait and run now, and how many come and go each second.

    Where more come than go, it has been so since the incident began. Where more go than come, many came at once, `ago`
    seconds before now.
    """

    app_id: str
    function_id: str
    waiting: int = 0
    running: int = 0
    entering: float = 0.0
    leaving: float = 0.0
    ago: float = 0.0
    scheduled: int = 0
    event: str = _OTHER

    @property
    def first(self) -> tuple[float, float]:
        """How many seconds ago the first of those that wait or run began, and how long after it the next one did."""
        if self.ago or not self.entering:
            return self.ago, _BURST
        return (self.waiting + self.running) / self.entering, 1 / self.entering


FLOWS = (
    Flow("billing", "vendor-syncs", 315_900, 32, 41.0, 1.6, event=_FLOOD),
    Flow("billing", "invoices", 1_480, 8, 2.1, 7.4, ago=100),
    Flow("crm", "contact-import", 3_400, 8, 0.0, 12.0, ago=200),
    Flow("crm", "welcome-mail", 22, 2, 1.2, 1.2),
    Flow("growth", "score-leads", 1, 3, 0.1, 0.1),
    Flow("growth", "weekly-digest", scheduled=12),
)


async def seed(database: Database) -> None:
    """The backlog and its history, as if all of it had been done by workers, and at its time."""
    for flow in FLOWS:
        if there := flow.waiting + flow.running:
            await _enqueue(database, flow, flow.event, *flow.first, 1, there)
        scheduled = """
            select count(*)
              from (select secateur.enqueue($1, $2, '{}', scheduled_for => now() + interval '1 day',
                                            started_at => now() - interval '1 hour')
                      from generate_series(1, $3)) as entered
        """
        await database.execute(scheduled, flow.app_id, flow.function_id, flow.scheduled)
    await _end_before(database, FLOWS[0], 4_000)
    await database.execute("select secateur.check_depth()")
    await database.execute("delete from secateur.depth_checks")
    await database.execute("update secateur.depth_deltas set entered = 0, drained = 0, at = at - interval '1 hour'")
    await database.execute("delete from secateur.depth_seconds")
    for coarse, reach, step in ((True, "6 hours", "10 seconds"), (False, "15 minutes", "1 second")):
        await database.execute(_REMEMBER, coarse, reach, step, *_columns())
    await database.execute("vacuum analyze secateur.runs")


def _columns() -> list[list[object]]:
    names = ("app_id", "function_id", "scheduled", "running", "waiting", "entering", "leaving", "ago")
    return [[getattr(flow, name) for flow in FLOWS] for name in names]


@asynccontextmanager
async def going_on(database: Database) -> AsyncIterator[None]:
    """Runs come, start and end meanwhile, so that all figures and plots agree with each other."""
    tasks = [asyncio.create_task(_go_on(database, flow)) for flow in FLOWS if flow.running]
    try:
        await asyncio.sleep(AHEAD_SECONDS)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _go_on(database: Database, flow: Flow) -> None:
    held = await _claim(database, flow, flow.running)
    there = flow.waiting + flow.running
    came = went = 0
    began = time.monotonic()
    while True:
        await asyncio.sleep(_STEP_SECONDS)
        seconds = time.monotonic() - began
        if coming := int(seconds * flow.entering) - came:
            apart = _STEP_SECONDS / coming
            await _enqueue(database, flow, flow.event, _STEP_SECONDS, apart, there + came + 1, there + came + coming)
            came += coming
        if going := min(len(held), int(seconds * flow.leaving) - went):
            ended, held = held[:going], held[going:]
            await database.execute(
                "select count(*) from secateur.complete_runs($1, $2, $3)",
                flow.app_id,
                [run_id for run_id, _ in ended],
                [token for _, token in ended],
            )
            held += await _claim(database, flow, going)
            went += going


async def _enqueue(database: Database, flow: Flow, event: str, ago: float, apart: float, first: int, last: int) -> None:
    await database.execute(_ENQUEUE.format(event=event), flow.app_id, flow.function_id, ago, apart, first, last)


async def _claim(database: Database, flow: Flow, runs: int) -> list[tuple[UUID, UUID]]:
    rows = await database.fetch(
        "select id, claim_token from secateur.claim($1, array[$2], $3, 'worker-1', '1 hour')",
        flow.app_id,
        flow.function_id,
        runs,
    )
    return [(row["id"], row["claim_token"]) for row in rows]


async def _end_before(database: Database, flow: Flow, runs: int) -> None:
    """What the flood's function did on the day before: the usual mixture, all of it done."""
    await _enqueue(database, flow, _USUAL, 20 * 3600.0, 15.0, 1, runs)
    await database.execute(
        """
        update secateur.runs
           set status = 'completed', finished_at = started_at + interval '2 seconds'
         where function_id = $1 and status = 'queued' and started_at < now() - interval '2 hours 20 minutes'
        """,
        flow.function_id,
    )


_REMEMBER = """
with sampled as (
  select flow.app_id, flow.function_id, moment.at, flow.scheduled, flow.running, depth.queued, depth.entered,
         coalesce(total.drained, 0) + depth.entered - coalesce(total.entered, 0)
           - depth.queued + flow.waiting as drained
    from generate_series(date_bin('10 s', now(), '2000-01-01') - $2::text::interval, now() - interval '2 seconds',
                         $3::text::interval) as moment (at)
   cross join lateral (select extract(epoch from now() - moment.at)::float8 as seconds) as before
   cross join unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::float8[], $10::float8[],
                     $11::float8[])
           as flow (app_id, function_id, scheduled, running, waiting, entering, leaving, ago)
    left join secateur.depth_totals as total using (app_id, function_id)
   cross join lateral (
     select case when flow.ago > 0 and before.seconds >= flow.ago then 0
                 else greatest(least(40, flow.waiting),
                               flow.waiting - (flow.entering - flow.leaving) * before.seconds)
            end::bigint as queued,
            (coalesce(total.entered, 0) - flow.entering * before.seconds
               - case when flow.ago > 0 and before.seconds >= flow.ago
                      then flow.waiting + (flow.leaving - flow.entering) * flow.ago else 0 end)::bigint as entered
   ) as depth
), summed as (
  select app_id, coalesce(function_id, '') as function_id, at, sum(queued)::bigint as queued,
         sum(scheduled)::bigint as scheduled, sum(running)::bigint as running, sum(entered)::bigint as entered,
         sum(drained)::bigint as drained
    from sampled
   group by grouping sets ((app_id, at, function_id), (app_id, at))
)
insert into secateur.depth_samples
       (app_id, coarse, at, function_ids, queued, scheduled, running, failed, entered, drained, cancelling)
select app_id, $1, at,
       array_agg(function_id order by function_id),
       array_agg(queued order by function_id),
       array_agg(scheduled order by function_id),
       array_agg(running order by function_id),
       array_agg(0::bigint order by function_id),
       array_agg(entered order by function_id),
       array_agg(drained order by function_id),
       case when $1 then array_agg(0::bigint order by function_id) end
  from summed
 group by app_id, at
"""
"""The depth as samples would have it: `$1` whether they are coarse, for `$2` until now, one each `$3`, of the flows
in the other arrays."""
