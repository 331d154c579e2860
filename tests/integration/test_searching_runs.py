"""Runs are searched by status, expression, time and function, page by page, within a bound of rows read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from api_client import data_of, failure_of, running_api
from command_line import Here

import secateur
from secateur.engines.native import searching
from secateur.engines.native.client import Queue
from secateur.engines.readings import Reading
from secateur.engines.searching import RunPage
from secateur.errors import RequestError
from secateur.looking.listing import read_search
from secateur.runs import CountedBy, RunStatus

pytestmark = pytest.mark.one_postgres

SCANNED = """
select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
  from pg_stat_xact_user_tables where relid = 'secateur.runs'::regclass
"""
EARLY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        yield queue


async def enqueue(
    queue: Queue, count: int, function: str = "sync", status: str = "queued", **data: object
) -> list[str]:
    """Runs with that status, numbered, a minute apart; their ids, oldest first."""
    events = [{"name": "sync", "data": {"n": n, **data}} for n in range(count)]
    started = [EARLY + timedelta(minutes=n) for n in range(count)]
    ids = await queue.enqueue_many("billing", function, events, started_at=started)
    if status != "queued":
        ended = status in ("completed", "failed", "cancelled")
        await queue.database.execute(
            "update secateur.runs set status = $2, finished_at = case when $3 then clock_timestamp() end,"
            " claim_token = gen_random_uuid(), lease_expires_at = clock_timestamp() + interval '1 hour',"
            " scheduled_for = case when $2 = 'scheduled' then clock_timestamp() + interval '1 hour' end"
            " where id = any ($1)",
            ids,
            status,
            ended,
        )
    return [str(each) for each in ids]


async def pages(queue: Queue, **search: object) -> list[RunPage]:
    """All of them, to the end."""
    found = [await queue.runs("billing", **search)]  # type: ignore[arg-type]
    while found[-1].next is not None:
        found.append(await queue.runs("billing", before=found[-1].next, **search))  # type: ignore[arg-type]
    return found


def ids(found: list[RunPage]) -> list[str]:
    return [run.id for page in found for run in page]


@pytest.mark.parametrize("status", [*RunStatus, "any"])
async def test_every_status_is_found_in_both_directions(queue: Queue, status: str) -> None:
    sync = await enqueue(queue, 7, status="failed" if status == "any" else status)
    mail = await enqueue(queue, 5, "mail", status="failed" if status == "any" else status)
    wanted = sorted([*sync, *mail])
    others = [each for each in RunStatus if each != status]
    if status != "any":
        for other in others:
            await enqueue(queue, 2, status=other)
    await queue.enqueue_many("shop", "sync", [{}] * 3)
    assert ids(await pages(queue, status=status, limit=3)) == wanted[::-1]
    assert ids(await pages(queue, status=status, limit=3, newest=False)) == wanted
    assert ids(await pages(queue, status=status, limit=5, function_id="mail")) == mail[::-1]
    assert ids(await pages(queue, status=status, limit=5, function_id=["mail", "sync"])) == wanted[::-1]
    tenth = await pages(queue, status=status, limit=2, if_="event.data.n == 3 || event.data.n == 4")
    assert ids(tenth) == sorted([*sync[3:5], *mail[3:5]], reverse=True)


async def test_the_last_page_says_that_it_is_the_last(queue: Queue) -> None:
    await enqueue(queue, 4, status="failed")
    page = await queue.runs("billing", limit=4)
    assert (len(page), page.looked_at) == (4, 4)
    assert page.back_to == EARLY
    assert page.next is None or await queue.runs("billing", limit=4, before=page.next) == []
    assert (await queue.runs("billing", limit=5)).next is None


@pytest.mark.parametrize("status", ["failed", "any"])
async def test_times_are_those_of_the_start(queue: Queue, status: str) -> None:
    wanted = await enqueue(queue, 10, status="failed")
    since, until = EARLY + timedelta(minutes=2), EARLY + timedelta(minutes=7)
    assert ids(await pages(queue, status=status, since=since, until=until, limit=2)) == wanted[3:7][::-1]
    assert ids(await pages(queue, status=status, since=since, newest=False)) == wanted[3:]


async def test_an_expression_may_read_what_changes(queue: Queue) -> None:
    failed, done = await enqueue(queue, 1, status="failed"), await enqueue(queue, 1, status="completed")
    assert ids(await pages(queue, status="any", if_="run.status in ['failed', 'completed']")) == sorted(
        [*done, *failed], reverse=True
    )
    assert ids(await pages(queue, status="any", if_="run.status == 'failed' && event.data.n == 0")) == failed
    assert ids(await pages(queue, status="any", if_="event.data.missing > 3")) == [], "errors do not match"


@pytest.mark.parametrize("status", [*RunStatus, "any"])
async def test_a_rare_match_ends_the_page_within_its_bound(
    queue: Queue, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an index where there is one, on a table that nobody has analyzed, among runs of other functions."""
    real = "failed" if status == "any" else status
    rare = await enqueue(queue, 1, status=real, rare=True)
    for function in ("sync", "mail", "other"):
        await enqueue(queue, 1500, function, status=real)
    monkeypatch.setattr(searching, "MOST_READ", 1000)
    monkeypatch.setattr(searching, "CHUNK", 500)
    monkeypatch.setattr(searching, "ROUND_ROWS", 500)
    search = read_search("billing", "sync", status=status, if_="has(event.data.rare)", limit=10)
    reads = 0
    found: list[str] = []
    while True:
        async with queue.database.transaction() as connection:
            await connection.execute(queue.engine.sql("plan_for_values"))
            before = await connection.fetchval(SCANNED)
            page = await queue.engine.page(Reading(connection, datetime.now(UTC), CountedBy.PRIMARY, None), search)
            read = await connection.fetchval(SCANNED) - before
        assert read <= 4_000, f"a page has read {read} rows"
        assert page.looked_at <= 2_000
        found += [run.id for run in page]
        reads += 1
        if page.next is None:
            break
        assert page.back_to is not None
        search = read_search("billing", "sync", status=status, if_="has(event.data.rare)", limit=10, before=page.next)
    assert found == rare
    assert reads > 1, "the rare one is the oldest"


