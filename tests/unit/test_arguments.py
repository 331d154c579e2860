"""Every flag and every argument of every command, as the parser itself lists them."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur.cli import arguments, helping
from secateur.cli.examples import EXAMPLES
from secateur.cli.spec import specification
from secateur.errors import UsageError


def commands() -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    parser = arguments._parser()
    yield [], parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (([name], command) for name, command in action.choices.items())


def taking_text() -> Iterator[tuple[list[str], str]]:
    """How each is written before its value, and its name in messages."""
    for before, parser in commands():
        places: list[str] = []
        for action in parser._actions:
            name = "/".join(action.option_strings) or str(action.metavar)
            if action.option_strings and action.nargs is None:
                yield [*before, action.option_strings[-1]], name
            elif not action.option_strings:
                yield [*before, *places], name
                places.append("x")


@pytest.mark.parametrize(("before", "name"), taking_text())
def test_none_takes_bytes_that_are_not_utf8(before: list[str], name: str) -> None:
    with pytest.raises(UsageError) as caught:
        arguments.parse([*before, "r\udce9sum\udce9"])
    assert str(caught.value).startswith(f"argument {name}: is not UTF-8: character 2 is the byte 0xe9")


@pytest.mark.parametrize(("before", "parser"), commands())
def test_help_fits_on_a_narrow_screen_and_ends_with_an_example(
    before: list[str], parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = parser.format_help().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    if before:
        assert lines[-3] == "examples:"
        for line in lines[-2:]:
            program, *written = shlex.split(line)
            assert (program, written[0]) == ("secateur", before[0])
            arguments.parse(written)


def test_the_kept_help_is_what_the_parsers_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "__pycache__" / "help.txt"
    monkeypatch.setattr(helping, "FILE", str(kept))
    monkeypatch.setenv("COLUMNS", "80")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        assert helping.kept_help(["-h"]) == arguments.parsers()[""].format_help()
        assert not kept.exists(), "where Python keeps nothing, nor do we"
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for _ in range(2):
        for name, parser in arguments.parsers().items():
            assert helping.kept_help([*([name] if name else []), "--help"]) == parser.format_help()
    kept.write_text(kept.read_text().replace("usage:", "used:"))
    assert str(helping.kept_help(["--help"])).startswith("used:"), "it is read from the file"
    monkeypatch.setattr(helping, "_fingerprint", lambda: "changed")
    assert str(helping.kept_help(["--help"])).startswith("usage:"), "a source has changed"
    kept.write_bytes(b"\xff")
    assert str(helping.kept_help(["--help"])).startswith("usage:")
    assert helping.kept_help(["cancel", "--app", "x", "--help"]) is helping.kept_help(["cancle", "--help"]) is None
    monkeypatch.setenv("COLUMNS", "60")
    assert helping.kept_help(["cancel", "--help"]) is None, "it would not fit"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["retention", "--finished", "-3d"], "argument --finished: '-3d' must be a span such as 12h or 30d"),
        (["worker", "app:app", "--lease", "-30s"], "argument --lease: '-30s' must be a span"),
        (["runs", "--app", "x", "--limit", "-5"], "argument --limit: '-5' must be a whole number of 1 or more"),
        (["cancel", "--yes", "-3d"], "argument --yes: ignored explicit argument '-3d'"),
    ],
)
def test_a_dash_and_a_digit_begin_a_value(given: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        arguments.parse(given)
    assert str(caught.value).startswith(said)
    assert arguments.parse(["enqueue", "a", "b", "--priority", "-5"]).priority == -5


def test_the_specification_names_everything() -> None:
    made = json.loads(json.dumps(specification(arguments.parsers())))
    commands = {each["name"]: each for each in made["commands"]}
    assert {*commands} == {*EXAMPLES}
    cancel = commands["cancel"]
    assert (cancel["json"], cancel["asks"], cancel["examples"]) == (True, True, [*EXAMPLES["cancel"]])
    flags = {flag["names"][-1]: flag for flag in cancel["flags"]}
    assert flags["--function"]["repeatable"]
    assert not commands["stop"]["asks"], "it only accepts --yes"
    assert flags["--app"]["value"] == "APP"
    assert "--database" not in flags, "it is one of all commands"
    assert {"--database", "--spec", "--version"} <= {name for flag in made["flags"] for name in flag["names"]}
    assert "token create" in {each["name"] for each in commands["token"]["commands"]}
    (shell,) = commands["completion"]["arguments"]
    assert (shell["name"], shell["required"], shell["choices"]) == ("SHELL", True, ["bash", "zsh", "fish"])
    assert made["exit_codes"]["74"].startswith("done, but")
