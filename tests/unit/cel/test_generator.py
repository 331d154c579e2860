"""The SQL of expressions: its text, its parameters, and no literal in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from blocks import CORPUS, blocks

from secateur.cel import CANCEL_ON, CANCELLATION, SEARCH, VOCABULARY, Declarations, ExpressionError, compile
from secateur.cel.evaluation import prepare
from secateur.cel.sql.alternatives import FEWEST
from secateur.cel.sql.columns import COLUMNS, COLUMNS_OF_PARTS

_TOKEN = re.compile(
    r"([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?|\$(?:[0-9]+|now|async)\b|[0-9]+\b|'[a-zA-Z0-9_]*'|[-+*/%<>=!@?|&#~^]+|::|[(),\[\]])"
    r"|\s+|(?P<other>.)"
)
"""As the database reads a condition before it stores it."""


def generated(source: str) -> str:
    condition = compile(source).condition
    parameters = "\n".join(f"  ${number} {value}" for number, value in enumerate(condition.parameters, 1))
    return f"{condition.sql}\n{parameters}".rstrip()


@pytest.mark.parametrize(("source", "expected"), blocks("conditions_sql.txt"))
def test_generates(source: str, expected: str) -> None:
    assert generated(source) == expected


def _corpus(name: str) -> list[str]:
    lines = (CORPUS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_writes_nothing_outside_of_its_vocabulary() -> None:
    used = set()
    for source in _corpus("conditions.txt"):
        used |= _words(compile(source).condition.sql)
    assert used <= VOCABULARY
    for source in _corpus("values.txt"):
        used |= _words(prepare(source, {"event": {}}).in_sql().sql)
    assert used <= VOCABULARY


def _words(sql: str) -> set[str]:
    found = set()
    for match in _TOKEN.finditer(sql):
        assert not match["other"], f"{match['other']} in {sql}"
        if match[1] and match[1] not in "(),[]" and match[1][0] not in "$0123456789":
            found.add(match[1])
    return found


def test_every_parameter_is_used_and_every_placeholder_has_one() -> None:
    for source in _corpus("conditions.txt"):
        condition = compile(source).condition
        numbers = {int(number) for number in re.findall(r"\$(\d+)", condition.sql)}
        assert numbers == set(range(1, len(condition.parameters) + 1)), source


def test_nothing_of_a_source_gets_into_the_sql() -> None:
    hostile = "x' or true; drop table runs; --"
    sql = compile(f'event.data.`a-b` == "{hostile}" || event["{hostile}"] == 1').condition.sql
    assert not {"drop", "--", ";", "a-b"} & set(sql.split())
    assert hostile not in sql


def test_binds_from_any_number_on() -> None:
    condition = compile("event.data.x == 'a' && run.started_at < now").condition
    now = datetime(2024, 1, 21, tzinfo=UTC)
    sql, parameters = condition.bind(4, now)
    assert sql == ("(run.event -> $4::text -> $5::text = $6::text::jsonb and run.started_at < $7::text::timestamptz)")
    assert parameters == ["data", "x", '"a"', "2024-01-21T00:00:00Z"]
    with pytest.raises(ValueError, match=r"needs \$now"):
        condition.bind(1, None)


def test_stores_by_number() -> None:
    condition = compile("event.data.x == 'a' && run.started_at < now").condition
    sql, parameters = condition.stored()
    assert "$now" in sql
    assert parameters == {"1": "data", "2": "x", "3": '"a"'}


def test_binds_the_event_that_arrives() -> None:
    condition = compile("event.data.x == async.data.x", CANCEL_ON).condition
    sql, parameters = condition.bind(1, None, '{"data": {"x": 1}}')
    assert "$3::text::jsonb -> $1::text -> $2::text" in sql
    assert parameters == ["data", "x", '{"data": {"x": 1}}']
    with pytest.raises(ValueError, match=r"needs \$async"):
        condition.bind(1, None)


@pytest.mark.parametrize("declarations", [CANCELLATION, SEARCH])
def test_only_a_declaration_reads_the_event_that_arrives(declarations: Declarations) -> None:
    with pytest.raises(ExpressionError, match="only a function's cancel_on has `async`"):
        compile("event.data.x == async.data.x", declarations)


@pytest.mark.parametrize(
    ("source", "jsonpath"),
    [
        ("event.data.x.map(t, t.a).exists(u, u == 'v')", '$."data"."x"[*] ? (@."a" == "v")'),
        ("event.data.x.filter(t, t.a == 'v').size() > 0", '$."data"."x"[*] ? (@."a" == "v")'),
        ("0 != size(event.data.x.filter(t, t.a == true))", '$."data"."x"[*] ? (@."a" == true)'),
        ("'v' in event.data.x.map(t, t.a)", '$."data"."x"[*] ? (@."a" == "v")'),
        (
            "event.data.x.filter(t, t.a == 'v').map(u, u.b).exists(w, w.c == null)",
            '$."data"."x"[*] ? (@."a" == "v" && @."b"."c" == null)',
        ),
        ("event.data.x.map(t, t * 2).exists(u, u > 3)", None),
        ("event.data.x.map(t, t.a).all(u, u == 'v')", None),
        ("event.data.x.filter(t, t.a == 'v').size() >= 0", None),
        ("event.data.x.filter(t, t == 'v').size() > 0", None),
    ],
)
def test_a_chain_of_macros_is_one_loop(source: str, jsonpath: str | None) -> None:
    """No list is collected in between, and counts look with jsonpath first, where an element has to have a field."""
    compiled = compile(source)
    assert compiled.condition.sql.count("select ") == 1
    assert "collect" not in compiled.condition.sql
    found = [text for text in compiled.matching.parameters if text is not None and text.startswith("strict ")]
    assert found == ([] if jsonpath is None else [f"strict exists({jsonpath})"])


def test_a_value_that_is_costly_to_repeat_is_collected_first() -> None:
    source = "event.data.x.map(t, t.replace('a', 'b').split(',').join('-')).exists(u, {} || {} || {})"
    sql = compile(source.format("u == 'a'", "u == 'b'", "u == 'c'")).condition.sql
    assert sql.count("secateur_cel.replace_v1") == 1
    assert "collect" in sql


@pytest.mark.parametrize(
    "source",
    [
        "event.name == 'vendor/sync'",
        "event.name in ['vendor/sync', 'vendor/import']",
        "event.data.x == 'v'",
        "event.data.x != 'v'",
        "event.data.x == null",
        "event.data.x == 120",
        "event.data.x >= 1.5 && event.data.x < 10",
        "event.data.x < 'v'",
        "event.data.x in ['v', 'w']",
        "event.data.x in [1, 2, null]",
        "'v' in event.data.x",
        "event.data.x",
        "!event.data.x || event.data.y && event.data.z == true",
        "event.data.x ? event.data.y == 1 : event.data.y == 2",
        "has(event.data.x) && has(event.data.x.y)",
        "event.data['odd name'] == 'v'",
        "event.data.x.startsWith('v')",
        "event.data.x.endsWith('v') || event.data.x.contains('v')",
        "event.data.x.matches('^v+$')",
        "run.started_at < now - duration('2h')",
        "run.started_at > timestamp('2024-01-21T00:00:00Z')",
        "run.priority > 3 && run.function == 'vendor-syncs'",
        "event.data.x > 24 * 3600 || event.data.x == 'v' + 'w'",
        "run.started_at > timestamp('2024-01-21T00:00:00Z') - duration('24h')",
    ],
)
def test_what_is_common_needs_no_helpers(source: str) -> None:
    """So it can be counted in SQL where nothing is installed."""
    compiled = compile(source)
    assert not compiled.condition.helpers | compiled.matching.helpers


@pytest.mark.parametrize(
    ("source", "helpers"),
    [
        ("event.data.x == event.data.y", {"equal_v1", "box_json_v1"}),
        ("event.data.x % 2 == 0", {"json_int_v1"}),
        ("event.data.x.all(t, t > 3)", {"json_items_v1"}),
        ("timestamp(event.data.x) < now", {"json_timestamp_v1"}),
    ],
)
def test_what_postgres_has_no_operator_for_needs_helpers(source: str, helpers: set[str]) -> None:
    compiled = compile(source)
    assert compiled.condition.helpers == compiled.matching.helpers == helpers


@pytest.mark.parametrize(
    ("source", "condition", "matching"),
    [
        (
            "event.data.x == 'v'",
            "run.data -> $1::text = $2::text::jsonb",
            "run.data @> $1::text::jsonb",
        ),
        (
            "event.data.x == 'v' && event.name == 'n' && event.data.y == true",
            "(run.data -> $1::text = $2::text::jsonb and coalesce(to_jsonb(run.name), 'null'::jsonb) = $3::text::jsonb"
            " and run.data -> $4::text = $5::text::jsonb)",
            "(run.data @> $1::text::jsonb and run.name = $2::text)",
        ),
        (
            "event.data == null",
            "coalesce(run.data, 'null'::jsonb) = $1::text::jsonb",
            "coalesce(run.data, 'null'::jsonb) = $1::text::jsonb",
        ),
        (
            "has(event.data.x)",
            "case jsonb_typeof(run.data) when 'object' then run.data ? $1::text end",
            "case jsonb_typeof(run.data) when 'object' then run.data ? $1::text end",
        ),
        ("has(event.data)", "$1::text::boolean", "$1::text::boolean"),
        ("event.id == 'e'", "run.event -> $1::text = $2::text::jsonb", "run.event @> $1::text::jsonb"),
    ],
)
def test_of_an_event_in_parts_the_columns_are_read(source: str, condition: str, matching: str) -> None:
    compiled = compile(source).over(COLUMNS_OF_PARTS)
    assert (compiled.condition.sql, compiled.matching.sql) == (condition, matching)


@pytest.mark.parametrize(
    "source",
    [
        "event.data.x > 5 || event.data['x'].y <= 3.5",
        "event.data.x in ['v', 'w'] || event.name in ['n', 'm']",
        "event.data.x.startsWith('v') && event.name.startsWith('n')",
        "event.data.x.exists(t, t.a == 'v') && event.data.x.filter(t, t.a == 'v').size() > 0",
        "event.data.x + 1 == 6",
        "event.data.size() == 2",
    ],
)
def test_of_an_event_in_parts_nothing_is_built(source: str) -> None:
    compiled = compile(source).over(COLUMNS_OF_PARTS)
    assert "run.event" not in compiled.condition.sql + compiled.matching.sql


def test_what_is_made_for_other_columns_is_kept() -> None:
    compiled = compile("event.data.x == 'v'")
    assert compiled.over(COLUMNS_OF_PARTS) is compiled.over(COLUMNS_OF_PARTS)
    own = compiled.over(COLUMNS)
    assert (own.condition, own.matching) == (compiled.condition, compiled.matching)


@pytest.mark.parametrize(
    "source",
    [
        "event.data.x.size() == 8 || size(event.data.y) > 3",
        "event.data.x[0] == 'v'",
        "event.data.x[0].y == null || event.data.x[1].z > 3 || event.data.x[2] == 1.5",
        "has(event.data.x) ? event.data.y == 1 : false",
        "event.data.x.lowerAscii() == 'v' && event.data.x.upperAscii().startsWith('V')",
        "event.data.x % 2 == 0 && event.data.y + 1 > 3",
        "event.data.x.exists(t, t == 'v')",
        "event.data.x.exists(t, t.y > 3 && t.z.startsWith('v'))",
        "event.data.x.all(t, t.y.exists(u, u == 'v'))",
        "event.data.x.exists_one(t, t == 'v')",
        "event.data.x.filter(t, t.y > 3).size() == 1",
        "event.data.x.map(t, t.y).exists(u, u == 'v')",
        "'v' in event.data.x.map(t, t.y)",
    ],
)
def test_what_is_not_stored_needs_fewer_helpers(source: str) -> None:
    compiled = compile(source)
    assert compiled.condition.helpers
    inlined = compiled.over(COLUMNS_OF_PARTS)
    assert not inlined.condition.helpers | inlined.matching.helpers


def test_a_call_that_cannot_be_inlined_keeps_all() -> None:
    compiled = compile("event.data.x.size() == 8 && event.data.x.trim() == 'v'").over(COLUMNS_OF_PARTS)
    assert compiled.condition.helpers == {"json_size_v1", "trim_v1"}


def test_many_alternatives_are_looked_up_in_a_list() -> None:
    """Postgres hashes a list of nine; fewer alternatives may each find an index."""
    texts = [f"event.data.x == 'v{number}'" for number in range(FEWEST)]
    matching = compile(" || ".join([*texts, "event.data.y == 'b'"])).matching
    assert (matching.sql.count("any (array["), matching.sql.count("@>")) == (1, 1)
    assert {f"v{number}" for number in range(FEWEST)} < set(matching.parameters)
    fewer = compile(" || ".join([*texts[1:], "event.data.y == 'b'"])).matching
    assert (fewer.sql.count("any (array["), fewer.sql.count("@>")) == (0, FEWEST)
