"""Each part of an expression with its value, for one run."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from blocks import blocks
from random_expressions import expression

from secateur.cel import SEARCH, EvaluationError, ExpressionError, compile
from secateur.cel.authoring.explain import Part, explain, obstacles
from secateur.cel.python.evaluator import evaluator
from secateur.cel.syntax.writing import value_text
from secateur.cel.values import Duration, UInt, decode_json
from secateur.runs import Run, RunStatus

NOW = datetime(2024, 1, 21, 12, tzinfo=UTC)
EVENT = {
    "name": "vendor/sync",
    "data": {
        "vendor_id": "globex",
        "amount": 44,
        "live": True,
        "none": None,
        "items": [{"sku": "a", "quantity": 2}, {"sku": "b"}],
        "it's": ["x", 1.0],
    },
}


def run_of(event: Any) -> Run:
    started_at = datetime(2024, 1, 21, tzinfo=UTC)
    return Run("run-1", "billing", "vendor-syncs", event, RunStatus.QUEUED, 0, 0, started_at)


def line(depth: int, part: Part) -> str:
    sign = "!" if part.error is not None else " "
    binding = f"{part.binding[0]} = {value_text(part.binding[1])}: " if part.binding else ""
    unused = "" if part.used else "  (not used)"
    outcome = f" → {part.outcome}" if part.outcome else ""
    return f"{sign} {'  ' * depth}{binding}{part.text}{outcome}{unused}"


def explained(source: str) -> str:
    filter_ = compile(source)
    lines = [line(depth, part) for depth, part in explain(filter_, run_of(EVENT), NOW).walk()]
    return "\n".join([*lines, *(f"kept out by {part.text}" for part in obstacles(filter_, run_of(EVENT), NOW))])


@pytest.mark.parametrize(("source", "expected"), blocks("explained.txt"))
def test_explains(source: str, expected: str) -> None:
    assert explained(source) == expected


def test_a_run_that_nothing_keeps_out_matches() -> None:
    """And the whole's value or error is what the evaluator says."""
    random = Random(11)
    run = run_of(EVENT)
    compiled = 0
    for _ in range(3_000):
        source = " && ".join(expression(random, 3) for _ in range(random.randint(1, 3)))
        try:
            filter_ = compile(source.replace("event.data.x", "event.data.amount"))
        except ExpressionError:
            continue
        compiled += 1
        whole = explain(filter_, run, NOW)
        try:
            matches = filter_.matches(run, NOW)
        except EvaluationError:
            matches = False
        assert matches == (whole.error is None and whole.value is True)
        assert matches == (not obstacles(filter_, run, NOW))
    assert compiled > 50


def test_a_large_expression_is_explained_in_part() -> None:
    source = " || ".join(f"event.data.amount == {number}" for number in range(450))
    parts = list(explain(compile(source), run_of(EVENT), NOW).walk())
    assert 100 < len(parts) <= 502


@pytest.mark.parametrize(
    "value",
    [None, True, 1, UInt(7), 1.5, "it's\n", b"a'\\\xff", [1, "a", None], {"a": {"b": 2.0}}, decode_json("[1e2, 1.0]")],
)
def test_values_are_written_as_literals(value: Any) -> None:
    from secateur.cel.evaluation import prepare

    evaluation = prepare(value_text(value), {})
    again = evaluator(evaluation.expression)({})
    assert (again, type(again)) == (value, type(value))


def test_a_deep_value_is_cut_short() -> None:
    deep: Any = 1
    for _ in range(499):
        deep = {"a": [deep]}
    parts = explain(compile("event.a == 1"), run_of(deep), NOW).walk()
    assert all(part.outcome.count("[") < 20 for _, part in parts)
    assert "…" in value_text(deep)


def test_times_are_written_so_that_they_can_be_read() -> None:
    filter_ = compile("run.started_at < now - duration('90m')", SEARCH)
    shown = [part.outcome for _, part in explain(filter_, run_of(EVENT), NOW).walk()]
    assert "timestamp('2024-01-21T00:00:00Z')" in shown
    assert value_text(Duration(5_400 * 10**9)) == "duration('5400s')"
