"""What a widget does beside the keys."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import ParamSpec

from textual.dom import DOMNode
from textual.worker import WorkType

P = ParamSpec("P")


def run_beside(
    node: DOMNode, group: str, work: Callable[P, Coroutine[None, None, None]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Run `work(…)` in a worker of the node, in place of what its group runs so far.

    The coroutine is made when the worker starts: a worker that is cancelled before leaves none that nobody awaits.
    """
    task: WorkType[None] = partial(work, *args, **kwargs)
    node.run_worker(task, group=group, exclusive=True)
