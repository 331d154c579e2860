"""One attempt at a run: calls its function, interrupts it if it must, and tells the queue how it ended.

Whatever the function raises fails its run, never the worker.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from enum import Enum
from typing import Any, cast

from secateur.engines.native.active_runs import ActiveRun, Discard, RetryAfter, RunCancelled, SyncRun, retry_delay
from secateur.engines.native.claims import Claim, Claims
from secateur.engines.native.containment import NAMES, PRESENT_RUN, UNDER_WAY, Escaped
from secateur.engines.native.functions import AsyncWork, PlainWork
from secateur.engines.native.observing import AttemptEnd
from secateur.spans import fail, span, tracer

CLEANUP_SECONDS = 2.0
"""How long an interrupted function may take to clean up before the log complains about it."""

logger = logging.getLogger("secateur.worker")


class Interruption(Enum):
    """Why an attempt must end before its function returns."""

    STOP = "interrupted: the worker stopped before the run ended"
    TIMEOUT = "it ran longer than its timeout"
    CANCELLED = "interrupted: it was cancelled and did not reach its next step"
    LOST = "interrupted: its lease ended, and it is no longer this worker's"


_OF_ITS_OWN = frozenset({Interruption.TIMEOUT, Interruption.CANCELLED})


class Attempt:
    """An attempt at the claimed run, by the worker with that name.

    `on_freed` is called when the function has ended: the slot is free, although the queue has not been told yet.
    """

    def __init__(
        self, claims: Claims, claim: Claim, worker: str, executor: Executor, on_freed: Callable[[], None]
    ) -> None:
        self.claim = claim
        self.interruption: Interruption | None = None
        self.task: asyncio.Task[None] | None = None
        """The task that performs the attempt."""
        self.busy = True
        """The function has not ended; it may not even have begun."""
        self._claims = claims
        self._worker = worker
        self._executor = executor
        self._on_freed = on_freed
        self._working: asyncio.Task[Any] | None = None
        """The task to interrupt: while a coroutine function runs."""
        self._left = False
        self._grace: asyncio.TimerHandle | None = None

    def __str__(self) -> str:
        return str(self.claim.run)

    def must_stop(self, reason: str | None, grace: timedelta) -> None:
        """Take note of a heartbeat's answer, `cancelled` or `lost`, and interrupt after the grace; None reverts it."""
        if reason is None:
            if self._grace is not None:
                self._grace.cancel()
                self._grace = None
        elif self._grace is None and self.claim.function.interruptible:
            why = Interruption.CANCELLED if reason == "cancelled" else Interruption.LOST
            self._grace = asyncio.get_running_loop().call_later(grace.total_seconds(), self.interrupt, why)

    def interrupt(self, why: Interruption) -> None:
        """End it early: at once if it is a coroutine, at its next step if it runs in a thread."""
        if not self.busy or self.interruption is not None:
            return
        self.interruption = why
        self.claim.run.stopped_because = self._why(why)
        self.claim.run.must_stop = True
        if self._working is not None:
            self._working.cancel()
        asyncio.get_running_loop().call_later(CLEANUP_SECONDS, self._complain)

    def leave(self) -> None:
        """The worker is leaving: stop waiting, except for a function in a thread, which cannot be abandoned."""
        self._left = True
        if self.task is not None and not (self.busy and not self.claim.function.is_async):
            self.task.cancel()

    def _complain(self) -> None:
        if self.busy:
            kind = "cannot be interrupted" if self.claim.function.is_async else "runs in a thread"
            logger.warning("%s should stop, but it %s: %s", self, kind, self.claim.run.stopped_because)

    async def perform(self, at_once: Callable[[], bool]) -> AttemptEnd | None:
        """How it ended, as the queue was told. Or None: the function has succeeded, `at_once` (it has not waited), and
        `Claims.complete` is left to the caller. A span lasts until the queue was told, so there it is not left.

        Raises `SecateurError` if the outcome cannot be reported to the queue.
        """
        if tracer() is None:
            return await self._perform(at_once)
        run = self.claim.run
        told = {"app": run.app_id, "function": run.function_id, "run": str(run.id), "attempt": run.attempt}
        attributes = {f"secateur.{name}": value for name, value in told.items()}
        with span("secateur.run", attributes, parent=self.claim.traceparent, receives=True) as made:
            end = await self._perform(lambda: False)
            if made is not None:
                made.set_attribute("secateur.end", str(end))
            if end in {AttemptEnd.FAILED, AttemptEnd.RETRIED}:
                fail(made, str(end))
        return end

    async def _perform(self, at_once: Callable[[], bool]) -> AttemptEnd | None:
        try:
            if not (self._claims.is_fresh(self.claim) or await self._claims.recall(self.claim)):
                logger.info("%s was not begun: it was cancelled, or %s no longer holds it", self, self._worker)
                return AttemptEnd.STOPPED
            if self.interruption is not None:
                await self._claims.release([self.claim])
                return AttemptEnd.INTERRUPTED
            error = await self._work()
        finally:
            self.busy = False
            if self._grace is not None:
                self._grace.cancel()
            self._on_freed()
        succeeded = error is None and not self._spoiled
        return None if succeeded and at_once() else await self._tell(error)

    async def _work(self) -> BaseException | None:
        """Call the function; returns what it raised."""
        timeout, timer = self.claim.function.timeout, None
        if timeout is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(timeout.total_seconds(), self.interrupt, Interruption.TIMEOUT)
        UNDER_WAY.add(id(self.claim.run))
        try:
            work = self._await if self.claim.function.is_async else self._run_in_thread
            return await work()
        finally:
            UNDER_WAY.discard(id(self.claim.run))
            if timer is not None:
                timer.cancel()

    async def _await(self) -> BaseException | None:
        present = PRESENT_RUN.set(self.claim.run)
        task = self._working = cast("asyncio.Task[Any]", asyncio.current_task())
        NAMES[task] = self.claim.run
        failure: BaseException | None = None
        try:
            await cast("AsyncWork", self.claim.function.work)(cast("ActiveRun", self.claim.run))
        except BaseException as error:
            if self._left or asyncio.current_task() is not task:
                raise  # nobody waits for it any more
            failure = error
        finally:
            self._working = None
            NAMES.pop(task, None)
            PRESENT_RUN.reset(present)
        # Whoever cancelled the task, we or the function itself, meant the function.
        if task.cancelling():
            with suppress(asyncio.CancelledError):
                while task.cancelling():
                    task.uncancel()
                    await asyncio.sleep(0)
        return failure

    async def _run_in_thread(self) -> BaseException | None:
        loop = asyncio.get_running_loop()
        run = cast("SyncRun", self.claim.run)

        def wait_for(work: Coroutine[Any, Any, Any]) -> Any:
            try:
                return asyncio.run_coroutine_threadsafe(work, loop).result()
            except RuntimeError as error:
                if not loop.is_closed():
                    raise
                work.close()
                raise RunCancelled(f"{run} must stop: its worker has left") from error

        run.wait_for = wait_for
        context = copy_context()
        context.run(PRESENT_RUN.set, run)
        # Return what it raises: a future does not accept every exception.
        return await loop.run_in_executor(self._executor, context.run, self._call)

    def _call(self) -> BaseException | None:
        try:
            returned = cast("PlainWork", self.claim.function.work)(cast("SyncRun", self.claim.run))
            if inspect.isawaitable(returned) or inspect.isgenerator(returned):
                if not inspect.isawaitable(returned) or inspect.iscoroutine(returned):
                    returned.close()
                label = getattr(self.claim.function.work, "__qualname__", "the function")
                raise TypeError(f"{label} returned {type(returned).__name__}: declare it with `async def`")
        except BaseException as error:
            return error
        return None

    def _why(self, interruption: Interruption) -> str:
        text: str = interruption.value
        return f"{text} of {self.claim.function.timeout}" if interruption is Interruption.TIMEOUT else text

    def completed(self, done: bool) -> AttemptEnd:
        """The queue's answer, after the function has succeeded: false if the claim was no longer this worker's."""
        if done:
            return AttemptEnd.COMPLETED
        logger.info("%s ended, but it was cancelled, or %s no longer holds it", self, self._worker)
        return AttemptEnd.STOPPED

    async def _tell(self, error: BaseException | None) -> AttemptEnd:
        if error is None and not self._spoiled:
            return self.completed(await self._claims.complete(self.claim))
        discard, retry_after = _verdict(error)
        if self.interruption in {Interruption.STOP, Interruption.CANCELLED} and not discard:
            status = await self._claims.interrupt(self.claim, self.interruption.value)
            logger.warning("%s was interrupted, and is now %s", self, status or "no longer held")
            return AttemptEnd.INTERRUPTED
        if self.interruption is Interruption.TIMEOUT:
            text = f"TimeoutError: {self._why(self.interruption)}"
        else:
            text = describe(error) if error is not None else ""
        match await self._claims.fail(self.claim, text, retry_after=retry_after, discard=discard):
            case "scheduled":
                _log(logging.WARNING, f"{self} failed and will be retried: {text}", error)
                return AttemptEnd.RETRIED
            case "failed":
                _log(logging.ERROR, f"{self} failed for good: {text}", error)
                return AttemptEnd.FAILED
        logger.info("%s stopped: it was cancelled, or %s no longer holds it", self, self._worker)
        return AttemptEnd.STOPPED

    @property
    def _spoiled(self) -> bool:
        """A coroutine was interrupted for a reason of its own run, so the way it ended means nothing. (If it was the
        worker's stop that interrupted it, it may still have succeeded; so may a thread, which is not interrupted.)"""
        return self.interruption in _OF_ITS_OWN and self.claim.function.is_async


