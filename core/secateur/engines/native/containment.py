"""Tasks that a function starts cannot end the process.

asyncio lets `SystemExit` and `KeyboardInterrupt` out of the event loop when a task raises them, past whoever awaits the
task. In a task that was started within a run they are its own failure, and `Escaped` takes their place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

PRESENT_RUN: ContextVar[str | None] = ContextVar("secateur_run", default=None)
"""The name of the run within which the present code runs, also in the tasks that it starts."""

NAMES: WeakKeyDictionary[asyncio.Future[Any], str] = WeakKeyDictionary()
"""Of the tasks that were started within a run: the run's name."""


class Escaped(BaseException):
    """A task raised its cause, `SystemExit` or `KeyboardInterrupt`."""


class _Contained(Coroutine[Any, Any, Any]):
    """The coroutine, but for what it lets out."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def send(self, value: Any) -> Any:
        return self._go_on(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._go_on(self._inner.throw, *error)

    def close(self) -> None:
        self._go_on(self._inner.close)

    def _go_on(self, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except (SystemExit, KeyboardInterrupt) as error:
            raise Escaped(f"{type(error).__name__} in a task") from error

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        """What shows where a task stands, such as `cr_frame`."""
        return getattr(self._inner, name)


@contextmanager
def contained() -> Iterator[None]:
    """While it lasts, tasks of the running loop that are started within a run are contained."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        name = PRESENT_RUN.get()
        if name is not None:
            coro = _Contained(coro)
        task = before(loop, coro, **options) if before else asyncio.Task(coro, loop=loop, **options)
        if name is not None:
            NAMES[task] = name
        return task

    loop.set_task_factory(make)
    try:
        yield
    finally:
        if loop.get_task_factory() is make:
            loop.set_task_factory(before)
