"""What a job queue is, and what it can do beyond that.

An engine is one queue in one database. It implements `Source`: what is in the queue. Everything else is a capability,
a protocol of its own, and an engine has it by implementing it: services ask `isinstance(engine, Pausing)`, and nobody
asks for an engine by its name. Cancellations and their records are no engine's: see `secateur.ledger`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable
from uuid import UUID

from secateur.engines.populations import Arrivals, Population, Tally
from secateur.engines.searching import RunPage, RunSearch
from secateur.errors import Unsupported
from secateur.runs import UNFINISHED, Count, FunctionDepth, Histogram, Paused, Run, RunStatus, Scope, Window
from secateur.samples import Backlogs, Mark, Sample, SampleGap, SampleSteps

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.cel.words import QueueWords
    from secateur.traces import RunTrace

RATE_SECONDS = 10.0
"""The span that rates are averaged over."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a request means: scope, window and, compiled, its `if`."""

    scope: Scope
    window: Window
    filter: Filter | None = None
    """None selects every run of scope and window."""
    now: datetime | None = None
    """The value of `now` in the expression; None takes the database's clock."""
    statuses: tuple[RunStatus, ...] = UNFINISHED
    """`UNFINISHED`, or ended ones: what a retry means."""


class Verdict(StrEnum):
    """What the expression says of a run."""

    MATCH = "match"
    NO_MATCH = "no_match"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class DepthCheck:
    """What a comparison of the depth's sums with the rows found."""

    counted: int
    """Unfinished runs."""
    drift: int
    """How many of them the sums were off, without regard to the sign, before that was put right."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one batch of pruning did. `more`: ask again, there seem to be others."""

    runs: int
    more: bool


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, and how far ahead they may lie."""

    finished: timedelta
    """Completed and failed runs, after they ended."""
    cancelled: timedelta
    """The runs of a cancellation, after it ended: as long as it can be undone."""
    standing: timedelta
    """How far ahead the window of a standing cancellation may end."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A run that an event started, or a cancellation that it committed, and the function concerned."""

    id: UUID
    app_id: str
    function_id: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What an event set off, in one transaction."""

    runs: tuple[Effect, ...]
    """One of each function that it triggers, sorted by app and function."""
    cancellations: tuple[Effect, ...]
    """One for each cancellation that a function declares for such events, where it concerns a run."""


class Source(Protocol):
    """One job queue in one database, as it is read. Every time is the database's; the ids of runs are text.

    What reads many runs, and says so below, may be answered by a replica: a copy that follows, and is read only.
    """

    name: str
    """As `secateur engines` lists it, such as `native` or `oban:jobs`."""
    first_run: str | None
    """What to type to put a first run into an empty queue; None where that is the application's affair."""

    to_cancel: str | None = None
    """The command after which runs could be cancelled, where they cannot yet; None where nothing is to be done."""
    only_watched: str | None = None
    """That and why nothing is written to it, such as an unknown version; else None. It may have a ledger even so."""

    @property
    def words(self) -> QueueWords:
        """Which fields of a run it has beyond those of all queues, and what its users call things."""
        ...

    def problem_of_run_id(self, run_id: str) -> str | None:
        """Why that cannot be the id of a run, such as `must be a UUID`; None where it can be."""
        ...

    async def detect(self) -> str:
        """The version of the queue in this database.

        Raises `NotInstalled` where there is none, or nothing of what this engine needs beside it, and `DatabaseError`
        for one that it does not know.
        """
        ...

    async def clock(self) -> datetime:
        """The database's time."""
        ...

    async def depth(self) -> list[FunctionDepth]:
        """Every function, sorted by app and function, also those with an empty queue, unless these are forgotten."""
        ...

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        """The exact count, without the errors, which cost more than the matches; by the replica if there is one.

        May be slow; cancelling the task cancels the query in the database.
        """
        ...

    async def count_with_errors(self, selection: Selection, *, on_primary: bool = False) -> Count:
        """The exact count with its errors. All its figures are of one snapshot, so that they fit each other."""
        ...

    async def estimate(self, selection: Selection) -> Count | None:
        """A quick count from a sample, with an interval (`low` to `high`); None where an exact count is as quick.

        By the replica if there is one.
        """
        ...

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        """Up to `limit` unfinished runs of scope and window with that verdict, oldest first; by the replica."""
        ...

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        """The decoded events of about `limit` unfinished runs from all over the scope; fewer if they are large.

        None of a queue whose payloads are not JSON. By the replica if there is one.
        """
        ...

    async def arrival_rate(self, selection: Selection) -> float:
        """Matching runs that arrived per second, averaged over the last ten seconds."""
        ...

    async def run(self, run_id: str) -> Run:
        """Raises `NotFound`, and `RequestError` for what cannot be the id of a run."""
        ...

    async def runs(self, search: RunSearch) -> RunPage:
        """A page of runs, read within bounds and without counting. With a condition, by the replica if there is one.

        Raises `NotFound` for an app or function that is not known, and `RequestError` as `run` does. Cancelling the
        task cancels the query in the database.
        """
        ...


