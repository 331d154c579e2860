"""One meaning, two executions: Postgres and Python agree on every filter and every payload."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from secateur.cel import EvaluationError, compile
from secateur.cel.diagnostics import Reporter
from secateur.cel.evaluation import decode, prepare, same
from secateur.cel.python.evaluator import evaluator
from secateur.cel.sql.columns import COLUMNS, COLUMNS_OF_PARTS
from secateur.cel.sql.generator import generate_value
from secateur.cel.values import decode_json
from secateur.runs import Run, RunStatus

CORPUS = Path(__file__).parents[1] / "unit" / "cel" / "corpus"
sys.path.insert(0, str(CORPUS.parent))
from random_expressions import expression  # noqa: E402

NOW = datetime(2024, 1, 21, 12, 0, 0, 123456, tzinfo=UTC)
STARTED_AT = datetime(2024, 1, 21, 11, 30, tzinfo=UTC)


def corpus(name: str) -> list[str]:
    lines = (CORPUS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


PAYLOADS = corpus("payloads.jsonl")


@asynccontextmanager
async def with_payloads(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session with a table `payloads`: every payload as an event, by number."""
    connection = await asyncpg.connect(url)
    await connection.execute("create temporary table payloads (number int primary key, event jsonb)")
    await connection.executemany("insert into payloads values ($1, $2)", list(enumerate(PAYLOADS)))
    yield connection
    await connection.close()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with with_payloads(database_url) as connection:
        yield connection


@pytest.fixture
async def newest(embedded_url: str) -> AsyncIterator[asyncpg.Connection]:
    """On one Postgres: for what compares two forms that the others execute alike."""
    async with with_payloads(embedded_url) as connection:
        yield connection


def run(number: int, event: Any) -> Run:
    return Run(
        id=f"018d2b1c-0000-7000-8000-{number:012}",
        app_id="billing",
        function_id="vendor-syncs",
        event=event,
        status=RunStatus.QUEUED,
        priority=5,
        attempt=0,
        started_at=STARTED_AT,
    )


RUNS = """
select run.number, {condition} as verdict
  from (
    select number, event, 'billing' as app_id, 'vendor-syncs' as function_id, 5 as priority,
           format('018d2b1c-0000-7000-8000-%s', lpad(number::text, 12, '0'))::uuid as id,
           $1::timestamptz as started_at
      from payloads
  ) as run
 order by run.number
"""


async def test_the_cheaper_form_matches_the_same(newest: asyncpg.Connection) -> None:
    for source in corpus("conditions.txt"):
        compiled = compile(source)
        matched = []
        for condition in (compiled.condition, compiled.matching):
            sql, parameters = condition.bind(2, NOW)
            rows = await newest.fetch(RUNS.format(condition=sql), STARTED_AT, *parameters)
            matched.append([row["number"] for row in rows if row["verdict"]])
        assert matched[0] == matched[1], source


LISTS_AND_MAPS = (
    *("[]", "{}", "null", "5", '"a"', '["a"]', '{"a": 1}', '[{"a": 1}]', '[["a"]]', "[null]", '[3, "b"]'),
    *('["ab", 4, null, true]', '{"ab": null, "": 1}', '[{"a": "ab"}, {"b": 1}]', '[{"a": null}, "a"]'),
    *('[{"a": {"b": "a"}}]', '[{"a": ["a"]}, {"a": "a"}]', "[false]", '{"a.b": "a", "b": {"a": 1}}'),
    *('[[], {}, "abc"]', "[4.5, -0.0, 1e400]", "[4.5, 2]"),
)
OF_ELEMENTS = (
    *("t == 'a'", "'a' == t", "t == null", "t == true", "t == 3", "t > 3", "t <= 4.5", "t.startsWith('a')", "t == ''"),
    *("t == 'a' || t > 3", "t == 'b' || t.a == 1", "t.startsWith('a') && t == 'ab'", "t.a.startsWith('a')"),
    *(
        "t.a == null || t == 'a'",
        "t.a.b == 'a' || t.a > 0",
        "t == 'a.b' || t == 'b'",
        "t.a == 'a'",
        "t.a == 1 && t.a > 0",
    ),
)


async def test_what_is_asked_of_elements_is_asked_of_keys(connection: asyncpg.Connection) -> None:
    payloads = [f'{{"data": {{"x": {value}}}}}' for value in LISTS_AND_MAPS]
    await connection.execute("truncate payloads")
    await connection.executemany("insert into payloads values ($1, $2)", list(enumerate(payloads)))
    for predicate in OF_ELEMENTS:
        compiled = compile(f"event.data.x.exists(t, {predicate})")
        verdicts = []
        for condition in (compiled.condition, compiled.matching):
            sql, parameters = condition.bind(2, NOW)
            rows = await connection.fetch(RUNS.replace("{condition}", sql), STARTED_AT, *parameters)
            verdicts.append([row["verdict"] for row in rows])
        for payload, exact, cheaper in zip(payloads, *verdicts, strict=True):
            assert (cheaper is True) is (exact is True), (predicate, payload)


OF_PARTS = """
select {sides}
  from (
    select job.*, jsonb_build_object('name', name, 'data', data) as event, 'billing' as app_id,
           'vendor-syncs' as function_id, 5 as priority, '018d2b1c-0000-7000-8000-000000000001'::uuid as id,
           $1::timestamptz as started_at
      from (select number, 1 as turn, event #>> '{data,x}' as name, nullif(event -> 'data', 'null') as data
              from payloads
             union all
            select number, 2, null, event from payloads) as job
  ) as run
 order by number, turn
"""
"""The payloads as events of two columns, and again with the whole payload as `data`."""