@pytest.mark.parametrize("status", ["failed", "queued", "cancelled", "completed", "any"])
async def test_a_list_reads_what_it_shows(queue: Queue, status: str) -> None:
    real = "failed" if status == "any" else status
    for function in ("sync", "mail"):
        await enqueue(queue, 2000, function, status=real)
    search = read_search("billing", status=status, limit=10)
    async with queue.database.transaction() as connection:
        await connection.execute(queue.engine.sql("plan_for_values"))
        before = await connection.fetchval(SCANNED)
        page = await queue.engine.page(Reading(connection, datetime.now(UTC), CountedBy.PRIMARY, None), search)
        read = await connection.fetchval(SCANNED) - before
    assert len(page) == 10
    assert read < (100 if status not in ("any", "completed") else 1100)


async def test_many_functions_share_the_bound(queue: Queue) -> None:
    """Each function's next runs are read; however many functions there are, a page is merged from all of them."""
    wanted = []
    for number in range(60):
        wanted += await enqueue(queue, 3, f"f{number:03}", status="failed")
    assert ids(await pages(queue, limit=50)) == sorted(wanted, reverse=True)
    even = await pages(queue, limit=20, if_="event.data.n == 1")
    assert ids(even) == sorted(wanted[1::3], reverse=True)


WRONG = [
    ({"status": "ended"}, "status", "must be one of queued, scheduled, running, completed, failed, cancelled, any"),
    ({"status": ["failed", 1]}, "status", "or several of them"),
    ({"if": "event.data.n ="}, "if", ""),
    ({"if": "run.statu == 'failed'"}, "if", "did you mean `status`?"),
    ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since", "must be before `until`"),
    ({"limit": 0}, "limit", ""),
    ({"limit": 100_000}, "limit", ""),
    ({"function_id": ""}, "function_id", "must not be empty"),
    ({"before": "17"}, "before", "must be a UUID"),
]


@pytest.mark.parametrize(("given", "field", "message"), WRONG)
async def test_what_is_wrong_is_said_alike_everywhere(
    queue: Queue, here: Here, database_url: str, given: dict[str, object], field: str, message: str
) -> None:
    await queue.enqueue("billing", "sync", {})
    times = {name: datetime.fromisoformat(str(given[name])) for name in ("since", "until") if name in given}
    python = {"if_" if name == "if" else name: times.get(name, value) for name, value in given.items()}
    with pytest.raises(RequestError) as caught:
        await queue.runs("billing", **python)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.field == field
    assert message in f"{problem.message} {problem.suggestion}"
    async with running_api(queue.database) as client:
        answer = await client.get("/v1/runs", params={"app_id": "billing", **given})  # type: ignore[dict-item]
        (detail,) = failure_of(answer, 400).details
        assert detail.field == field


