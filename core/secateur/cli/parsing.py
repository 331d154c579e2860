"""How the command line is parsed: errors in our own words, and the values of flags."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from secateur.bounds import INT_MAX, INT_MIN, KEY_FORM
from secateur.encodings import problem_of_encoding
from secateur.errors import UsageError
from secateur.times import UNITS

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


TIMES = "a time: 2024-01-21T00:00:00Z, 2h (ago), +2h, 14:00, 'yesterday 3am', now; local times in your zone"

ASKS_NOTHING = "accepted here as well, where nothing is ever asked"
"""The help of `--yes` of a command that needs none, so that a script may write it everywhere."""


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs; what lists examples keeps its lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """Reports errors in one line, and never accepts abbreviated flags."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=_Formatter,
            **options,  # type: ignore[arg-type]
        )

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Check the encoding of every value, including the name of a command.

        In `--flag=--` the value is two dashes; before Python 3.13 argparse loses them.
        """
        # The command's own parser checks what follows its name.
        for text in arg_strings[:1] if action.nargs == argparse.PARSER else arg_strings:
            if problem := problem_of_encoding(text):
                raise argparse.ArgumentError(action, problem)
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def parse_known_args(self, *given: Any, **options: Any) -> Any:
        """Refuse unknown arguments here, where the command is known whose help lists those that there are."""
        parsed, unknown = super().parse_known_args(*given, **options)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Print the help or the version; argparse itself would ignore a failed write."""
        (file or sys.stdout).write(message)

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"argument \S+: invalid choice: '(.*?)' \(choose from (.*)\)$", message)
        if unknown:
            known = re.findall(r"[\w-]+", unknown[2])
            near = get_close_matches(unknown[1], known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"choose from {', '.join(known)}"
            message = f"there is no `{unknown[1]}`; {hint}"
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def key(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,200}", text):
        raise argparse.ArgumentTypeError(KEY_FORM)
    return text


def span(text: str) -> timedelta:
    found = re.fullmatch(r"(?a)(\d{1,6})([smhdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be a span such as 12h or 30d")
    return int(found[1]) * UNITS[found[2]]


def positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:20]) > 0):
        raise argparse.ArgumentTypeError(f"{text!r:.100} must be a whole number of 1 or more")
    if len(text) > 20 or int(text) > INT_MAX:
        raise argparse.ArgumentTypeError(f"{text:.100} must be at most {INT_MAX:,}")
    return int(text)


def integer(text: str) -> int:
    if not re.fullmatch(r"(?a)[+-]?\d{1,10}", text) or not INT_MIN <= int(text) <= INT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r:.100} must be a whole number from {INT_MIN:,} to {INT_MAX:,}")
    return int(text)


def port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} must be a port from 0 to 65535")
    return int(text)


def endpoint(text: str) -> tuple[str, int]:
    """Host and port; without a host, this machine's loopback."""
    host, _, number = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", port(number)


AddCommand = Callable[..., Parser]
"""Adds a command: its name, its function as `module:function`, a sentence, and a description."""
