"""What stands out in what arrives: from the rows to Python, the command line and the API."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from api_client import running_api
from command_line import Here

import secateur
from patience import PATIENCE
from secateur.cel import compile as compile_source
from secateur.engines import arriving
from secateur.engines.base import Arriving
from secateur.engines.native import arrivals as native
from secateur.engines.native.engine import NativeEngine
from secateur.engines.populations import Population
from secateur.errors import NotFound, RequestError
from secateur.looking import recounting, suggesting
from secateur.postgres.database import Database
from secateur.runs import Scope, Window

pytestmark = pytest.mark.one_postgres

BEFORE, DURING = 1200, 900
FLOOD = timedelta(minutes=15)
HISTORY = timedelta(hours=6)
SHARE = 0.7
CAUSE = "event.data.vendor_id == 'acme_inc'"
REGIONS = ("eu", "us", "apac")


def usual(random: Random, at: datetime) -> dict[str, Any]:
    return {
        "name": "vendor/sync",
        "ts": int(at.timestamp() * 1000),
        "data": {
            "vendor_id": random.choice(("globex", "initech", "hooli", "umbrella", "acme_inc")),
            "region": random.choice(REGIONS),
            "amount": random.randrange(1000),
            "trace": f"{random.getrandbits(64):x}",
        },
    }


def flooding(random: Random, at: datetime) -> dict[str, Any]:
    event = usual(random, at)
    if random.random() < SHARE:
        event["data"]["vendor_id"] = "acme_inc"
    return event


async def seed(url: str, *, history: bool = True) -> datetime:
    """A queue in which a flood began a quarter of an hour ago; what came before it has completed. Returns when."""
    random = Random(3)
    async with secateur.connect(url) as queue:
        now = await queue.engine.clock()
        began = now - FLOOD
        before = sorted(began - random.random() * HISTORY for _ in range(BEFORE if history else 0))
        during = sorted(began + random.random() * (FLOOD - timedelta(seconds=1)) for _ in range(DURING))
        if history:
            await queue.enqueue_many("billing", "syncs", [usual(random, at) for at in before], started_at=before)
            await queue.database.execute(
                """update secateur.runs set status = 'completed', finished_at = started_at + interval '3 s', attempt = 1
                    where app_id = 'billing'"""
            )
            # As the functions do that end runs.
            await queue.database.execute("truncate secateur.depth_deltas; truncate secateur.depth_totals")
        await queue.enqueue_many("billing", "syncs", [flooding(random, at) for at in during], started_at=during)
        await queue.enqueue_many(
            "billing",
            "others",
            [{"data": {"vendor_id": random.choice(("globex", "hooli")), "region": "eu"}} for _ in range(300)],
            started_at=[began + FLOOD / 2] * 300,
        )
    return began


async def test_a_flood_is_found_by_itself(database_url: str) -> None:
    began = await seed(database_url)
    async with secateur.connect(database_url) as queue:
        found = await queue.suggest("billing", "syncs")
        assert found.since_found
        assert found.since is not None
        assert abs(found.since - began) < FLOOD / 10
        assert (found.baseline, found.sampled) == ("before", pytest.approx(DURING, abs=60))
        assert found.baseline_runs > 0.9 * BEFORE
        first = found.suggestions[0]
        assert first.if_ == CAUSE
        assert first.flood_share == pytest.approx(SHARE + 0.2 * (1 - SHARE), abs=0.05)
        assert first.baseline_share == pytest.approx(0.2, abs=0.05)
        assert first.precision == pytest.approx(SHARE / (SHARE + 0.2 * (1 - SHARE)), abs=0.05)
        assert first.recall == 1
        count = await queue.preview({"app_id": "billing", "function_id": "syncs", "if": first.if_})
        assert first.matched_estimate == pytest.approx(count.count.matched, abs=40)
        vendor = found.fields[0]
        assert vendor.path == "event.data.vendor_id"
        assert vendor.values[0].value == "acme_inc"
        for each in found.suggestions:
            compile_source(each.if_)


async def test_the_last_batch_of_a_flood_is_not_the_flood(database_url: str) -> None:
    """A producer enqueues forty runs at once, every second."""
    async with secateur.connect(database_url) as queue:
        now, random = await queue.engine.clock(), Random(5)
        before = [now - timedelta(minutes=20) + timedelta(seconds=2 * nth) for nth in range(600)]
        began, flood = now - timedelta(seconds=25), [now - timedelta(seconds=nth // 40) for nth in range(1000)]
        events = [usual(random, at) for at in before if at < began]
        await queue.enqueue_many("billing", "syncs", events, started_at=before[: len(events)])
        await queue.enqueue_many("billing", "syncs", [flooding(random, at) for at in flood], started_at=flood)
        found = await queue.suggest("billing", "syncs")
        assert found.since is not None
        assert abs(found.since - began) < timedelta(seconds=5)
        assert [found.suggestions[0].if_, found.baseline] == [CAUSE, "before"]


@pytest.mark.parametrize("cause", [True, False])
async def test_of_a_few_runs_only_what_explains_them_is_suggested(database_url: str, cause: bool) -> None:
    """Sixty runs in the last minute; a sixth of them, or most, have what the others lack."""

    async with secateur.connect(database_url) as queue:
        now, random = await queue.engine.clock(), Random(5)
        before = [now - timedelta(minutes=62) + timedelta(seconds=6 * nth) for nth in range(600)]
        flood = [now - timedelta(seconds=nth) for nth in range(60)]
        await queue.enqueue_many("billing", "syncs", [usual(random, at) for at in before], started_at=before)
        few = [
            flooding(random, at) | {"lane": "fast"} if cause or not at.second % 5 else usual(random, at) for at in flood
        ]
        await queue.enqueue_many("billing", "syncs", few, started_at=flood)
        found = await queue.suggest("billing", "syncs")
        assert found.sampled == pytest.approx(60, abs=10)
        assert bool(found.suggestions) is cause
        assert found.fields


async def test_times_that_are_given(embedded_url: str) -> None:
    began = await seed(embedded_url)
    async with secateur.connect(embedded_url, read_only=True) as queue:
        middle = began + FLOOD / 2
        found = await queue.suggest("billing", "syncs", since=began, until=middle, limit=2)
        assert (found.since, found.until, found.since_found) == (began, middle, False)
        assert found.sampled < 0.6 * DURING
        assert found.suggestions[0].if_ == CAUSE
        assert len(found.fields) == 2
        with pytest.raises(RequestError, match="must be before `until`"):
            await queue.suggest("billing", "syncs", since=middle, until=began)
        with pytest.raises(RequestError, match="since"):
            await queue.suggest("billing", "syncs", since=datetime(2026, 1, 1))
        with pytest.raises(NotFound):
            await queue.suggest("billing", "nowhere")
        with pytest.raises(NotFound):
            await queue.suggest("nowhere")


async def test_without_a_past_the_other_functions_are_the_baseline(embedded_url: str) -> None:
    await seed(embedded_url, history=False)
    async with secateur.connect(embedded_url) as queue:
        beside = await queue.suggest("billing", "syncs")
        assert (beside.baseline, beside.baseline_runs) == ("other_functions", 300)
        assert CAUSE in [each.if_ for each in beside.suggestions]
        await queue.enqueue_many("crm", "lone", [{"data": {"kind": "a" if n % 5 else "b"}} for n in range(200)])
        alone = await queue.suggest("crm")
        assert (alone.since, alone.baseline, alone.baseline_runs, alone.sampled) == (None, "none", 0, 200)
        (only,) = alone.suggestions
        assert (only.if_, only.flood_share) == ("event.data.kind == 'a'", 0.8)
        assert (only.baseline_share, only.precision, only.recall, only.matched_estimate) == (None, None, None, 160)
        assert (await queue.suggest("billing", "syncs", since=datetime.now(UTC) + timedelta(days=1))).suggestions == ()


async def test_cancelled_runs_are_not_suggested_again(embedded_url: str) -> None:
    began = await seed(embedded_url)
    async with secateur.connect(embedded_url) as queue:
        await queue.cancel({"app_id": "billing", "function_id": "syncs", "if": CAUSE}, wait=True)
        again = await queue.suggest("billing", "syncs", since=began)
        assert again.sampled < 0.5 * DURING
        assert CAUSE not in [each.if_ for each in again.suggestions]


async def test_several_functions(embedded_url: str) -> None:
    began = await seed(embedded_url)
    async with secateur.connect(embedded_url) as queue:
        both = [Scope("billing", "syncs"), Scope("billing", "others")]
        found = await queue.reader.suggest(both, since=began)
        assert found.sampled == pytest.approx(DURING + 300, abs=60)
        with pytest.raises(RequestError, match="must be one app"):
            await queue.reader.suggest([Scope("billing"), Scope("crm")])
        with pytest.raises(NotFound, match="nowhere"):
            await queue.reader.suggest([*both, Scope("billing", "nowhere")])


async def test_the_blast_radius_of_a_filter(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it matches against what it leaves, of the unfinished runs; and what of the matches is something else."""
    began = await seed(embedded_url)
    async with secateur.connect(embedded_url, read_only=True) as queue:
        scope = Scope("billing", "syncs")
        exact = await queue.reader.blast_radius(scope, compile_source(CAUSE))
        assert exact.sampled + exact.others == DURING
        vendor = exact.fields[0]
        assert (vendor.path, vendor.values[0].value) == ("event.data.vendor_id", "acme_inc")
        assert (vendor.values[0].flood_share, vendor.values[0].baseline_share) == (1, 0)
        assert vendor.values[0].unless == "event.data.vendor_id != 'acme_inc'"
        assert exact.mixed is None
        wide = await queue.reader.blast_radius(scope, compile_source("event.data.vendor_id in ['acme_inc', 'hooli']"))
        assert wide.sampled > exact.sampled
        early = await queue.reader.blast_radius(scope, compile_source(CAUSE), Window(began, began + FLOOD / 2))
        assert early.sampled < 0.7 * exact.sampled
        assert early.sampled + early.others < DURING
        monkeypatch.setattr(arriving, "SAMPLE_PAGES", 1)
        assert (await queue.reader.blast_radius(scope, compile_source(CAUSE))).sampled == exact.sampled
        nothing = await queue.reader.blast_radius(scope, compile_source("event.data.vendor_id == 'none'"))
        assert (nothing.sampled, nothing.others) == (0, DURING)


