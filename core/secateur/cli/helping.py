"""The help of every command, kept as text: building a parser takes longer than Python needs to start.

`python -m secateur.cli.helping` writes the file anew from the parsers, and a test compares the two.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = os.path.join(os.path.dirname(__file__), "help.txt")
WIDTH = 80
_MARK = "\f"
"""Begins the help of a command; its name is the rest of the line."""


def kept_help(arguments: "Sequence[str]") -> "str | None":
    """The help that these arguments ask for. None if they ask for something else, or a narrow terminal asks."""
    given = list(arguments)
    if given[-1:] not in (["--help"], ["-h"]) or len(given) > 2 or _columns() < WIDTH:
        return None
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return None
    with open(FILE, encoding="utf-8") as file:
        parts = file.read().split(_MARK)
    wanted = given[0] if len(given) == 2 else ""
    for part in parts[1:]:
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


def written_help() -> str:
    """The whole file, from the parsers."""
    from secateur.cli.arguments import parsers

    os.environ["COLUMNS"] = str(WIDTH)
    return "".join(f"{_MARK}{name}\n{parser.format_help()}" for name, parser in parsers().items())


if __name__ == "__main__":
    with open(FILE, "w", encoding="utf-8") as written:
        written.write(written_help())
