"""Indexes on what filters read: they never change a count, no event is too much for them, and `advise` makes them."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import string
from typing import Any

import asyncpg
import pytest
from billing import ACME, CULPRIT, seed
from command_line import Here
from roles import url_of
from test_doctor import NO_FILE

from plain_table import TABLE, PlainTable
from secateur.cel import compile as compile_filter
from secateur.cel.sql.probing import probes_of
from secateur.doctor import Severity, examine
from secateur.engines.index_costs import weigh
from secateur.engines.indexing import FilterIndexes, planned
from secateur.engines.native.engine import NativeEngine
from secateur.engines.several import several
from secateur.errors import LockUnavailable
from secateur.ledger.selections import select
from secateur.looking.indexing import advise_index, hottest
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.settings import Settings, Target

pytestmark = pytest.mark.one_postgres

LONG = "".join(random.Random(5).choices(string.ascii_letters, k=9_000))
"""More than an index entry may hold, and hardly compressible."""

TEXTS = (
    "",
    "a",
    "aa",
    "b",
    "\ud7ff",
    "\ue000",
    "\U0010ffff",
    "\U0010ffffz",
    "é",
    LONG,
    LONG[:100],
    LONG[:99] + "é",
    "7",
    "true",
)
NUMBERS = ("7", "7.0", "7.0004", "6.9999999999999999", "-7", "0", "-0.0", "1e-400", "0.1", "1e15", "9007199254740993")
HUGE = ("1e300", "-1e300", "1e400", "9" * 5_000, "-" + "9" * 5_000, "0." + "0" * 5_000 + "1")
ODD = ("null", "true", "false", "[]", "{}", '["a"]', '{"a": "a"}', f"[{json.dumps(LONG)}]")

VALUES = (*map(json.dumps, TEXTS), *NUMBERS, *HUGE, *ODD)
EVENTS = [
    *(f'{{"data": {{"x": {value}}}}}' for value in VALUES),
    '{"data": {}}',
    '{"data": "x"}',
    '{"data": ["x"]}',
    "7",
    "{}",
]


def said(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


CONDITIONS = (
    *(f"event.data.x == {said(text)}" for text in ("", "a", "\ud7ff", "é", LONG, LONG[:99] + "é", "7", "true")),
    *(f"event.data.x.startsWith({said(text)})" for text in ("a", "\ud7ff", "\U0010ffff", LONG, LONG[:100], "é")),
    "event.data.x in ['a', 'b', 'é']",
    "event.data.x == true",
    *(
        f"event.data.x {sign} {number}"
        for sign, number in itertools.product(("==", "<", "<=", ">", ">="), ("7", "0.1", "-7.0", "0", "1e15", "1e300"))
    ),
    "7 < event.data.x && event.data.x < 1e300",
)


FILL = "insert into seen values ($1, 'a', 'queued', $2::text::jsonb)"


async def test_no_probe_misses_a_match_and_no_event_breaks_an_index(embedded_url: str) -> None:
    connection = await asyncpg.connect(embedded_url)
    await connection.execute("create table seen (id int, app_id text, status text, event jsonb)")
    await connection.executemany(FILL, list(enumerate(EVENTS)))
    async with Database.connect(embedded_url) as database:
        source = NativeEngine(database)
        source.relation = "seen"
        made = set()
        for text in CONDITIONS:
            filter_ = compile_filter(text)
            probes = probes_of(filter_.expression)
            assert probes, text
            for probe in probes:
                matching, given = filter_.matching.bind(1, None)
                test, more = probe.test.bind(len(given) + 1, None)
                missed = await connection.fetch(
                    f"select event from seen as run where {matching} and ({test}) is not true", *given, *more
                )
                assert not missed, (text, missed)
                if probe.kind not in made:
                    made.add(probe.kind)
                    await connection.execute((await planned(source, connection, probe)).ddl)
    assert len(made) == 2
    await connection.executemany(FILL, list(enumerate(EVENTS)))
    await connection.close()


def test_what_an_index_cannot_look_up_has_no_probe() -> None:
    for text in (
        "event.data.x == null",
        "event.data.x != 'a'",
        "event.data.x == 'a' || event.data.y == 'b'",
        "event.data.list.exists(x, x == 'a')",
        "event.data.x == event.data.y",
        "!(event.data.x == 'a')",
        "event.data.x in []",
    ):
        assert probes_of(compile_filter(text).expression) == (), text
    (one, other) = probes_of(
        compile_filter("event.data.x == 'a' && event.data.x == 'b' && event.data.y > 1").expression
    )
    assert (one.field, other.field) == ("event.data.x", "event.data.y")
    assert len({each.index_of(queue) for each in (one, other) for queue in ("native", "oban")}) == 4
    assert hottest([None, "event.data.x == 'new'", "!", "event.data.y > 1", "event.data.x == 'old'"]) == [
        "event.data.x == 'new'",
        "event.data.y > 1",
    ]


async def test_advise_makes_the_index_that_a_count_then_uses(here: Here, database_url: str) -> None:
    await seed(database_url)
    wanted = ("--app", "billing", "--if", CULPRIT)

    def advised(*more: str) -> Any:
        done = here("advise", *more, "--json", url=database_url)
        assert done.code == 0, done.err
        return done.json

    async with Database.connect(database_url) as database:
        # A small backlog, of which all is found by reading it: the planner is made to prefer an index.
        engine = NativeEngine(database)
        selection = select(CancellationRequest.parse({"app_id": "billing", "if": CULPRIT}))
        before = await engine.count(selection)
        (found,) = await asyncio.to_thread(advised, *wanted)
        assert (found["exists"], found["matched"], found["made"]) == (False, ACME, None)
        assert found["costs"]["bytes"] > 0
        assert found["runs_read"] >= ACME
        (made,) = await asyncio.to_thread(advised, *wanted, "--create")
        assert (made["made"]["field"], made["made"]["is_valid"]) == ("event.data.vendor_id", True)
        assert made["made"]["made_at"]
        assert (await engine.count(selection)).matched == before.matched == ACME
        async with database.transaction() as connection:
            await connection.execute("set local enable_seqscan = off; set local plan_cache_mode = force_custom_plan")
            (probe,) = engine.probes(selection)
            test, values = probe.test.bind(1, None)
            plan = await connection.fetch(
                "explain select from secateur.runs as run where run.app_id = 'billing'"
                f" and run.status in ('queued', 'scheduled', 'running') and {test}",
                *values,
            )
            index = made["index"]["name"]
            assert any(index in row[0] for row in plan), plan
        (again,) = await asyncio.to_thread(advised, *wanted)
        assert again["exists"]
        (listed,) = await asyncio.to_thread(advised, "--list")
        assert listed["name"] == index
        assert await asyncio.to_thread(advised, "--drop", index) == []
    done = await asyncio.to_thread(here, "advise", "--drop", index, url=database_url)
    assert (done.code, "no index" in done.err) == (1, True)


async def test_without_an_if_it_looks_at_past_cancellations(here: Here, embedded_url: str) -> None:
    await seed(embedded_url)
    done = await asyncio.to_thread(
        here, "cancel", "--app", "billing", "--if", CULPRIT, "--yes", "--no-count", url=embedded_url
    )
    assert done.code == 0
    done = await asyncio.to_thread(here, "advise", "--app", "billing", url=embedded_url)
    assert (done.code, done.err) == (0, "")
    assert CULPRIT in done.out
    assert "create index concurrently secateur_if_text_" in done.out


async def test_an_invalid_index_is_made_anew(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of an attempt that an older transaction stopped; the next attempt waits for nothing else."""
    await seed(embedded_url)
    monkeypatch.setattr("secateur.engines.indexing.LOCK_SECONDS", 0.2)
    older = await asyncpg.connect(embedded_url)
    await older.execute(
        "begin; insert into secateur.cancel_requests select * from secateur.cancel_requests where false"
    )
    await older.execute("lock table secateur.runs in row exclusive mode")
    async with Database.connect(embedded_url) as database:
        engine, indexes = NativeEngine(database), FilterIndexes(database)
        selection = select(CancellationRequest.parse({"app_id": "billing", "if": CULPRIT}))
        async with database.transaction() as connection:
            await connection.execute(engine.sql("plan_for_values"))
            plan = await planned(engine, connection, engine.probes(selection)[0])
        with pytest.raises(LockUnavailable, match="3 attempts"):
            await indexes.create(plan)
        (left,) = await indexes.all()
        assert not left.is_valid
        assert (await engine.count(selection)).matched == ACME
        await older.close()
        made = await indexes.create(plan)
        assert made.is_valid
        assert await indexes.create(plan) == made


