"""Every queue of others is watched and filtered with SELECT on its tables alone, in a database without secateur."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from beds import Bed
from sameness import like_every_queue

from secateur.cel import SEARCH
from secateur.cel import compile as compile_filter
from secateur.engines.base import Selection, Verdict
from secateur.engines.foreign import evaluating
from secateur.engines.foreign.installation import quoted
from secateur.engines.foreign.source import ForeignSource
from secateur.engines.loading import find_queues, open_engine
from secateur.engines.searching import RunSearch
from secateur.errors import NotFound, RequestError
from secateur.postgres.database import Database
from secateur.runs import RunStatus, Scope, Window

pytestmark = pytest.mark.timeout(300)

HOUR = timedelta(hours=1)

Payload = dict[str, Any]
Judge = Callable[[str, Payload], bool | None]


def payload(number: int) -> Payload:
    vendor = {} if number % 3 == 2 else {"vendor": ("acme", "globex")[number % 3]}
    return {
        "number": number,
        **vendor,
        "amount": number * 1.5,
        "code": f"{number * 7}",
        "text": f"größer als {number}",
        "tags": [f"t{number % 5}", f"u{number % 2}"],
    }


SIMPLE = "event.data.vendor == 'acme'"
DEMANDING = "int(event.data.code) % 2 == 1"
"""Its SQL calls a helper function."""
CONDITIONS: dict[str, Judge] = {
    SIMPLE: lambda name, data: data["vendor"] == "acme" if "vendor" in data else None,
    "has(event.data.vendor) && event.data.vendor != 'acme'": lambda name, data: data.get("vendor") == "globex",
    "event.data.number >= 10 && event.data.number < 20": lambda name, data: 10 <= data["number"] < 20,
    "event.data.amount > 20.0": lambda name, data: data["amount"] > 20,
    "event.name.endsWith('mail')": lambda name, data: name.endswith("mail"),
    "event.data.text.contains('als 1')": lambda name, data: "als 1" in data["text"],
    "event.data.text.matches('^größer als [0-4]$')": lambda name, data: (
        len(data["text"]) == 12 and data["text"][-1] in "01234"
    ),
    "'t3' in event.data.tags": lambda name, data: "t3" in data["tags"],
    DEMANDING: lambda name, data: data["number"] % 2 == 1,
}


class Backlog:
    """What was sent, and what it is to be counted as."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.sent: dict[str, tuple[str, str, Payload]] = {}
        """Queue, task and payload by id."""

    async def send(self) -> None:
        await self._send("default", "sync", range(30))
        await self._send("default", "mail", range(30, 42), delay=HOUR)
        if self.bed.has_queues:
            await self._send("idle", "sync", range(42, 50))

    async def _send(self, queue: str, task: str, numbers: range, **options: Any) -> None:
        payloads = [payload(number) for number in numbers]
        ids = await self.bed.enqueue(payloads, task=task, queue=queue, **options)
        self.sent |= {id: (queue, self.bed.path + task, each) for id, each in zip(ids, payloads, strict=True)}

    def those(self, judge: Judge, verdict: bool | None, *, queue: str = "default", task: str | None = None) -> set[str]:
        return {
            id
            for id, (its_queue, its_task, data) in self.sent.items()
            if its_queue == queue and task in (None, its_task) and judge(its_task, data) is verdict
        }


@pytest.fixture
async def backlog(bed: Bed) -> Backlog:
    made = Backlog(bed)
    await made.send()
    return made


@pytest.fixture
async def source(backlog: Backlog, watcher_url: str) -> AsyncIterator[ForeignSource]:
    async with Database.connect(watcher_url, read_only=True) as database:
        engine = await open_engine(database)
        assert isinstance(engine, ForeignSource)
        yield engine


@pytest.fixture
async def app(source: ForeignSource) -> str:
    """That of the queue `default`."""
    [found] = {each.app_id for each in await source.depth()} - {"idle"}
    return found


async def test_it_is_found(bed: Bed, watcher_url: str) -> None:
    async with Database.connect(watcher_url, read_only=True) as database:
        [found] = await find_queues(database)
        assert (found.engine, found.schema, found.supported) == (bed.engine, bed.schema, True)
        assert (await open_engine(database, name=found.name)).name == found.name
        assert await found.source.depth() == [] or sum(each.backlog for each in await found.source.depth()) == 0


