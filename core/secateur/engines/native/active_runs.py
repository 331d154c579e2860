"""A run as its function sees it: its event, its steps, and what the function may raise.

Nothing here touches a database, so a function can be tested by calling it with an `ActiveRun` or a `SyncRun`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload
from uuid import UUID

from secateur.cel.values import decode_exact
from secateur.engines.native.steps import StepNames, Steps, kept_json, read_kept
from secateur.errors import UsageError
from secateur.spans import span

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

LONGEST_RETRY_DELAY = timedelta(days=366)


class RunCancelled(BaseException):
    """The run must stop: `step` raises this instead of beginning the step.

    Not an `Exception`, so that a function's own `except Exception` does not treat it as a failure. Clean up
    in `finally`; a function that catches it and continues gets it again at the next step.
    """


class Discard(Exception):
    """Raise this in a function to fail its run for good, however many retries are left."""


class RetryAfter(Exception):
    """Raise this in a function to fail the attempt, and begin the next one after `delay` (seconds or a timedelta, at
    most 366 days) instead of after the usual pause. It counts as an attempt: if no retries are left, the run fails
    for good. The constructor raises `UsageError` for an invalid delay. If a subclass sets none, or an invalid one, the
    usual pause holds."""

    delay: timedelta | None = None

    def __init__(self, delay: timedelta | float, message: str = "") -> None:
        self.delay = retry_delay(delay)
        super().__init__(message or f"retry after {self.delay}")


def retry_delay(delay: object) -> timedelta:
    """Raises `UsageError` if it is none."""
    try:
        found = delay if isinstance(delay, timedelta) else timedelta(seconds=cast("float", delay))
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"RetryAfter: {delay!r} is not a number of seconds or a timedelta") from error
    if not timedelta(0) <= found <= LONGEST_RETRY_DELAY:
        raise UsageError(f"RetryAfter: the delay must be from 0 to {LONGEST_RETRY_DELAY.days} days, not {delay!r}")
    return found


def without_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that never waits, as in a test without a queue."""
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
    """The triggering event as decoded JSON. In a worker it is decoded when first read, which raises `Discard` for a
    number that Python cannot hold."""
    attempt: int = 1
    """Counted from 1."""
    max_attempts: int = 1
    started_at: datetime | None = None
    """When the run was enqueued, by the database's clock."""
    steps: Steps = field(default_factory=Steps, repr=False)
    """What the queue knows about the run's steps."""
    must_stop: bool = False
    """The worker has learned that the run must stop: it was cancelled, or belongs to another worker now, or for another
    reason. A long step may check this and end early; it is the next step that decides."""
    stopped_because: str | None = field(default=None, repr=False)
    """Why the worker interrupted this attempt; no further step begins. None if it did not."""
    _names: StepNames = field(default_factory=StepNames, repr=False)
    _undecoded: str | None = field(default=None, init=False, repr=False, compare=False)
    """The event as JSON until it is read; `event` is not set before."""

    def decode_later(self, event: str) -> None:
        """Give the run its event as JSON."""
        self._undecoded = event
        del self.event

    if not TYPE_CHECKING:  # else every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            """Called for what is not set, as the event is before it is read."""
            if name != "event" or self._undecoded is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            try:
                self.event = decode_exact(self._undecoded)
            except ValueError as error:
                raise Discard(f"its event cannot be read: {error}") from error
            self._undecoded = None
            return self.event

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
        """Call `work` and return its result; if the step finished in an earlier attempt, return that result instead.

        The step begins once the database grants it. After a matching cancellation is committed the database refuses,
        and this raises `RunCancelled`. The step is finished once its result is stored, so `work` is called again only
        if the worker was lost before that. The result is stored as JSON and is the same in every attempt: a tuple comes
        back as a list. Raises `UsageError` if it cannot be written as JSON.

        Steps are identified by name, and steps with the same name by their order: a run's second step `fetch` is
        `fetch #2`. So a function should name its steps in the same order each time.

        A plain callable blocks the event loop while it runs: pass a slow one to `asyncio.to_thread`, or declare the
        function without `async`.
        """
        name = self._names.distinct(name)
        if (kept := self.steps.finished.get(name)) is not None:
            return read_kept(kept)
        self._refuse_if_interrupted(name)
        if not await self.steps.begin(name):
            raise self._refused(name)
        with span("secateur.step", {"secateur.step": name}):
            returned = work(*args, **kwargs)
            result = kept_json(await returned if inspect.isawaitable(returned) else returned, self._whose(name))
            if not await self.steps.finish(name, result):
                raise self._lost(name)
        return read_kept(result)


@dataclass(slots=True)
class SyncRun(_Run):
    """One attempt at a run, as a plain function sees it; the worker runs that function in a thread.

    A thread cannot be interrupted. Instead, `must_stop` becomes true and the next step raises `RunCancelled`. A
    function without steps should check `must_stop` now and then.
    """

    wait_for: Callable[[Coroutine[Any, Any, Any]], Any] = field(default=without_a_loop, repr=False)
    """Runs a coroutine on the worker's event loop and returns its result."""

    def step(
        self, name: str, work: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Like `ActiveRun.step`, for a plain callable, which runs in the function's thread."""
        name = self._names.distinct(name)
        if (kept := self.steps.finished.get(name)) is not None:
            earlier: Result = read_kept(kept)
            return earlier
        self._refuse_if_interrupted(name)
        if not self.wait_for(self.steps.begin(name)):
            raise self._refused(name)
        with span("secateur.step", {"secateur.step": name}):
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
    """Close the coroutine, to avoid the warning that it was never awaited."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
