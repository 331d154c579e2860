"""Whether this terminal can show a console at all, said before anything is asked of it; and what if it goes away."""

from __future__ import annotations

import os
import signal
import sys
import threading

from secateur.errors import UsageError


def check_terminal() -> None:
    """Raises `UsageError`, with what to do instead, where no console can be shown."""
    instead = "secateur depth, preview, cancel and history do the same without one"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"the console needs a terminal, and standard input or output is none; {instead}")
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        term = os.environ.get("TERM", "")
        raise UsageError(f"the console needs a terminal that can move the cursor, and TERM is {term!r}; {instead}")


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
