"""Apps and their functions, declared as decorated coroutines; what a worker runs.

    app = App("billing")

    @app.function(id="vendor-syncs", triggers=["vendor/sync"], retries=3)
    async def vendor_syncs(run: ActiveRun) -> None:
        vendor = await run.step("fetch", fetch_vendor, run.event["data"]["vendor_id"])
        await run.step("store", store, vendor)

Nothing here touches a database, so that functions can be tested by calling them with an `ActiveRun`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast, overload
from uuid import UUID

from secateur.errors import UsageError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class RunCancelled(BaseException):
    """The run must stop: raised by `step` instead of beginning the next one.

    Not an `Exception`, so that a function's own `except Exception` cannot mistake it for a failure. Clean up
    in `finally`; whoever catches it and goes on meets it again at the next step.
    """


Begin: TypeAlias = Callable[[str], Awaitable[bool]]
"""Asks the queue whether the step of that name may begin."""


async def _always(step: str) -> bool:
    return True


@dataclass(slots=True)
class ActiveRun:
    """One attempt at a run, as its function sees it."""

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
    begin: Begin = field(default=_always, repr=False)
    must_stop: bool = False
    """The worker has heard that the run was cancelled, or is not its own any more: long steps may look here and
    end early. The next step decides."""

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
        """Run `work` as a step, unless the run must stop: then raise `RunCancelled` instead.

        The step begins when the database grants it, so that no step begins after a matching cancellation was
        committed. A plain callable runs on the event loop and should be quick; give slow ones to
        `asyncio.to_thread`.
        """
        if not await self.begin(name):
            raise RunCancelled(f"{self} must stop before its step {name!r}")
        result = work(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def __str__(self) -> str:
        return f"{self.app_id} / {self.function_id} {self.id}"


Work: TypeAlias = Callable[[ActiveRun], Awaitable[object]]
DeclaredWork = TypeVar("DeclaredWork", bound=Work)


@dataclass(frozen=True, slots=True)
class Function:
    """A function as declared."""

    app_id: str
    id: str
    work: Work
    triggers: tuple[str, ...]
    """Names of the events that start a run of it."""
    max_attempts: int
    concurrency: int | None
    """How many runs of it one worker has at a time; None: as many as the worker takes."""


class App:
    """A named group of functions. Many workers may serve one app, and one worker many apps."""

    def __init__(self, app_id: str) -> None:
        if not app_id:
            raise UsageError("an app needs an id, as in App('billing')")
        self.id = app_id
        self._functions: dict[str, Function] = {}

    @property
    def functions(self) -> Mapping[str, Function]:
        """By id."""
        return MappingProxyType(self._functions)

    def function(
        self, *, id: str, triggers: Sequence[str] = (), retries: int = 3, concurrency: int | None = None
    ) -> Callable[[DeclaredWork], DeclaredWork]:
        """Declare the decorated coroutine function as this app's function `id`.

        A run that raises is tried again after a growing pause, `retries` times at most. The function itself
        is left as it is. Raises `UsageError` for a declaration that could not work.
        """

        def declare(work: DeclaredWork) -> DeclaredWork:
            self._functions[id] = self._checked(
                Function(self.id, id, work, tuple(triggers), retries + 1, concurrency), triggers
            )
            return work

        return declare

    def _checked(self, function: Function, triggers: Sequence[str]) -> Function:
        name = f"{self.id} / {function.id}"
        if not function.id:
            raise UsageError(f"a function of {self.id} has no id")
        if function.id in self._functions:
            raise UsageError(f"{name} is declared twice")
        if isinstance(triggers, str):
            raise UsageError(f"{name}: triggers is a list of event names, as in triggers=[{triggers!r}]")
        if function.max_attempts < 1:
            raise UsageError(f"{name}: retries cannot be negative")
        if function.concurrency is not None and function.concurrency < 1:
            raise UsageError(f"{name}: concurrency must be at least 1")
        work = cast("Callable[..., object]", function.work)
        if not inspect.iscoroutinefunction(work) and not inspect.iscoroutinefunction(
            getattr(work, "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine will do
        ):
            label = getattr(work, "__qualname__", repr(work))
            raise UsageError(f"{name}: {label} is not a coroutine function; declare it with `async def`")
        return function