async def test_only_the_owner_of_the_table_makes_it(here: Here, owner: asyncpg.Connection, database_url: str) -> None:
    await seed(database_url)
    url = url_of("secateur_operator", database_url)
    done = await asyncio.to_thread(here, "advise", "--app", "billing", "--if", CULPRIT, "--create", url=url)
    assert done.code == 1
    assert "only the owner of secateur.runs can make" in done.err
    assert "create index concurrently" in done.err
    done = await asyncio.to_thread(here, "advise", "--app", "billing", "--if", CULPRIT, "--read-only", url=url)
    assert (done.code, done.err) == (0, "")
    assert "not measured" in done.out


async def test_an_index_that_nobody_uses_is_named_by_the_doctor(embedded_url: str) -> None:
    await seed(embedded_url)
    async with Database.connect(embedded_url) as database:
        await database.execute("create index secateur_if_text_0123456789abcdef on secateur.runs (app_id)")
        about = "secateur: event.data.vendor_id; made at 2020-01-01T00:00:00Z"
        await database.execute(f"comment on index secateur.secateur_if_text_0123456789abcdef is '{about}'")
    found = [each async for each in examine(Settings(), Target(embedded_url, read_only=True), NO_FILE)]
    (unused,) = [each for each in found if each.check == "indexes"]
    assert unused.severity is Severity.WARNING
    assert "event.data.vendor_id" in unused.summary
    assert unused.what_to_do == "secateur advise --drop secateur_if_text_0123456789abcdef"


