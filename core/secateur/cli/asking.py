"""Questions on the terminal."""

from __future__ import annotations

import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from secateur.cli.output import notice
from secateur.errors import UsageError


def require_a_terminal(instead: str) -> None:
    """Raises `UsageError` if nobody can answer a question; `instead` names the flag to use."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"there is no terminal to ask for confirmation: {instead}")


def consents(question: str) -> bool:
    """Whether the answer to the question is yes."""
    return answer(f"{question} [y/N] ").lower() in {"y", "yes"}


def answer(question: str) -> str:
    with interruptible():
        sys.stderr.write(question)
        sys.stderr.flush()
        _wait_for_a_line()
        answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        notice("")
    return answer.strip()


def _wait_for_a_line() -> None:
    """Or for a signal: one that comes just before a read begins is noted, but does not end the read."""
    noted, written = socket.socketpair()
    written.setblocking(False)
    with noted, written:
        before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        try:
            select.select([sys.stdin, noted], [], [])
        finally:
            signal.set_wakeup_fd(before)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a read or a write that blocks; the event loop's handler would only record the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
