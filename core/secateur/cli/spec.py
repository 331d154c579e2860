"""`--spec`: the command line as JSON, for programs that call it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from secateur import __version__
from secateur.cli.examples import EXAMPLES
from secateur.cli.exits import EXIT_CODES
from secateur.cli.parsing import ASKS_NOTHING, Parser


def specification(parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """Every command with its arguments and flags, and the exit codes. `parsers` has the program's own under ''."""
    root = parsers[""]
    everywhere = {flag for action in root._actions for flag in action.option_strings}
    return {
        "program": "secateur",
        "version": __version__,
        "description": root.description,
        "exit_codes": {str(code): meaning for code, meaning in EXIT_CODES.items()},
        "flags": [*_flags(root)],
        "commands": [_command(name, parser, everywhere) for name, parser in parsers.items() if name],
    }


def _command(name: str, parser: Parser, everywhere: set[str]) -> dict[str, Any]:
    flags = [each for each in _flags(parser) if not everywhere.issuperset(each["names"])]
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return {
        "name": name,
        "description": " ".join((parser.description or "").split()),
        "json": any("--json" in each["names"] for each in flags),
        "asks": any("--yes" in each["names"] and each["help"] != ASKS_NOTHING for each in flags),
        "arguments": [*_arguments(parser)],
        "flags": flags,
        "commands": [
            _command(f"{name} {each}", parser, everywhere)
            for action in below
            for each, parser in action.choices.items()
        ],
        "examples": [*EXAMPLES.get(name, ())],
    }


def _arguments(parser: Parser) -> Iterator[dict[str, Any]]:
    for action in parser._actions:
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction):
            yield {
                "name": str(action.metavar or action.dest),
                "help": action.help,
                "required": action.nargs != argparse.OPTIONAL,
                "choices": _choices(action),
            }


def _flags(parser: Parser) -> Iterator[dict[str, Any]]:
    for action in parser._actions:
        if action.option_strings:
            default = None if action.default in (None, False, argparse.SUPPRESS) else action.default
            yield {
                "names": [*action.option_strings],
                "value": None if action.nargs == 0 else str(action.metavar or action.dest).upper(),
                "value_required": action.nargs is None,
                "help": action.help,
                "required": action.required,
                "repeatable": isinstance(action, argparse._AppendAction),
                "choices": _choices(action),
                "default": default,
            }


def _choices(action: argparse.Action) -> list[str] | None:
    return None if action.choices is None else [str(each) for each in action.choices]
