"""Waiting for what a test needs, however slow the machine is.

Nothing here sleeps for a fixed time. What is waited for usually comes within milliseconds; `PATIENCE` only ends a
test whose condition never comes true, and is long enough for a machine with several times more to do than it can.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE = 60.0
"""Seconds after which a condition is taken for one that never comes true."""

_PAUSE = 0.02


async def eventually(condition: Callable[[], Awaitable[Answer]], what: str = "the condition") -> Answer:
    """What the condition gave when it was first true. Raises `AssertionError` that names `what` never came."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s in vain for {what}"
        await asyncio.sleep(_PAUSE)
    return answer


def wait_for(condition: Callable[[], Answer], what: str = "the condition") -> Answer:
    """As `eventually`, where no event loop runs."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s in vain for {what}"
        time.sleep(_PAUSE)
    return answer
