"""Whether this terminal can show a console at all, said before anything is asked of it."""

from __future__ import annotations

import os
import sys

from secateur.errors import UsageError


def check_terminal() -> None:
    """Raises `UsageError`, with what to do instead, where no console can be shown."""
    instead = "secateur depth, preview, cancel and history do the same without one"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"the console needs a terminal, and standard input or output is none; {instead}")
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        term = os.environ.get("TERM", "")
        raise UsageError(f"the console needs a terminal that can move the cursor, and TERM is {term!r}; {instead}")