async def test_the_depth_of_every_function(source: ForeignSource, backlog: Backlog, app: str) -> None:
    expected = Counter[tuple[str, str, str]]()
    for queue, task, _ in backlog.sent.values():
        place = app if queue == "default" else queue
        expected[place, task, "scheduled" if task.endswith("mail") else "queued"] += 1
    found = {
        (each.app_id, each.function_id, status): count
        for each in await source.depth()
        for status, count in (("queued", each.queued), ("scheduled", each.scheduled), ("running", each.running))
        if count
    }
    assert found == expected
    statements = source.installation.file.statements
    uncounted = "null::bigint as failed" in statements["depth"]
    for each in await source.depth():
        assert (each.oldest_claimable_at is None) == (each.queued == 0)
        assert (each.failed is None) == uncounted
        assert (each.in_per_second is None) == ("rates" not in statements)


async def test_counts_and_examples(source: ForeignSource, backlog: Backlog, app: str) -> None:
    for (condition, judge), task in product(CONDITIONS.items(), (None, f"{backlog.bed.path}sync")):
        filter = compile_filter(condition)
        matches = backlog.those(judge, True, task=task)
        selection = Selection(Scope(app, task), Window(), filter)
        count = await source.count(selection)
        total = len(backlog.those(lambda *_: True, True, task=task))
        assert (count.matched, count.total) == (len(matches), total), condition
        assert {name: n for name, n in count.by_function.items() if n} == Counter(backlog.sent[id][1] for id in matches)
        counted = await source.count_with_errors(selection)
        assert (counted.matched, counted.errors) == (len(matches), len(backlog.those(judge, None, task=task))), (
            condition
        )
        assert {run.id async for run in source.stream(selection)} == matches
        for verdict, value in ((Verdict.MATCH, True), (Verdict.NO_MATCH, False), (Verdict.ERROR, None)):
            among = backlog.those(judge, value, task=task)
            examples = await source.examples(selection, verdict, 5)
            assert {each.id for each in examples} <= among
            assert len(examples) == min(5, len(among))


@like_every_queue
async def test_both_ways_to_evaluate_are_tried(source: ForeignSource) -> None:
    assert source.has_helpers(compile_filter(SIMPLE))
    assert not source.has_helpers(compile_filter(DEMANDING))


@like_every_queue
async def test_a_count_says_that_it_was_evaluated_here_and_how_far_it_is(
    source: ForeignSource, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating, "AT_ONCE", 0.0)
    asked: list[int | None] = []

    async def watch() -> None:
        while True:
            asked.append(source.evaluated)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    here = Selection(Scope(app), Window(), compile_filter(DEMANDING))
    counted = await source.count_with_errors(here)
    watching.cancel()
    known = [each for each in asked if each is not None]
    assert known == sorted(known)
    assert 0 < known[0] <= known[-1] <= counted.total
    assert source.evaluated is None
    assert counted.evaluated_here
    assert (await source.count(here)).evaluated_here
    assert not (await source.count(Selection(Scope(app), Window(), compile_filter(SIMPLE)))).evaluated_here


async def test_pages_of_runs(source: ForeignSource, backlog: Backlog, app: str) -> None:
    for condition, newest in product((None, SIMPLE, DEMANDING), (True, False)):
        filter = None if condition is None else compile_filter(condition, SEARCH)
        found: list[str] = []
        before: str | None = None
        while True:
            page = await source.runs(RunSearch(app, filter=filter, limit=7, before=before, newest=newest))
            found += [run.id for run in page]
            if (before := page.next) is None:
                break
        assert len(found) == len(set(found))
        assert set(found) == backlog.those(CONDITIONS[condition] if condition else lambda *_: True, True)


async def test_runs_of_a_status(source: ForeignSource, backlog: Backlog, app: str) -> None:
    for status, name in ((RunStatus.QUEUED, "sync"), (RunStatus.SCHEDULED, "mail")):
        task = backlog.bed.path + name
        page = await source.runs(RunSearch(app, status=status, limit=100))
        assert {run.id for run in page} == backlog.those(lambda *_: True, True, task=task)
    for status in (RunStatus.RUNNING, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED):
        assert await source.runs(RunSearch(app, status=status, limit=100)) == []


