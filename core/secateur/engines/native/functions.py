"""Declares apps and their functions with a decorator; a worker runs them.

    app = App("billing")

    @app.function(
        id="vendor-syncs",
        triggers=["vendor/sync"],
        retries=3,
        concurrency=20,
        cancel_on=[CancelOn(event="vendor/removed", match="data.vendor_id")],
    )
    async def vendor_syncs(run: ActiveRun) -> None:
        vendor = await run.step("fetch", fetch_vendor, run.event["data"]["vendor_id"])
        await run.step("store", store, vendor)

A finished step is not repeated: if `store` fails, or the worker dies during it, the next attempt gets the result of
`fetch` from the queue and continues with `store`. At most 20 of these runs execute at once, over all workers. When
an event `vendor/removed` with the same `data.vendor_id` arrives, a waiting run is cancelled and a running one stops
before its next step; see `cancel_on.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TypeAlias, TypeVar, cast

from secateur.bounds import MOST_AT_ONCE, MOST_TRIGGERS, optional, problem_of_name, problem_of_number
from secateur.engines.native.active_runs import ActiveRun, SyncRun
from secateur.engines.native.cancel_on import CancelOn, checked
from secateur.errors import UsageError

LONGEST_TIMEOUT = timedelta(days=366)

AsyncWork: TypeAlias = Callable[[ActiveRun], Awaitable[object]]
PlainWork: TypeAlias = Callable[[SyncRun], object]
Work: TypeAlias = AsyncWork | PlainWork
DeclaredWork = TypeVar("DeclaredWork", bound=Work)


@dataclass(frozen=True, slots=True)
class Function:
    """A function as declared."""

    app_id: str
    id: str
    work: Work
    triggers: tuple[str, ...] = ()
    """Names of the events that start a run of this function."""
    max_attempts: int = 4
    concurrency: int | None = None
    """The maximum of concurrent runs over all workers; None is no limit."""
    cancel_on: tuple[CancelOn, ...] = ()
    """Events that cancel runs of this function."""
    timeout: timedelta | None = None
    """The time limit of an attempt; None is no limit."""
    interruptible: bool = True
    """Whether a cancelled run is interrupted if it takes too long to reach its next step."""
    is_async: bool = field(init=False)
    """Whether the function runs on the event loop; otherwise it runs in a thread."""

    def __post_init__(self) -> None:
        # Once: to ask it of each run would take a sixth of the worker's time.
        object.__setattr__(self, "is_async", _is(self.work, inspect.iscoroutinefunction))


class App:
    """A named group of functions. Many workers may serve one app, and one worker many apps."""

    def __init__(self, app_id: str) -> None:
        if not app_id:
            raise UsageError("an app needs an id, as in App('billing')")
        if problem := problem_of_name(app_id):
            raise UsageError(f"the app id {problem}")
        self.id = app_id
        self._functions: dict[str, Function] = {}

    @property
    def functions(self) -> Mapping[str, Function]:
        """The app's functions by their ids."""
        return MappingProxyType(self._functions)

    def function(
        self,
        *,
        id: str,
        triggers: Sequence[str] = (),
        retries: int = 3,
        concurrency: int | None = None,
        cancel_on: Sequence[CancelOn] = (),
        timeout: timedelta | None = None,
        interruptible: bool = True,
    ) -> Callable[[DeclaredWork], DeclaredWork]:
        """Declare the decorated function as this app's function `id`.

        An `async def` function runs on the worker's event loop and gets an `ActiveRun`. It must not block, or it
        stalls the worker's other runs. A plain function may block: it runs in a thread and gets a `SyncRun`.

        A run that raises is retried at most `retries` times, after a growing pause; see also `Discard` and
        `RetryAfter`. `concurrency` limits how many runs of this function execute at once, over all workers; the
        database enforces it exactly. (The worker's own `concurrency` limits how many runs of any function it takes.)
        `cancel_on` holds up to five declarations of events that cancel its runs.

        An attempt that takes longer than `timeout` is interrupted, and fails. A cancelled run that reaches no step
        within the worker's `grace` is interrupted too, unless `interruptible` is false. To interrupt is to cancel the
        asyncio task. A thread cannot be interrupted: a plain function stops at its next step.

        When a worker with this function starts, the declaration applies to all workers, until a worker with a
        different declaration starts. The decorated function itself is unchanged. Raises `UsageError` for a
        declaration that could not work.
        """

        def declare(work: DeclaredWork) -> DeclaredWork:
            self._check(id, work, triggers, retries, concurrency, timeout)
            self._functions[id] = Function(
                app_id=self.id,
                id=id,
                work=work,
                triggers=tuple(triggers),
                max_attempts=retries + 1,
                concurrency=concurrency,
                cancel_on=checked(f"{self.id} / {id}", cancel_on),
                timeout=timeout,
                interruptible=interruptible,
            )
            return work

        return declare

    def _check(
        self,
        id: str,
        work: Work,
        triggers: Sequence[str],
        retries: int,
        concurrency: int | None,
        timeout: timedelta | None,
    ) -> None:
        name = f"{self.id} / {id}"
        if not id:
            raise UsageError(f"a function of app {self.id} has no id")
        if problem := problem_of_name(id):
            raise UsageError(f"a function id of app {self.id} {problem}")
        if id in self._functions:
            raise UsageError(f"{name} is declared twice")
        if not isinstance(triggers, list | tuple | set | frozenset):
            example = triggers if isinstance(triggers, str) else "vendor/sync"
            raise UsageError(f"{name}: triggers must be a list of event names, as in triggers=[{example!r}]")
        if len(triggers) > MOST_TRIGGERS:
            raise UsageError(f"{name}: triggers must have at most {MOST_TRIGGERS} names, not {len(triggers)}")
        for trigger in triggers:
            if problem := problem_of_name(trigger):
                raise UsageError(f"{name}: triggers: an event name {problem}")
        if isinstance(retries, int) and retries < 0:
            raise UsageError(f"{name}: retries must not be negative")
        if problem := problem_of_number(retries, 0, MOST_AT_ONCE - 1):
            raise UsageError(f"{name}: retries {problem}")
        if isinstance(concurrency, int) and concurrency < 1:
            raise UsageError(f"{name}: concurrency must be at least 1")
        if problem := optional(problem_of_number(concurrency, 1, MOST_AT_ONCE), concurrency):
            raise UsageError(f"{name}: concurrency {problem}; leave it out for no limit")
        if timeout is not None and not (isinstance(timeout, timedelta) and timedelta(0) < timeout <= LONGEST_TIMEOUT):
            raise UsageError(f"{name}: timeout must be a timedelta above zero and at most a year, not {timeout!r}")
        label = getattr(work, "__qualname__", repr(work))
        if not callable(work):
            raise UsageError(f"{name}: {label} is not a function")
        if _is(work, inspect.isgeneratorfunction) or _is(work, inspect.isasyncgenfunction):
            raise UsageError(f"{name}: {label} is a generator, which would never run; remove its `yield`")


def _is(work: Work, kind: Callable[[Callable[..., object]], bool]) -> bool:
    """Whether calling it gives a coroutine; also works for callable objects."""
    return any(kind(cast("Callable[..., object]", one)) for one in (work, getattr(work, "__call__", None)))  # noqa: B004
