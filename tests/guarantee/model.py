"""What the queue means, in plain Python: no SQL, no locks, no batches, no clock.

The database may take its time over what nobody waits for: a sweep, a restore, a lease that ended. So the model knows
what each run is, and `observe` what it may have become since; it refuses everything else. What must have happened after
an operation, the operation's own method demands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

BACKLOG = ("queued", "scheduled")
UNFINISHED = (*BACKLOG, "running")


class Differs(AssertionError):
    """The database did what the model does not allow."""


def demand(holds: object, words: str) -> None:
    if not holds:
        raise Differs(words)


CONDITIONS: dict[str | None, Callable[[Mapping[str, Any], int], bool]] = {
    None: lambda data, priority: True,
    "event.data.vendor == 'a'": lambda data, priority: data["vendor"] == "a",
    "event.data.vendor in ['a', 'b']": lambda data, priority: data["vendor"] in ("a", "b"),
    "event.data.vendor != 'a'": lambda data, priority: data["vendor"] != "a",
    "event.data.n > 1": lambda data, priority: data["n"] > 1,
    "has(event.data.n) && event.data.n == 0": lambda data, priority: "n" in data and data["n"] == 0,
    "!has(event.data.n) || event.data.n > 2": lambda data, priority: "n" not in data or data["n"] > 2,
    "run.priority >= 1": lambda data, priority: priority >= 1,
    "event.data.vendor == 'b' && run.priority < 1": lambda data, priority: data["vendor"] == "b" and priority < 1,
}
"""Sources, and the same by hand; a missing key is an error, which never matches."""


@dataclass
class Run:
    id: UUID
    order: int
    """In which it entered."""
    function: str
    data: Mapping[str, Any]
    priority: int
    started_at: datetime
    scheduled_for: datetime | None
    status: str
    due: bool = False
    """Of a scheduled run: its time has come."""
    attempt: int = 0
    token: UUID | None = None
    last_token: UUID | None = None
    """The one of the claim that it came back from when the lease ended, until it is claimed again."""
    interruptions: int = 0
    lapsed: bool = False
    """Its lease has ended."""
    owner: Cancellation | None = None
    before: str | None = None
    """What it was when it was cancelled."""
    aged: bool = False
    """It ended well or badly, and so long ago that it is pruned."""


@dataclass
class Request:
    """A running run that is asked to stop."""

    run: Run
    token: UUID
    by: Cancellation
    outcome: str | None = None


@dataclass
class Cancellation:
    id: UUID
    serial: int
    function: str | None
    source: str | None
    after: datetime | None
    before: datetime
    """Both exclusive."""
    run_id: UUID | None = None
    """Of a cancellation of one run."""
    standing: bool = False
    state: str = "active"
    requeue_stopped: bool = False
    restored: bool = False
    """The restore is over."""
    aged: bool = False
    """It ended so long ago that it cannot be undone."""
    restore_aged: bool = False
    """Its restore ended so long ago that what did not come back is pruned."""
    tallies: dict[str, int] = field(default_factory=lambda: {"restored": 0, "handed_over": 0, "pruned": 0})

    def means(self, run: Run) -> bool:
        if self.run_id is not None:
            return run.id == self.run_id
        if self.function not in (None, run.function):
            return False
        if not run.started_at < self.before or (self.after is not None and not run.started_at > self.after):
            return False
        try:
            return CONDITIONS[self.source](run.data, run.priority)
        except KeyError:
            return False


class Model:
    def __init__(self, max_attempts: Mapping[str, int]) -> None:
        self.max_attempts = max_attempts
        self.runs: dict[UUID, Run] = {}
        self.cancellations: list[Cancellation] = []
        self.requests: list[Request] = []
        self.paused: set[str | None] = set()
        """Functions, and None for the whole app."""
        self.limits: dict[str, int] = {}
        """How many runs of a function may run at once."""

    def owner_of(self, run: Run) -> Cancellation | None:
        """The oldest active cancellation that reaches it."""
        return next((one for one in self.cancellations if one.state == "active" and one.means(run)), None)

    def open_requests(self, run: Run) -> list[Request]:
        """Oldest commit first."""
        found = [one for one in self.requests if one.run is run and one.token == run.token and one.outcome is None]
        return sorted(found, key=lambda one: one.by.serial)

    # What somebody asks for.

    def enqueue(self, run: Run) -> None:
        self.runs[run.id] = run

    def claimable(self, functions: Iterable[str]) -> dict[str, list[Run]]:
        """By function, in the order in which they are due to be claimed."""
        found: dict[str, list[Run]] = {}
        for function in functions:
            if function in self.paused or None in self.paused:
                continue
            runs = [run for run in self.runs.values() if run.function == function and self._claimable(run)]
            found[function] = sorted(runs, key=lambda run: (-run.priority, run.started_at, run.order))
        return found

    def _room(self, function: str) -> int:
        """How many more of its runs may run, once those with an ended lease are taken back."""
        if function not in self.limits:
            return len(self.runs)
        running = [run for run in self.runs.values() if run.function == function and run.status == "running"]
        return max(0, self.limits[function] - sum(not run.lapsed for run in running))

    def _claimable(self, run: Run) -> bool:
        waits = run.status == "queued" or (run.status == "scheduled" and run.due)
        comes_back = run.status == "running" and run.lapsed and not self.open_requests(run) and not self._spent(run)
        return (waits or comes_back) and self.owner_of(run) is None

    def _spent(self, run: Run) -> bool:
        return run.attempt >= self.max_attempts[run.function]

    def claim(self, functions: Iterable[str], most: int, claimed: Mapping[UUID, UUID], more: bool) -> None:
        """`claimed`: tokens by run, as they were granted."""
        claimable = self.claimable(functions)
        for id in claimed:
            run = self.runs[id]
            demand(
                any(run in runs for runs in claimable.values()),
                f"claimed {run}, which {self.owner_of(run) or 'nobody'} cancels",
            )
        for function, runs in claimable.items():
            taken = [run for run in runs if run.id in claimed]
            demand(len(taken) <= self._room(function), f"{len(taken)} more of {function} run than may")
            demand(taken == runs[: len(taken)], f"of {function} not the first were claimed: {taken} of {runs}")
        most = min(most, sum(min(len(runs), self._room(function)) for function, runs in claimable.items()))
        demand(len(claimed) <= most, f"claimed {len(claimed)} of {most}")
        demand(more or len(claimed) == most, f"claimed {len(claimed)} of {most}: {claimable}")
        for id, token in claimed.items():
            run = self.runs[id]
            run.status, run.token, run.lapsed, run.due = "running", token, False, False
            run.last_token = None
            run.attempt += 1

    def begin_step(self, run: Run, token: UUID) -> bool:
        if not self._holds(run, token):
            return False
        return not self._stopped(run)

    def complete(self, run: Run, token: UUID) -> bool:
        """Repeatable; and also when the lease had ended, as long as nobody has begun it again."""
        if (run.last_token or run.token) == token and run.status == "completed":
            return True
        if run.last_token == token and run.status in ("queued", "failed"):
            self._leave(run, "completed")
            run.aged = False
            return True
        if not self._holds(run, token):
            return False
        self._close(run, "finished_first")
        self._leave(run, "completed")
        return True

    def fail(self, run: Run, token: UUID) -> str | None:
        if not self._holds(run, token):
            return None
        if self._spent(run):
            self._close(run, "finished_first")
            self._leave(run, "failed")
        elif not self._stopped(run):
            self._leave(run, "scheduled")
        return run.status

    def release(self, run: Run, token: UUID) -> int:
        if not self._holds(run, token):
            return 0
        if not self._stopped(run):
            self._leave(run, "queued")
            run.attempt -= 1
        return 1

    def interrupt(self, run: Run, token: UUID) -> str | None:
        if self._holds(run, token) and run.interruptions >= 10:
            return self.fail(run, token)
        if not self.release(run, token):
            return None
        run.interruptions += 1
        return run.status

    def _leave(self, run: Run, status: str) -> None:
        """It does not run any more; only one that ended keeps its token."""
        run.status, run.lapsed, run.due = status, False, False
        run.token = None if status in BACKLOG else run.token

    def _holds(self, run: Run, token: UUID) -> bool:
        return run.status == "running" and run.token == token

    def _stopped(self, run: Run) -> bool:
        """Ends a run that was asked to stop."""
        owner = self._close(run, "cancelled")
        if owner is not None:
            self._leave(run, "cancelled")
            run.before, run.owner = "running", owner
        return owner is not None

    def _close(self, run: Run, outcome: str) -> Cancellation | None:
        """Who asked first has the outcome, the others none."""
        asked = self.open_requests(run)
        for place, request in enumerate(asked):
            request.outcome = outcome if place == 0 else "withdrawn"
        return asked[0].by if asked else None

    def commit(self, cancellation: Cancellation) -> None:
        self.cancellations.append(cancellation)
        self.cancellations.sort(key=lambda one: one.serial)
        for run in self.runs.values():
            if run.status == "running" and run.token is not None and cancellation.means(run):
                self.requests.append(Request(run, run.token, cancellation))

    def cancel_run(self, cancellation: Cancellation, run: Run) -> bool:
        """False: it has ended."""
        if run.status not in UNFINISHED:
            return False
        waited = run.status in BACKLOG
        self.commit(cancellation)
        if waited:
            self._cancel(run, run.status)
            cancellation.state = "complete"
        return True

    def _cancel(self, run: Run, before: str) -> None:
        run.before, run.status, run.owner = before, "cancelled", self.owner_of(run)

    def stop(self, cancellation: Cancellation) -> str:
        if cancellation.state == "active":
            cancellation.state = "stopped"
            self._withdraw(cancellation)
        return cancellation.state

    def undo(self, cancellation: Cancellation, *, requeue_stopped: bool) -> bool:
        """False: too late."""
        if cancellation.state == "undone" and (cancellation.requeue_stopped or not requeue_stopped):
            return True
        if cancellation.aged:
            return False
        cancellation.state, cancellation.restored, cancellation.restore_aged = "undone", False, False
        cancellation.requeue_stopped = requeue_stopped
        self._withdraw(cancellation)
        return True

    def _withdraw(self, cancellation: Cancellation) -> None:
        for request in self.requests:
            if request.by is cancellation and request.outcome is None:
                request.outcome = "withdrawn"

    def completed(self, cancellation: Cancellation) -> None:
        """A sweep says that nothing is left to do; after `observe`."""
        demand(not cancellation.standing, f"{cancellation} is complete, but its window is open")
        cancellation.state = "complete"
        left = [run for run in self.runs.values() if run.status in UNFINISHED and cancellation.means(run)]
        left = [
            run
            for run in left
            if run.status in BACKLOG or any(one.by is cancellation for one in self.open_requests(run))
        ]
        demand(not left, f"{cancellation} is complete, but there are {left}")

    def restored(self, cancellation: Cancellation) -> None:
        """A restore says that it is over; after `observe`."""
        cancellation.restored = True
        left = [run for run in self.runs.values() if run.owner is cancellation and self._comes_back(run)]
        demand(not left, f"{cancellation} was restored, but there are {left}")

    # What the database did meanwhile.

    def observe(self, rows: Mapping[UUID, Mapping[str, Any]]) -> None:
        """`rows` by id, with the columns of the same names, and `cancellation_id` and `cancelled_from`."""
        demand(rows.keys() == self.runs.keys(), f"runs differ: {rows.keys() ^ self.runs.keys()}")
        for id, row in rows.items():
            self._follow(self.runs[id], row)
            self._compare(self.runs[id], row)

    def _follow(self, run: Run, row: Mapping[str, Any]) -> None:
        became = row["status"]
        if run.status == "scheduled" and run.due and became == "queued":
            run.status = "queued"
        elif run.status in BACKLOG and became == "cancelled":
            promoted = run.status == "scheduled" and run.due and row["cancelled_from"] == "queued"
            self._cancel(run, "queued" if promoted else run.status)
        elif run.status == "running" and run.lapsed and became != "running":
            if not self._stopped(run):
                run.last_token = run.token
                self._leave(run, "failed" if self._spent(run) else "queued")
            if run.status == "queued" and became == "cancelled":
                self._follow(run, row)
        elif run.status == "cancelled" and run.owner is not None and row["cancellation_id"] != run.owner.id:
            demand(run.owner.state == "undone", f"{run} came back from {run.owner}")
            self._restore(run, run.owner)
            if run.status != became:
                self._follow(run, row)

    def _comes_back(self, run: Run) -> bool:
        return run.owner is not None and (
            run.before != "running" or run.owner.requeue_stopped or self._heir(run, run.owner) is not None
        )

    def _heir(self, run: Run, undone: Cancellation) -> Cancellation | None:
        return next(
            (
                one
                for one in self.cancellations
                if one is not undone and one.state in ("active", "complete") and one.means(run)
            ),
            None,
        )

    def _restore(self, run: Run, undone: Cancellation) -> None:
        heir = self._heir(run, undone)
        if heir is not None:
            run.owner = heir
            undone.tallies["handed_over"] += 1
            return
        demand(self._comes_back(run), f"{run} was running when it was cancelled, and nobody asked for it")
        run.token = None if run.before == "running" else run.token
        run.status = "queued" if run.before == "running" else run.before or ""
        run.owner = run.before = None
        undone.tallies["restored"] += 1

    def _compare(self, run: Run, row: Mapping[str, Any]) -> None:
        mine = {
            "status": run.status,
            "function_id": run.function,
            "attempt": run.attempt,
            "priority": run.priority,
            "started_at": run.started_at,
            "cancellation_id": run.owner.id if run.owner else None,
            "cancelled_from": run.before,
        }
        if run.status == "scheduled":
            mine["scheduled_for"] = run.scheduled_for
        if run.status == "running":
            mine["claim_token"] = run.token
        theirs = {name: row[name] for name in mine}
        demand(mine == theirs, f"run {run.order}: the model has {mine}, the database {theirs}")

    # What can be counted.

    def depth(self) -> dict[str, tuple[int, int, int]]:
        """Queued, scheduled and running of each function that has any."""
        found = {}
        for function in self.max_attempts:
            counts = tuple(
                sum(run.function == function and run.status == status for run in self.runs.values())
                for status in ("queued", "scheduled", "running")
            )
            if any(counts):
                found[function] = counts
        return found  # type: ignore[return-value]

    def tally(self, cancellation: Cancellation) -> dict[str, int]:
        """`cancelled` is what it holds now."""
        outcomes = [request.outcome for request in self.requests if request.by is cancellation]
        return {
            "cancelled": sum(run.owner is cancellation for run in self.runs.values()),
            "requested": len(outcomes),
            "stopped": outcomes.count("cancelled"),
            "finished_first": outcomes.count("finished_first"),
            "withdrawn": outcomes.count("withdrawn"),
            **cancellation.tallies,
        }

    # Time.

    def age(self) -> None:
        """Everything that has ended did so long ago."""
        for cancellation in self.cancellations:
            cancellation.aged = cancellation.aged or cancellation.state != "active"
            cancellation.restore_aged = cancellation.restored
        for run in self.runs.values():
            run.aged = run.status in ("completed", "failed")

    def prunable(self) -> set[UUID]:
        return {run.id for run in self.runs.values() if run.aged or (run.owner is not None and self._over(run.owner))}

    def _over(self, cancellation: Cancellation) -> bool:
        return cancellation.restore_aged if cancellation.state == "undone" else cancellation.aged

    def pruned(self, left: Iterable[UUID]) -> None:
        """`left`: the runs that are still there."""
        gone = self.runs.keys() - set(left)
        demand(gone == self.prunable(), f"pruned {gone}, not {self.prunable()}")
        for id in gone:
            run = self.runs.pop(id)
            run.token = run.last_token = None  # whoever asks for it again is not known any more
            if run.owner is not None:
                run.owner.tallies["pruned"] += 1