async def test_matches_that_are_not_of_one_piece(embedded_url: str) -> None:
    async with secateur.connect(embedded_url) as queue:
        events = [
            {"data": {"region": "eu", "vendor_id": "acme_inc" if number % 20 else "globex"}} for number in range(400)
        ] + [{"data": {"region": "us", "vendor_id": ("globex", "hooli")[number % 2]}} for number in range(400)]
        await queue.enqueue_many("billing", "syncs", events)
        found = await queue.reader.blast_radius(Scope("billing"), compile_source("event.data.region == 'eu'"))
        assert found.mixed is not None
        assert found.mixed.path == "event.data.vendor_id"
        assert [(each.value, each.flood_share) for each in found.mixed.values] == [("acme_inc", 0.95), ("globex", 0.05)]


async def test_a_small_scope_in_a_large_table(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for by the indexes: hardly a page has a run of it."""
    began = await seed(embedded_url)
    monkeypatch.setattr(arriving, "SAMPLE_PAGES", 1)
    async with secateur.connect(embedded_url) as queue:
        found = await queue.suggest("billing", "syncs", since=began)
        assert found.sampled == DURING
        assert found.baseline_runs > 0.9 * BEFORE
        assert found.suggestions[0].if_ == CAUSE


async def test_what_is_read_of_a_small_scope_is_bounded(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began = await seed(embedded_url, history=False)
    monkeypatch.setattr(arriving, "FEW", 10**9)
    monkeypatch.setattr(arriving, "SAMPLE_PAGES", 1)
    monkeypatch.setattr(native, "WAITING", 300)
    async with secateur.connect(embedded_url) as queue:
        assert isinstance(queue.engine, Arriving)
        population = Population("billing", ("syncs",), window=Window(began, None), unfinished=True)
        found = await queue.engine.arrivals(population, 10_000)
        newest = await queue.database.fetch(
            "select started_at from secateur.runs where function_id = 'syncs' order by id desc limit 300"
        )
        assert [each.started_at for each in found.sample] == sorted(row["started_at"] for row in newest)
        earlier = Population("billing", ("syncs",), window=Window(None, began), unfinished=True)
        assert (await queue.engine.arrivals(earlier, 10_000)).sample == ()


async def test_what_a_sample_leaves_open_is_counted_on_more_runs(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = await seed(embedded_url)
    filters = [compile_source(CAUSE), compile_source("event.data.region == 'eu'"), compile_source("event.nothing == 1")]
    async with secateur.connect(embedded_url) as queue:
        assert isinstance(queue.engine, Arriving)
        flood = Population("billing", ("syncs",), Window(began))
        for pages in (1, arriving.SAMPLE_PAGES):
            monkeypatch.setattr(arriving, "SAMPLE_PAGES", pages)
            tally = await queue.engine.tally(flood, filters, 10_000)
            counted = [
                await queue.preview({"app_id": "billing", "function_id": "syncs", "if": f.source}) for f in filters
            ]
            assert (tally.runs, list(tally.matched)) == (DURING, [each.count.matched for each in counted])
        monkeypatch.setattr(suggesting, "SAMPLED_RUNS", 150)
        asked: list[int] = []
        plain = type(queue.engine).tally

        async def spied(self: Any, population: Population, *more: Any) -> Any:
            asked.append(len(more[0]))
            return await plain(self, population, *more)

        monkeypatch.setattr(type(queue.engine), "tally", spied)
        assert CAUSE in [each.if_ for each in (await queue.suggest("billing", "syncs", since=began)).suggestions]
        assert len(asked) == 2, "once for the flood, and once for what was before"
        monkeypatch.setattr(recounting, "SECONDS", 0.0)
        assert CAUSE in [each.if_ for each in (await queue.suggest("billing", "syncs", since=began)).suggestions]


async def test_names_and_values_reach_sql_as_parameters(embedded_url: str) -> None:
    app, function, key = "it's", "'; drop table secateur.runs --", "a'b\\\"`"
    async with secateur.connect(embedded_url) as queue:
        events = [{"data": {key: "o'clock" if n % 4 else "\\"}} for n in range(200)]
        await queue.enqueue_many(app, function, events)
        (only,) = (await queue.suggest(app, function)).suggestions
        counted = await queue.preview({"app_id": app, "function_id": function, "if": only.if_})
        assert counted.count.matched == 150


async def test_leaving_ends_the_query_and_the_search(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue("billing", "syncs", {"data": {}})
        slow = {**NativeEngine.statements, "pages": "select pg_sleep(60)::text"}
        monkeypatch.setattr(NativeEngine, "statements", slow)
        task = asyncio.ensure_future(queue.suggest("billing", "syncs"))
        running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"
        async with asyncio.timeout(PATIENCE):
            while not await queue.database.fetchval(running):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while await queue.database.fetchval(running):
                await asyncio.sleep(0.01)


async def test_one_at_a_time(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = most = 0
    plain = suggesting._contrasted

    def counted(*arguments: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return plain(*arguments)
        finally:
            at_once -= 1

    monkeypatch.setattr(suggesting, "_contrasted", counted)
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue_many("billing", "syncs", [{"data": {"n": n}} for n in range(100)])
        await asyncio.gather(*(queue.suggest("billing") for _ in range(4)))
    assert most == 1


async def test_over_http(embedded_url: str) -> None:
    began = await seed(embedded_url)
    async with Database.connect(embedded_url) as database, running_api(database) as client:
        answered = (await client.get("/v1/queues/billing/syncs/suggestions", params={"limit": 3})).json()["data"]
        assert list(answered) == [
            *("since", "until", "since_found", "baseline", "sampled", "suggestions", "fields"),
        ]
        assert abs(datetime.fromisoformat(answered["since"]) - began) < FLOOD / 10
        assert answered["baseline"]["what"] == "before"
        first = answered["suggestions"][0]
        assert first["if"] == CAUSE
        assert list(first) == [
            *("if", "flood_share", "baseline_share", "precision", "recall", "matched_estimate", "also_hits"),
        ]
        assert answered["fields"][0]["path"] == "event.data.vendor_id"
        assert answered["fields"][0]["values"][0]["if"] == CAUSE
        assert len(answered["fields"]) == 3
        of_app = await client.get("/v1/queues/billing/suggestions", params={"since": began.isoformat()})
        assert of_app.json()["data"]["suggestions"][0]["if"] == CAUSE
        wrong = await client.get("/v1/queues/billing/suggestions?since=yesterday&limit=0")
        assert wrong.status_code == 400
        assert [each["field"] for each in wrong.json()["details"]] == ["since", "limit"]
        assert (await client.get("/v1/queues/nowhere/suggestions")).status_code == 404


def test_on_the_command_line(here: Here, embedded_url: str) -> None:
    asyncio.run(seed(embedded_url))
    done = here("suggest", "--app", "billing", "--function", "syncs", url=embedded_url)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("Since ")
    assert "(when arrivals grew)" in lines[0]
    assert lines[1].endswith("runs of the same scope before.")
    assert lines[3] == CAUSE
    assert " % of arrivals, " in lines[4]
    assert any(line.startswith("  event.data.vendor_id:  acme_inc ") for line in lines)
    answered = here("suggest", "--app", "billing", "--since", "-15m", "--limit", "1", "--json", url=embedded_url).json
    assert answered["since_found"] is False
    assert [each["if"] for each in answered["suggestions"]] == [CAUSE]
    assert len(answered["fields"]) == 1
    wrong = here("suggest", "--app", "billing", "--since", "soon", "--until", "15:61", url=embedded_url)
    assert wrong.code == 2
    assert "since: 'soon' is not a " in wrong.err
    assert "until: " in wrong.err
    assert here("suggest", "--app", "nowhere", url=embedded_url).code == 1
