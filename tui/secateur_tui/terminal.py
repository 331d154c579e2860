"""Whether this terminal can show a console at all, said before anything is asked of it; and what if it goes away."""

from __future__ import annotations

import codecs
import os
import signal
import sys
import threading
from functools import partial
from typing import TextIO

from secateur.errors import UsageError

_INSTEAD = "secateur depth, preview, cancel and history do the same without one"
_STREAMS = ("standard input", "standard output", "standard error")


def check_terminal() -> None:
    """Raises `UsageError`, with what to do instead, where no console can be shown."""
    streams = dict(zip(_STREAMS, (sys.__stdin__, sys.__stdout__, sys.__stderr__), strict=True))
    missing = [name for name, stream in streams.items() if not _is_terminal(stream)]
    if missing:
        raise UsageError(f"the console needs a terminal, but {' and '.join(missing)} is not one; {_INSTEAD}")
    term = os.environ.get("TERM", "")
    if not _moves_the_cursor(term):
        raise UsageError(f"the console needs a terminal that can move the cursor, but TERM is {term!r}; {_INSTEAD}")
    # Textual draws on standard error.
    encoding = sys.__stderr__.encoding if sys.__stderr__ else ""
    if codecs.lookup(encoding).name != "utf-8":
        raise UsageError(
            f"the console needs UTF-8, but the output's encoding is {encoding!r}: set LC_ALL=C.UTF-8 (or another "
            f"locale in UTF-8), and unset PYTHONIOENCODING and PYTHONUTF8; {_INSTEAD}"
        )


def _is_terminal(stream: TextIO | None) -> bool:
    """A stream that was closed before we began is None."""
    return stream is not None and not stream.closed and stream.isatty()


def _moves_the_cursor(term: str) -> bool:
    """Whether that kind of terminal understands the usual sequences; one that nobody knows is believed to."""
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
    """Let no byte that is typed or pasted end the console: Textual would fall over the first that is not UTF-8, such as
    a letter of a terminal in Latin-1."""
    from textual.drivers import linux_driver

    tolerant = partial(codecs.getincrementaldecoder("utf-8"), errors="replace")
    linux_driver.getincrementaldecoder = lambda _: tolerant  # type: ignore[attr-defined]


def outlive_the_terminal() -> None:
    """Make a terminal that went away a hang-up, also where nobody sends the signal.

    Textual writes from a thread of its own, which ends with the first write that fails; whatever draws next would
    wait for ever, the loop and a commit under way with it. So somebody goes on taking what is drawn.
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