def _verdict(error: BaseException | None) -> tuple[bool, timedelta | None]:
    """Whether to discard the run, and the delay before a retry; exceptions inside a group count as well. Never raises:
    the function's own classes may extend ours, and override what they like."""
    discard, delays = False, []
    for one in _leaves(error):
        discard = discard or isinstance(one, Discard)
        if isinstance(one, RetryAfter):
            # Otherwise the usual pause holds.
            with suppress(BaseException):
                delays.append(retry_delay(one.delay))
    return discard, max(delays, default=None)


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions that are no groups, however deep in groups they are."""
    left = [] if error is None else [error]
    met: set[int] = set()
    while left:
        one = left.pop()
        if id(one) in met:
            continue
        met.add(id(one))
        if not isinstance(one, BaseExceptionGroup):
            yield one
            continue
        with suppress(BaseException):
            left += [each for each in one.exceptions if isinstance(each, BaseException)]


def describe(error: BaseException) -> str:
    """The error on one line, for the run's record; never raises, even if the error's `__str__` does."""
    if isinstance(error, Escaped) and error.__cause__ is not None:
        error = error.__cause__
    name = type(error).__name__
    try:
        message = str(error)
        return f"{name}: {message}" if message else name
    except BaseException:
        return f"{name}: (its message cannot be shown)"


def _log(level: int, text: str, error: BaseException | None) -> None:
    """Log with the traceback, unless formatting it raises."""
    try:
        logger.log(level, "%s", text, exc_info=error)
    except BaseException:
        logger.log(level, "%s", text)
