"""Work that a widget does in the background, beside the keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import ParamSpec

from textual.dom import DOMNode
from textual.worker import WorkType

P = ParamSpec("P")

_MOST_SLEEPS = 10


def run_beside(
    node: DOMNode, group: str, work: Callable[P, Coroutine[None, None, None]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Run `work(…)` in a worker of the node, in place of what its group runs now.

    The coroutine is made when the worker starts, so a worker that is cancelled before that leaves no coroutine
    unawaited.
    """
    task: WorkType[None] = partial(work, *args, **kwargs)
    node.run_worker(task, group=group, exclusive=True)


async def sleep_on_time(seconds: float) -> None:
    """Sleep, and sleep again if the event loop stood still meanwhile: input from that time has not been read yet.

    On a machine that never keeps up, it still returns, after ten times.
    """
    for _ in range(_MOST_SLEEPS):
        began = time.monotonic()
        await asyncio.sleep(seconds)
        if time.monotonic() - began < 1.5 * seconds:
            return
