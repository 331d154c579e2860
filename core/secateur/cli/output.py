"""Writes tables, JSON and errors for the commands; knows nothing about queues."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from secateur.errors import Problem, RequestError, SecateurError
from secateur.words.lines import cells, one_line
from secateur.words.redaction import redact
from secateur.words.tables import Column, lay_out

BOLD, RED, YELLOW = "\x1b[1m", "\x1b[31m", "\x1b[33m"
_PLAIN = "\x1b[0m"

_COMMAND = re.compile(r"(?<=[:;] |  )secateur [a-z-]+ .*$")

done: list[str] = []
"""What this command has changed, in words; stderr names it if the command fails before its answer is written."""


def prepare_streams() -> None:
    """Write characters that the terminal cannot encode as escapes, so that no text raises UnicodeEncodeError.

    A closed standard input reads as empty. Every write to a closed standard output fails, as on a full disk.
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
    """Write the lines and flush, so that they are seen before anything else happens. A terminal gets them folded."""
    width = terminal_width()
    for each in lines:
        for part in (each,) if width is None else folded(each, width):
            line(part)
    sys.stdout.flush()


def folded(text: str, width: int) -> list[str]:
    """A line as lines of at most `width` cells, broken between words. What follows stands below the text after a label,
    such as `state  complete: …`; a single word that is longer, such as an address, is left whole. So is a command at
    the end, on a line of its own: in two lines it would be two commands for whoever copies it."""
    if cells(text) <= width:
        return [text]
    if command := _COMMAND.search(text):
        before = text[: command.start()]
        return [text] if before.endswith("  ") else [*folded(before.rstrip(), width), command[0]]
    label = re.match(r"\s*(?:\S+(?: \S+)*  +)?", text)
    indent = " " * min(len(label[0]) if label else 0, width // 2)
    return textwrap.wrap(
        text[len(label[0]) if label else 0 :],
        width,
        initial_indent=label[0] if label else "",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def flush() -> None:
    """Flush now, not at exit: the reader of a pipe acts on each answer."""
    sys.stdout.flush()


def json_line(value: Any) -> None:
    line(json_text(value))


def json_text(value: Any) -> str:
    """JSON on one line; in UTF-8, or in ASCII if the output has another encoding."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not unicode, allow_nan=False)


def notice(text: str) -> None:
    """A line on stderr, for people; stdout is for programs. If stderr cannot be written, nobody is listening."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def noted(text: str, style: str = "") -> None:
    """A sentence on stderr, folded where that is a terminal."""
    parts = folded(text, shutil.get_terminal_size().columns) if sys.stderr.isatty() else [text]
    for part in parts:
        notice(styled(part, style, sys.stderr) if style else part)


def complain(error: SecateurError) -> None:
    """One line for each problem; below it, the expression with a caret under the place."""
    problems = error.problems if isinstance(error, RequestError) else ()
    for problem in problems:
        noted(f"secateur: {one_line(in_words(problem))}")
        if problem.excerpt:
            notice("\n".join(f"  {shown}" for shown in problem.excerpt.split("\n")))
    if not problems:
        # A password may have been typed where something else belongs.
        for said in redact(str(error)).splitlines():
            noted(f"secateur: {one_line(said)}")


def in_words(problem: Problem) -> str:
    place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
    hint = f"; {problem.suggestion}" if problem.suggestion else ""
    return f"{problem.field}{place}: {problem.message}{hint}"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Columns as wide as they need to be; if `width` is given, cut to that many characters as far as possible."""
    keys = [column.key for column in columns]
    texts = [dict(zip(keys, map(one_line, row), strict=True)) for row in rows]
    layout = lay_out(columns, texts, width, overflows=True)
    heading, *lines = (layout.line(row).rstrip() for row in (layout.titles(), *texts))
    return [styled(heading, BOLD), *lines]


def terminal_width() -> int | None:
    """The terminal's width in columns; None if the output is not a terminal, in which case nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fields(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One line for each labelled value."""
    width = max(len(label) for label, _ in pairs)
    return [f"{label.ljust(width)}  {value}" for label, value in pairs]


def warning(text: str, stream: TextIO | None = None) -> str:
    return styled(text, YELLOW, stream)


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """In colour if the output is a terminal and NO_COLOR is not set."""
    return f"{style}{text}{_PLAIN}" if has_colour(stream or sys.stdout) else text


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
