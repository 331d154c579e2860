"""What a command has changed is named on stderr where stdout does not take the answer, and has its own exit code."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from itertools import cycle

import pytest
from billing import CULPRIT
from command_line import COMMAND, Done, Here, environment

from nursery import start
from secateur.cli.arguments import parse
from secateur.cli.examples import EXAMPLES
from secateur.postgres.database import Database

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)
NOT_TOLD = 74
FORGETFUL = 3
"""What the doctor says of the tests' servers, which do not sync."""
SINKS = [">/dev/full", ">&-"]

Prepare = Callable[[Here, str], list[str]]


def committed(here: Here, url: str) -> str:
    return str(here("cancel", *FLOOD, "--yes", "--json", url=url).json["id"])


def any_run(here: Here, url: str) -> str:
    return str(here("runs", "--app", "billing", "--status", "queued", "--json", url=url).json[0]["id"])


def proposed(here: Here, url: str) -> str:
    return str(here("propose", *FLOOD, "--no-count", "--json", url=url).json["id"])


def cancelled_run(here: Here, url: str) -> str:
    run = any_run(here, url)
    assert here("cancel-run", run, "--yes", url=url).code == 0
    return run


def paused(here: Here, url: str) -> list[str]:
    assert here("pause", "billing", "--yes", url=url).code == 0
    return ["billing"]


def an_old_function(here: Here, url: str) -> list[str]:
    asyncio.run(_execute(url, "select secateur.register_function('old', 'f', '{}', 3, null)"))
    return ["old", "f"]


def a_trigger(here: Here, url: str) -> list[str]:
    asyncio.run(_execute(url, "select secateur.register_function('mail', 'welcome', '{customer/new}', 3, null)"))
    return ["--name", "customer/new"]


def lose_a_function(here: Here, url: str) -> list[str]:
    asyncio.run(_execute(url, "drop function secateur.forget(text, text, text, text)"))
    return []


CHANGING: dict[str, Prepare] = {
    "install": lose_a_function,
    "send": a_trigger,
    "enqueue": lambda here, url: ["billing", "vendor-syncs", "--data", "{}"],
    "cancel": lambda here, url: [*FLOOD, "--yes", "--no-count"],
    "retry": lambda here, url: ["--app", "billing", "--yes", "--no-count"],
    "stop": lambda here, url: [committed(here, url)],
    "undo": lambda here, url: [committed(here, url), "--yes"],
    "cancel-run": lambda here, url: [any_run(here, url), "--yes"],
    "restore-run": lambda here, url: [cancelled_run(here, url)],
    "pause": lambda here, url: ["billing", "vendor-syncs", "--yes"],
    "resume": lambda here, url: [*paused(here, url), "--yes"],
    "forget": lambda here, url: [*an_old_function(here, url), "--yes"],
    "retention": lambda here, url: ["--finished", "40d"],
    "token": lambda here, url: ["create", "ci", "--scope", "viewer"],
    "propose": lambda here, url: [*FLOOD],
    "approve": lambda here, url: [proposed(here, url), "--yes"],
    "reject": lambda here, url: [proposed(here, url)],
    "budget": lambda here, url: ["--runs", "10"],
}
LOOKING: dict[str, Prepare] = {
    "doctor": lambda here, url: [],
    "engines": lambda here, url: [],
    "depth": lambda here, url: [],
    "history": lambda here, url: [],
    "runs": lambda here, url: ["--app", "billing", "--status", "queued", "--limit", "500"],
    "show": lambda here, url: [any_run(here, url)],
    "run": lambda here, url: [any_run(here, url)],
    "why": lambda here, url: [any_run(here, url)],
    "postmortem": lambda here, url: [committed(here, url)],
    "preview": lambda here, url: [*FLOOD],
    "export": lambda here, url: [*FLOOD],
    "suggest": lambda here, url: ["--app", "billing"],
    "advise": lambda here, url: [*FLOOD],
    "audit": lambda here, url: [],
    "proposals": lambda here, url: [],
    "eval": lambda here, url: ["1 + 1"],
}
STARTING = {"completion", "demo", "gate", "mcp", "watch", "worker", "serve"}
"""Their answer is what they go on to do, or a script; tests/engines tries `gate`."""


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


async def _execute(url: str, sql: str) -> None:
    async with Database.connect(url) as database:
        await database.execute(sql)


def audited(url: str) -> int:
    async def count() -> int:
        async with Database.connect(url) as database:
            found: int = await database.fetchval(
                "select (select count(*) from secateur.audit) + (select count(*) from secateur.runs)"
            )
            return found

    return asyncio.run(count())


