"""Interrupts for the tests' processes, where the tests themselves run in the background."""

from __future__ import annotations

import signal


def hear_interrupts() -> None:
    """Let this process and those that it starts be interrupted.

    A shell that is no terminal's starts what it puts in the background with SIGINT ignored, and every process inherits
    that: a process that a test interrupts would go on to its end.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
