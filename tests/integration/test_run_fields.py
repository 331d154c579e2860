"""Fields of `run` that only some engine has: declared, checked, counted in SQL and evaluated in Python."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from plain_table import TABLE, PlainTable
from secateur.cel import SEARCH, EvaluationError, ExpressionError
from secateur.cel import compile as compile_filter
from secateur.cel.authoring.completion import complete
from secateur.engines.base import Selection, Verdict
from secateur.engines.words import words_of_queue
from secateur.postgres.database import Database
from secateur.runs import NO_BOUNDS, Scope

pytestmark = pytest.mark.one_postgres

WORDS = words_of_queue("tagged", fields={"queue": "queue", "tags": "tags", "unique_key": "shard"})
OF_TAGGED = SEARCH.of_queue(WORDS)

JOBS = """
insert into jobs (queue, kind, payload)
select case n % 2 when 0 then 'mail' else 'bulk' end, 'send',
       jsonb_build_object('n', n, 'tags', jsonb_build_array('t' || n % 3), 'unique_key', nullif(n % 4, 0)::text)
  from generate_series(1, 12) as n
"""


class TaggedTable(PlainTable):
    """All jobs are of one app; their queue, tags and, of most of them, unique key are fields of their own."""

    relation: ClassVar[str] = """(
      select job.id, 'all' as app_id, job.kind as function_id, job.kind as name, job.payload as data,
             jsonb_build_object('name', job.kind, 'data', job.payload) as event,
             case when job.done then 'completed' else 'queued' end as status, job.created_at as started_at,
             job.queue, job.payload -> 'tags' as tags, job.payload ->> 'unique_key' as unique_key,
             jsonb_build_object('queue', job.queue) || (job.payload - 'n') as fields
        from jobs as job)"""
    words = WORDS


@pytest.fixture
async def source(empty_database_url: str) -> AsyncIterator[TaggedTable]:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        await database.execute(JOBS)
        yield TaggedTable(database)


@pytest.mark.parametrize(
    ("condition", "matched", "errors"),
    [
        ("run.queue == 'mail'", 6, 0),
        ("run.queue.startsWith('m') && event.data.n > 6", 3, 0),
        ("run.queue in ['mail', 'other'] || run.queue == 'bulk'", 12, 0),
        ("'t1' in run.tags", 4, 0),
        ("run.unique_key > '1'", 6, 3),
        ("run.unique_key > '1' || !has(run.unique_key)", 9, 0),
        ("has(run.queue) && run.app == 'all'", 12, 0),
    ],
)
async def test_they_mean_the_same_in_sql_and_in_python(
    source: TaggedTable, condition: str, matched: int, errors: int
) -> None:
    compiled = compile_filter(condition, OF_TAGGED)
    count = await source.count_with_errors(Selection(Scope("all"), NO_BOUNDS, compiled))
    assert (count.matched, count.errors) == (matched, errors)
    assert (await source.count(Selection(Scope("all"), NO_BOUNDS, compiled))).matched == matched
    now = await source.clock()
    seen = dict.fromkeys(Verdict, 0)
    for run in await source.examples(Selection(Scope("all"), NO_BOUNDS), Verdict.MATCH, 100):
        try:
            seen[Verdict.MATCH if compiled.matches(run, now) else Verdict.NO_MATCH] += 1
        except EvaluationError:
            seen[Verdict.ERROR] += 1
    assert (seen[Verdict.MATCH], seen[Verdict.ERROR]) == (matched, errors)


async def test_what_a_queue_does_not_have_is_refused(source: TaggedTable) -> None:
    for compiled in (compile_filter("has(run.concurrency_key)"), compile_filter("run.concurrency_key == 'x'", SEARCH)):
        with pytest.raises(
            ExpressionError,
            match=r"tagged has no `run\.concurrency_key`: good_job, procrastinate and solid_queue have it",
        ):
            await source.count(Selection(Scope("all"), NO_BOUNDS, compiled))


def test_they_are_offered_and_checked_where_they_are() -> None:
    assert "queue" in [each.label for each in complete("run.", 4, OF_TAGGED).candidates]
    assert "concurrency_key" not in [each.label for each in complete("run.", 4, OF_TAGGED).candidates]
    with pytest.raises(ExpressionError, match=r"tagged has no `run\.concurrency_key`"):
        compile_filter("run.concurrency_key == 'mail'", OF_TAGGED)
    with pytest.raises(ExpressionError, match="a string and an int"):
        compile_filter("run.queue > 5", OF_TAGGED)
