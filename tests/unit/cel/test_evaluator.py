"""Expressions in Python: values, errors, and what an error does to `&&`, `||` and macros."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from blocks import blocks

from secateur.cel import EvaluationError, compile
from secateur.cel.evaluation import as_json, prepare, type_name
from secateur.cel.values import decode_json
from secateur.runs import Run, RunStatus

EVENT = """
{"name": "vendor/sync", "ts": 1705795200000, "data": {
  "vendor_id": "acme_inc", "amount": 120, "price": 1.50, "tags": ["vip", "eu"], "on": true, "none": null,
  "big": 9223372036854775808, "huge": 18446744073709551616, "long": 0.1000000000000000055,
  "exponent": 1e2, "zero": -0.0, "beyond": 1e400, "when": "2024-01-21T00:00:00Z", "": {"a.b": 1}}}
"""


def evaluated(source: str) -> str:
    try:
        value = prepare(source, {"event": decode_json(EVENT)}).in_python()
    except EvaluationError as error:
        place = f" [{source[error.span.start : error.span.end]}]" if error.span else ""
        return f"error: {error}{place}"
    return f"{type_name(value)} {json.dumps(as_json(value), ensure_ascii=False)}"


@pytest.mark.parametrize(("source", "expected"), blocks("evaluated.txt"))
def test_evaluates(source: str, expected: str) -> None:
    assert evaluated(source) == expected


def run(event: Any) -> Run:
    return Run(
        id="018d2b1c-0000-7000-8000-000000000001",
        app_id="billing",
        function_id="vendor-syncs",
        event=event,
        status=RunStatus.QUEUED,
        priority=3,
        attempt=0,
        started_at=datetime(2024, 1, 21, tzinfo=UTC),
    )


NOW = datetime(2024, 1, 22, tzinfo=UTC)


def test_only_true_matches() -> None:
    matches = compile("event.data.on").matches
    assert matches(run({"data": {"on": True}}), NOW) is True
    assert matches(run({"data": {"on": False}}), NOW) is False
    with pytest.raises(EvaluationError, match="not true or false"):
        matches(run({"data": {"on": 1}}), NOW)
    with pytest.raises(EvaluationError, match=r"no such field `event\.data\.on`") as caught:
        matches(run({"data": {}}), NOW)
    assert caught.value.span is not None


def test_reads_the_run() -> None:
    source = (
        "run.app == 'billing' && run.function == 'vendor-syncs' && run.priority == 3 && run.id < '019'"
        " && run.started_at < now && now - run.started_at == duration('24h')"
    )
    assert compile(source).matches(run({}), NOW)


def test_evaluates_for_given_variables() -> None:
    compiled = compile("event.data.x > run.priority")
    assert compiled.evaluate({"event": {"data": {"x": 5}}, "run": {"priority": 4}}) is True
    with pytest.raises(EvaluationError, match=r"`run\.priority` has no value"):
        compiled.evaluate({"event": {"data": {"x": 5}}})


def test_an_event_may_be_absent() -> None:
    with pytest.raises(EvaluationError, match=r"null has no fields, so there is no `event\.data`"):
        compile("event.data.x == 1").matches(run(None), NOW)
    assert compile("event == null").matches(run(None), NOW)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        compile("now > run.started_at").matches(run({}), datetime(2024, 1, 1))
