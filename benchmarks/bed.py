"""The ground that every benchmark stands on: one server, databases on it, seeded backlogs, quantiles."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import psutil

from secateur.engines.native.engine import NativeEngine
from secateur.ledger.cancellations import Cancellations
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install

APP = "bench"
VENDORS = 1000
INCIDENT = "acme"
"""The vendor of every other run in a stretch of the backlog, as when something goes wrong for an hour."""
CHUNK = 250_000
SEEDERS = 2

NIGHT = 60
"""How many times as long a nightly run keeps up its pressure."""

# Durable commits as in production; the server's memory is what a small machine would give it. Autovacuum looks more
# often than once a minute: a benchmark is too short to see what it does otherwise.
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "256MB",
    "autovacuum_naptime": "10s",
}

# Made once and joined: building ten million documents would take longer than storing them. The period, 35,000, is a
# multiple of every number in it.
EVENTS = f"""
create unlogged table public.seed_events as
select n, incident,
       jsonb_build_object('name', 'bench/run', 'data', jsonb_build_object(
         'vendor_id', case when incident then '{INCIDENT}' else 'v' || n % {VENDORS} end,
         'amount', n % 5000,
         'items', jsonb_build_array(jsonb_build_object('sku', 's' || n % 100, 'quantity', n % 7),
                                    jsonb_build_object('sku', 'common', 'quantity', 1)),
         'note', repeat('x', 150))) as event
  from generate_series(0, 34999) as n, (values (false), (true)) as kind (incident)
"""

# What enqueue_many writes, its delta of the depth too, with times and ids of the last two hours.
SEED = """
with numbered as (
  select series.n, $6::bigint + series.n as us, 'f' || (series.n / $4) % $5 as function_id
    from generate_series($1::bigint, $2::bigint) as series (n)
), entered as (
  insert into secateur.runs (id, app_id, function_id, event, status, priority, started_at)
  select encode(substring(int8send(numbered.us / 1000) from 3)
                  || int2send((28672 + (numbered.us % 1000) * 4096 / 1000)::int2)
                  || substring(uuid_send(gen_random_uuid()) from 9), 'hex')::uuid,
         'bench', numbered.function_id, seed.event, 'queued', 0,
         to_timestamp(0) + numbered.us * interval '1 microsecond'
    from numbered
    join public.seed_events as seed
      on seed.n = numbered.n % 35000
     and seed.incident = (numbered.n % 2 = 0 and numbered.n between $3::bigint * 6 / 10 and $3::bigint * 8 / 10)
  returning function_id
)
insert into secateur.depth_deltas (app_id, function_id, queued, entered)
select 'bench', entered.function_id, count(*), count(*) from entered group by entered.function_id
"""

NEVER_ANALYZE = """
do $$
declare
  one regclass;
begin
  for one in select oid from pg_class where relnamespace = 'secateur'::regnamespace and relkind = 'r' loop
    execute format('alter table %s set (autovacuum_analyze_threshold = 2147483647)', one);
  end loop;