async def test_a_run_by_its_id(source: ForeignSource, backlog: Backlog) -> None:
    for id, (_, task, data) in list(backlog.sent.items())[::9]:
        run = await source.run(id)
        assert (run.id, run.function_id, run.event["name"], run.event["data"]) == (id, task, task, data)
        assert run.started_at.utcoffset() is not None
    gone = {"bigint": "999999999", "uuid": str(uuid4()), "text": f"sync:{uuid4()}"}[source.installation.file.ids]
    with pytest.raises(NotFound):
        await source.run(gone)
    for odd in ("", "no id", "\x00", "9" * 400, "\N{SNOWMAN}"):
        with pytest.raises((NotFound, RequestError)):
            await source.run(odd)


async def test_the_window_and_the_histogram(source: ForeignSource, backlog: Backlog, app: str) -> None:
    now, sync = await source.clock(), f"{backlog.bed.path}sync"
    every = Selection(Scope(app), Window(started_after=now - HOUR, started_before=now), None)
    assert (await source.count(every)).matched == len(backlog.those(lambda *_: True, True))
    none = Selection(Scope(app), Window(started_before=now - HOUR), None)
    assert (await source.count(none)).matched == 0
    for condition in (SIMPLE, DEMANDING):
        filter = compile_filter(condition)
        chart = await source.histogram(Selection(Scope(app, sync), Window(), filter), 5)
        assert chart is not None
        assert sum(bar.matched for bar in chart.bars) == len(backlog.those(CONDITIONS[condition], True, task=sync))
        assert sum(bar.errors for bar in chart.bars) == len(backlog.those(CONDITIONS[condition], None, task=sync))
        assert await source.estimate(Selection(Scope(app), Window(), filter)) is None
        assert await source.arrival_rate(Selection(Scope(app), Window(), filter)) >= 0


async def test_a_sample_of_events(source: ForeignSource, backlog: Backlog, app: str) -> None:
    sync = f"{backlog.bed.path}sync"
    events = await source.sample_events(Scope(app, sync), 1000)
    sent = [data["number"] for queue, task, data in backlog.sent.values() if (queue, task) == ("default", sync)]
    assert sorted(event["data"]["number"] for event in events) == sent


async def test_hidden_rows_are_told_from_an_empty_queue(
    backlog: Backlog, bed: Bed, watcher_url: str, outside: asyncpg.Connection
) -> None:
    """Row level security hides them without an error."""
    if not bed.tables:
        pytest.skip(f"the bed of {bed.engine} names no table")
    table = f"{quoted(bed.schema)}.{quoted(bed.tables[0])}"

    async def unseen(sql: str) -> bool:
        await outside.execute(sql)
        [found] = await find_queues(database)
        assert isinstance(found.source, ForeignSource)
        told = " ".join(found.source.unseen)
        assert not told or f"row level security may hide rows of {bed.tables[0]} " in told
        return bool(told)

    async with Database.connect(watcher_url, read_only=True) as database:
        assert not await unseen("select")
        await outside.execute(f"drop policy if exists secateur_watcher on {table}")
        assert await unseen(f"alter table {table} enable row level security")
        assert await unseen(f"create policy part_of_them on {table} for select using (random() < 2)")
        assert not await unseen(f"create policy all_of_them on {table} for select to secateur_watcher using (true)")
        assert sum(each.backlog for each in await (await open_engine(database)).depth()) == len(backlog.sent)
        assert await unseen(f"create policy fewer_of_them on {table} as restrictive for select using (random() < 2)")


@like_every_queue
async def test_the_command_line(backlog: Backlog, bed: Bed, watcher_url: str) -> None:
    async def secateur(*words: str) -> Any:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "SECATEUR_"))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "secateur.cli", *words, "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=kept | {"DATABASE_URL": watcher_url, "XDG_CONFIG_HOME": "/dev/null/none"},
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)

    [listed] = await secateur("engines")
    assert (listed["engine"], listed["schema"], listed["backlog"]) == (bed.engine, bed.schema, len(backlog.sent))
    assert (listed["capabilities"]["watch"], listed["capabilities"]["filter"]) == (True, True)
    depth = await secateur("depth", "--engine", listed["name"])
    assert sum(each["queued"] + each["scheduled"] for each in depth) == len(backlog.sent)
    [run, *_] = backlog.sent
    assert (await secateur("show", run, "--engine", listed["name"]))["event"]["data"] == backlog.sent[run][2]