def into(sink: str, *arguments: str, url: str) -> Done:
    command, full = [*COMMAND, *arguments], "/dev/full" if sink == ">/dev/full" else None
    if full is None:
        command = ["bash", "-c", f'"$@" {sink}', "bash", *command]
    with (
        open(full or os.devnull, "wb") as file,
        start(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file if full else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(url),
        ) as process,
    ):
        out, err = process.communicate()
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    return Done(process.returncode, out or "", err)


def test_every_command_is_tried() -> None:
    assert {*CHANGING, *LOOKING, *STARTING} == set(EXAMPLES)


@pytest.mark.parametrize("command", CHANGING)
def test_a_change_is_named_where_its_answer_is_lost(command: str, here: Here, url: str) -> None:
    arguments = CHANGING[command](here, url)
    before = audited(url)
    done = into(">/dev/full", command, *arguments, "--json", url=url)
    assert done.code == NOT_TOLD, done
    assert "secateur: cannot write to standard output: " in done.err
    assert "secateur: done, but the output was lost: " in done.err
    assert audited(url) > before


@pytest.mark.parametrize("command", CHANGING)
def test_people_are_told_whether_anything_was_changed(command: str, here: Here, url: str) -> None:
    arguments = CHANGING[command](here, url)
    before = audited(url)
    done = into(">&-", command, *arguments, url=url)
    assert "secateur: cannot write to standard output: " in done.err
    assert ("done, but the output was lost" in done.err, done.code) in {(True, NOT_TOLD), (False, 1)}
    assert (audited(url) > before) is (done.code == NOT_TOLD)


@pytest.mark.parametrize("command", [*CHANGING, *LOOKING])
def test_every_hint_works_at_the_same_place(command: str, here: Here, url: str) -> None:
    """Without a variable, the next command would find no database, or another one."""
    arguments = {**CHANGING, **LOOKING}[command](here, url)
    done = here(command, "--database", url, *arguments)
    assert done.code == (FORGETFUL if command == "doctor" else 0), done
    hints = re.findall(r"secateur [a-z-]+(?: --?\w\S*| '[^']*'| [0-9a-z-]+)+", done.out + done.err)
    for hint in hints:
        assert parse(shlex.split(hint)[1:]).database == url, hint
    if command in {"cancel", "retry", "undo", "cancel-run", "pause"}:
        assert hints


def test_the_hint_of_an_error_is_complete(here: Here, empty_database_url: str) -> None:
    done = here("depth", "--database", empty_database_url)
    assert done.code == 1
    assert f"run `secateur install --database {shlex.quote(empty_database_url)}`" in done.err


@pytest.mark.parametrize(("command", "sink"), zip(LOOKING, cycle(SINKS)))
def test_what_only_looks_fails(command: str, sink: str, here: Here, url: str) -> None:
    """All of them write in one way, so that each is tried with one of the sinks."""
    arguments = LOOKING[command](here, url)
    done = into(sink, command, *arguments, url=url)
    assert done.code == 1, done
    assert done.err.startswith("secateur: cannot write to standard output: ")


def test_help_that_is_lost_is_a_failure() -> None:
    for arguments in ([], ["depth"], ["cancel"]):
        for flag in ("--help", "--version") if not arguments else ("--help",):
            for sink in SINKS:
                assert into(sink, *arguments, flag, url="").code == 1


@pytest.mark.parametrize("command", ["pause", "undo"])
def test_without_a_standard_input_nobody_is_asked(command: str, here: Here, url: str) -> None:
    arguments = [each for each in CHANGING[command](here, url) if each != "--yes"]
    done = into("<&-", command, *arguments, url=url)
    assert (done.code, done.out) == (2, "")
    assert "there is no terminal to ask for confirmation" in done.err


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_without_anywhere_to_say_it_the_exit_code_remains(streams: str, url: str) -> None:
    done = into(streams, "pause", "billing", "--yes", "--json", url=url)
    assert done.code == (0 if streams.startswith("2") else NOT_TOLD), done


def test_what_was_done_is_named_where_the_rest_fails(here: Here, url: str) -> None:
    """The depth, which is the answer of `pause`, cannot be read."""
    asyncio.run(_execute(url, "alter table secateur.depth_seconds rename to elsewhere"))
    done = here("pause", "billing", "--yes", url=url)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "secateur: already done: billing / every function is paused"
