"""What is wrong with a command line is said in words, before any database is asked, and with exit code 2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from command_line import COMMAND, Here, environment, run, write

from secateur.cli.examples import EXAMPLES

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
"""Nothing listens there: what connects would fail with 1."""


def test_reading_the_depth_waits_for_neither_the_console_nor_the_models() -> None:
    program = (
        "import sys\n"
        "from secateur.cli import main\n"
        f"main(['depth', '--database', '{NOWHERE}'])\n"
        "print(sorted({'textual', 'celpy', 'sqlmodel', 'sqlalchemy', 'fastapi'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_has_help(here: Here, command: str) -> None:
    done = here(command, "--help")
    assert done.code == 0
    assert f"usage: secateur {command}" in done.out
    assert "--read-only" in done.out


def test_the_readme_lists_every_command() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert {name for name in EXAMPLES if not re.search(rf"(secateur|make)( --\w+ \S+)* {name}\b(?!-)", readme)} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cancle"], "there is no `cancle`; did you mean `cancel`?"),
        (["depth", "--jsno"], "unrecognized arguments: --jsno (see `secateur depth --help`)"),
        (["stop", str(UUID(int=1)), "--wait"], "unrecognized arguments: --wait (see `secateur stop --help`)"),
        (["token", "list", "--all"], "unrecognized arguments: --all (see `secateur token list --help`)"),
        (["--nonsense"], "unrecognized arguments: --nonsense (see `secateur --help`)"),
        (["cancel", "--app", "a", "--ye"], "unrecognized arguments: --ye"),
        (["depth", "--context"], "argument --context: expected one argument"),
        (["depth", "--context", "prod"], "there is no context 'prod'"),
        (["depth", "--context", "prod", "--database", NOWHERE], "leave one out"),
        (["--context", "prod", "depth", "--database", NOWHERE], "leave one out"),
        (["depth", "--config", "/nonexistent.toml"], "there is no configuration file /nonexistent.toml"),
        (["depth", "--database", "mysql://x"], "a database URL must start with postgresql://"),
        (["show", "5", "--engine", "native", "--database", NOWHERE], "'5' is not an id"),
        (["stop", "5", "--engine", "native", "--database", NOWHERE], "'5' is not a cancellation's id"),
        (["proposals", "5", "--database", NOWHERE], "'5' is not a proposal's id; `secateur proposals"),
        (["approve", "5", "--database", NOWHERE], "'5' is not a proposal's id; `secateur proposals"),
        (["reject", "5", "--database", NOWHERE], "'5' is not a proposal's id; `secateur proposals"),
        (["show"], "the following arguments are required: ID"),
        (["undo", "5", "--yes", "--database", NOWHERE], "'5' is not a cancellation's id"),
        (["undo", str(UUID(int=1)), "--database", NOWHERE], "to ask for confirmation: add --yes to undo"),
        (["cancel-run", "5", "--engine", "native", "--database", NOWHERE], "'5' is not a run's id"),
        (["cancel-run", str(UUID(int=1)), "--database", NOWHERE], "add --yes to do it without being asked"),
        (["restore-run", "5", "--engine", "native", "--database", NOWHERE], "'5' is not a run's id"),
        (["pause"], "the following arguments are required: APP"),
        (["pause", "billing", "--database", NOWHERE], "add --yes to pause without being asked"),
        (["forget", "billing", "--database", NOWHERE], "add --yes to forget without being asked"),
        (["resume", "billing", "--database", NOWHERE], "add --yes to resume without being asked"),
        (["retention", "--finished", "3x"], "'3x' must be a span such as 12h or 30d"),
        (["retention", "--cancelled", "-1d"], "--cancelled"),
        (["audit", "--limit", "all"], "'all' must be a whole number of 1 or more"),
        (["history", "--limit", "0"], "'0' must be a whole number of 1 or more"),
        (["serve", "--port", "65536"], "'65536' must be a port"),
        (["demo", "--runs", "-3"], "--runs"),
        (["demo", "--database", NOWHERE], "the demo brings its own database"),
        (["worker", "nocolon", "--database", NOWHERE], "must have the form MODULE:OBJECT"),
        (["worker", "no_such_module:app", "--database", NOWHERE], "there is no module no_such_module"),
        (["eval"], "no expression: give EXPR"),
        (["eval", "1", "--jsonl"], "leave out EXPR"),
        (["eval", "1", "--in", "mysql"], "there is no `mysql`"),
        (["eval", "1", "--in", "postgres"], "no database is named"),
        (["eval", "1", "--event", "/nonexistent.json"], "cannot read /nonexistent.json: No such file"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(here: Here, arguments: list[str], message: str) -> None:
    done = here(*arguments)
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("secateur: ")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_without_a_database_says_how_to_name_one(here: Here) -> None:
    done = here("depth")
    assert done.code == 2
    assert "no database is named: give --database URL or --context NAME" in done.err


def test_the_console_needs_a_terminal(here: Here) -> None:
    done = here("--database", NOWHERE)
    assert done.code == 2
    assert "the console needs a terminal" in done.err


def test_an_unreachable_database_is_a_failure_in_words() -> None:
    done = run("depth", "--database", NOWHERE)
    assert (done.code, done.out) == (1, "")
    assert "cannot reach 127.0.0.1/nothing: connection refused" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no runs are selected: give --app APP"),
        (["--app", ""], "app_id: must not be empty"),
        (["--app", "a", "--if", ""], "if (line 1, column 1): the expression is empty"),
        (
            ["--app", "a", "--if", "run.status == ''"],
            "if (line 1, column 1): a cancellation cannot depend on `run.status`",
        ),
        (["--app", "a", "--after", "soon"], "started_after: 'soon' is not a valid time; use one of these forms"),
        (["--app", "a", "--before", "2"], "started_before: '2' is not a valid time; use one of these forms"),
        (["--app", "a", "--after", "-1h", "--before", "-2h"], "started_after: must be before started_before"),
        (["--request", "/nonexistent"], "cannot read /nonexistent"),
    ],
)
@pytest.mark.parametrize("command", ["preview", "cancel"])
def test_a_wrong_request_is_refused_before_connecting(
    here: Here, command: str, arguments: list[str], message: str
) -> None:
    done = here(command, *arguments, url=NOWHERE)
    assert (done.code, done.out) == (2, "")
    assert f"secateur: {message}" in done.err


def test_a_bad_expression_is_shown_with_a_caret() -> None:
    done = run("cancel", "--app", "billing", "--if", "evnt.data.amount > 1", "--yes", url=NOWHERE)
    assert done.code == 2
    assert done.err.splitlines() == [
        "secateur: if (line 1, column 1): there is no variable `evnt`; did you mean `event`?",
        "  evnt.data.amount > 1",
        "  ^^^^",
    ]


def test_all_problems_of_a_body_are_told_at_once(here: Here, tmp_path: Path) -> None:
    body = {
        "app_id": "billing",
        "functon_id": "vendor-syncs",
        "started_after": "2024-01-21T00:00:00",
        "if": "event.data.x =",
    }
    done = here("cancel", "--request", write(tmp_path, "body.json", body), "--yes", url=NOWHERE)
    assert done.code == 2
    lines = [line for line in done.err.splitlines() if line.startswith("secateur: ")]
    assert len(lines) == 3
    assert "started_after: needs an offset, as in 2024-01-21T00:00:00Z" in done.err
    assert "functon_id: is not a field of a cancellation" in done.err
    assert "did you mean `function_id`?" in done.err
    assert "secateur: if (line 1, column 14)" in done.err


@pytest.mark.parametrize("time", ["-2h", "yesterday", "now"])
def test_a_body_takes_no_relative_times(here: Here, time: str, tmp_path: Path) -> None:
    path = write(tmp_path, "body.json", {"app_id": "billing", "started_after": time})
    done = here("preview", "--request", path, url=NOWHERE)
    assert done.code == 2
    assert "started_after: must be a time such as 2024-01-21T00:00:00Z" in done.err


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '"x"', "{", "\ufeff{}", "[" * 100_000])
def test_a_body_that_is_no_object_is_refused(here: Here, content: str) -> None:
    done = here("cancel", "--request", "-", "--yes", url=NOWHERE, stdin=content)
    assert done.code == 2
    assert done.err.startswith("secateur: ")


def test_a_body_and_flags_exclude_each_other(here: Here) -> None:
    done = here("preview", "--request", "-", "--app", "billing", url=NOWHERE, stdin="{}")
    assert done.code == 2
    assert "leave out --app" in done.err


@pytest.mark.parametrize("flags", [[], ["--json"], ["--wait", "--json"]])
def test_without_a_terminal_nobody_consents_unless_told(here: Here, flags: list[str]) -> None:
    done = here("cancel", "--app", "billing", *flags, url=NOWHERE)
    assert (done.code, done.out) == (2, "")
    assert "there is no terminal to ask for confirmation: add --yes" in done.err


def test_a_request_from_stdin_leaves_nobody_to_ask(here: Here) -> None:
    done = here("cancel", "--request", "-", url=NOWHERE, stdin='{"app_id": "billing"}')
    assert done.code == 2
    assert "add --yes" in done.err


@pytest.mark.parametrize("key", ["", "two words", "ü", "x" * 201])
def test_keys_are_plain(here: Here, key: str) -> None:
    done = here("cancel", "--app", "a", "--yes", "--idempotency-key", key, url=NOWHERE)
    assert done.code == 2
    assert "must be 1 to 200 printable ASCII characters" in done.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([b"cancel", b"--app", b"any", b"--yes", b"--reason", b"\xe9t\xe9"], b"argument --reason"),
        ([b"preview", b"--app", b"any", b"--if", b"event.data.x == '\xff'"], b"argument --if"),
        ([b"preview", b"--app=any", b"--function=\xe9"], b"argument --function"),
        ([b"pause", b"any", b"\xe9", b"--yes"], b"argument FUNCTION"),
        ([b"d\xe9pth"], b"argument COMMAND"),
    ],
)
def test_arguments_that_are_not_utf8_are_refused_in_words(arguments: list[bytes], named: bytes) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, env=environment(NOWHERE), check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"secateur: " + named + b": is not UTF-8: character ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["DATABASE_URL", "PGPASSWORD", "PGUSER", "SECATEUR_AUTHOR", "TZ", "USER"])
def test_variables_that_are_not_utf8_are_refused_in_words(here: Here, name: str) -> None:
    done = here("depth", **{"PGHOST": "127.0.0.1", name: "p\udce9ss"})
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"secateur: the environment variable {name} is not UTF-8: write its value in UTF-8, or unset it\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preview", "--request"], "body: is not UTF-8"),
        (["eval", "1", "--event"], "is not UTF-8"),
        (["depth", "--config"], "is not UTF-8"),
    ],
)
def test_files_that_are_not_utf8_are_refused_in_words(
    here: Here, arguments: list[str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "latin"
    file.write_bytes(b'name = "\xe9"')
    done = here(*arguments, str(file), url=NOWHERE)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_whoever_reads_may_leave() -> None:
    lines = '{"expr": "1"}\n' * 20_000
    reader = f"{sys.executable} -m secateur.cli eval --jsonl | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", reader], input=lines, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.stdout == '{"value": 1, "type": "int"}\n'
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize("module", ["secateur.cli.running", "secateur.cli.parsing", "secateur.cli.commands.look"])
def test_whoever_interrupts_a_command_that_has_hardly_begun_sees_nothing(module: str) -> None:
    """The interrupt comes while that module is imported."""
    program = (
        "import sys\n"
        "class Interrupting:\n"
        f"  def find_spec(self, name, *_):\n    if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from secateur.cli import main\n"
        "sys.exit(main(['depth']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment(NOWHERE), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
