"""A queue whose events are built of two columns: conditions read the columns, so its table's own indexes serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from plain_table import TABLE, PlainTable
from secateur.cel import compile as compile_filter
from secateur.engines.base import Selection, Verdict
from secateur.engines.readings import scoped
from secateur.postgres.database import Database
from secateur.runs import NO_BOUNDS, UNFINISHED, Scope

pytestmark = pytest.mark.one_postgres

JOBS = """
insert into jobs (queue, kind, payload)
select 'mail', 'send', jsonb_build_object('customer', 'c' || n % 500, 'amount', n % 100, 'pad', repeat('x', 200),
                                          'tags', jsonb_build_array('t' || n % 10, n % 4))
  from generate_series(1, 20000) as n
"""


@pytest.fixture
async def jobs(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        await database.execute(JOBS)
        await database.execute("create index jobs_payload on jobs using gin (payload jsonb_path_ops)")
        await database.execute("analyze jobs")
        yield database


def of(condition: str) -> Selection:
    return Selection(Scope("mail", "send"), NO_BOUNDS, compile_filter(condition))


async def plan(jobs: Database, condition: str) -> str:
    source, given = PlainTable(jobs), scoped(of(condition))
    sql, parameters = compile_filter(condition).over(source.variables).matching.bind(len(given) + 1, None)
    counting = source.sql("count").replace("{among}", source.among[UNFINISHED]).replace("{condition}", f"({sql})")
    return "\n".join(row[0] for row in await jobs.fetch(f"explain (verbose) {counting}", *given, *parameters))


@pytest.mark.parametrize(
    "condition",
    [
        "event.data.customer == 'c7'",
        "event.data.customer == 'c7' && event.data.amount == 7 && event.name == 'send'",
        "event.data.customer == 'c7' || event.data.customer == 'c8'",
        "event.name == 'send' && (event.data.customer == 'c7' && event.data.amount > 5)",
    ],
)
async def test_an_equality_is_counted_by_the_tables_own_index(jobs: Database, condition: str) -> None:
    found = await plan(jobs, condition)
    assert "Bitmap Index Scan on jobs_payload" in found.replace("public.", ""), found


@pytest.mark.parametrize(
    "condition",
    [
        "event.data.amount > 90",
        "event.data.amount in [1, 2, 3]",
        "event.data.customer in ['c1', 'c2'] && event.data.customer.startsWith('c')",
        "has(event.data.customer) && event.data != null",
        "event.data.items.exists(item, item.sku == 'a')",
    ],
)
async def test_nothing_is_built_for_a_count(jobs: Database, condition: str) -> None:
    assert "jsonb_build_object" not in await plan(jobs, condition)


async def test_counts_and_examples_are_of_the_same_events(jobs: Database) -> None:
    source = PlainTable(jobs)
    selection = of("event.name == 'send' && event.data.amount > 90 && event.data.customer in ['c91', 'c191']")
    count = await source.count(selection)
    assert count.matched == 40 * 2
    assert (await source.count_with_errors(selection)).errors == 0
    assert (await source.count_with_errors(of("event.data.missing == 1"))).errors == 20_000
    (example,) = await source.examples(selection, Verdict.MATCH, 1)
    assert (example.event["name"], example.event["data"]["amount"]) == ("send", 91)


@pytest.mark.parametrize(
    ("condition", "matched", "errors"),
    [
        ("event.data.customer.size() == 2", 400, 0),
        ("event.data.size() == 4 && event.data.tags.size() == 2", 20_000, 0),
        ("event.data.tags[0] == 't3' || event.data.tags[1] == null", 2_000, 0),
        ("event.data.tags[0] == 't3' && event.data.tags[1] == 1", 1_000, 0),
        ("event.data.tags[1] > 1", 10_000, 0),
        ("event.data.tags[2] == 't3'", 0, 20_000),
        ("event.data.customer.upperAscii() == 'C7'", 40, 0),
        ("event.data.amount % 10 == 3", 2_000, 0),
        ("event.data.tags.exists(tag, tag == 't3')", 2_000, 0),
        ("event.data.tags.exists(tag, tag.startsWith('t3'))", 2_000, 18_000),
        ("event.data.tags.all(tag, tag != 't3')", 18_000, 0),
        ("event.data.tags.exists_one(tag, tag == 0 || tag == 't0')", 5_000, 0),
        ("event.data.tags.filter(tag, tag == 0).size() == 1", 5_000, 0),
        ("event.data.amount > 50 ? event.data.amount < 60 : false", 1_800, 0),
    ],
)
async def test_with_nothing_installed_postgres_still_counts(
    jobs: Database, condition: str, matched: int, errors: int
) -> None:
    assert await jobs.fetchval("select to_regnamespace('secateur_cel') is null")
    source = PlainTable(jobs)
    assert (await source.count(of(condition))).matched == matched
    assert (await source.count_with_errors(of(condition))).errors == errors
