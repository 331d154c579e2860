"""A queue of others with a large backlog: commits behind its gate, its depth, counts and a sweep, against SQL by hand.

Oban's table as Elixir's migrations make it, with its indexes, and no worker. One job in a thousand has the vendor `v7`.
Commits take turns with a stop, so that few are active. The processor time of a commit is that of the server, with the
stop: it is compared with that on a small backlog, since a busy machine makes every commit wait for its turn.
What is written by hand is by somebody who knows the table. A count is of what matches, and of how many there are. A
sweep and updates take turns, batch by batch, on as many jobs, which lie between each other.
"""

from __future__ import annotations

import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

from benchmarks.bed import Ground, median_ratio, quantile, say, timed
from benchmarks.gated_claims import TABLES_OF_OBAN
from benchmarks.report import because, goal
from secateur.engines.foreign.depth import DepthReader
from secateur.engines.foreign.engine import ForeignEngine
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.ledger.selections import select
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

TITLE = "A queue of others with a large backlog"

SMALL, LARGE = 10_000, 1_000_000
COMMITS = 200
REFRESHES = 10
COUNTS = 5
BATCH = 1_000
SWEPT = 50
"""Batches by each side."""

SEED = """
insert into oban_jobs (queue, worker, args, state)
select 'default', 'sync', jsonb_build_object('vendor', vendor, 'amount', n), 'available'
  from generate_series(1, $1::int) as n
 cross join lateral (
   select case when n % 10 = 0 then 'flood' when n % 10 = 5 then 'by hand' when n % 10 = 3 then 'kept'
               when n % 1000 = 7 then 'v7' else 'v' || n end
 ) as job (vendor)
"""

DEPTH_BY_HAND = """
select queue, worker, count(*) filter (where state = 'available'), count(*) filter (where state = 'executing'),
       count(*) filter (where state in ('scheduled', 'retryable'))
  from oban_jobs where state in ('available', 'executing', 'scheduled', 'retryable') group by queue, worker
"""

WAITING_BY_HAND = """
oban_jobs where queue = 'default' and state in ('available', 'scheduled', 'retryable', 'executing')
"""

COUNTS_BY_HAND = {
    "event.data.vendor == 'v7'": 'args @> \'{"vendor": "v7"}\'',
    "event.data.vendor.startsWith('v99')": "args ->> 'vendor' like 'v99%'",
    "event.data.amount > 900000": "(args ->> 'amount')::numeric > 900000",
}

UPDATE_BY_HAND = """
with batch as (
  select id from oban_jobs
   where state = 'available' and queue = 'default' and id > $1 and args @> '{"vendor": "by hand"}'
   order by id limit $2
), updated as (
  update oban_jobs as job set state = 'cancelled', cancelled_at = timezone('UTC', now())
    from batch where job.id = batch.id
  returning job.id
)
select max(id) from updated
"""

# What the update leaves out: each job as it was, in a table with the columns and indexes of secateur.preimages.
KEPT = """
create table kept (like secateur.preimages including all)
"""
KEEP_BY_HAND = """
with batch as (
  select id from oban_jobs
   where state = 'available' and queue = 'default' and id > $1 and args @> '{"vendor": "kept"}'
   order by id limit $2 for update
), kept as (
  insert into kept (app_id, cancellation_id, job_id, function_id, pre, was_running, taken_by)
  select 'default', $3::uuid, job.id::text, job.worker, to_jsonb(job), false, 'sweep'
    from batch join oban_jobs as job using (id)
), updated as (
  update oban_jobs as job
     set state = 'cancelled', cancelled_at = timezone('UTC', now()),
         meta = job.meta || jsonb_build_object('cancel_attempted_at', timezone('UTC', now()))
    from batch where job.id = batch.id
  returning job.id
)
select max(id) from updated
"""

