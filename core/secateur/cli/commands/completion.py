"""`completion`: prints the script for a shell, which asks `secateur completion` again for each word."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.cli.arguments import parsers
from secateur.cli.completing import Candidate, NameQuestion, candidates, split
from secateur.cli.output import line
from secateur.places import choose, read_config
from secateur.words.lines import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 0.3
"""For all of it, from the start of this process: nobody waits for a key."""
AT_LEAST = 0.1
"""What the database gets even where this process took long to start."""

MOST = 200
DESCRIPTION = 60

_BREAKS = ":="
"""What bash takes for the beginning of a word: it wants what comes after."""


def completion(arguments: argparse.Namespace) -> int:
    if arguments.line is None:
        line(files("secateur.cli").joinpath("completions", f"secateur.{arguments.shell}").read_text("utf-8").rstrip())
        return 0
    with suppress(Exception):  # a key was pressed: whatever is wrong, nothing is said here
        words = split(arguments.line)
        for each in _written(candidates(words, parsers(), _look_up), words[-1], arguments.shell):
            line(each)
    return 0


def _written(found: Sequence[Candidate], typed: str, shell: str) -> list[str]:
    """One candidate a line, as the shell wants it."""
    if shell == "bash":
        cut = max((typed.rfind(each) for each in _BREAKS), default=-1) + 1
        return [shlex.quote(each.value[cut:]) for each in found[:MOST]]
    texts = [(each.value, shorten(one_line(each.description), DESCRIPTION)) for each in found[:MOST]]
    if shell == "zsh":
        return [f"{value.replace(':', chr(92) + ':')}:{text}" if text else value for value, text in texts]
    return [f"{value}\t{text}" if text else value for value, text in texts]


def _look_up(asked: NameQuestion) -> list[Candidate]:
    from secateur.cli.commands.completion_names import names

    config = asked.given.get("config")
    read = read_config(Path(config) if config else None)
    contexts = json.loads(os.environ.get("SECATEUR_CONTEXTS") or "null") or read.get("contexts", {})
    if asked.what == "CONTEXT":
        return [Candidate(name) for name in sorted(contexts)]
    default = os.environ.get("SECATEUR_DEFAULT_CONTEXT") or read.get("default_context")
    url, context = choose(asked.given.get("database"), asked.given.get("context"), default, os.environ)
    if context is not None:
        url = contexts[context]["database"]
    left = max(AT_LEAST, SECONDS - time.process_time())

    async def ask() -> list[Candidate]:
        async with asyncio.timeout(left):
            return await names(url, asked)

    return asyncio.run(ask())
