"""What the commands write: tables, JSON and errors; nothing here knows what a queue is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from secateur.errors import Problem, RequestError, SecateurError

_BOLD, _RED, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def prepare_streams() -> None:
    """No text whatever may end in a UnicodeEncodeError: what the terminal cannot show is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def line(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")


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
    """To people, beside what is written for programs."""
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
        for said in str(error).splitlines():
            notice(f"secateur: {one_line(said)}")


def in_words(problem: Problem) -> str:
    place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
    hint = f"; {problem.suggestion}" if problem.suggestion else ""
    return f"{problem.field}{place}: {problem.message}{hint}"


def one_line(text: str) -> str:
    """Text from outside, which may neither break the line nor steer the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def number(value: int) -> str:
    return f"{value:,}"


def runs(value: int) -> str:
    return f"{value:,} run" if value == 1 else f"{value:,} runs"


def duration(seconds: float) -> str:
    """Two units at most: `40s`, `1m22s`, `2h14m`, `3d4h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def shorten(text: str, width: int) -> str:
    """The text on one line of at most `width` characters."""
    text = one_line(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Columns as wide as they need to be; the first `left` of them are texts, the others figures."""
    cells = [list(headings), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [styled(lines[0], _BOLD), *lines[1:]]


def fields(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """One labelled value a line."""
    width = max(len(label) for label, _ in pairs)
    return [f"{label.ljust(width)}  {value}" for label, value in pairs]


def warning(text: str, stream: TextIO | None = None) -> str:
    return styled(text, _YELLOW, stream)


def danger(text: str, stream: TextIO | None = None) -> str:
    return styled(text, _RED, stream)


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """In colour where a person looks at it and has not asked for none."""
    return f"{style}{text}{_PLAIN}" if has_colour(stream or sys.stdout) else text


def has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