WHY_COMMITS = "the machine's load: compare the processor time, which is that on the small backlog"
WHY_COUNTS = "it also groups what matches by function and status, in a statement of its own"
WHY_SWEEP = (
    "a sweep locks each job before it judges it, and keeps it as it was, for an undo. Of the server's time for such a "
    "job the bare update is about half: the lock takes a tenth, the job as jsonb a fifth, and its row with the index "
    "entries a fifth. An update by hand that keeps the jobs too is the floor"
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """A gated queue with that many jobs."""

    database: Database
    engine: ForeignEngine
    queue: OpenQueue


async def measure(ground: Ground) -> list[str]:
    sizes = (ground.scaled(SMALL), min(ground.scaled(LARGE), ground.largest))
    async with AsyncExitStack() as stack:
        backlogs = {size: await _backlog(stack, ground, size) for size in sizes}
        lines = await _commits(ground, backlogs)
        largest = backlogs[sizes[-1]]
        lines += ["", *await _depth(ground, largest, sizes[-1]), "", *await _counts(ground, largest, sizes[-1])]
        return [*lines, "", *await _sweep(ground, largest, sizes[-1])]


async def _backlog(stack: AsyncExitStack, ground: Ground, jobs: int) -> Backlog:
    url = await stack.enter_async_context(ground.empty())
    database = await stack.enter_async_context(Database.connect(url))
    await database.execute(TABLES_OF_OBAN.read_text(encoding="utf-8"))
    await database.execute(SEED, jobs)
    await database.execute("vacuum analyze oban_jobs")
    installation = await find_installation(database, "oban")
    await install_queue(database, installation, author="bench")
    await GateKeeper(database, installation).install("bench")
    engine = await open_engine(database, name="oban")
    assert isinstance(engine, ForeignEngine)
    backlog = Backlog(database, engine, OpenQueue.over(engine))
    await _commit_and_stop(backlog, 0)
    return backlog


async def _commit_and_stop(backlog: Backlog, number: int) -> float:
    """Seconds of the commit."""
    cancellations = backlog.queue.cancellations
    request = CancellationRequest.parse({"app_id": "default", "if": f"event.data.vendor == 'nobody-{number}'"})
    made = []

    async def commit() -> None:
        made.append(await cancellations.commit(request, author="bench", source="python"))

    seconds = await timed(commit)
    assert made[0].guarantee == "in_force"
    await cancellations.stop(made[0].id, author="bench")
    return seconds


async def _commits(ground: Ground, backlogs: dict[int, Backlog]) -> list[str]:
    commits = ground.scaled(COMMITS)
    seconds: dict[int, list[float]] = {size: [] for size in backlogs}
    processor = dict.fromkeys(backlogs, 0.0)
    for number in range(commits):
        for size, backlog in backlogs.items():
            before = sum(ground.server_seconds().values())
            seconds[size].append(await _commit_and_stop(backlog, number))
            processor[size] += sum(ground.server_seconds().values()) - before
    rows = [
        f"| {size:,} | {quantile(seconds[size], 0.5):.1f} ms | {quantile(seconds[size], 0.99):.1f} ms "
        f"| {1000 * processor[size] / commits:.1f} ms |"
        for size in backlogs
    ]
    small, large = backlogs
    growth = processor[large] / processor[small]
    return [
        f"### {commits} commits behind the gate; processor time of the server with the stop that follows",
        "",
        "| jobs | p50 | p99 | commit and stop, CPU |",
        "|---:|---:|---:|---:|",
        *rows,
        "",
        *because(
            goal(f"commit p99 with a gate, {large:,} jobs", quantile(seconds[large], 0.99), " ms", most=20), WHY_COMMITS
        ),
        goal(f"processor time of a commit with a gate, {large:,} jobs against {small:,}", growth, most=1.2),
    ]


async def _depth(ground: Ground, backlog: Backlog, jobs: int) -> list[str]:
    ours, theirs = [], []
    for _ in range(ground.scaled(REFRESHES)):
        ours.append(await timed(lambda: DepthReader(backlog.database).read(backlog.engine.installation)))
        theirs.append(await timed(lambda: backlog.database.fetch(DEPTH_BY_HAND)))
    figures = [1000 * statistics.median(seconds) for seconds in (ours, theirs)]
    ratio = median_ratio(ours, theirs)
    return [
        f"### The depth of {jobs:,} jobs, the median of {len(ours)}: with failed ones and the oldest; by hand without",
        "",
        "| secateur | counted by hand | ratio |",
        "|---:|---:|---:|",
        f"| {figures[0]:,.0f} ms | {figures[1]:,.0f} ms | {ratio:.2f} |",
    ]


async def _counts(ground: Ground, backlog: Backlog, jobs: int) -> list[str]:
    lines = [
        f"### Exact counts over {jobs:,} jobs, the median of {ground.scaled(COUNTS)} pairs",
        "",
        "| `if` | matches | secateur | by hand | ratio |",
        "|:--|---:|---:|---:|---:|",
    ]
    goals: list[str] = []
    for expression, condition in COUNTS_BY_HAND.items():
        selection = select(CancellationRequest.parse({"app_id": "default", "if": expression}))
        by_hand = (
            f"select (select count(*) from {WAITING_BY_HAND} and {condition}), (select count(*) from {WAITING_BY_HAND})"
        )
        ours, theirs, found = [], [], await backlog.database.fetchval(by_hand)
        assert (await backlog.engine.count(selection)).matched == found
        for _ in range(ground.scaled(COUNTS)):
            ours.append(await timed(lambda asked=selection: backlog.engine.count(asked)))  # type: ignore[misc]
            theirs.append(await timed(lambda sql=by_hand: backlog.database.fetchval(sql)))  # type: ignore[misc]
        ratio = median_ratio(ours, theirs)
        figures = [1000 * statistics.median(seconds) for seconds in (ours, theirs)]
        lines.append(f"| `{expression}` | {found:,} | {figures[0]:,.0f} ms | {figures[1]:,.0f} ms | {ratio:.2f} |")
        goals += because(goal(f"count of `{expression}` against SQL by hand", ratio, most=1.2), WHY_COUNTS)
    return [*lines, "", *goals]


async def _sweep(ground: Ground, backlog: Backlog, jobs: int) -> list[str]:
    request = CancellationRequest.parse({"app_id": "default", "if": "event.data.vendor == 'flood'"})
    flood = await backlog.queue.cancellations.commit(request, author="bench", source="python")
    await backlog.database.execute(KEPT)
    mark = uuid4()
    seconds = {"sweep": 0.0, UPDATE_BY_HAND: 0.0, KEEP_BY_HAND: 0.0}
    last = {UPDATE_BY_HAND: 0, KEEP_BY_HAND: 0}
    swept, batches = 0, max(1, min(ground.scaled(SWEPT), jobs // (10 * BATCH)))  # a tenth of them is for each side

    async def sweep() -> None:
        nonlocal swept
        swept += (await backlog.engine.ledger.sweep("default", flood.id, BATCH)).cancelled

    async def by_hand(sql: str) -> None:
        values = (mark,) if sql == KEEP_BY_HAND else ()
        last[sql] = await backlog.database.fetchval(sql, last[sql], BATCH, *values) or last[sql]

    for _ in range(batches):
        seconds["sweep"] += await timed(sweep)
        for sql in last:
            seconds[sql] += await timed(lambda sql=sql: by_hand(sql))  # type: ignore[misc]
    await backlog.queue.cancellations.stop(flood.id, author="bench")
    rate, bare, kept = swept / seconds["sweep"], *(batches * BATCH / seconds[sql] for sql in last)
    say(f"swept {rate:,.0f}/s, by hand {bare:,.0f}/s, with the jobs kept {kept:,.0f}/s")
    return [
        f"### Jobs per second, {swept:,} swept and as many updated in batches of {BATCH:,}",
        "",
        "| sweep, with its look through the backlog | batched UPDATE by hand | … that keeps each job as it was |",
        "|---:|---:|---:|",
        f"| {rate:,.0f} | {bare:,.0f} | {kept:,.0f} |",
        "",
        *because(goal("sweep rate of another queue against a batched UPDATE", rate / bare, least=0.8), WHY_SWEEP),
        goal("sweep rate of another queue against an UPDATE that keeps the jobs", rate / kept, least=0.8),
    ]
