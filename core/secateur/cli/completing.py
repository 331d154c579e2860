"""Completes a command line: commands, flags and choices from the parsers, and names from the database."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from secateur.cli.parsing import Parser


@dataclass(frozen=True, slots=True)
class Candidate:
    value: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class NameQuestion:
    """What the database, or the configuration, is asked for."""

    what: str
    """The metavar: `APP`, `FUNCTION`, `ID`, `RUN`, `CONTEXT` or `ENGINE`."""
    typed: str
    given: Mapping[str, str]
    """The flags so far that name a database and an app: `database`, `context`, `config`, `engine`, `app`."""


Look = Callable[[NameQuestion], list[Candidate]]

LOOKED_UP = frozenset({"APP", "FUNCTION", "ID", "RUN", "CONTEXT", "ENGINE"})

_NAMES = {"--context": "CONTEXT", "--engine": "ENGINE"}
"""Flags whose metavar says too little."""

_KEPT = {"--database": "database", "--context": "context", "--config": "config", "--engine": "engine", "--app": "app"}


def split(line: str) -> list[str]:
    """The words of a command line up to the cursor, without the program; the last one is being typed.

    A quote that is still open is closed. Raises nothing.
    """
    for end in ("", "'", '"'):
        try:
            words = shlex.split(line + end)
        except ValueError:
            continue
        return [*words[1:], *([""] if not end and line[-1:].isspace() else [])] or [""]
    return [""]


def candidates(words: list[str], parsers: Mapping[str, Parser], look: Look) -> list[Candidate]:
    """What may stand in the place of the last of the words, by what is before it."""
    *before, typed = words
    parser, expected, given = _walk(before, parsers)
    if expected is None and typed.startswith("--") and "=" in typed:
        flag, _, value = typed.partition("=")
        action = _flag(parser, flag)
        found = [] if action is None else _values(action, value, given, look)
        found = [each for each in found if each.value.startswith(value)]
        return [Candidate(f"{flag}={each.value}", each.description) for each in found]
    if isinstance(expected, argparse._SubParsersAction):
        found = [Candidate(name, help) for name, help in _commands(expected)]
    elif expected is not None:
        found = _values(expected, typed, given, look)
    else:
        found = []
    if typed.startswith("-") and (expected is None or not expected.option_strings):
        found = [Candidate(flag, each.help or "") for each in parser._actions for flag in each.option_strings]
    return [each for each in found if each.value.startswith(typed)]


def _walk(before: list[str], parsers: Mapping[str, Parser]) -> tuple[Parser, argparse.Action | None, dict[str, str]]:
    """The parser that is reached, the action that the next word belongs to, and what was given."""
    parser, given = parsers[""], dict[str, str]()
    places, pending = _places(parser), None
    for word in before:
        if pending is not None:
            _keep(given, pending, word)
            pending = None
        elif word.startswith("-"):
            flag, equals, value = word.partition("=")
            action = _flag(parser, flag)
            if action is None or action.nargs == 0:
                continue
            if equals:
                _keep(given, action, value)
            else:
                pending = action
        elif places:
            action = places.pop(0)
            if isinstance(action, argparse._SubParsersAction):
                found = (action.choices if parser is not parsers[""] else parsers).get(word)
                if not isinstance(found, Parser):
                    return parser, None, given
                parser, places = found, _places(found)
            else:
                _keep(given, action, word)
    return parser, pending or (places[0] if places else None), given


def _places(parser: Parser) -> list[argparse.Action]:
    return [each for each in parser._actions if not each.option_strings]


def _flag(parser: Parser, flag: str) -> argparse.Action | None:
    return next((each for each in parser._actions if flag in each.option_strings), None)


def _keep(given: dict[str, str], action: argparse.Action, value: str) -> None:
    name = _KEPT.get(action.option_strings[-1]) if action.option_strings else action.dest
    if name in _KEPT.values():
        given[str(name)] = value


def _commands(action: argparse._SubParsersAction[argparse.ArgumentParser]) -> Iterator[tuple[str, str]]:
    for each in action._choices_actions:
        yield each.dest, each.help or ""


def _values(action: argparse.Action, typed: str, given: Mapping[str, str], look: Look) -> list[Candidate]:
    if action.choices is not None:
        return [Candidate(str(each)) for each in action.choices]
    what = _NAMES.get(action.option_strings[-1]) if action.option_strings else None
    what = what or str(action.metavar)
    return look(NameQuestion(what, typed, given)) if what in LOOKED_UP else []
