"""The generated function of a gate finds the cancellation that the evaluator finds, whatever is active beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from beds import Bed
from beds.procrastinate import Procrastinate
from verdicts import verdict

from secateur.cel import EvaluationError, Filter, compile
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.loading import open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import Run, RunStatus

pytestmark = pytest.mark.parametrize("bed", [Procrastinate], indirect=True)

CONDITIONS = [
    "event.data.vendor == 'acme'",
    'event.data.vendor == "o\'neil\\\\"',
    "event.data.vendor in ['globex', 'initech', '']",
    "event.data.a.b.c == 'deep'",
    "event.data.vendor == 'both' && event.data.amount > 3",
    "event.data.amount == 42",
    "event.data.flag == true",
    "event.data.nothing == null",
    "event.data.items.exists(i, i.sku == 'x' && i.n > 1)",
    "event.data.vendor == 'left' || event.data.amount == 7",
    "event.data.amount > 1000 || event.data.vendor.startsWith('pre')",
    "event.name == 'mail' && event.data.vendor == 'post'",
    "event.name == 'fax'",
    "run.priority > 8",
    "run.app == 'default' && run.function == 'telex'",
    "event.data == 'bare'",
]
PLAIN = [
    "event.data.amount > 1000 || event.data.vendor.startsWith('pre')",
    "event.data.vendor == 'both' && !(event.data.amount <= 3)",
    "event.data.amount == 42 && event.name != 'mail' || event.name == 'fax' && event.data.flag",
    "has(event.data.a) && event.data.a.b.c == 'deep'",
    "event.data.vendor > 'm' && event.data.vendor < 'p'",
    "event.data.vendor.endsWith('me') || event.data.vendor.contains('eil')",
    "event.data.nothing == null && run.priority > 8",
    "run.function == 'telex' && event.data == 'bare'",
    "'acme' in event.data",
    "event.data.vendor in ['left', 'post', 7] && event.name.startsWith('sy')",
    "event.data.flag ? event.name == 'mail' : event.data.amount == 7",
    "event.data['o\\'neil $1'].`a b` == r'\\'",
]
"""Conditions that one expression tells apart, over the fields that all of them read."""
PAYLOADS: list[Any] = [
    {},
    None,
    "bare",
    ["acme"],
    {"vendor": "acme"},
    {"vendor": ["acme"]},
    {"vendor": "o'neil\\"},
    {"vendor": ""},
    {"vendor": "initech", "amount": 42},
    {"vendor": None, "nothing": None},
    {"a": {"b": {"c": "deep"}}},
    {"a": {"b": ["c", "deep"]}},
    {"a": "b"},
    {"vendor": "both", "amount": 3},
    {"vendor": "both", "amount": 3.5},
    {"amount": 42.0},
    {"amount": "42"},
    {"amount": 1e300},
    {"flag": True},
    {"flag": "true"},
    {"items": [{"sku": "x", "n": 1}, {"sku": "x", "n": 2}]},
    {"items": {"sku": "x", "n": 2}},
    {"vendor": "left"},
    {"amount": 7},
    {"vendor": "prefix"},
    {"vendor": "post"},
    {"0": "acme"},
    {"o'neil $1": {"a b": "\\"}},
]
KINDS = [("sync", 0), ("mail", 0), ("fax", 0), ("telex", 0), ("sync", 9)]


@pytest.mark.parametrize("conditions", [CONDITIONS, PLAIN], ids=["any", "plain"])
async def test_it_agrees_with_the_evaluator(
    bed: Bed, keeper: GateKeeper, database: Database, conditions: list[str]
) -> None:
    await bed.enqueue([{"number": 1}])
    queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
    by_condition = {}
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for condition in conditions:
        wanted = CancellationRequest.parse(
            {"app_id": "default", "if": condition, "standing": True, "started_before": tomorrow}
        )
        by_condition[condition] = (await queue.cancellations.commit(wanted, author="tester", source="python")).id
    now = datetime.now(UTC)
    jobs = [a_run(data, name, priority, now) for data in PAYLOADS for name, priority in KINDS]
    filters = {condition: compile(condition) for condition in conditions}
    expected = [first_that_matches(filters, run, now) for run in jobs]
    assert {condition for condition in expected if condition is not None} == set(conditions)
    found = {str(id): condition for condition, id in by_condition.items()}
    rows = await judged(database, jobs)
    assert [found.get(str(row["verdict"])) for row in rows] == expected
    assert None in expected
    passed = [row["passes"] for row in rows]
    assert passed == [conditions is PLAIN and condition is None for condition in expected]


@pytest.mark.parametrize(
    "written",
    [
        "current_setting('my.setting') = 'x'",
        "now()::text < '2026'",
        "run.event -> $1::text -> $2::text @? '$.a like_regex \"(a+)+b\"'",
        "run.event ->> $1::text !~ '^(a+)+$'",
        "(run.event -> $1::text ->> $2::text)::float8::text = '0.1'",
        "exists (select from pg_sleep(1))",
        "run.event -> $1::text = $a$x$a$::jsonb",
        "E'\\x' = run.app_id",
        '"run".event is null',
        "straße = run.app_id",
        "(run.event -> $1::text ->> $2::text)::numeric > $3::text::numeric",
        "jsonb_array_length(run.event -> $1::text) > $3::text::numeric",
        "run.priority::numeric / $3::text::numeric > $3::text::numeric",
        "run.priority::numeric > $2::text::numeric",
        "run.event = $2::text::jsonb",
    ],
)
async def test_what_somebody_writes_by_hand_is_told_apart_only_with_fixed_settings(
    keeper: GateKeeper, written: str, database: Database
) -> None:
    """A screen has the session's settings, and no limit of time, and what it raises would end a claim."""
    plain = "select plain from secateur.plain_condition($1, $2::text::jsonb, '{}')"
    assert await database.fetchval(plain, written, '{"1": "data", "2": "vendor", "3": "0"}') is None


def a_run(data: Any, name: str, priority: int, now: datetime) -> Run:
    event = {"name": name, "data": data}
    return Run("7", "default", name, event, RunStatus.QUEUED, priority, 0, now - timedelta(hours=1))


def first_that_matches(filters: Mapping[str, Filter], run: Run, now: datetime) -> str | None:
    for condition, filter in filters.items():
        with suppress(EvaluationError):
            if filter.matches(run, now):
                return condition
    return None


async def judged(database: Database, jobs: Sequence[Run]) -> Sequence[Mapping[str, Any]]:
    """What the generated functions say of them to a claim that knows their generation, in the end and at first."""
    gate = await database.fetchrow("select lock_number, generation from secateur.gates")
    assert gate is not None
    number, known = gate["lock_number"], f"pg_current_xact_id()::text || ' {gate['generation']}'"
    job = "'default', job.name, '7', job.name, job.data::jsonb, job.started_at, job.priority, '{}'"
    rows: Sequence[Mapping[str, Any]] = await database.fetch(
        f"select {verdict(number, known, job)} as verdict, secateur_gates.passes_{number}({known}, {job}) as passes"
        " from unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[]) with ordinality"
        " as job (name, data, priority, started_at, nth) order by job.nth",
        [run.function_id for run in jobs],
        [json.dumps(run.event["data"]) for run in jobs],
        [run.priority for run in jobs],
        [run.started_at for run in jobs],
    )
    return rows
