"""Every parameter of every function that anybody may call, with values that nobody should send.

Each is refused in words of secateur's own, or taken without harm: never with an error of Postgres itself, and never
with more rows than the call is worth.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

MOST_ROWS = 50
"""Of all tables together, that one call may write; a valid one of those below writes a dozen at most."""

# A procedure, which a transaction cannot take back, passes on what it is given.
GRANTED = """
select routine.proname as name, routine.proargnames[:routine.pronargs] as parameters,
       array(select format_type(one.type, null)
               from unnest(routine.proargtypes::oid[]) with ordinality as one (type, place) order by one.place) as types
  from pg_proc as routine
 where routine.pronamespace = 'secateur'::regnamespace
   and routine.prorettype <> 'trigger'::regtype
   and routine.prokind = 'f'
   and exists (select from unnest(array['secateur_worker', 'secateur_operator', 'secateur_viewer']) as role
                where has_function_privilege(role, routine.oid, 'execute'))
 order by 1
"""

RUN, WAITING, TOKEN, RULE, SWEPT, UNDONE, PROPOSAL = (UUID(int=number) for number in (1, 2, 3, 4, 5, 6, 7))

EVENT = '{"name": "vendor/sync", "id": "1", "ts": 1, "data": {"n": 1}}'

BASE: dict[str, str] = {
    "app_id": "'billing'",
    "function_id": "'invoices'",
    "function_ids": "array['invoices']",
    "event": f"'{EVENT}'::jsonb",
    "events": f"array['{EVENT}'::jsonb]",
    "scheduled_for": "now()",
    "priority": "1",
    "priorities": "array[1]",
    "started_at": "now()",
    "idempotency_key": "'a key'",
    "triggers": "array['vendor/sync']",
    "max_attempts": "3",
    "concurrency": "5",
    "declarations": """'[{"event": "vendor/gone", "match": "data.n"}]'::jsonb""",
    "moment": "now()",
    "max_runs": "1",
    "worker": "'w'",
    "lease": "interval '30 s'",
    "run_id": f"'{RUN}'::uuid",
    "run_ids": f"array['{RUN}'::uuid]",
    "claim_token": f"'{TOKEN}'::uuid",
    "claim_tokens": f"array['{TOKEN}'::uuid]",
    "step": "'fetch'",
    "steps": "array['fetch']",
    "result": "'1'::jsonb",
    "results": "array['1'::jsonb]",
    "error": "'it failed'",
    "id": f"'{RULE}'::uuid",
    "ids": f"array['{uuid4()}'::uuid]",
    "batch": "100",
    "every": "interval '0'",
    "limit": "10",
    "author": "'ada'",
    "created_by": "'ada'",
    "source": "'python'",
    "reason": "'a loop'",
    "if": "'event.data.n == 1'",
    "condition": "'true'",
    "parameters": "'{}'::jsonb",
    "compiler": "1",
    "request": """'{"app_id": "billing"}'::jsonb""",
    "draft": """jsonb_build_object('app_id', 'billing', 'parameters', '{}'::jsonb, 'compiler', 1,
                                   'request', '{}'::jsonb, 'source', 'cli', 'created_by', 'ada')""",
    "started_after": "now() - interval '1 day'",
    "started_before": "now()",
    "standing": "false",
    "expected": "1",
    "expected_by_function": """'{"invoices": 1}'::jsonb""",
    "rate": "10",
    "requires": "array['{}'::jsonb]",
    "requires_suffices": "false",
    "requeue_stopped": "false",
    "finished": "interval '1 day'",
    "cancelled": "interval '1 day'",
}
"""What a parameter of that name is otherwise."""

OF_OTHERS = {
    "installation": "'elsewhere'",
    "app_id": "'elsewhere/mailers'",
    "job_id": "'1'",
    "job_ids": "array['1']",
    "function_ids": "array['invoices']",
    "pres": "array['{}'::jsonb]",
    "running": "array[true]",
    "taken_by": "'sweep'",
}
"""Of a queue of others."""
OF_SWEPT = OF_OTHERS | {
    "id": f"'{SWEPT}'::uuid",
    "cancellation_id": f"'{SWEPT}'::uuid",
    "outcomes": "array['stopped']",
}
OF_UNDONE = OF_OTHERS | {
    "id": f"'{UNDONE}'::uuid",
    "outcomes": "array['handed_over']",
    "told": "array['it is another''s']",
    "owners": f"array['{SWEPT}'::uuid]",
}

OF_TOKEN = {"token_id": "repeat('b', 16)", "proof": "'x'"}
"""It is not proven, and needs not be: it was created by a program that kept no proof."""

BASE_OF: dict[str, dict[str, str]] = {
    "cancel_run": {"id": f"'{uuid4()}'::uuid", "run_id": f"'{WAITING}'::uuid", "source": "'cli'"},
    "commit_cancellation": {"id": f"'{uuid4()}'::uuid"},
    "commit_job": OF_OTHERS | {"id": f"'{uuid4()}'::uuid", "running": "true"},
    "commit_jobs": OF_OTHERS | {"draft": BASE["draft"].replace("billing", "elsewhere/mailers")},
    "take_jobs": OF_SWEPT,
    "settle_jobs": OF_SWEPT,
    "note_slow_jobs": OF_SWEPT,
    "decide_jobs": OF_SWEPT | {"verdicts": "array[true]"},
    "begin_job_batch": OF_SWEPT,
    "end_job_batch": OF_SWEPT,
    "begin_job_restore": OF_UNDONE,
    "end_job_restore": OF_UNDONE,
    "prune_jobs": OF_OTHERS,
    "propose_cancellation": {"id": f"'{uuid4()}'::uuid", "lifetime": "interval '1 day'", **OF_TOKEN},
    "decide_proposal": {"id": f"'{PROPOSAL}'::uuid", "decision": "'approved'", **OF_TOKEN},
    "enqueue_many": {"scheduled_for": "array[now()]", "started_at": "array[now()]"},
    "forget": {"app_id": "'retired'", "function_id": "'sync'"},
    "set_retention": {"standing": "interval '1 day'"},
    "create_token": {
        "token_id": "repeat('a', 16)",
        "scope": "'viewer'",
        "secret_hash": "repeat('0', 64)",
        "proof_hash": "repeat('0', 64)",
        "expires_at": "now() + interval '1 day'",
    },
    "revoke_token": {"name": "'ci'"},
    "note_token_use": {"token_id": "repeat('b', 16)"},
}

USUAL = {
    "text": "'x'",
    "uuid": f"'{RUN}'::uuid",
    "integer": "1",
    "bigint": "1",
    "boolean": "false",
    "timestamp with time zone": "now()",
    "interval": "interval '30 s'",
    "jsonb": "'{}'::jsonb",
}
"""What it is by its type, where its name is not above."""

DEEP = "repeat('[', 600) || repeat(']', 600)"
NASTY = "E'\\u001b[2J\\u202e'"

EXTREMES: dict[str, list[str]] = {
    "text": ["null", "''", "repeat('x', 1000000)", NASTY, "' '", "E'a\\nb'"],
    "uuid": ["null", "'00000000-0000-0000-0000-000000000000'"],
    "integer": ["null", "'-2147483648'", "'-1'", "'0'", "'2147483647'"],
    "bigint": ["null", "'-9223372036854775808'", "'-1'", "'0'", "'9223372036854775807'"],
    "boolean": ["null", "true", "false"],
    "timestamp with time zone": [
        *("null", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'0001-01-01Z'", "'10000-01-01Z'", "'294276-12-31Z'"),
    ],
    "interval": ["null", "'0'", "'-1 s'", "'1 us'", "'178000000 years'", "'-178000000 years'", "'100 years 1 s'"],
    "jsonb": [
        *("null", "'null'", "'[]'", "'{}'", "'5'", "'\"x\"'", "'[1]'", "'[[]]'", '\'{"": {"": null}}\'', "'1e1000'"),
        *(
            """'{"name": null}'""",
            """'{"name": ""}'""",
            """'{"name": "x", "ts": {}}'""",
            """'{"name": "x", "id": {}}'""",
        ),
        *(
            """'{"invoices": "x"}'""",
            """'{"invoices": -1.5}'""",
            """'{"invoices": 1e30}'""",
            """'{"1": 5, "x": "y"}'""",
        ),
        f"({DEEP})::jsonb",
        f"""('{{"name": "vendor/sync", "data": ' || {DEEP} || '}}')::jsonb""",
        """jsonb_build_object('name', 'x', 'data', repeat('x', 3000000))""",
        """jsonb_build_object('name', repeat('x', 100000))""",
        """(select jsonb_agg(jsonb_build_object('event', 'x' || n)) from generate_series(1, 2000) as n)""",
        """(select jsonb_object_agg(n, 'x') from generate_series(1, 200000) as n)""",
    ],
}


def extremes(type: str) -> list[str]:
    if not type.endswith("[]"):
        return [value if value == "null" else f"{value}::{type}" for value in EXTREMES[type]]
    element = type.removesuffix("[]")
    lists = ["null", "'{}'", "array[null]", "array[null, null]"]
    lists += [f"array[{value}]" for value in extremes(element) if value != "null"]
    lists += [f"array[{value}, {value}]" for value in extremes(element)[1:2]]
    lists.append(f"array_fill({extremes(element)[1]}, array[3, 3])")
    lists.append(f"array_fill({extremes(element)[1]}, array[100000])")
    return [f"{value}::{type}" for value in lists]


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("select secateur.register_function('billing', 'invoices', array['vendor/sync'], 3)")
    await connection.execute("select secateur.register_function('retired', 'sync', '{}', 3)")
    await connection.execute(
        "select secateur.declare_cancel_on('billing', 'invoices', $1)",
        json.dumps([{"event": "vendor/sync", "match": "data.n"}]),
    )
    await connection.execute("select secateur.enqueue_many('billing', 'invoices', array_fill('{}'::jsonb, array[2]))")
    await connection.execute(
        "update secateur.runs as run set id = case when run.id = head.id then $1::uuid else $2::uuid end "
        "from (select id from secateur.runs limit 1) as head",
        RUN,
        WAITING,
    )
    await connection.execute(
        "update secateur.runs set status = 'running', claim_token = $2, lease_expires_at = now() + interval '1 day' "
        "where id = $1",
        RUN,
        TOKEN,
    )
    await connection.execute(
        f"select secateur.commit_cancellation(id => '{RULE}', app_id => 'billing', function_id => 'invoices', "
        "\"if\" => 'false', started_after => null, started_before => null, standing => false, condition => 'false', "
        "parameters => '{}', compiler => 1, request => '{}', idempotency_key => null, reason => null, source => 'cli', "
        "created_by => 'ada', expected => null, expected_by_function => null)"
    )
    await connection.execute("select secateur.install_queue('elsewhere', 'oban', 'jobs', '', '1', 'ada', 'cli')")
    for rule in (SWEPT, UNDONE):
        await connection.execute(
            f"select secateur.commit_jobs('elsewhere', array['{rule}'::uuid], array['invoices'], "
            f"{BASE_OF['commit_jobs']['draft']})"
        )
        await connection.execute(
            "select secateur.take_jobs('elsewhere/mailers', $1, array['1'], array['invoices'], array['{}'::jsonb], "
            "array[$2::boolean])",
            rule,
            rule == SWEPT,
        )
    await connection.execute("select secateur.undo_cancellation('elsewhere/mailers', $1, 'ada', 'cli')", UNDONE)
    await connection.execute(
        "select secateur.create_token(repeat('b', 16), 'ci', 'operator', repeat('0', 64), null, 'ada', 'cli')"
    )
    await connection.execute(
        "select secateur.propose_cancellation($1, 'billing', null, '{}', null, null, '1 day', 'ada', 'cli')", PROPOSAL
    )
    await connection.execute(
        "select secateur.move_alert_episode('billing', 'invoices', 'x', 'x', null, '{}', array['x'], '{}')"
    )
    await connection.execute("set statement_timeout = '20s'")
    yield connection
    await connection.close()


async def rows_written(owner: asyncpg.Connection) -> int:
    """By this session, in the tables of the schema, as far as it has not reported them yet."""
    written: int = await owner.fetchval(
        "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint "
        "from pg_stat_xact_user_tables where schemaname = 'secateur'"
    )
    return written


async def call(owner: asyncpg.Connection, name: str, arguments: dict[str, str]) -> str | None:
    """The SQLSTATE; None where it was taken. Nothing of it stays."""
    given = ", ".join(f'"{parameter}" => {value}' for parameter, value in arguments.items())
    transaction = owner.transaction()
    await transaction.start()
    try:
        if name == "enqueue_bulk":
            await owner.execute("select secateur.begin_bulk()")
            await owner.execute("insert into pg_temp.secateur_bulk (event) values ('{}'), ('{}')")
        before = await rows_written(owner)
        await owner.execute(f"select * from secateur.{name}({given})")
        written = await rows_written(owner) - before
        if written > MOST_ROWS and not (name == "enqueue_many" and "array[100000]" in given):
            return f"{written} rows were written"
    except asyncpg.PostgresError as error:
        return f"{error.sqlstate} {error}"
    finally:
        await transaction.rollback()
    return None


async def test_no_value_of_any_parameter_is_an_error_of_postgres_or_more_than_it_is_worth(
    owner: asyncpg.Connection,
) -> None:
    functions = await owner.fetch(GRANTED)
    assert len(functions) > 30
    wrong = []
    for function in functions:
        name, parameters = function["name"], function["parameters"] or []
        usual = {
            parameter: BASE_OF.get(name, {}).get(parameter) or BASE.get(parameter) or USUAL.get(type, f"'{{}}'::{type}")
            for parameter, type in zip(parameters, function["types"], strict=True)
        }
        if (said := await call(owner, name, usual)) is not None:
            wrong.append(f"{name} as usual: {said}")
        for parameter, type in zip(parameters, function["types"], strict=True):
            for value in extremes(type):
                said = await call(owner, name, usual | {parameter: value})
                if said is not None and not said.startswith("SC"):
                    wrong.append(f"{name}({parameter} => {value}): {said[:200]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        ("[]", "draft: must be a JSON object"),
        ('{"app_id": "billing", "rat": 5}', "draft: has a field 'rat', which no draft has"),
        ('{"app_id": "billing", "id": "x", "state": "complete"}', "draft: has a field 'id', which no draft has"),
        ('{"rate": "fast"}', 'draft: invalid input syntax for type integer: "fast"'),
        ('{"started_before": "soon"}', 'draft: invalid input syntax for type timestamp with time zone: "soon"'),
        ('{"expected": 1e30}', "draft: value .* is out of range for type bigint"),
        ('{"requires": {"a": 1}}', "requires: must be a list"),
        ('{"app_id": "billing", "parameters": {"1": 2}}', "author: must not be empty"),
    ],
)
@pytest.mark.parametrize("function", ["commit_cancellations", "commit_retries"])
async def test_a_draft_is_what_a_draft_can_be(owner: asyncpg.Connection, function: str, draft: str, said: str) -> None:
    with pytest.raises(asyncpg.PostgresError, match=said) as caught:
        await owner.execute(f"select secateur.{function}($1, array['invoices'], $2)", [uuid4()], draft)
    assert caught.value.sqlstate == "SC422"
