"""Keeps a function, and the tasks and callbacks that it starts, from ending its worker or another run.

When a task or a callback raises `SystemExit` or `KeyboardInterrupt`, asyncio lets it out of the event loop, past
whoever awaits the task. In a task started within a run, it is replaced by `Escaped`, which is the task's own failure.
In a callback scheduled within a run, it is reported like any other exception of a callback. No run can stop the loop
or take from it what the worker needs, and none can cancel a task of the worker or of another run.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any
from weakref import WeakKeyDictionary

PRESENT_RUN: ContextVar[object | None] = ContextVar("secateur_run", default=None)
"""The run that the current code belongs to, which says its name; tasks that it starts inherit it."""

NAMES: WeakKeyDictionary[asyncio.Future[Any], object] = WeakKeyDictionary()
"""For each task that was started within a run, or performs one, the run."""

UNDER_WAY: set[int] = set()
"""The identities of the runs whose functions have begun and not ended."""

_RESERVED = ("stop", "set_task_factory", "set_default_executor", "shutdown_default_executor", "shutdown_asyncgens")
"""Methods of the event loop that code of a run must not call: other runs and the worker need what they change."""


class LoopTurns:
    """Counts the turns of event loops in which runs are contained. Who reads the same number twice has not waited in
    between. A loop that is not asyncio's own is not counted."""

    number = 0

    @staticmethod
    def are_counted(loop: asyncio.AbstractEventLoop) -> bool:
        return "_run_once" in vars(loop)


class Escaped(BaseException):
    """A task raised `SystemExit` or `KeyboardInterrupt`, which is the cause of this error."""


class _Contained(Coroutine[Any, Any, Any]):
    """Wraps a coroutine, and replaces the exceptions that asyncio would let out."""

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
        """Attributes that show where a task is, such as `cr_frame`."""
        return getattr(self._inner, name)


class _Task(asyncio.Task[Any]):
    """Code of a run can cancel it only if it belongs to the same run, or to one that has ended."""

    def cancel(self, msg: Any | None = None) -> bool:
        present = PRESENT_RUN.get()
        if present is not None:
            owner = NAMES.get(self)
            if owner is not present and (owner is None or id(owner) in UNDER_WAY):
                raise RuntimeError(f"a function must not cancel the tasks of {owner or 'its worker'}")
        return super().cancel(msg)


@contextmanager
def contained() -> Iterator[None]:
    """Within this context, runs and the tasks that are started in the running loop are contained.

    Whoever awaits a task that is started here is out of the reach of runs as well: to cancel it is to cancel the task.
    """
    loop = asyncio.get_running_loop()
    with _contained_callbacks(loop), _contained_tasks(loop), _kept_whole(loop):
        yield


@contextmanager
def _kept_whole(loop: Any) -> Iterator[None]:
    """Code of a run cannot call the reserved methods of the loop."""

    def reserved(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call_unless_in_a_run(*arguments: Any) -> Any:
            if PRESENT_RUN.get() is not None:
                raise RuntimeError(f"a function must not call {name}() of its worker's event loop")
            return method(*arguments)

        return call_unless_in_a_run

    guards = {name: reserved(name, getattr(loop, name)) for name in _RESERVED}
    try:
        for name, guard in guards.items():
            setattr(loop, name, guard)
    except AttributeError:  # a loop that is not asyncio's own
        yield
        return
    try:
        yield
    finally:
        for name, guard in guards.items():
            if loop.__dict__.get(name) is guard:
                delattr(loop, name)


@contextmanager
def _contained_callbacks(loop: Any) -> Iterator[None]:
    """A callback's exception leaves the loop through `_run_once`; callbacks that were ready behind it remain."""
    run_once = getattr(loop, "_run_once", None)
    if run_once is None:  # a loop that is not asyncio's own
        yield
        return

    def run_once_contained() -> None:
        LoopTurns.number += 1
        try:
            run_once()
        except (SystemExit, KeyboardInterrupt) as error:
            name = _run_of_callback(error)
            if name is None:
                raise
            message = f"a callback of {name} raised {type(error).__name__}"
            loop.call_exception_handler({"message": message, "exception": error})

    loop._run_once = run_once_contained
    try:
        yield
    finally:
        if loop.__dict__.get("_run_once") is run_once_contained:
            del loop._run_once


def _run_of_callback(error: BaseException) -> object | None:
    """The run in which the failing callback was scheduled."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        handle = frame.f_locals.get("self")
        if isinstance(handle, asyncio.Handle):
            context: Context | None = getattr(handle, "_context", None)
            return None if context is None else context.get(PRESENT_RUN)
    return None


@contextmanager
def _contained_tasks(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    before = loop.get_task_factory()

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        context: Context | None = options.get("context")
        name = PRESENT_RUN.get() if context is None else context.get(PRESENT_RUN)
        if name is not None:
            coro = _Contained(coro)
        task = before(loop, coro, **options) if before else _Task(coro, loop=loop, **options)
        if name is not None:
            NAMES[task] = name
        return task

    loop.set_task_factory(make)
    try:
        yield
    finally:
        if loop.get_task_factory() is make:
            loop.set_task_factory(before)
