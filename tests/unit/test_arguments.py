"""Every flag and every argument of every command, as the parser itself lists them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import pytest

from secateur.cli import arguments
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
        program, *written = shlex.split(lines[-1].removeprefix("example: "))
        assert (program, written[0]) == ("secateur", before[0])
        arguments.parse(written)
