"""The first wall: what a stored condition may say, checked by the database before it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from secateur.cel import CANCEL_ON, VOCABULARY, compile
from secateur.cel.declarations import SEARCH

pytestmark = pytest.mark.one_postgres

CORPUS = Path(__file__).parents[1] / "unit" / "cel" / "corpus"

ATTACKS = (
    # another statement, comments, texts, quoted names
    "true; drop table secateur.runs",
    "true -- and false",
    "true /* and false */",
    "run.app_id = 'billing'",
    "run.app_id = $$billing$$",
    "run.app_id = $a$billing$a$",
    "run.app_id = E'\\x41'",
    'run."event" = $1::text::jsonb',
    "run.app_id = U&'x'",
    # functions that PUBLIC may call
    "pg_sleep(10) is null",
    "pg_catalog.pg_sleep(10) is null",
    "pg_advisory_lock(1) is null",
    "lo_creat(1) is null",
    "pg_notify($1::text, $1::text) is null",
    "query_to_xml($1::text, true, true, $1::text) is null",
    "current_setting($1::text) is null",
    "set_config($1::text, $1::text, true) is null",
    "txid_current() > 0",
    "secateur.stop_cancellation($1::text, $1::text, $1::text) is null",
    "secateur_cel.box_json_v2(run.event) is null",
    # other tables, by any way into a from
    "exists (select from secateur.runs)",
    "(select true from secateur.runs)",
    "true = any (select true from secateur.runs)",
    "true = any (select true from run)",
    "true = any (select true from run.event)",
    "true = any (select true from text)",
    "true = any (select true from item1)",
    "true = any (select true from pg_class item1)",
    "true = any (select true from secateur_cel.items_v1(run.event) item1, run.event)",
    "true = any (select true from secateur_cel.items_v1(run.event), run.event)",
    "true = any (select true from secateur_cel.items_v1(run.event) item1, secateur_cel.items_v1(run.event) item2)",
    "true = any (select true from secateur_cel.items_v1(run.event) item1 where true)",
    "true = any (select true from secateur_cel.items_v1(run.event) item1 union select true from run.event)",
    "true = any (select true from secateur_cel.items_v1(run.event) item1 cross join run.event)",
    "true = any (select true from secateur_cel.items_v1(run.event) run.event)",
    "true = any (select true from secateur_cel.items_v1(run.event) as item1)",
    "true = any (select true from secateur_cel.items_v1(run.event))",
    "true = any (select true from secateur_cel.items_v1)",
    "true = any (select true from secateur_cel.items_v1[run.event] item1)",
    "true = any (select true from (run.event) item1)",
    "true = any (select true from (select true from secateur_cel.items_v1(run.event) item1) item1)",
    "true = any (select true from from secateur_cel.items_v1(run.event) item1)",
    "true = any (select true from lateral secateur_cel.items_v1(run.event) item1)",
    "true = any (select true from only secateur_cel.items_v1(run.event) item1)",
    "true = any (select true from secateur_cel.text_v1(run.event) item1)",
    "true = any (select true from jsonb_array_elements(run.event) item1)",
    "true = any (select true from generate_series(1, 1000000000) item1)",
    "true = any (table run.event)",
    "true = any (values (true))",
    # a select elsewhere, or a helper that returns several rows elsewhere
    "select true",
    "(select true)",
    "true in (select true from secateur_cel.items_v1(run.event) item1)",
    "case (select true from secateur_cel.items_v1(run.event) item1) when true then true end",
    "secateur_cel.items_v1(run.event) is null",
    "true = any (select secateur_cel.json_items_v1(run.event) is null from secateur_cel.items_v1(run.event) item1)",
    "true = any (array[select true])",
    "true = any (select true into item1 from secateur_cel.items_v1(run.event) item1)",
    "true = any (select true from secateur_cel.items_v1(run.event) item1 for update)",
    # brackets that leave the sub-select, white space that Postgres reads otherwise
    "true) or (true",
    "true = any (select true from secateur_cel.items_v1(run.event) item1",
    "true = any (select true from secateur_cel.items_v1(run.event)",
    "true = any (select true from",
    "true = any (select\ttrue from\tsecateur_cel.items_v1(run.event) item1)",
    "true = any (SELECT true FROM secateur.runs)",
    "true = any (select true from\u00a0secateur.runs)",
    # what is known only later, under another name
    "$asynchronous::text::jsonb = run.event",
    "$later::text::jsonb = run.event",
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_the_database_knows_the_vocabulary(connection: asyncpg.Connection) -> None:
    known = await connection.fetch("select token from secateur.condition_vocabulary")
    assert {row["token"] for row in known} == VOCABULARY


async def test_every_condition_of_the_compiler_may_be_stored(connection: asyncpg.Connection) -> None:
    lines = (CORPUS / "conditions.txt").read_text(encoding="utf-8").splitlines()
    for source in (line for line in lines if line and not line.startswith("#")):
        condition = compile(source, SEARCH).condition.sql
        await connection.execute("select secateur.check_condition($1), secateur.require_executable($1)", condition)
    arriving = compile("event.data.user_id == async.data.user_id && async.ts > event.ts", CANCEL_ON)
    await connection.execute(
        "select secateur.check_condition($1), secateur.require_executable($1)", arriving.condition.sql
    )


async def test_nothing_else_may_be_stored(connection: asyncpg.Connection) -> None:
    accepted = []
    for attack in ATTACKS:
        try:
            await connection.execute("select secateur.check_condition($1)", attack)
        except asyncpg.PostgresError as error:
            if error.sqlstate == "SC400":
                continue
        accepted.append(attack)
    assert accepted == []


async def test_a_long_condition_is_checked_quickly(connection: asyncpg.Connection) -> None:
    condition = " or ".join(["run.event -> $1::text = $2::text::jsonb"] * 5_000)
    await connection.execute("select secateur.check_condition($1)", condition, timeout=5)


@pytest.mark.parametrize("condition", ["not", "true or", "true = run.event", "all", "case when true then"])
@pytest.mark.parametrize(
    "store",
    [
        "select secateur.commit_cancellations(array[gen_random_uuid()], null, jsonb_build_object("
        " 'app_id', 'shop', 'if', 'x', 'condition', $1::text, 'parameters', '{}'::jsonb, 'compiler', 1,"
        " 'request', '{}'::jsonb, 'source', 'cli', 'created_by', 'me'))",
        "select secateur.declare_cancel_on('shop', 'f', jsonb_build_array(jsonb_build_object('event', 'a', 'if', 'x',"
        " 'condition', $1::text, 'parameters', '{}'::jsonb, 'compiler', 1)))",
    ],
    ids=["commit", "declare"],
)
async def test_what_cannot_be_executed_is_not_stored(
    connection: asyncpg.Connection, store: str, condition: str
) -> None:
    await connection.execute("select secateur.ensure_function('shop', 'f')")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await connection.execute(store, condition)
    assert caught.value.sqlstate == "SC400"