@runtime_checkable
class Streaming(Protocol):
    """Runs can be read one after the other, however many they are."""

    def stream(self, selection: Selection) -> AsyncGenerator[Run, None]:
        """The matching runs of one snapshot, in no order and in little memory; by the replica. Raises `NotFound`."""
        ...


@runtime_checkable
class Gate(Protocol):
    """Claims obey cancellations: once one is in force, no worker starts a run that it matches."""

    gate: ClassVar[str]
    """What keeps matching runs from being claimed, such as `claim function` or `trigger`."""
    starves: ClassVar[bool]
    """Whether a worker that meets a matching run may find nothing else, and wait, until a sweep has been through."""


@runtime_checkable
class Stopping(Protocol):
    """A running run can be asked to stop."""

    stops_at: ClassVar[str]
    """When it does, as the end of “it stops at its …”."""


@runtime_checkable
class Retrying(Protocol):
    """Runs that have ended can be selected, and queued again."""

    retryable: ClassVar[tuple[RunStatus, ...]]


@runtime_checkable
class Pausing(Protocol):
    """Functions and apps can be kept from being claimed for a while."""

    async def pause(self, scope: Scope, author: str, source: str) -> Paused:
        """Claim nothing more of the scope; running runs go on. Repeatable. Raises `LockUnavailable` and as `forget`."""
        ...

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        """Take back the pause of exactly this scope; harmless where there is none. Raises as `pause` does."""
        ...


@runtime_checkable
class Forgetting(Protocol):
    """The queue keeps a list of functions, and one that is no more can be taken off it."""

    async def forget(self, scope: Scope, author: str, source: str) -> list[str]:
        """Leave functions that are no more out of the depth, and start no runs of them for events; their history stays.

        Returns those that were not forgotten before, sorted. They come back by themselves when they get runs, or a
        worker. Raises `Conflict` with what is in the way while runs or cancellations of the scope are unfinished,
        `NotFound`, `LockUnavailable` and `ReadOnly`.
        """
        ...


