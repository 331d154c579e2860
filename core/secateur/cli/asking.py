"""Questions on the terminal, and who may be asked."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from secateur.cli.output import notice
from secateur.errors import UsageError


def require_a_terminal(instead: str) -> None:
    """Raises `UsageError` where nobody could answer; `instead` says which flag answers."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"there is no terminal to ask on: {instead}")


def consents(question: str) -> bool:
    """Whether somebody answers the question with yes."""
    return answer(f"{question} [y/N] ").lower() in {"y", "yes"}


def answer(question: str) -> str:
    with _interruptible():
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        notice("")
    return answer.strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a read from the terminal; the event loop's handler would only take note of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
