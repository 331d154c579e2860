"""Apps and their functions, declared as decorated coroutines; what a worker runs.

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

A step that has finished is not taken again: should `store` fail, or the worker die in it, the next attempt gets
what `fetch` returned from the queue, and goes on with `store`. At most 20 of these runs run at once, on however
many workers. A run stops before its next step when an event `vendor/removed` arrives with the same
`data.vendor_id`, and is not begun at all if it still waits; see `secateur.cancel_on`.

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

from secateur.cancel_on import CancelOn, checked
from secateur.errors import UsageError
from secateur.steps import StepNames, Steps, kept_json, read_kept

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class RunCancelled(BaseException):
    """The run must stop: raised by `step` instead of beginning the next one.

    Not an `Exception`, so that a function's own `except Exception` cannot mistake it for a failure. Clean up
    in `finally`; whoever catches it and goes on meets it again at the next step.
    """


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
    steps: Steps = field(default_factory=Steps, repr=False)
    """What the queue knows of its steps."""
    must_stop: bool = False
    """The worker has heard that the run was cancelled, or is not its own any more: long steps may look here and
    end early. The next step decides."""
    _names: StepNames = field(default_factory=StepNames, repr=False)

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

        A plain callable runs on the event loop and should be quick; give slow ones to `asyncio.to_thread`.
        """
        name = self._names.distinct(name)
        if (kept := self.steps.finished.get(name)) is not None:
            return read_kept(kept)
        if not await self.steps.begin(name):
            raise RunCancelled(f"{self} must stop before its step {name!r}")
        returned = work(*args, **kwargs)
        result = kept_json(await returned if inspect.isawaitable(returned) else returned, f"step {name!r} of {self}")
        if not await self.steps.finish(name, result):
            raise RunCancelled(f"{self} was taken from this worker while its step {name!r} ran")
        return read_kept(result)

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
    triggers: tuple[str, ...] = ()
    """Names of the events that start a run of it."""
    max_attempts: int = 4
    concurrency: int | None = None
    """How many runs of it run at a time, over all workers; None: as many as the workers take."""
    cancel_on: tuple[CancelOn, ...] = ()
    """Events that cancel its runs."""


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
        self,
        *,
        id: str,
        triggers: Sequence[str] = (),
        retries: int = 3,
        concurrency: int | None = None,
        cancel_on: Sequence[CancelOn] = (),
    ) -> Callable[[DeclaredWork], DeclaredWork]:
        """Declare the decorated coroutine function as this app's function `id`.

        A run that raises is tried again after a growing pause, `retries` times at most. `concurrency` is how many
        of its runs may run at once, over all workers: the database keeps it to the run. (How many runs of whatever
        function one worker takes is the worker's own `concurrency`.) `cancel_on` are up to five declarations of
        events that cancel its runs.

        What is declared holds from the start of a worker that has it, for all workers, until another one starts
        with another declaration. The function itself is left as it is. Raises `UsageError` for a declaration that
        could not work.
        """

        def declare(work: DeclaredWork) -> DeclaredWork:
            self._check(id, work, triggers, retries, concurrency)
            self._functions[id] = Function(
                app_id=self.id,
                id=id,
                work=work,
                triggers=tuple(triggers),
                max_attempts=retries + 1,
                concurrency=concurrency,
                cancel_on=checked(f"{self.id} / {id}", cancel_on),
            )
            return work

        return declare

    def _check(self, id: str, work: Work, triggers: Sequence[str], retries: int, concurrency: int | None) -> None:
        name = f"{self.id} / {id}"
        if not id:
            raise UsageError(f"a function of {self.id} has no id")
        if id in self._functions:
            raise UsageError(f"{name} is declared twice")
        if isinstance(triggers, str):
            raise UsageError(f"{name}: triggers is a list of event names, as in triggers=[{triggers!r}]")
        if retries < 0:
            raise UsageError(f"{name}: retries cannot be negative")
        if concurrency is not None and concurrency < 1:
            raise UsageError(f"{name}: concurrency must be at least 1")
        callable_ = cast("Callable[..., object]", work)
        if not inspect.iscoroutinefunction(callable_) and not inspect.iscoroutinefunction(
            getattr(callable_, "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine will do
        ):
            label = getattr(callable_, "__qualname__", repr(callable_))
            raise UsageError(f"{name}: {label} is not a coroutine function; declare it with `async def`")
