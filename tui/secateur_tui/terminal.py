"""Checks in advance whether this terminal can show a console, and handles a terminal that goes away."""

from __future__ import annotations

import codecs
import os
import signal
import sys
import threading
from functools import partial
from typing import TextIO

from secateur.errors import UsageError
from secateur.words.blockers import listed

_INSTEAD = "use secateur depth, preview, cancel and history instead"
_STREAMS = ("standard input", "standard output", "standard error")


def check_terminal() -> None:
    """Raises `UsageError`, with what to do instead, if this terminal cannot show a console."""
    streams = dict(zip(_STREAMS, (sys.__stdin__, sys.__stdout__, sys.__stderr__), strict=True))
    missing = [name for name, stream in streams.items() if not _is_terminal(stream)]
    if missing:
        not_one = "is not one" if len(missing) == 1 else "are not terminals"
        raise UsageError(f"the console needs a terminal, but {listed(missing)} {not_one}; {_INSTEAD}")
    term = os.environ.get("TERM", "")
    if not _moves_the_cursor(term):
        raise UsageError(f"the console needs a terminal that can move the cursor, but TERM is {term!r}; {_INSTEAD}")


def can_encode() -> bool:
    """Whether the output takes every character that the console draws. Textual draws on standard error."""
    encoding = sys.__stderr__.encoding if sys.__stderr__ else ""
    return codecs.lookup(encoding or "ascii").name == "utf-8"


def _is_terminal(stream: TextIO | None) -> bool:
    """A stream that was closed before we began is None."""
    return stream is not None and not stream.closed and stream.isatty()


def _moves_the_cursor(term: str) -> bool:
    """Whether this kind of terminal understands the usual sequences; an unknown kind is assumed to."""
    if term in ("", "dumb", "unknown"):
        return False
    try:
        import curses

        curses.setupterm(term, sys.__stdin__.fileno() if sys.__stdin__ else 0)
        move = curses.tigetstr("cup")
    except (ImportError, curses.error):
        return True
    return move is not None and move.startswith(b"\x1b[")


def accept_every_byte() -> None:
    """Keep typed or pasted bytes from ending the console: Textual would crash on the first that is not UTF-8, such as a
    letter from a Latin-1 terminal."""
    from textual.drivers import linux_driver

    tolerant = partial(codecs.getincrementaldecoder("utf-8"), errors="replace")
    linux_driver.getincrementaldecoder = lambda _: tolerant  # type: ignore[attr-defined]


def outlive_the_terminal() -> None:
    """Treat a terminal that went away as a hang-up, even if no signal is sent.

    Textual writes from a separate thread, which ends at the first failed write. The next drawing would then wait
    forever, and with it the event loop and a commit in progress. So the output is still consumed after that.
    """
    otherwise = threading.excepthook

    def writer_ended(ended: threading.ExceptHookArgs) -> None:
        drawn = getattr(ended.thread, "_queue", None)
        if drawn is None or not isinstance(ended.exc_value, OSError):
            otherwise(ended)
            return

        def discard() -> None:
            while True:
                drawn.get()

        threading.Thread(target=discard, daemon=True).start()
        os.kill(os.getpid(), signal.SIGHUP)

    threading.excepthook = writer_ended


def has_braille() -> bool:
    """Whether the terminal's font can be trusted to have it: that of Linux's own console has not."""
    return os.environ.get("TERM") != "linux"
