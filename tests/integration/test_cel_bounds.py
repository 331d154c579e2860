"""What an expression may put together, and how deep it may loop: the same bounds in both executions."""

from __future__ import annotations

import json

import asyncpg
import pytest

from secateur.cel import EvaluationError, ExpressionError, compile
from secateur.cel.diagnostics import Reporter
from secateur.cel.evaluation import decode, prepare
from secateur.cel.limits import MAX_ITEMS, MAX_TEXT
from secateur.cel.python.evaluator import evaluator
from secateur.cel.sql.columns import COLUMNS
from secateur.cel.sql.generator import generate_value

EVENT = {
    "text": "a" * MAX_TEXT,
    "half": "a" * (MAX_TEXT // 2 + 1),
    "list": list(range(MAX_ITEMS)),
    "longer": list(range(MAX_ITEMS + 1)),
    "long": "x" * (3 * MAX_TEXT),
}

WITHIN = {
    "size(event.text + '')": MAX_TEXT,
    "size(event.text.replace('a', 'b'))": MAX_TEXT,
    "size([event.half].join('-'))": MAX_TEXT // 2 + 1,
    "size(event.list + [])": MAX_ITEMS,
    "size(event.list.map(e, e))": MAX_ITEMS,
    "size(event.list.filter(e, true))": MAX_ITEMS,
    "size(event.longer.map(e, e > 1, e))": MAX_ITEMS - 1,
    "event.longer.filter(e, e > 1).size()": MAX_ITEMS - 1,
    "event.longer.filter(e, e > 0).filter(e, e < 5).size()": 4,
    "event.longer.filter(e, e > 0).map(e, e < 3, e * 2)": [2, 4],
    "event.longer.filter(e, e > 0).exists(e, e == 10000)": True,
    "event.longer.filter(e, e > 0).all(e, e > 0)": True,
    "10000 in event.longer.filter(e, e > 0)": True,
    "event.longer.exists(e, e == 10000)": True,
    "event.longer.all(e, e >= 0)": True,
    "event.longer.exists_one(e, e == 10000)": True,
    "size(event.half.substring(0, 9999).split('a'))": MAX_ITEMS,
    "size(event.long.split('x', 3))": 3,
    "event.long.lastIndexOf('x')": 3 * MAX_TEXT - 1,
    "size(event.long.upperAscii().trim())": 3 * MAX_TEXT,
    "size(bytes(event.half) + b'a')": MAX_TEXT // 2 + 2,
}
BEYOND = (
    "event.text + 'a'",
    "event.half + event.half",
    "bytes(event.half) + bytes(event.half)",
    "event.text.replace('a', 'bb')",
    "event.text.replace('', 'a')",
    "event.long.replace('y', 'z')",
    "[event.half, event.half].join()",
    "event.list + [1]",
    "event.longer.map(e, e)",
    "event.longer.filter(e, true)",
    "event.longer.filter(e, true).size()",
    "event.longer.map(e, e).filter(e, e < 5)",
    "event.longer.map(e, e).filter(e, e < 5).size()",
    "event.longer.map(e, e).exists(e, true)",
    "event.longer.filter(e, true).all(e, false)",
    "event.longer.map(e, e).exists_one(e, e == 1)",
    "1 in event.longer.map(e, e)",
    "event.half.split('')",
    "event.half.substring(0, 10000).split('a')",
)


@pytest.fixture
async def connection(embedded_url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(embedded_url)
    await connection.execute("create temporary table run (event jsonb)")
    await connection.execute("insert into run values ($1)", json.dumps(EVENT))
    yield connection
    await connection.close()


async def in_sql(connection: asyncpg.Connection, source: str) -> object:
    query = generate_value(prepare(source, {"event": {}}).expression, {"event": COLUMNS.event}, Reporter(source))
    return decode(await connection.fetchval(f"select ({query.sql})::text from run", *query.parameters))


async def test_large_texts_and_lists_are_put_together(connection: asyncpg.Connection) -> None:
    for source, expected in WITHIN.items():
        assert prepare(source, {"event": EVENT}).in_python() == expected, source
        assert await in_sql(connection, source) == expected, source


async def test_larger_ones_are_an_error(connection: asyncpg.Connection) -> None:
    for source in BEYOND:
        evaluate = evaluator(prepare(source, {"event": {}}).expression)
        with pytest.raises(EvaluationError, match=r"would (be longer than 1,000,000|have more than 10,000)"):
            evaluate({"event": EVENT})
        with pytest.raises(EvaluationError):
            await in_sql(connection, source)


def test_loops_nest_two_deep() -> None:
    assert compile("event.a.exists(x, x.exists(y, y == 1)) && event.a.filter(x, true).map(x, x).all(x, x == 1)")
    for target in (lambda source: compile(source), lambda source: prepare(source, {"event": {}})):
        with pytest.raises(ExpressionError, match="nested at most 2 deep"):
            target("event.a.exists(x, x.map(y, y.filter(z, true)).size() == 0)")
