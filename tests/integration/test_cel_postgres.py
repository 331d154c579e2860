"""One meaning, two executions: Postgres and Python agree on every filter and every payload."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
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
from secateur.cel.sql.generator import COLUMNS, generate_value
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


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session with a table `payloads`: every payload as an event, by number."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("create temporary table payloads (number int primary key, event jsonb)")
    await connection.executemany("insert into payloads values ($1, $2)", list(enumerate(PAYLOADS)))
    yield connection
    await connection.close()


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


async def test_the_cheaper_form_matches_the_same(connection: asyncpg.Connection) -> None:
    for source in corpus("conditions.txt"):
        compiled = compile(source)
        matched = []
        for condition in (compiled.condition, compiled.matching):
            sql, parameters = condition.bind(2, NOW)
            rows = await connection.fetch(RUNS.format(condition=sql), STARTED_AT, *parameters)
            matched.append([row["number"] for row in rows if row["verdict"]])
        assert matched[0] == matched[1], source


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
        query = generate_value(prepared.expression, {"event": COLUMNS["event"]}, reporter)
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