async def test_the_same_at_every_entrance(queue: Queue, here: Here, database_url: str) -> None:
    wanted = await enqueue(queue, 6, status="failed")
    mail = await enqueue(queue, 2, "mail", status="failed")
    sought = {"status": "failed", "limit": 2}
    python = await queue.runs("billing", "sync", if_="event.data.n > 1", since=EARLY, **sought)  # type: ignore[arg-type]
    assert [run.id for run in python] == [wanted[5], wanted[4]]
    async with running_api(queue.database) as client:
        answer = await client.get(
            "/v1/runs",
            params={
                "app_id": "billing",
                "function_id": "sync",
                "if": "event.data.n > 1",
                "since": "2026-01-01T00:00:00Z",
                **sought,
            },
        )
        assert [run["id"] for run in data_of(answer)] == [wanted[5], wanted[4]]
        assert answer.headers["x-looked-at"] == "2"
        assert answer.headers["x-back-to"] == "2026-01-01T00:04:00Z"
        rest = await client.get(answer.links["next"]["url"])
        assert [run["id"] for run in data_of(rest)] == [wanted[3], wanted[2]]
        last = await client.get(rest.links["next"]["url"]) if "next" in rest.links else rest
        assert "next" not in last.links
        both = [("app_id", "billing"), ("function_id", "mail"), ("function_id", "sync")]
        several = await client.get("/v1/runs", params=both)
        assert [run["id"] for run in data_of(several)] == sorted([*wanted, *mail], reverse=True)
        await queue.enqueue("billing", "sync", {"n": 7})
        params = [("app_id", "billing"), ("if", "has(event.n) || event.data.n == 0 // either\n")]
        for given in (["queued,failed"], ["queued", "failed"]):
            found = data_of(await client.get("/v1/runs", params=[*params, *(("status", each) for each in given)]))
            assert [run["status"] for run in found] == ["queued", "failed", "failed"]
        for wrong in ("queued,", "queued,ended", ""):
            answer = await client.get("/v1/runs", params=[*params, ("status", wrong)])
            assert "must be one of queued," in failure_of(answer, 400).error
    flags = [
        "--app",
        "billing",
        "--function",
        "sync",
        "--if",
        "event.data.n > 1",
        "--since",
        "2026-01-01",
        "--limit",
        "2",
    ]
    done = await asyncio.to_thread(here, "runs", *flags, "--json", url=database_url)
    assert [run["id"] for run in json.loads(done.out)] == [wanted[5], wanted[4]]
    assert f"There may be more: add --before {wanted[4]}" in done.err
    rest = await asyncio.to_thread(here, "runs", *flags, "--before", wanted[4], url=database_url)
    assert wanted[3] in rest.out
    assert wanted[2] in rest.out
    assert rest.out.index(wanted[3]) < rest.out.index(wanted[2])
    oldest = await asyncio.to_thread(here, "runs", "--app", "billing", "--status", "any", "--oldest", url=database_url)
    assert oldest.out.index(wanted[0]) < oldest.out.index(wanted[5])
    assert "failed" in oldest.out


async def test_the_command_says_how_far_it_came(
    queue: Queue, here: Here, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueue(queue, 300, status="failed")
    monkeypatch.setattr(searching, "MOST_READ", 100)
    monkeypatch.setattr(searching, "CHUNK", 60)
    done = await asyncio.to_thread(here, "runs", "--app", "billing", "--if", "event.data.n == 1", url=database_url)
    assert done.code == 0
    assert "No run of billing / every function matches so far." in done.out
    assert "Looked at " in done.err
    assert "back to 01-01 0" in done.err
    assert "There may be more: add --before " in done.err


async def test_a_page_of_a_deleted_run_goes_on(queue: Queue) -> None:
    """A position is an id, whether or not there is such a run."""
    wanted = await enqueue(queue, 3, status="failed")
    await queue.database.execute("delete from secateur.runs where id = $1", UUID(wanted[2]))
    assert ids([await queue.runs("billing", before=wanted[2])]) == [wanted[1], wanted[0]]
