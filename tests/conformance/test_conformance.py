"""The language's official suite, in both executions.

Python must give every answer. Postgres must give almost all, with nothing worked out beforehand; the rest must be
refused with the reason that refused.txt gives. A wrong answer is never right.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from cases import SUITE, VARIABLE, Case, suite

from secateur.cel import EvaluationError, ExpressionError
from secateur.cel.evaluation import decode, same

CASES = suite()
REFUSED = Path(__file__).with_name("refused.txt")
SHARE_IN_SQL = 0.97

pytestmark = pytest.mark.skipif(not CASES, reason=f"{VARIABLE} does not name the folder of {SUITE}")


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 554
    assert len({case.name for case in CASES}) == 554


def test_python_answers_every_case() -> None:
    wrong = []
    for case in CASES:
        try:
            value = case.prepare().in_python(nanoseconds=True)
        except (EvaluationError, ExpressionError) as error:
            if not case.is_error:
                wrong.append(f"{case.name}: {error}")
            continue
        if case.is_error or not same(value, case.value):
            wrong.append(f"{case.name}: {value!r}")
    assert not wrong, "\n".join(wrong)


async def test_postgres_answers_or_refuses_every_case(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        answers = [await _in_sql(connection, case) for case in CASES]
    finally:
        await connection.close()
    assert [answer for answer in answers if answer.startswith("wrong")] == []
    refused = [answer for answer in answers if answer]
    assert refused == _refused()
    assert len(refused) <= (1 - SHARE_IN_SQL) * len(CASES)


async def _in_sql(connection: asyncpg.Connection, case: Case) -> str:
    """Nothing if the answer is right; else the name of the case with the reason, or with what is wrong."""
    try:
        sql, parameters = case.prepare().in_sql().bind(1, None)
    except ExpressionError as error:
        reason = "; ".join(dict.fromkeys(diagnostic.message for diagnostic in error.diagnostics))
        return "" if case.is_error else f"{case.name}: {reason}"
    try:
        value = decode(await connection.fetchval(f"select ({sql})::text", *parameters))
    except EvaluationError:
        return "" if case.is_error else f"wrong: {case.name}: an error"
    if case.is_error or not same(value, case.value):
        return f"wrong: {case.name}: {value!r}"
    return ""


def _refused() -> list[str]:
    lines = REFUSED.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