async def test_a_queue_of_others_gets_the_statement_over_its_own_columns(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        await database.execute(
            "insert into jobs (queue, kind, payload)"
            " select 'q', 'k', jsonb_build_object('vendor''s', 'v' || i % 9, 'job.n', i)"
            " from generate_series(1, 900) as i"
        )
        plain = PlainTable(database)
        plain.place = None
        text = """event.data["vendor's"] == 'v7' && event.data["job.n"] < 100"""
        selection = select(CancellationRequest.parse({"app_id": "q", "if": text}))
        before = (await plain.count(selection)).matched
        for probe in plain.probes(selection):
            advice = await weigh(plain, selection, [probe], 60)
            assert not advice.helps
            await FilterIndexes(database).create(advice.plan)
        assert (await plain.count(selection)).matched == before == 11
        among_several = CancellationRequest.parse({"app_id": "plain/q", "if": text})
        advice_there = await advise_index(several(None, [plain]), among_several)
        assert advice_there is not None
        assert (advice_there.exists, advice_there.count and advice_there.count.matched) == (True, 11)
        made = await FilterIndexes(database).all()
        assert {each.table for each in made} == {"jobs"}
        definitions = await database.fetch("select indexdef from pg_indexes where indexname like 'secateur_if%'")
        assert any("""(payload -> 'job.n'::text)""" in row[0] for row in definitions), definitions
