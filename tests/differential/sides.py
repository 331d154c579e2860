"""The two executions, side by side over a handful of payloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from secateur.cel import CANCEL_ON, Condition, EvaluationError, ExpressionError, compile
from secateur.cel.diagnostics import Reporter
from secateur.cel.evaluation import decode, prepare, same
from secateur.cel.python.evaluator import evaluator
from secateur.cel.sql.columns import COLUMNS, COLUMNS_OF_PARTS, Columns
from secateur.cel.sql.generator import generate_value
from secateur.cel.values import decode_json

NOW = datetime(2024, 1, 21, 12, tzinfo=UTC)

RUNS = {
    COLUMNS: "select place, event from payloads",
    COLUMNS_OF_PARTS: """
    select place, name, data, jsonb_build_object('name', name, 'data', data) as event
      from (select place, event #>> '{data,s}' as name, nullif(event -> 'data', 'null') as data
              from payloads) as job""",
}
"""The runs over either kind of columns: the payloads themselves, or events built of what is in them."""


class Sides:
    def __init__(self, connection: asyncpg.Connection, columns: Columns) -> None:
        self._connection = connection
        self._columns = columns
        self.pairs = 0
        self.filters = 0

    @classmethod
    async def connect(cls, url: str, columns: Columns = COLUMNS) -> Sides:
        connection = await asyncpg.connect(url, statement_cache_size=0)
        await connection.execute("create temporary table payloads (place int, event jsonb)")
        await connection.execute(f"create temporary view run as {RUNS[columns]}")
        return cls(connection, columns)

    async def close(self) -> None:
        await self._connection.close()

    async def differences(self, source: str, payloads: Sequence[str], arrived: str = "{}") -> list[str]:
        """`arrived` is the JSON of `async`."""
        expression = prepare(source, {"event": {}, "async": {}}).expression
        reporter = Reporter(source)
        variables = {name: self._columns.variables[name] for name in ("event", "async")}
        query = generate_value(expression, variables, reporter)
        if reporter.ordered("error"):
            return []
        evaluate = evaluator(expression)
        payloads = await self._events(payloads)
        expected = []
        for payload in payloads:
            try:
                expected.append(evaluate({"event": decode_json(payload), "async": decode_json(arrived)}))
            except EvaluationError as error:
                expected.append(error)
        found = []
        sql, parameters = query.bind(1, NOW, arrived)
        for place, box in await self._connection.fetch(
            f"select place, ({sql})::text from run order by place", *parameters
        ):
            answer = EvaluationError("") if box is None else decode(box)
            if not alike(answer, expected[place]):
                found.append(f"{payloads[place]}: {expected[place]!r} in Python, {box!r} in SQL")
        self.pairs += len(payloads)
        return found + await self._verdicts(source, payloads, expected, arrived)

    async def _events(self, payloads: Sequence[str]) -> Sequence[str]:
        """Makes the runs; their events."""
        await self._connection.execute("truncate payloads")
        await self._connection.executemany("insert into payloads values ($1, $2)", list(enumerate(payloads)))
        if self._columns is COLUMNS:
            return payloads
        return [row["event"] for row in await self._connection.fetch("select event from run order by place")]

    async def _verdicts(self, source: str, payloads: Sequence[str], expected: list[Any], arrived: str) -> list[str]:
        """As a filter, if it is one: with its constants worked out, and in the short forms."""
        try:
            compiled = compile(source, CANCEL_ON).over(self._columns)
        except ExpressionError:
            return []
        self.filters += len(payloads)
        verdicts = [value if isinstance(value, bool) else None for value in expected]
        found = []
        for place, (verdict, wanted) in enumerate(
            zip(await self._each(compiled.condition, arrived), verdicts, strict=True)
        ):
            if verdict is not wanted:
                found.append(f"{payloads[place]}: {expected[place]!r} in Python, {verdict} as a condition")
        for place, (verdict, wanted) in enumerate(
            zip(await self._each(compiled.matching, arrived), verdicts, strict=True)
        ):
            if (verdict is True) is not (wanted is True):
                found.append(f"{payloads[place]}: {expected[place]!r} in Python, {verdict} where only true counts")
        return found

    async def _each(self, condition: Condition, arrived: str) -> list[bool | None]:
        sql, parameters = condition.bind(1, NOW, arrived)
        rows = await self._connection.fetch(f"select ({sql}) as verdict from run order by place", *parameters)
        return [row["verdict"] for row in rows]


def alike(one: Any, other: Any) -> bool:
    """Both errors, or the same value."""
    if isinstance(one, EvaluationError) or isinstance(other, EvaluationError):
        return isinstance(one, EvaluationError) and isinstance(other, EvaluationError)
    return same(one, other)