end
$$
"""
"""So that the planner knows nothing about the contents of any table, as in a new database before autovacuum comes."""


@dataclass(frozen=True, slots=True)
class Bed:
    """A database with the schema installed."""

    url: str
    database: Database
    engine: NativeEngine
    cancellations: Cancellations


class Ground:
    """One server for all benchmarks of a run. `largest` is the size of the largest backlog, `quick` whether this is to
    see that everything works, and figures mean nothing; `nightly`, whether what shows only with time gets an hour."""

    def __init__(
        self,
        server: EmbeddedPostgres,
        admin: Database,
        kept: AsyncExitStack,
        largest: int,
        quick: bool,
        nightly: bool = False,
    ) -> None:
        self.server = server
        self.largest = largest
        self.quick = quick
        self.nightly = nightly
        self._admin = admin
        self._kept = kept
        self._made = 0
        self._backlogs: dict[int, Bed] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, largest: int, *, quick: bool = False, nightly: bool = False) -> AsyncIterator[Ground]:
        with EmbeddedPostgres(settings=SETTINGS) as server:
            async with Database.connect(server.url, max_size=2) as admin, AsyncExitStack() as kept:
                yield cls(server, admin, kept, largest, quick, nightly)

    def scaled(self, number: int) -> int:
        """That many runs, rounds or seconds; a twentieth of it, at least one, if all is to be quick."""
        return max(1, number // 20) if self.quick else number

    def lasting(self, seconds: float) -> float:
        """How long something lasts that takes so many seconds by day."""
        return seconds * NIGHT if self.nightly else max(2.0, seconds / 4) if self.quick else seconds

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """The URL of a new, empty database, which is dropped afterwards."""
        self._made += 1
        name = f"bench_{self._made}"
        await self._admin.execute(f"create database {name}")
        try:
            yield self.server.database_url(name)
        finally:
            await self._admin.execute(f"drop database {name} with (force)")

    @asynccontextmanager
    async def bed(self, *, analyzed: bool = True) -> AsyncIterator[Bed]:
        """A new database with the schema installed, which is dropped afterwards.

        Unless `analyzed`, autovacuum does not analyze its tables; `seed` them without it as well.
        """
        async with self.empty() as url, Database.connect(url, max_size=6) as database:
            await install(database)
            if not analyzed:
                await database.execute(NEVER_ANALYZE)
            engine = NativeEngine(database)
            yield Bed(url, database, engine, Cancellations(engine))

    async def backlog(self, runs: int) -> Bed:
        """A database with that many queued runs, made at its first use and kept: leave it as you found it."""
        if runs not in self._backlogs:
            bed = await self._kept.enter_async_context(self.bed())
            begun = time.perf_counter()
            await seed(bed.database, runs)
            if runs >= 1_000_000:
                say(f"seeded {runs:,} runs in {time.perf_counter() - begun:.0f} s")
            self._backlogs[runs] = bed
        return self._backlogs[runs]

    def server_seconds(self) -> dict[int, float]:
        """Processor time that each of the server's processes has taken so far."""
        return processor_seconds(process.pid for process in psutil.Process(self.server.pid).children())

    async def version(self) -> str:
        return str(await self._admin.fetchval("show server_version"))


async def seed(database: Database, runs: int, *, functions: int = 3, stretch: int = 1, analyzed: bool = True) -> None:
    """Queue `runs` runs of app `bench` within the last two hours, each event about 300 bytes.

    Functions `f0`, `f1`, … take turns, every `stretch` runs. One run in a thousand has the `vendor_id` `v7`; in a
    fifth of the backlog every other one has `acme`.
    """
    for function in range(functions):
        await database.execute("select secateur.ensure_function($1, $2)", APP, f"f{function}")
        await database.execute("select secateur.ensure_levels($1, $2, array[0])", APP, f"f{function}")
    await database.execute("drop table if exists public.seed_events")
    await database.execute(EVENTS)
    await database.execute("create index on public.seed_events (n)")
    await database.execute("analyze public.seed_events")
    first = await database.fetchval(
        "select (extract(epoch from clock_timestamp() - interval '2 hours') * 1000000)::bigint"
    )
    starts = list(range(0, runs, CHUNK))

    async def fill() -> None:
        while starts:
            start = starts.pop(0)
            await database.execute(SEED, start, min(runs, start + CHUNK) - 1, runs, stretch, functions, first)

    async with asyncio.TaskGroup() as group:
        for _ in range(SEEDERS):
            group.create_task(fill())
    await database.execute("drop table public.seed_events")
    # So that what follows finds neither unknown statistics nor a checkpoint's writes in its way.
    await database.execute("vacuum (analyze) secateur.runs" if analyzed else "vacuum secateur.runs")
    await database.execute("checkpoint")


async def claim(database: Database, runs: int, *, lease: str = "1 minute") -> tuple[list[UUID], list[UUID]]:
    """Claim up to `runs` runs; their ids and tokens."""
    rows = await database.fetch(
        "select id, claim_token from secateur.claim('bench', null, $1, 'bench', $2::text::interval)", runs, lease
    )
    return [row["id"] for row in rows], [row["claim_token"] for row in rows]


async def complete(database: Database, held: tuple[list[UUID], list[UUID]]) -> None:
    """End claimed runs well, in one call as the worker does it."""
    await database.execute("select count(*) from secateur.complete_runs('bench', $1, $2)", *held)


def processor_seconds(pids: Iterable[int]) -> dict[int, float]:
    """Processor time that each of the processes has taken so far, those left out that have ended."""
    found = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            found[pid] = times.user + times.system
    return found


def say(progress: str) -> None:
    print(f"  … {progress}", flush=True)


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """Seconds that one call took."""
    begun = time.perf_counter()
    await action()
    return time.perf_counter() - begun


def quantile(seconds: Sequence[float], share: float) -> float:
    """Milliseconds below which `share` of the calls lie."""
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[round(share * 100) - 1]


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of rounds that took turns: the median of each round's ratio, so that what slows down one round counts little."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
