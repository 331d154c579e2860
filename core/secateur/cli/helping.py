"""The help of every command, kept as text beside the bytecode: building parsers takes longer than Python's own start.

Python keeps bytecode in the same way: it is made when it is first needed, made anew when a source has changed, and
not kept where nothing may be written.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 80
_HERE = os.path.dirname(__file__)
FILE = os.path.join(_HERE, "__pycache__", f"help-{sys.version_info[0]}{sys.version_info[1]}.txt")

_SOURCES = ("__init__.py", "bounds.py", "runs.py", "samples.py", "times.py")
"""What else the text depends on, in the package itself."""

_MARK = "\f"
"""Begins the help of a command; its name is the rest of the line."""


def kept_help(arguments: "Sequence[str]") -> "str | None":
    """The help that these arguments ask for. None if they ask for something else, or a narrow terminal asks."""
    given = list(arguments)
    if given[-1:] not in (["--help"], ["-h"]) or len(given) > 2 or _columns() < WIDTH:
        return None
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return None
    wanted = given[0] if len(given) == 2 else ""
    first, *parts = _kept().split(_MARK)
    if first != _fingerprint():
        first, *parts = _made().split(_MARK)
    for part in parts:
        name, _, text = part.partition("\n")
        if name == wanted:
            return text
    return None


def _columns() -> int:
    try:
        return int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(1).columns or WIDTH
    except OSError:
        return WIDTH


def _fingerprint() -> str:
    """Of the sources: their sizes and when they were written, as for bytecode."""
    paths = [os.path.join(os.path.dirname(_HERE), name) for name in _SOURCES]
    paths += sorted(entry.path for entry in os.scandir(_HERE) if entry.name.endswith(".py"))
    return " ".join(f"{found.st_size}:{found.st_mtime_ns}" for found in map(os.stat, paths))


def _kept() -> str:
    try:
        with open(FILE, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _made() -> str:
    """From the parsers, and kept for the next time."""
    from secateur.cli.arguments import parsers

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        helps = [f"{_MARK}{name}\n{parser.format_help()}" for name, parser in parsers().items()]
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    text = _fingerprint() + "".join(helps)
    if not sys.dont_write_bytecode:
        _keep(text)
    return text


def _keep(text: str) -> None:
    part = f"{FILE}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(FILE), exist_ok=True)
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, FILE)
    except OSError:
        pass  # nothing may be written here, as where an administrator installed it
