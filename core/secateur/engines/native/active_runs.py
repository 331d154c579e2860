"""A run as its function sees it: its event, its steps, and what the function may raise.

Nothing here touches a database, so that functions can be tested by calling them with an `ActiveRun` or a `SyncRun`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, overload
from uuid import UUID

from secateur.engines.native.steps import StepNames, Steps, kept_json, read_kept
from secateur.errors import UsageError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

LONGEST_RETRY_DELAY = timedelta(days=366)


class RunCancelled(BaseException):
    """The run must stop: raised by `step` instead of beginning the next one.

    Not an `Exception`, so that a function's own `except Exception` cannot mistake it for a failure. Clean up
    in `finally`; whoever catches it and goes on meets it again at the next step.
    """


class Discard(Exception):
    """Raised by a function: its run fails now and is not tried again, however many retries are left."""


class RetryAfter(Exception):
    """Raised by a function: this attempt has failed, and the next one begins after `delay` (in seconds, or a
    timedelta; 366 days at most) instead of after the usual pause. It is an attempt like any other: without retries
    left the run fails. Raises `UsageError` for another delay."""

    def __init__(self, delay: timedelta | float, message: str = "") -> None:
        try:
            self.delay = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"RetryAfter: {delay!r} is not a number of seconds or a timedelta") from error
        if not timedelta(0) <= self.delay <= LONGEST_RETRY_DELAY:
            raise UsageError(f"RetryAfter: the delay must be from 0 to {LONGEST_RETRY_DELAY.days} days, not {delay!r}")
        super().__init__(message or f"retry after {self.delay}")


def without_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """What the coroutine returns, which waits for nothing: as in a test without a queue."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    work.close()
    raise UsageError("async steps need an event loop")


@dataclass(slots=True)
class _Run:
    """One attempt at a run."""

    id: UUID
    app_id: str
    function_id: str
    event: Any
    """The triggering event as decoded JSON."""
    attempt: int = 1
    """From 1."""
    max_attempts: int = 1
    started_at: datetime | None = None
    """When the run entered the queue, by the database's clock."""
    steps: Steps = field(default_factory=Steps, repr=False)
    """What the queue knows of its steps."""
    must_stop: bool = False
    """The worker has heard that the run was cancelled, or is not its own any more, or has to stop for another reason:
    long steps may look here and end early. The next step decides."""
    stopped_because: str | None = field(default=None, repr=False)
    """Why the worker has interrupted this attempt: no step begins any more."""
    _names: StepNames = field(default_factory=StepNames, repr=False)

    def __str__(self) -> str:
        return f"{self.app_id} / {self.function_id} {self.id}"

    def _refuse_if_interrupted(self, step: str) -> None:
        if self.stopped_because is not None:
            raise RunCancelled(f"{self} must stop before its step {step!r}: {self.stopped_because}")

    def _refused(self, step: str) -> RunCancelled:
        return RunCancelled(f"{self} must stop before its step {step!r}")

    def _lost(self, step: str) -> RunCancelled:
        return RunCancelled(f"{self} was taken from this worker while its step {step!r} ran")

    def _whose(self, step: str) -> str:
        return f"step {step!r} of {self}"


@dataclass(slots=True)
class ActiveRun(_Run):
    """One attempt at a run, as a function declared with `async def` sees it."""

    @overload
    async def step(
        self,
        name: str,
        work: Callable[Parameters, Awaitable[Result]],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result: ...

    @overload
    async def step(
        self,
        name: str,
        work: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result: ...

    async def step(self, name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `work` returns, from this attempt or, if the step has finished in an earlier one, from that.

        The step begins when the database grants it, so that no step begins after a matching cancellation was
        committed: then it raises `RunCancelled`. It has finished when its result is kept there, so `work` may be
        called again only if the worker was lost before that. The result is kept as JSON and is the same in each
        attempt: a tuple comes back as a list. Raises `UsageError` if it cannot be written as JSON.

        Steps are known by their names, and of those with the same name by their order: the second step `fetch`
        of a run is `fetch #2`. So a function should name its steps in the same order each time.

        A plain callable runs on the event loop, which it holds up: give a slow one to `asyncio.to_thread`, or declare
        the function itself without `async`.
        """
        name = self._names.distinct(name)
        if (kept := self.steps.finished.get(name)) is not None:
            return read_kept(kept)
        self._refuse_if_interrupted(name)
        if not await self.steps.begin(name):
            raise self._refused(name)
        returned = work(*args, **kwargs)
        result = kept_json(await returned if inspect.isawaitable(returned) else returned, self._whose(name))
        if not await self.steps.finish(name, result):
            raise self._lost(name)
        return read_kept(result)


@dataclass(slots=True)
class SyncRun(_Run):
    """One attempt at a run, as a plain function sees it, which a worker runs in a thread.

    A thread cannot be interrupted: where a coroutine would be, `must_stop` becomes true and the next step raises
    `RunCancelled`. A function that takes no steps should look at `must_stop` now and then.
    """

    wait_for: Callable[[Coroutine[Any, Any, Any]], Any] = field(default=without_a_loop, repr=False)
    """Gives what a coroutine returns, from the worker's event loop."""

    def step(
        self, name: str, work: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """As of `ActiveRun`, for a plain callable, which runs in the function's own thread."""
        name = self._names.distinct(name)
        if (kept := self.steps.finished.get(name)) is not None:
            earlier: Result = read_kept(kept)
            return earlier
        self._refuse_if_interrupted(name)
        if not self.wait_for(self.steps.begin(name)):
            raise self._refused(name)
        returned = work(*args, **kwargs)
        if inspect.isawaitable(returned):
            _close(returned)
            raise UsageError(f"{self._whose(name)} is async: declare the function with `async def`")
        result = kept_json(returned, self._whose(name))
        if not self.wait_for(self.steps.finish(name, result)):
            raise self._lost(name)
        again: Result = read_kept(result)
        return again


def _close(awaitable: object) -> None:
    """So that nobody complains that it was never awaited."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
