"""Fills the queue with the backlog that the incident has built up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from math import sqrt
from random import Random
from typing import TypeAlias

import secateur.engines.native.client
from secateur.demo.story import STREAMS, Stream
from secateur.engines.native.client import Queue
from secateur.schema import install

BATCH = 5000
"""Runs a call."""

CONNECTIONS = 2
"""One inserts while the events of the other are being made up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the demo's preparation has come; `total` 0 where there is nothing to count."""

    stage: str
    done: int = 0
    total: int = 0
    per_second: float = 0.0


Report: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class SeedBatch:
    """A slice of a stream, oldest first."""

    stream: Stream
    seed: int
    moments: list[datetime]


async def seed(url: str, runs: int, report: Report) -> None:
    """Install the schema and put `runs` runs into the queue, back-dated over the last hours."""
    async with secateur.engines.native.client.connect(url, application_name="secateur demo") as queue:
        report(Progress("installing the schema"))
        await install(queue.database)
        batches = iter(list(_batches(runs, await queue.engine.clock())))
        done = 0
        began = time.monotonic()

        async def work() -> None:
            nonlocal done
            for batch in batches:
                await _enqueue(queue, batch)
                done += len(batch.moments)
                report(Progress("seeding the backlog", done, runs, done / (time.monotonic() - began)))

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        report(Progress("gathering statistics"))
        await queue.database.execute("vacuum analyze secateur.runs")
        # What entered hours ago in the story did not enter just now.
        await queue.database.execute("update secateur.depth_deltas set entered = 0, at = at - interval '1 hour'")
        await queue.database.execute(REMEMBER)


REMEMBER = """
with arrived as (
  select run.app_id, name.function_id, date_bin('10 s', run.started_at, '2000-01-01') + interval '10 s' as at,
         run.status, count(*) as runs
    from secateur.runs as run
   cross join lateral (values (run.function_id), ('')) as name (function_id)
   group by 1, 2, 3, 4
), every as (
  select known.app_id, known.function_id, moment.at
    from (select app_id, function_id, min(at) as since from arrived group by 1, 2) as known
   cross join lateral generate_series(known.since, now(), interval '10 s') as moment (at)
), level as (
  select app_id, function_id, at,
         coalesce(sum(runs) filter (where status = 'queued') over up_to_then, 0)::bigint as queued,
         coalesce(sum(runs) filter (where status = 'scheduled') over up_to_then, 0)::bigint as scheduled,
         (coalesce(sum(runs) over up_to_then, 0) - coalesce(sum(runs) over in_all, 0))::bigint as entered
    from every left join arrived using (app_id, function_id, at)
  window up_to_then as (partition by app_id, function_id order by at),
         in_all as (partition by app_id, function_id)
)
insert into secateur.depth_samples
       (app_id, coarse, at, function_ids, queued, scheduled, running, failed, entered, drained, cancelling)
select app_id, true, at,
       array_agg(function_id order by function_id), array_agg(queued order by function_id),
       array_agg(scheduled order by function_id), array_agg(0::bigint order by function_id),
       array_agg(0::bigint order by function_id), array_agg(entered order by function_id),
       array_agg(0::bigint order by function_id), array_agg(0::bigint order by function_id)
  from (select distinct app_id, function_id, at, queued, scheduled, entered from level where at < now()) as sample
 group by app_id, at
"""
"""How the backlog grew, as samples every ten seconds would have it: somebody has been watching all along."""


def _batches(runs: int, now: datetime) -> Iterator[SeedBatch]:
    numbers = count()
    for stream, size in zip(STREAMS, _shares(runs), strict=True):
        random = Random(next(numbers))  # noqa: S311 - the same story each time
        reach = stream.reaches_back(size)
        moments = sorted(now - reach * _age(random, stream) for _ in range(size))
        for start in range(0, size, BATCH):
            yield SeedBatch(stream, next(numbers), moments[start : start + BATCH])


def _shares(runs: int) -> list[int]:
    """Whole runs for each stream, `runs` in all, and one at least while that is possible."""
    sizes = [max(1, int(runs * stream.backlog)) for stream in STREAMS]
    sizes[1] = max(0, runs - sum(sizes) + sizes[1])
    return sizes


def _age(random: Random, stream: Stream) -> float:
    """Of 1. A flood's rate grows in proportion to the time since it began."""
    return 1 - sqrt(random.random()) if stream.flood else random.random()


async def _enqueue(queue: Queue, batch: SeedBatch) -> None:
    stream, random = batch.stream, Random(batch.seed)  # noqa: S311
    now = batch.moments[-1]
    await queue.enqueue_many(
        stream.app_id,
        stream.function_id,
        [stream.make(random, moment) for moment in batch.moments],
        started_at=batch.moments,
        scheduled_for=[
            now + timedelta(minutes=random.uniform(5, 360)) if random.random() < stream.scheduled else None
            for _ in batch.moments
        ]
        if stream.scheduled
        else None,
    )
