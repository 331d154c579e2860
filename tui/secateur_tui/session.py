"""What all screens of a console share: the database's services, the author, and the live figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID

from secateur.errors import SecateurError, UsageError
from secateur.ledger.steps import Activity
from secateur.looking.aftermath import Aftermath
from secateur.looking.timed_counting import within
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.runs import FunctionDepth
from secateur.words.lines import one_line
from secateur_tui.drafts import Drafts
from secateur_tui.expressions import Expressions

if TYPE_CHECKING:
    from secateur.ledger.proposals import Proposals

Result = TypeVar("Result")

RIGHTS_SECONDS = 2.0
"""How long the first screen may wait to learn what this session may do."""

_PATIENCE_SECONDS = 3.0
"""How much older than the refresh interval figures may be before they count as stale."""


AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 1.0, 30.0
"""Seconds from a failed query to the next attempt: twice as long each time, up to the longest."""

_FAILURE_COST = 4
"""After a query that took long to fail, such as a timeout, the pause is at least this many times as long."""

_LOOK_COST = 20
"""Repeated queries pause this many times as long as the last one took, so they use a twentieth of the time."""

AFTERMATH_SECONDS = 2.0
"""The minimum number of seconds between two looks at what came of a commit."""


def why_none(error: SecateurError) -> str:
    """Why there is no answer, or none yet, on one line."""
    return one_line(str(error)) + ("" if isinstance(error, UsageError) else "; trying again")


def pause_after(took: float, least: float) -> float:
    """Seconds until the next query, after one that took this long: `least`, or more if queries are slow."""
    return max(least, _LOOK_COST * took)


class Attempts:
    """How long to wait before a failed query is repeated: longer each time, until there is an answer."""

    def __init__(self) -> None:
        self._next = AGAIN_SECONDS

    def answered(self) -> None:
        self._next = AGAIN_SECONDS

    def failed(self, took: float) -> float:
        """Seconds until the next attempt, after one that took this long."""
        rest, self._next = self._next, min(2 * self._next, LONGEST_AGAIN_SECONDS)
        return max(rest, _FAILURE_COST * took)


@dataclass(frozen=True, slots=True)
class Feed:
    """The newest depth, and whether the database has answered since."""

    depths: tuple[FunctionDepth, ...] = ()
    as_of: datetime | None = None
    """The database's time at the newest depth; None before the first."""
    taken: float = 0.0
    """`time.monotonic()` when it arrived."""
    activity: Activity = Activity()  # noqa: RUF009 - it is immutable
    """The active cancellations, and those whose sweeps fail."""
    every: float = 1.0
    """Seconds between refreshes: more while the terminal does not have the focus."""
    problem: SecateurError | None = None
    """Why the newest query failed; None while all is well."""
    aftermath: Aftermath | None = None
    """What came of this console's newest cancellation; None before the first one, and again some time after it."""

    @property
    def age(self) -> float:
        """Seconds since the figures arrived."""
        return time.monotonic() - self.taken

    @property
    def is_stale(self) -> bool:
        """Whether the figures are older than the refresh interval explains."""
        return self.as_of is not None and self.age > self.every + _PATIENCE_SECONDS

    def now(self) -> datetime:
        """The database's clock, carried forward by ours; our own clock before the first answer."""
        if self.as_of is None:
            return datetime.now(UTC)
        return self.as_of + timedelta(seconds=self.age)


Commit = tuple[UUID, ...]
"""The cancellations of one commit, one for each of its functions."""


def _without(commits: Iterable[Commit], taken: Commit) -> list[Commit]:
    """The commits without the given cancellations."""
    left = (tuple(each for each in commit if each not in taken) for commit in commits)
    return [commit for commit in left if commit]


@dataclass(slots=True)
class Journal:
    """What this console committed and undid, for undo and redo."""

    done: list[Commit] = field(default_factory=list)
    """Cancellations, retries included, that can be undone next; the newest is last."""
    undone: list[Commit] = field(default_factory=list)
    """Commits that were undone since the last commit, and can be committed again; the newest is last."""
    newest: Commit = ()
    """The one that was last committed or undone; empty before there is one."""

    def committed(self, commit: Commit, *, again: Commit = ()) -> None:
        """`again` is the undone commit that this one repeats; any other commit leaves nothing to redo."""
        self.undone[:] = [each for each in self.undone if each != again] if again else []
        self.done.append(commit)
        self.newest = commit

    def took_back(self, commit: Commit) -> None:
        """Also another user's cancellation, which can then be redone here, or a part of one of our commits."""
        self.done[:] = _without(self.done, commit)
        self.undone[:] = [*_without(self.undone, commit), commit]
        self.newest = commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The services and settings that the screens use; created by whoever starts the console."""

    database: Database
    """Read-only if the console is; it belongs to the caller, who closes it afterwards."""
    queue: OpenQueue
    author: str
    read_only: bool = False
    only_reads: str = ""
    """Why the session is read-only although nobody asked for that, such as `role viewer`."""
    context: str | None = None
    production: bool = True
    """The context deserves a warning colour."""
    budget: int | None = None
    """The context's budget: how many runs may be cancelled without another login."""
    zone: tzinfo = UTC
    """The time zone of local times."""
    refresh_seconds: float = 1.0
    query_timeout_seconds: float = 10.0
    confirm_above: int = 100
    """A cancellation of more runs than this needs a typed confirmation."""
    expressions: Expressions = field(default_factory=Expressions)
    """Filters that were used or saved before."""
    journal: Journal = field(default_factory=Journal)
    drafts: Drafts = field(default_factory=Drafts)

    @property
    def where(self) -> str:
        """Host and database, for the header."""
        return self.database.description

    @property
    def proposals(self) -> Proposals:
        from secateur.ledger.proposals import Proposals  # none of the first screen's

        return Proposals(self.database, self.queue.cancellations, self.budget)

    async def ask(self, question: Awaitable[Result], *, seconds: float | None = None) -> Result:
        """The answer, or `QueryTimeout`; cancelling the task cancels the query in the database."""
        return await within(seconds or self.query_timeout_seconds, question)

    async def ask_until_answered(
        self,
        question: Callable[[], Awaitable[Result]],
        failed: Callable[[SecateurError], None] = lambda error: None,
        *,
        seconds: float | None = None,
    ) -> Result:
        """The answer. The query is repeated as long as the database fails or takes too long; `failed` gets the reason.
        A mistake in the query itself does not pass, so then there is never an answer.
        """
        attempts = Attempts()
        while True:
            began = time.monotonic()
            try:
                return await self.ask(question(), seconds=seconds)
            except SecateurError as error:
                failed(error)
                if isinstance(error, UsageError):
                    await asyncio.Event().wait()
            await asyncio.sleep(attempts.failed(time.monotonic() - began))


class Contexts(Protocol):
    """The databases that the configuration names, for a console that goes from one to another."""

    @property
    def known(self) -> Mapping[str, str]:
        """Each name, with a description: `production · pg-3/billing`."""
        ...

    async def open(self, name: str) -> Session:
        """Connect to it. Raises `SecateurError`; nothing is open then."""
        ...

    async def close(self, session: Session) -> None:
        """Close what `open` or the start opened."""
        ...


async def as_allowed(session: Session) -> Session:
    """The session, read-only if its role or its database allows nothing else. Unchanged if that cannot be
    determined."""
    if session.read_only:
        return session
    try:
        why = await session.ask(session.queue.cancellations.only_reads(), seconds=RIGHTS_SECONDS)
    except SecateurError:
        return session
    return session if why is None else replace(session, read_only=True, only_reads=why)
