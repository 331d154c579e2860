"""A worker's attempts, from the claim until the queue knows how they ended, and the tasks that perform them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from secateur.engines.native.attempts import Attempt
from secateur.engines.native.claims import Claim, Claims
from secateur.engines.native.containment import LoopTurns
from secateur.engines.native.heartbeats import Heartbeats
from secateur.engines.native.observing import AttemptEnd, Observer

_MISSING = object()

LONGEST_TURN = 0.01
"""After this many seconds, a task that has not waited yields to other tasks."""


class Performance:
    """The attempts that a worker holds.

    A task performs one attempt after the other as long as each returns without having waited, and leaves no trace in
    the task's context. So each attempt that waits for something has its own task, and attempts that never wait share
    one. Their ends are reported together, and no task waits for the answer.

    `on_change` is called when a slot or a claim has become free, `on_room` with the app when a run of a function
    with a limit has ended.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        claims: Claims,
        worker: str,
        executor: Executor,
        heartbeats: Heartbeats,
        observer: Observer,
        *,
        on_change: Callable[[], None],
        on_room: Callable[[str], None],
    ) -> None:
        self.held: dict[UUID, Attempt] = {}
        """The attempts, by their tokens."""
        self.busy = 0
        """How many of them are still executing; the others have ended, but that is not yet reported to the queue."""
        self._group = group
        self._claims = claims
        self._worker = worker
        self._executor = executor
        self._heartbeats = heartbeats
        self._observer = observer
        self._on_change = on_change
        self._on_room = on_room
        self._waiting: deque[Attempt] = deque()
        """Attempts that no task has begun."""
        self._coming = 0
        """Tasks that are about to begin an attempt."""
        self._context = copy_context()
        """The context that each task begins with."""
        self._turns_are_counted = LoopTurns.are_counted(asyncio.get_running_loop())

    def begin(self, claims: Sequence[Claim]) -> None:
        self._heartbeats.hold(claims)
        for claim in claims:
            attempt = Attempt(self._claims, claim, self._worker, self._executor, self._freed)
            self.held[claim.token] = attempt
            self._waiting.append(attempt)
        self.busy += len(claims)
        self._send_for(1)

    def _send_for(self, tasks: int) -> None:
        for _ in range(min(tasks, len(self._waiting) - self._coming)):
            self._coming += 1
            self._group.create_task(self._perform_some(), context=self._context.copy())

    async def _perform_some(self) -> None:
        self._coming -= 1
        begun_at, sent = time.monotonic(), False
        while self._waiting:
            attempt, turn = self._waiting.popleft(), LoopTurns.number
            if not sent:
                # If this attempt has to wait, other tasks take the rest: two tasks, then four, then eight.
                self._send_for(2)
                sent = True
            await self._perform(attempt, turn)
            spoiled = not self._is_still(turn) or not _are_same(copy_context(), self._context)
            if spoiled or time.monotonic() - begun_at > LONGEST_TURN:
                break
        self._send_for(1)

    def _is_still(self, turn: int) -> bool:
        """Whether this is still that turn of the event loop, so nobody has waited since."""
        return self._turns_are_counted and LoopTurns.number == turn

    async def _perform(self, attempt: Attempt, turn: int) -> None:
        report = _Report(self, attempt, time.monotonic())
        attempt.task = asyncio.current_task()
        self._observer.began(attempt.claim.app_id)
        try:
            end = await attempt.perform(partial(self._is_still, turn))
        except BaseException:
            self.let_go(report, AttemptEnd.STOPPED)
            raise
        if end is not None:
            self.let_go(report, end)
        else:
            attempt.task = None
            self._claims.complete_soon(attempt.claim, report)

    def _freed(self) -> None:
        self.busy -= 1
        self._on_change()

    def let_go(self, report: _Report, end: AttemptEnd) -> None:
        """The queue knows how the attempt has ended, or will not be told."""
        claim = report.attempt.claim
        self._observer.ended(claim.app_id, claim.function.id, end, time.monotonic() - report.began_at)
        del self.held[claim.token]
        self._heartbeats.let_go(claim)
        self._on_change()
        if claim.function.concurrency is not None:
            self._on_room(claim.app_id)

    def give_up(self, error: BaseException) -> None:
        """Ends the worker: the queue has refused a report."""

        async def fail() -> None:
            raise error

        self._group.create_task(fail())


@dataclass(slots=True)
class _Report:
    """Takes the queue's answer in place of a task."""

    performance: Performance
    attempt: Attempt
    began_at: float

    def done(self) -> bool:
        return False

    def set_result(self, done: bool, /) -> None:
        self.performance.let_go(self, self.attempt.completed(done))

    def set_exception(self, error: BaseException, /) -> None:
        self.performance.let_go(self, AttemptEnd.STOPPED)
        self.performance.give_up(error)

    def cancel(self) -> None:
        """The worker has ended, and holds nothing any more."""


def _are_same(one: Context, other: Context) -> bool:
    """Whether both have the same variables with the very same values, which need not be comparable."""
    return len(one) == len(other) and all(other.get(variable, _MISSING) is value for variable, value in one.items())
