"""`secateur eval`: one expression or many, in Python, in Postgres or in both."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from command_line import COMMAND, Here, environment, run, write

from patience import PATIENCE


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("1 + 2", {"value": 3, "type": "int"}),
        ("18446744073709551615u", {"value": 18446744073709551615, "type": "uint"}),
        ("1.5 * 2.0", {"value": 3.0, "type": "double"}),
        ("-2 < 1", {"value": True, "type": "bool"}),
        ("'é' + \"'\"", {"value": "é'", "type": "string"}),
        ("null", {"value": None, "type": "null_type"}),
        ("bytes('é')", {"value": "w6k=", "type": "bytes"}),
        ("duration('90s')", {"value": "90s", "type": "google.protobuf.Duration"}),
        (
            "timestamp('2024-01-21T01:00:00+01:00')",
            {"value": "2024-01-21T00:00:00Z", "type": "google.protobuf.Timestamp"},
        ),
        ("[1, 'a']", {"value": [1, "a"], "type": "list"}),
        (
            "timestamp('2024-01-21T00:00:00.123456789Z')",
            {"value": "2024-01-21T00:00:00.123456789Z", "type": "google.protobuf.Timestamp"},
        ),
    ],
)
def test_values_are_written_as_json(here: Here, expression: str, answer: dict[str, object]) -> None:
    done = here("eval", expression, "--json")
    assert (done.code, done.json, done.err) == (0, answer, "")


def test_an_event_comes_from_a_file_or_from_stdin(here: Here, tmp_path: Path) -> None:
    event = {"name": "vendor/sync", "data": {"vendor_id": "acme_inc"}}
    expression = "event.data.vendor_id == 'acme_inc'"
    assert here("eval", expression, "--event", write(tmp_path, "event.json", event)).out == "true\n"
    assert here("eval", expression, "--event", "-", stdin=json.dumps(event)).out == "true\n"
    refused = here("eval", expression, "--event", "-", stdin="{")
    assert refused.code == 2
    assert "--event: stdin is not JSON" in refused.err


def test_an_error_of_evaluation_fails_with_its_place(here: Here) -> None:
    done = here("eval", "1 < 2 && event.data.amount > 1", "--event", "-", "--json", stdin='{"data": {}}')
    assert done.code == 1
    assert done.json == {"error": "no such field `event.data.amount`", "line": 1, "column": 21}
    assert done.err.splitlines() == [
        "secateur: expression (line 1, column 21): no such field `event.data.amount`",
        "  1 < 2 && event.data.amount > 1",
        "                      ^^^^^^",
    ]


def test_an_expression_that_cannot_be_read_is_wrong_usage(here: Here) -> None:
    done = here("eval", "1 +\n(2", "--json")
    assert done.code == 2
    assert done.json["line"] == 2
    assert "secateur: expression (line 2, column " in done.err


@pytest.mark.parametrize("where", ["python", "postgres", "both"])
def test_lines_are_answered_one_by_one(here: Here, where: str, embedded_url: str) -> None:
    lines = [
        {"expr": "x + 1", "vars": {"x": 41}},
        {"expr": "x +", "vars": {}},
        {"expr": "a[5]", "vars": {"a": [1]}},
        {"expr": "missing", "vars": {}},
        {"expr": "1 / 0 == 1 || true"},
        {"expr": 5},
        {"vars": {}},
        {"expr": "x", "vars": []},
        {"expr": "x == 'a'", "vars": {"x": "a"}},
    ]
    text = "\n".join([*map(json.dumps, lines), "nonsense", "", '"x"', "[" * 100_000, '{"expr": "2"}']) + "\n"
    done = here("eval", "--jsonl", "--in", where, url=embedded_url, stdin=text)
    assert done.code == 0, done
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert len(answers) == len(lines) + 4
    assert answers[0] == {"value": 42, "type": "int"}
    assert answers[4] == {"value": True, "type": "bool"}
    assert answers[8] == {"value": True, "type": "bool"}
    assert answers[-1] == {"value": 2, "type": "int"}
    failed = [answer for answer in answers if "error" in answer]
    assert len(failed) == len(answers) - 4
    assert all(set(answer) == {"error", "line", "column"} for answer in failed)
    assert (answers[1]["line"], answers[1]["column"]) == (1, 4)


def test_thousands_of_lines_take_seconds_of_the_processor() -> None:
    lines = [json.dumps({"expr": f"x.y[{i % 3}] + {i}", "vars": {"x": {"y": [1, 2, 3]}}}) for i in range(3_000)]
    before = os.times()
    done = run("eval", "--jsonl", stdin="\n".join(lines))
    after = os.times()
    assert done.out.count('"value"') == 3_000
    assert after.children_user - before.children_user < 20


def test_an_answer_is_written_before_the_next_line_is_read() -> None:
    process = subprocess.Popen(
        [*COMMAND, "eval", "--jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(PYTHONUNBUFFERED=""),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for number in range(3):
        process.stdin.write(f'{{"expr": "{number}"}}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["value"] == number
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    process.stdout.close()


def test_both_executions_agree_on_an_event(here: Here, embedded_url: str) -> None:
    event = json.dumps({"data": {"amount": 3, "at": "2024-01-21T00:00:00Z", "tags": ["a"]}})
    for expression, value in [
        ("event.data.amount > 2.5 && 'a' in event.data.tags", True),
        ("timestamp(event.data.at) < now", True),
        ("event.data.amount * 2", 6),
    ]:
        for where in ("postgres", "both"):
            arguments = ("eval", expression, "--event", "-", "--in", where, "--json")
            done = here(*arguments, url=embedded_url, stdin=event)
            assert (done.code, done.json["value"]) == (0, value), done
    failed = here("eval", "event.data.x", "--event", "-", "--in", "both", "--json", url=embedded_url, stdin=event)
    assert failed.code == 1
    assert failed.json["error"] == "no such field `event.data.x`"


EVENT = """{"data": {
    "sku": "A", "qty": 1, "a": {"zz": 1, "b": {"long": [], "x": {}}, "": null},
    "list": [{"b": 1, "aa": [{"d": 1, "c": 2}]}],
    "numbers": [1.0, 1, 1e0, 1.00, 100e-2, 1e2, 12e-1, 0.1000000000000000055, -0.0, -0, 1e-400, 1e400, -1e400,
        5e-324, 9223372036854775808, 18446744073709551616, 123456789012345678901234567890, 1e22, 1.5e300,
        9007199254740993.0],
    "keys": {"1": 1, "10": 2, "9": 3, "A": 4, "a": 5,
        "\\u00e9": 6, "\\ud83d\\ude00": 7, "\\uffff": 8, "a b": 9, "true": 10}
}}"""


@pytest.mark.parametrize(
    "expression",
    [
        *("event", "event.data", "event.data.a", "event.data.list", "event.data.numbers", "event.data.keys"),
        *("{'b': 1, 'aa': 1.0, 'a': event.data}", "[event.data, [event.data.keys]]", "{'x': event.data.numbers}"),
        *("{1: 'a', 2u: 'b', true: 'c', '1': 'd'}", "{'b': {'d': 1, 'c': 2u}, 'a': [b'x', null]}"),
        *("event.data.keys.map(k, k)", "event.data.list.filter(x, true)", "event.data.numbers.map(n, n)"),
        *("[0.0 / 0.0, 1.0 / 0.0, -1.0 / 0.0, -0.0]", "{'nan': [0.0 / 0.0]}", "event.data.numbers + [1, 1.0, 1u]"),
        *("[timestamp('2024-01-21T00:00:00.5Z'), duration('1h')]", "[type(1), type({}), type([1]), int]"),
    ],
)
def test_the_order_of_keys_and_the_digits_of_numbers_are_no_difference(
    here: Here, embedded_url: str, expression: str
) -> None:
    done = here("eval", expression, "--event", "-", "--in", "both", "--json", url=embedded_url, stdin=EVENT)
    assert (done.code, done.err) == (0, "")


def test_output_in_another_encoding_is_still_json() -> None:
    lines = "\n".join(json.dumps({"expr": expression}) for expression in ("'é😀'", "'a'"))
    done = run("eval", "--jsonl", stdin=lines, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert [json.loads(line)["value"] for line in done.out.splitlines()] == ["é😀", "a"]


def test_formatting_evaluates_nothing(here: Here) -> None:
    done = here("eval", "--format", '((event.data.x=="a"))&&missing')
    assert (done.code, done.out, done.err) == (0, "(event.data.x == 'a') && missing\n", "")
    assert here("eval", "--format", "a==b", "--json").json == {"expression": "a == b"}
    refused = here("eval", "--format", "a = 1")
    assert (refused.code, refused.out) == (2, "")
    assert "`=` is not a comparison; write `==`" in refused.err
    assert here("eval", "--format", "--jsonl").code == 2
