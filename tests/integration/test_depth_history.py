"""The depth's history: what is kept of it, by whom, for how long; and what is not known is not shown as zero."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

import secateur
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.history import LONGEST_SILENCE
from secateur.engines.upkeep import Maintenance
from secateur.errors import NotFound, RequestError
from secateur.looking.reader import Reader as DepthReader
from secateur.postgres.database import Database
from secateur.runs import Scope
from secateur.samples import Sample, SampleGap, SampleSteps

pytestmark = pytest.mark.one_postgres

SYNC = Scope("billing", "sync")
APP = Scope("billing")
ENQUEUE = "select count(*) from secateur.enqueue_many($1, $2, array(select '{}'::jsonb from generate_series(1, $3)))"
SECOND = timedelta(seconds=1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(database: Database) -> NativeEngine:
    return NativeEngine(database)


@pytest.fixture
async def another(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url, timeout=60)
    yield connection
    connection.terminate()


async def put(database: Database, function: str, runs: int) -> None:
    await database.execute(ENQUEUE, "billing", function, runs)


async def claim(database: Database, most: int) -> list[asyncpg.Record]:
    return await database.fetch("select * from secateur.claim('billing', null, $1, 'worker', '1 hour')", most)


async def complete(database: Database, runs: list[asyncpg.Record]) -> None:
    ids, tokens = [run["id"] for run in runs], [run["claim_token"] for run in runs]
    await database.execute("select secateur.complete_runs('billing', $1::uuid[], $2::uuid[])", ids, tokens)


async def keep(database: Database, ago: timedelta = timedelta(0)) -> datetime:
    """Sums the depth up and keeps a sample, as if that long ago; returns when that was."""
    await database.execute("select secateur.compact_depth('billing')")
    moment: datetime = await database.fetchval("select clock_timestamp() - $1::interval", ago)
    await database.execute("delete from secateur.depth_samples where at > $1", moment)
    await database.execute("update secateur.depth_totals set moved_at = least(moved_at, $1)", moment)
    await database.execute("select secateur.sample_depth('billing', $1)", moment)
    return moment


async def samples_of(engine: NativeEngine, scope: Scope, length: timedelta = SECOND, count: int = 900) -> list[Sample]:
    now = await engine.clock()
    return await engine.samples(scope, [SampleSteps(now - count * length, now, length)])


async def kept(database: Database) -> list[tuple[bool, datetime]]:
    rows = await database.fetch("select coarse, at from secateur.depth_samples order by at")
    return [(row["coarse"], row["at"]) for row in rows]


async def test_what_the_depth_counts_is_kept_with_what_came_and_went(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 30)
    await put(database, "mail", 2)
    first = await keep(database, timedelta(seconds=40))
    held = await claim(database, 20)
    await put(database, "sync", 5)
    second = await keep(database, timedelta(seconds=30))
    await complete(database, held[:15])
    third = await keep(database, timedelta(seconds=20))
    found = await samples_of(engine, APP)
    assert [(one.at, one.queued, one.running, one.entered, one.drained) for one in found] == [
        (first, 32, 0, 32, 0),
        (second, 17, 20, 37, 0),
        (third, 17, 5, 37, 15),
    ]
    functions = await engine.samples_of_functions([SampleSteps(first - SECOND, third + 9 * SECOND, 10 * SECOND)])
    assert set(functions) == {SYNC, Scope("billing", "mail")}
    for one, whole in zip(zip(*functions.values(), strict=True), found, strict=True):
        assert sum(each.backlog + each.running for each in one) == whole.backlog + whole.running
        assert (sum(each.entered for each in one), sum(each.drained for each in one)) == (whole.entered, whole.drained)
    assert functions[SYNC] == await samples_of(engine, SYNC)


async def test_the_depth_is_the_samples(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 30)
    await database.execute("select secateur.compact_depth('billing')")
    (depth,) = await engine.depth()
    (sample,) = await samples_of(engine, SYNC)
    assert (sample.queued, sample.scheduled, sample.running, sample.failed, sample.cancelling) == (
        *(depth.queued, depth.scheduled, depth.running, depth.failed, depth.cancelling),
    )


async def test_an_idle_queue_costs_a_short_row_in_ten_seconds(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 1)
    await complete(database, await claim(database, 1))
    start = EPOCH + (await engine.clock() - timedelta(minutes=5) - EPOCH) // (10 * SECOND) * (10 * SECOND)
    await keep(database, await engine.clock() - start)
    for second in range(1, 31):
        await database.execute("select secateur.sample_depth('billing', $1)", start + second * SECOND)
    rows = await database.fetch("select coarse, at - $1 as after, function_ids from secateur.depth_samples", start)
    assert sum(row["coarse"] for row in rows) == 4
    assert all(row["coarse"] for row in rows)
    assert [row["function_ids"] for row in rows][1:] == [None] * 3
    assert [one.entered for one in await samples_of(engine, SYNC)] == [1] * 4
    assert [one.backlog for one in await samples_of(engine, SYNC)] == [0] * 4


async def test_two_processes_keep_one_sample_a_second(
    database: Database, database_url: str, another: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(database, "sync", 1)
    async with another.transaction():
        await another.execute("select secateur.is_alone('billing', 'compact')")
        await database.execute("select secateur.compact_depth('billing')")
        assert await kept(database) == []
    monkeypatch.setattr("secateur.engines.upkeep.COMPACT_SECONDS", 0.05)
    async with Database.connect(database_url) as other:
        tasks = [asyncio.create_task(Maintenance(NativeEngine(one)).keep_up_forever()) for one in (database, other)]
        while len(times := [at for _, at in await kept(another)]) < 4:
            await put(database, "sync", 1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    coarse = [at for is_coarse, at in await kept(database) if is_coarse]
    assert len({(at - EPOCH) // (10 * SECOND) for at in coarse}) == len(coarse)
    fine = [at for at in times if at not in coarse]
    assert all(later - sooner >= 0.75 * SECOND for sooner, later in itertools.pairwise(fine))


async def test_a_time_in_which_nobody_was_alive_is_a_gap(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 1)
    times = [await keep(database, timedelta(seconds=seconds)) for seconds in (100, 90, 80, 20, 10)]
    now = await engine.clock()
    since = now - timedelta(seconds=200)
    assert await engine.gaps("billing", since, now) == [SampleGap(since, times[0]), SampleGap(times[2], times[3])]
    assert await engine.gaps("billing", times[1], times[2]) == []
    assert await engine.gaps("billing", times[3] - SECOND, times[4]) == [SampleGap(times[3] - SECOND, times[3])]
    late = now + LONGEST_SILENCE
    assert (await engine.gaps("billing", times[3], late)) == [SampleGap(times[4], late)]
    assert await engine.gaps("nobody's", since, now) == [SampleGap(since, now)]


async def test_old_samples_are_pruned_by_and_by(database: Database) -> None:
    await put(database, "sync", 1)
    await database.execute("""
        insert into secateur.depth_samples (app_id, coarse, at)
        select 'billing', n % 10 = 0, now() - interval '1 s' * n * 10 from generate_series(80, 18000) as n
    """)
    before = await too_old(database)
    for pause in (60, 40, 20):
        await database.execute(
            "select secateur.sample_depth('billing', clock_timestamp() - $1::interval)", timedelta(seconds=pause)
        )
    assert before[0] > 4000
    assert before[1] > 50
    assert await too_old(database) == (before[0] - 3 * 1000, 0)


async def too_old(database: Database) -> tuple[int, int]:
    """How many fine and how many coarse samples have outlived their time; less a minute, because the clock goes on."""
    row = await database.fetchrow("""
        select count(*) filter (where not coarse and at < now() - interval '16 min'),
               count(*) filter (where coarse and at < now() - interval '48 h 1 min') from secateur.depth_samples
    """)
    assert row is not None
    return tuple(row)


async def test_a_clock_that_was_set_back_holds_nothing_up(database: Database) -> None:
    await put(database, "sync", 1)
    await keep(database)
    await database.execute("update secateur.depth_samples set at = at + interval '3 hours'")
    await database.execute("select secateur.compact_depth('billing')")
    ((_, at),) = await kept(database)
    assert at < datetime.now(UTC) + timedelta(minutes=1)


async def test_a_sample_has_room_for_the_deepest_functions_and_the_rest_in_the_sum(
    database: Database, engine: NativeEngine
) -> None:
    await database.execute("""
        select count(*) from (select 'f' || lpad(n::text, 3, '0') as name, n from generate_series(1, 230) as n) as one,
          lateral secateur.enqueue_many('billing', one.name, array_fill('{}'::jsonb, array[one.n]))
    """)
    await keep(database, timedelta(seconds=15))
    row = await database.fetchrow("select cut, function_ids from secateur.depth_samples")
    assert row is not None
    assert row["cut"]
    assert len(row["function_ids"]) == 201
    assert sorted(row["function_ids"][1:]) == [f"f{n:03}" for n in range(31, 231)]
    (whole,) = await samples_of(engine, APP)
    assert whole.queued == whole.entered == 230 * 231 // 2
    # Of these nothing is known, which is not the same as zero.
    assert await samples_of(engine, Scope("billing", "f030")) == []
    (known,) = await samples_of(engine, Scope("billing", "f031"))
    assert known.queued == 31


async def test_a_function_that_was_never_seen_before_came_in_when_it_was_seen(
    database: Database, engine: NativeEngine
) -> None:
    await put(database, "mail", 1)
    await keep(database, timedelta(seconds=50))
    await put(database, "sync", 500)
    await keep(database, timedelta(seconds=40))
    before, after = await samples_of(engine, SYNC)
    assert (before.queued, before.entered, after.queued, after.entered) == (0, 0, 500, 500)


async def test_what_was_failed_or_being_cancelled_is_kept(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 10)
    (run,) = await claim(database, 1)
    await database.execute("update secateur.functions set max_attempts = 1")
    await database.execute("select secateur.fail('billing', $1, $2, 'no luck')", run["id"], run["claim_token"])
    await database.execute(
        "select secateur.commit_cancellation(gen_random_uuid(), 'billing', 'sync', null, null, null, false, null,"
        " '{}'::jsonb, 1, '{}', null, null, 'python', 'me', 9, '{\"sync\": 9}'::jsonb)"
    )
    await keep(database, timedelta(seconds=15))
    (depth,) = await engine.depth()
    (sample,) = await samples_of(engine, SYNC)
    assert (sample.failed, sample.cancelling) == (depth.failed, depth.cancelling) == (1, 9)


async def test_who_did_what_is_marked(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 1)
    await put(database, "mail", 1)
    await engine.pause(SYNC, "ada", "cli")
    await engine.pause(APP, "bob", "cli")
    await engine.pause(Scope("billing", "mail"), "eve", "cli")
    now = await engine.clock()
    marks = await engine.marks(SYNC, now - timedelta(minutes=1), now)
    assert [(mark.action, mark.function_id, mark.author) for mark in marks] == [
        ("pause", "sync", "ada"),
        ("pause", None, "bob"),
    ]
    assert len(await engine.marks(APP, now - timedelta(minutes=1), now)) == 3
    assert await engine.marks(APP, now - timedelta(minutes=2), now - timedelta(minutes=1)) == []


async def past(database: Database, depths: list[int], apart: int = 10) -> None:
    """As if the depth of `sync` had been these, the last of them now."""
    await put(database, "sync", depths[-1])
    await database.execute("select secateur.compact_depth('billing')")
    await database.execute(
        """
        with was as (
          select n, depth, clock_timestamp() - interval '1 s' * $2 * (cardinality($1::bigint[]) - n) as at,
                 sum(greatest(0, step)) over (order by n) as entered,
                 sum(greatest(0, -step)) over (order by n) as drained
            from (select n, depth, depth - lag(depth, 1, 0::bigint) over (order by n) as step
                    from unnest($1::bigint[]) with ordinality as one (depth, n)) as one
        ), gone as (delete from secateur.depth_samples)
        insert into secateur.depth_samples
          (app_id, coarse, at, function_ids, queued, scheduled, running, failed, entered, drained, cancelling)
        select 'billing', true, at, array['', 'sync'], array[depth, depth], '{0,0}', '{0,0}', '{0,0}',
               array[entered, entered], array[drained, drained], '{0,0}'
          from was
        """,
        depths,
        apart,
    )


FLOOD = [40] * 60 + [40 + 30 * n for n in range(1, 31)]
"""In steps of ten seconds: it began five minutes ago."""


async def test_the_depth_says_since_when_it_has_been_growing(database: Database, database_url: str) -> None:
    await past(database, FLOOD)
    async with secateur.connect(database_url) as queue:
        (depth,) = await queue.depth()
        assert depth.growing_since is not None
        assert 290 <= (depth.as_of - depth.growing_since).total_seconds() <= 315
        series = await queue.depth_history("billing", "sync")
        assert series.growing_since == depth.growing_since
        assert (await queue.depth_history("billing", range="48h")).growing_since == depth.growing_since
        await past(database, [0, 3000, 100] * 40 + [20])
        assert [each.growing_since for each in await DepthReader(queue.engine).depth()] == [None]


async def test_a_flood_began_when_the_depth_left_its_usual_level(database: Database, database_url: str) -> None:
    """What stands out is looked for since then; not where the history itself begins with the growth."""
    await past(database, FLOOD)
    async with secateur.connect(database_url) as queue:
        since = (await queue.depth_history("billing", "sync")).growing_since
        found = await queue.suggest("billing", "sync")
        assert (found.since, found.since_found) == (since, True)
        await past(database, [40 + 30 * n for n in range(60)])
        assert (await queue.depth_history("billing", "sync")).growing_since is not None
        assert await queue.reader.history.began_growing(SYNC) is None


async def test_the_depth_of_a_function_reads_no_other_samples(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past(database, FLOOD)
    async with secateur.connect(database_url) as queue:

        async def everything(*_: object) -> None:
            raise AssertionError("the samples of every function are read")

        monkeypatch.setattr(type(queue.engine), "samples_of_functions", everything)
        (depth,) = await queue.reader.depth_of(SYNC)
        assert depth.growing_since is not None


async def test_a_range_may_be_around_a_moment_of_the_past(database: Database, engine: NativeEngine) -> None:
    await put(database, "sync", 30)
    first = await keep(database, timedelta(hours=20))
    await put(database, "sync", 5)
    second = await keep(database, timedelta(hours=20) - timedelta(seconds=20))
    history = DepthReader(engine).history
    found = await history.series(SYNC, "15m", around=second)
    assert abs(found.steps.until - second - timedelta(minutes=7.5)) <= SECOND
    known = [(point.at, point.queued) for point in found.points if point.queued is not None]
    assert {queued for at, queued in known if at < second} == {30}
    assert {queued for at, queued in known if at > second + SECOND} == {35}
    assert known[0][0] - first <= SECOND
    now = await engine.clock()
    newest = await history.series(SYNC, "2h", around=now)
    assert newest.steps.until >= now
    oldest = await history.series(SYNC, "2h", around=now - timedelta(days=9))
    assert abs(now - oldest.steps.since - timedelta(hours=48)) <= 5 * SECOND


async def test_points_are_what_is_known(database: Database, database_url: str) -> None:
    await past(database, FLOOD)
    await database.execute(
        "delete from secateur.depth_samples where at between now() - interval '8 min' and now() - interval '6 min'"
    )
    async with secateur.connect(database_url) as queue:
        for name, count in (("15m", 900), ("2h", 720), ("48h", 720)):
            series = await queue.depth_history("billing", "sync", range=name)
            assert len(series.points) == count
            assert series.points[-1].at == series.steps.until
            assert series.points[-1].queued == FLOOD[-1]
            assert series.points[30].queued == (40 if name == "15m" else None)
        series = await queue.depth_history("billing", "sync")
        before, gap = series.gaps  # the first one is the time before there were samples
        assert before.since == series.steps.since
        assert (gap.until - gap.since).total_seconds() == pytest.approx(120, abs=20)
        unknown = [point for point in series.points[100:] if point.queued is None]
        assert len(unknown) == pytest.approx(90, abs=20)
        assert all(gap.since < point.at < gap.until for point in unknown)
        assert all(point.in_per_second is None for point in unknown)
        assert series.points[-100].in_per_second == pytest.approx(3.0)
        assert series.points[-100].out_per_second == 0
        with pytest.raises(NotFound, match="'billing' has no function 'nothing'"):
            await queue.depth_history("billing", "nothing")
        with pytest.raises(NotFound, match="no app 'nobody'"):
            await queue.depth_history("nobody")
        with pytest.raises(RequestError, match="range: must be one of 15m, 2h, 48h"):
            await queue.depth_history("billing", range="3h")


async def test_reading_takes_as_many_rows_as_it_gives_points(database: Database, engine: NativeEngine) -> None:
    """However long the history is: 17,280 samples lie in these 48 hours."""
    await past(database, [5] * 17_280)
    await database.execute("analyze secateur.depth_samples")
    before = await rows_read(database)
    now = await engine.clock()
    await engine.samples(SYNC, [SampleSteps(now - timedelta(hours=48), now, timedelta(minutes=4))])
    await engine.samples_of_functions([SampleSteps(now - timedelta(hours=48), now, timedelta(minutes=48))])
    assert await rows_read(database) - before <= 720 + 60 + 10


async def rows_read(database: Database) -> int:
    await database.execute("select pg_stat_force_next_flush()")
    read: int = await database.fetchval(
        "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'depth_samples'"
    )
    return read