async def test_an_event_in_parts_is_the_same_event(newest: asyncpg.Connection) -> None:
    for source in [*corpus("conditions.txt"), *OF_NAME_AND_DATA]:
        compiled = compile(source)
        parts = compiled.over(COLUMNS_OF_PARTS)
        sides: list[str] = []
        given: list[object] = [STARTED_AT]
        for condition in (compiled.condition, parts.condition, parts.matching):
            sql, parameters = condition.bind(len(given) + 1, NOW)
            sides.append(f"({sql})")
            given += parameters
        for whole, exact, cheaper in await newest.fetch(OF_PARTS.replace("{sides}", ", ".join(sides)), *given):
            assert exact is whole, source
            assert (cheaper is True) is (whole is True), source


OF_NAME_AND_DATA = (
    " || ".join(f"event.name == '{text}'" for text in ("text", *"abcdefghi")),
    " && ".join(f"event.name != '{text}'" for text in ("text", *"abcdefghi")),
    "event.name == 'text'",
    "event.name != 'text'",
    "event.name == null",
    "event.name != null",
    "event.name == true",
    "event.name == 5",
    "event.name > 5",
    "event.name < 'text'",
    "event.name in ['text', 'a']",
    "!(event.name in ['text', 'a'])",
    "event.name in ['text', null]",
    "'text' in [event.name]",
    "event.name.startsWith('te')",
    "!event.name.startsWith('te')",
    "event.name.size() == 4",
    "event.name.x == 'v'",
    "event.name.exists(x, x.a == 1)",
    "event['name'] == 'text' && event.data.x == 1",
    "event.name ? true : false",
    "type(event.name) == string",
    "has(event.name)",
    "has(event.data)",
    "has(event.id)",
    "!has(event.id)",
    "has(event.data.x)",
    "!has(event.data.x)",
    "has(event.name.x)",
    "event.id == 'x'",
    "event.data == null",
    "event.data != null",
    "null == event.data",
    "event.data == 5",
    "event.data == 'text'",
    "event.data == true",
    "event.data in [5, 'text']",
    "event.data in ['text', 'event']",
    "event.data in [null]",
    "event.data > 3",
    "event.data + 1 == 6",
    "event.data.startsWith('te')",
    "event.data == event.name",
    "event.data == {'x': 1}",
    "event.data.size() > 0",
    "'x' in event.data",
    "event.data.exists(x, x.x == 1)",
    "event.data.all(x, x == 'x')",
    "event.data[0].x == 1",
    "event.data.x == 1 && event.data.x == 1.0",
    "event.data.x == 'a' && event.data.y == null && event.name == 'a'",
    "event == {'name': null, 'data': null}",
    "event.exists(x, x == 'name')",
    "event.all(event, event == 'name' || event == 'data')",
    "'name' in event",
    "'id' in event",
    "size(event) == 2",
    "dyn(event).data == null",
    "(has(event.data) ? event : event).data == null",
)


async def test_filters_mean_the_same(connection: asyncpg.Connection) -> None:
    differences = []
    for source in corpus("conditions.txt"):
        compiled = compile(source)
        sql, parameters = compiled.condition.bind(2, NOW)
        for number, verdict in await connection.fetch(RUNS.replace("{condition}", sql), STARTED_AT, *parameters):
            try:
                expected: bool | None = compiled.matches(run(number, decode_json(PAYLOADS[number])), NOW)
            except EvaluationError:
                expected = None
            if verdict is not expected:
                differences.append((source, PAYLOADS[number], expected, verdict))
    assert not differences, f"{len(differences)} differences, such as {differences[:10]}"


async def test_random_expressions_mean_the_same(connection: asyncpg.Connection) -> None:
    random = Random(20240121)
    differences = []
    for _ in range(150):
        source = expression(random, random.choice((2, 3, 3, 4)))
        prepared = prepare(source, {"event": {}})
        reporter = Reporter(source)
        query = generate_value(prepared.expression, {"event": COLUMNS.event}, reporter)
        reporter.raise_errors()
        evaluate = evaluator(prepared.expression)
        for number, box in await connection.fetch(
            f"select number, ({query.sql})::text from payloads as run", *query.parameters
        ):
            try:
                expected = evaluate({"event": decode_json(PAYLOADS[number])})
            except EvaluationError as error:
                if box is not None:
                    differences.append((source, PAYLOADS[number], str(error), box))
                continue
            if box is None or not same(decode(box), expected):
                differences.append((source, PAYLOADS[number], expected, box))
    assert not differences, f"{len(differences)} differences, such as {differences[:10]}"


async def test_payloads_decode_alike_from_either_text(connection: asyncpg.Connection) -> None:
    """What a client sends and what jsonb prints are the same value to the evaluator."""
    for number, printed in await connection.fetch("select number, event::text from payloads"):
        assert same(decode_json(printed), decode_json(PAYLOADS[number])), PAYLOADS[number]


async def test_values_are_the_same(connection: asyncpg.Connection) -> None:
    differences = []
    for source in corpus("values.txt"):
        for payload in PAYLOADS:
            evaluation = prepare(source, {"event": decode_json(payload)})
            query = evaluation.in_sql()
            box = await connection.fetchval(f"select ({query.sql})::text", *query.parameters)
            try:
                expected = evaluation.in_python()
            except EvaluationError as error:
                if box is not None:
                    differences.append((source, payload, str(error), box))
                continue
            if box is None or not same(decode(box), expected):
                differences.append((source, payload, expected, box))
    assert not differences, f"{len(differences)} differences, such as {differences[:10]}"
