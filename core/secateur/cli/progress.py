"""How far something is, on stderr: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time

from secateur.cli.output import notice
from secateur.words.lines import shorten

DRAWN_EVERY, TOLD_EVERY = 0.2, 10.0
"""Seconds from one bar to the next, and from one line to the next."""

WIDTH = 20
"""Cells of the bar."""

_CLEAR = "\r\x1b[K"


class ProgressBar:
    """Shows how far one task is. It says nothing of a task that is over soon."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._drawn = False

    def show(self, text: str, share: float | None = None) -> None:
        """`share` is from 0 to 1, if it is known. Call it as often as you like."""
        now = time.monotonic()
        if now - self._last < (DRAWN_EVERY if self._on_terminal else TOLD_EVERY):
            return
        self._last = now
        if not self._on_terminal:
            notice(f"  {text}")
            return
        full = None if share is None else round(WIDTH * min(1.0, max(0.0, share)))
        bar = "  " if full is None else f"[{'#' * full}{'.' * (WIDTH - full)}] "
        sys.stderr.write(_CLEAR + shorten(bar + text, shutil.get_terminal_size().columns - 1))
        sys.stderr.flush()
        self._drawn = True

    def end(self) -> None:
        """Take the bar away, so that the next line has its place."""
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = False