@runtime_checkable
class Sending(Protocol):
    """Events can be sent to the queue, which start the runs that they trigger."""

    async def send(self, event: object, text: str, *, idempotency_key: str | None = None) -> Sent:
        """Send an event, given as decoded and as the JSON text that is kept: written again, some numbers would change.

        Its runs are started each time, unless a key says that it is the same one. Raises `RequestError` for what
        cannot be an event, `IdempotencyConflict` for another event under the key, and `ReadOnly`.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """It is known how deep the queue was, as long as any of secateur's processes was alive: for 48 hours."""

    async def samples(self, scope: Scope, steps: Sequence[SampleSteps]) -> list[Sample]:
        """The function's, or the whole app's, in the order of their times: of each step the last one, if it has any."""
        ...

    async def samples_of_functions(
        self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None = None
    ) -> dict[Scope, list[Sample]]:
        """Of every function that had or got runs meanwhile, of these apps or all; the steps are ten seconds or more."""
        ...

    async def backlogs_of_functions(
        self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None = None
    ) -> dict[Scope, Backlogs]:
        """The same samples, of the same functions, in columns."""
        ...

    async def gaps(self, app_id: str, since: datetime, until: datetime) -> list[SampleGap]:
        """When nobody was alive to keep samples of the app, in order."""
        ...

    async def marks(self, scope: Scope, since: datetime, until: datetime) -> list[Mark]:
        """What was done to the scope, or to an app or function that has part in it, in order; the last 200."""
        ...


@runtime_checkable
class Charting(Protocol):
    """It can be told quickly how a selection's runs are spread over time."""

    async def histogram(self, selection: Selection, bars: int) -> Histogram | None:
        """The runs of scope and window by start, in so many parts; None where there are none.

        From a sample where the exact figures would take long; by the replica if there is one. Cancelling the task
        cancels the query in the database.
        """
        ...


@runtime_checkable
class Arriving(Protocol):
    """Runs are kept when they have ended, so that what arrived can be compared with what arrives.

    Cancelling the task cancels the query in the database. Raises `NotFound` for an app or function that is not known.
    """

    async def arrival_times(self, population: Population, limit: int) -> list[datetime]:
        """When about `limit` of the runs arrived; sorted."""
        ...

    async def arrivals(self, population: Population, limit: int) -> Arrivals:
        """About `limit` of the runs, with the events as `decode_json` reads them; fewer if these are large."""
        ...

    async def tally(self, population: Population, filters: Sequence[Filter], limit: int) -> Tally:
        """About `limit` of the runs, counted in the database."""
        ...


@runtime_checkable
class Tracing(Protocol):
    """The queue can tell what holds up one of its runs."""

    async def trace(self, run: Run) -> RunTrace:
        """What there is to know of the run now. Raises `NotFound` if it is gone."""
        ...


@runtime_checkable
class Upkeep(Protocol):
    """The queue is kept small, and its figures true, by secateur's processes."""

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        """Sum up to `batch` entries of what depth is read from; how many. 0 if that was done less than `every` ago."""
        ...

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        """Compare what depth is read from with all unfinished runs, and mend it; None if done less than `every` ago."""
        ...

    async def prune(self, batch: int) -> Pruned:
        """Delete up to `batch` runs of each app that were kept for their time."""
        ...

    async def retention(self) -> Retention:
        """How long runs are kept."""
        ...

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        """Change what is given; what holds then. Raises `RequestError` and `ReadOnly`."""
        ...


@runtime_checkable
class Evaluating(Protocol):
    """Conditions may be evaluated in this process, which takes longer than in the database."""

    evaluated: int | None
    """How many runs the count under way has evaluated so far; None while none is."""


@runtime_checkable
class Routing(Protocol):
    """It stands for several queues, each of which can what it can."""

    def source_of(self, app_id: str) -> Source:
        """The queue that has the app."""
        ...


def queue_of(engine: Source, app_id: str) -> Source:
    """The one queue that has the app."""
    return engine.source_of(app_id) if isinstance(engine, Routing) else engine


def unsupported(engine: Source, what: str) -> Unsupported:
    """The error for a capability that the engine lacks; `what` ends “it cannot …”."""
    return Unsupported(f"the queue's engine is {engine.name!r}, which cannot {what}")


def cannot_cancel(engine: Source) -> Unsupported:
    """The error for a queue whose runs cannot be cancelled, with why, or what to do about it."""
    if engine.only_watched is not None:
        return Unsupported(engine.only_watched)
    before = "" if engine.to_cancel is None else f" before `{engine.to_cancel}`"
    return unsupported(engine, f"cancel runs{before}")
