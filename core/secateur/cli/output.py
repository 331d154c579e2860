"""What the commands write: tables, JSON and errors; nothing here knows what a queue is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from secateur.errors import Problem, RequestError, SecateurError
from secateur.words.lines import one_line
from secateur.words.redaction import redact
from secateur.words.tables import Column, lay_out

_BOLD, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[33m", "\x1b[0m"


done: list[str] = []
"""What this command has changed, in words: named on stderr where it ends before its answer is on stdout."""


def prepare_streams() -> None:
    """No text whatever may end in a UnicodeEncodeError: what the terminal cannot show is written as an escape.

    Nothing can be read from a standard input that was closed. Every write to a standard output that was closed
    fails, as on a full disk.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def line(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")


def write(lines: Iterable[str]) -> None:
    """Lines that somebody is to see before anything else happens."""
    for each in lines:
        line(each)
    sys.stdout.flush()


def flush() -> None:
    """Now, not at exit: whoever reads a pipe acts on each answer."""
    sys.stdout.flush()


def json_line(value: Any) -> None:
    line(json_text(value))


def json_text(value: Any) -> str:
    """JSON on one line; in UTF-8, and in ASCII where the output has another encoding."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not unicode, allow_nan=False)


def notice(text: str) -> None:
    """To people, beside what is written for programs. Where stderr takes nothing, there is nobody to tell."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def complain(error: SecateurError) -> None:
    """One line for each problem; the place in an expression is shown below it, with a caret."""
    problems = error.problems if isinstance(error, RequestError) else ()
    for problem in problems:
        notice(f"secateur: {one_line(in_words(problem))}")
        if problem.excerpt:
            notice("\n".join(f"  {shown}" for shown in problem.excerpt.split("\n")))
    if not problems:
        # A password may have been typed where something else belongs.
        for said in redact(str(error)).splitlines():
            notice(f"secateur: {one_line(said)}")


def in_words(problem: Problem) -> str:
    place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
    hint = f"; {problem.suggestion}" if problem.suggestion else ""
    return f"{problem.field}{place}: {problem.message}{hint}"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Columns as wide as they need to be; within `width` characters where one is given, so far as they can be cut."""
    keys = [column.key for column in columns]
    texts = [dict(zip(keys, map(one_line, row), strict=True)) for row in rows]
    layout = lay_out(columns, texts, width, overflows=True)
    heading, *lines = (layout.line(row).rstrip() for row in (layout.titles(), *texts))
    return [styled(heading, _BOLD), *lines]


def terminal_width() -> int | None:
    """The columns of the terminal that reads this; None where a program does, which gets everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fields(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One labelled value a line."""
    width = max(len(label) for label, _ in pairs)
    return [f"{label.ljust(width)}  {value}" for label, value in pairs]


def warning(text: str, stream: TextIO | None = None) -> str:
    return styled(text, _YELLOW, stream)


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """In colour where a person looks at it and has not asked for none."""
    return f"{style}{text}{_PLAIN}" if has_colour(stream or sys.stdout) else text


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
