"""Handles the signals that stop a process gracefully, from its start to its very end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def graceful() -> tuple[signal.Signals, ...]:
    """The signals that stop a process gracefully. A hangup is one, unless the process was told to ignore it (nohup)."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if ignored else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stopped_by_signals(stop: Callable[[], None], *, to_the_end: bool = False) -> Iterator[None]:
    """Within this context, the graceful signals call `stop` on the running event loop, in the main thread.

    It does not use the loop's own handlers: they disappear with the loop, and a second signal during the exit would
    kill the process. `to_the_end` means that the process exits afterwards, and ignores these signals from then on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, handle) for number in graceful()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if to_the_end else handler or signal.SIG_DFL)
