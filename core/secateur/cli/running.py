"""Runs one command: its exit code, and what stderr says when it ends otherwise than it should.

A command's module is imported only when that command runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from secateur.cli.arguments import parse
from secateur.cli.exits import INTERRUPTED, NOT_TOLD, PIPE_CLOSED
from secateur.cli.output import complain, done, notice, prepare_streams
from secateur.collector import collector_at_rest
from secateur.errors import ReadOnly, SecateurError
from secateur.words.shell import work_at


def run(arguments: Sequence[str]) -> int:
    """See `secateur.cli.main`."""
    prepare_streams()
    done.clear()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except SecateurError as error:
        complain(error)
        _tell("already done")
        # A write in a read-only session is a usage error, even when only the database reports it.
        return 2 if isinstance(error, ReadOnly) else error.exit_code
    except KeyboardInterrupt:
        _tell("already done")
        return INTERRUPTED
    except OSError as error:
        return output_lost(error)
    finally:
        work_at()  # a program that calls this goes on, and its hints are its own
    return code


def output_lost(error: OSError) -> int:
    """The exit code where standard output takes no more; stderr says it, unless somebody just stopped reading."""
    # The interpreter must not fail again when it flushes the buffer at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError) and not done:
        return PIPE_CLOSED
    notice(f"secateur: cannot write to standard output: {error.strerror or error}")
    _tell("done, but the output was lost")
    return NOT_TOLD if done else 1


def _tell(how: str) -> None:
    for changed in done:
        notice(f"secateur: {how}: {changed}")


def _run(arguments: Sequence[str]) -> int:
    try:
        parsed = parse(arguments)
    except SystemExit as left:  # --help and --version
        return int(left.code or 0)
    work_at(database=parsed.database, context=parsed.context, config=parsed.config, engine=parsed.engine)
    module, _, function = parsed.command.partition(":")
    with collector_at_rest():
        command = getattr(import_module(f"secateur.cli.commands.{module}"), function)
    outcome = command(parsed)
    if isinstance(outcome, int):
        return outcome
    import asyncio

    code: int = asyncio.run(outcome)
    return code
