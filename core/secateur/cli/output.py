"""What the commands write: tables, JSON and errors; nothing here knows what a queue is."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from secateur.errors import Problem, RequestError, SecateurError
from secateur.words.redaction import redact

_GAP = "  "
_BOLD, _RED, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and what it may lose on a terminal that is too narrow for all of them."""

    title: str
    right: bool = False
    """Figures stand right."""
    shrinks_to: int = 0
    """Characters that it may be cut to; 0 for a column that is never cut."""
    rank: int = 0
    """Should cutting not be enough, the lowest rank is left out first; 0 always stays."""


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Columns as wide as they need to be; within `width` characters where one is given, so far as they can be cut."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    shown = list(enumerate(columns))
    widths = _widths(shown, cells)
    while width is not None and _room(widths, width) < 0:
        _shrink(shown, widths, width)
        optional = [each for each in shown if each[1].rank]
        if _room(widths, width) >= 0 or not optional:
            break
        shown.remove(min(optional, key=lambda each: each[1].rank))
        widths = _widths(shown, cells)
    lines = [_row([column.title for _, column in shown], shown, widths)]
    lines += [_row([row[index] for index, _ in shown], shown, widths) for row in cells]
    return [styled(lines[0], _BOLD), *lines[1:]]


def _widths(shown: Sequence[tuple[int, Column]], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max([len(column.title), *(len(row[index]) for row in cells)]) for index, column in shown]


def _room(widths: Sequence[int], width: int) -> int:
    return width - sum(widths) - len(_GAP) * (len(widths) - 1)


def _shrink(shown: Sequence[tuple[int, Column]], widths: list[int], width: int) -> None:
    """Cut, always the widest that may be cut, until the row fits."""
    while _room(widths, width) < 0:
        able = [at for at, (_, column) in enumerate(shown) if 0 < column.shrinks_to < widths[at]]
        if not able:
            return
        widths[max(able, key=lambda at: widths[at])] -= 1


def _row(cells: Sequence[str], shown: Sequence[tuple[int, Column]], widths: Sequence[int]) -> str:
    fitted = [shorten(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join(
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, (_, column), width in zip(fitted, shown, widths, strict=True)
    ).rstrip()


def terminal_width() -> int | None:
    """The columns of the terminal that reads this; None where a program does, which gets everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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
