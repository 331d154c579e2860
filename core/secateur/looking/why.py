"""Explains a run's state: what holds it up, which cancellation decided, and which part of its `if`.

`why` collects the facts; `telling.py` puts them into words.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from secateur.cel.authoring.explain import Part, judge
from secateur.engines.base import Routing, Source, Stopping, Tracing, unsupported
from secateur.ledger.ledger import Cancelling
from secateur.ledger.verifying import compiled
from secateur.runs import Run, RunStatus
from secateur.states import Kind, State
from secateur.traces import RunTrace

if TYPE_CHECKING:
    from secateur.records import Cancellation

WAITING = (RunStatus.QUEUED, RunStatus.SCHEDULED)


class Reason(StrEnum):
    """The reason for a run's state; for a waiting run, the first thing that holds it up."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RUNNING = "running"
    STOPPING = "stopping"
    """It runs, and a cancellation has asked it to stop."""
    LOST = "lost"
    """Its lease has expired: no live worker has it."""
    MATCHED = "matched"
    """A cancellation in force matches it: it never starts."""
    UNDECIDED = "undecided"
    """A cancellation does not know yet whether it matches."""
    BACKING_OFF = "backing_off"
    """An attempt failed, and the next is not due yet."""
    SCHEDULED = "scheduled"
    """It is not due yet."""
    PAUSED = "paused"
    LIMITED = "limited"
    """The function already has as many running runs as its limit allows."""
    NO_WORKER = "no_worker"
    """Nothing holds it up, but there seems to be no worker."""
    QUEUED = "queued"
    """It waits for its turn."""


class TouchEffect(StrEnum):
    """How a cancellation or a retry concerns the run."""

    CANCELLED = "cancelled"
    MATCHES = "matches"
    """The run is still in the queue; no worker starts it."""
    ASKED_TO_STOP = "asked_to_stop"
    FINISHED_FIRST = "finished_first"
    """It was asked to stop, but had finished before."""
    WITHDRAWN = "withdrawn"
    """It was asked to stop, but no longer has to."""
    UNDECIDED = "undecided"
    DOES_NOT_MATCH = "does_not_match"
    CANNOT_BE_EVALUATED = "cannot_be_evaluated"
    """So it does not match."""
    OUTSIDE_WINDOW = "outside_window"
    """The run started outside of its window."""
    HANDED_OVER = "handed_over"
    """It was undone, and another cancellation has the run now."""
    RETRIED = "retried"
    """It queued the run again."""
    UNKNOWN = "unknown"
    """Its `if` is not one that this program can evaluate."""


@dataclass(frozen=True, slots=True)
class Touch:
    """A cancellation or a retry that concerns the run."""

    cancellation: Cancellation
    effect: TouchEffect
    decided_by: tuple[Part, ...] = ()
    """The parts of its `if` that decided, each with its own parts."""


@dataclass(frozen=True, slots=True)
class Why:
    """A run with everything that explains its state."""

    run: Run
    trace: RunTrace
    reasons: tuple[Reason, ...]
    """The first thing that holds it up, then the others; only one if it does not wait."""
    touches: tuple[Touch, ...]
    """Newest first."""
    out_per_second: float
    """Runs of the function that complete or fail per second."""
    stops_at: str | None
    """When a running run stops after it was asked to, such as `next step`."""

    @property
    def reason(self) -> Reason:
        return self.reasons[0]

    @property
    def waits(self) -> bool:
        return self.run.status in WAITING

    def touch(self, *effects: TouchEffect) -> Touch | None:
        """The newest with one of these effects."""
        return next((each for each in self.touches if each.effect in effects), None)


async def why(engine: Source, run_id: str) -> Why:
    """Raises `NotFound`, `RequestError` for what cannot be an id, and `Unsupported` for an engine that cannot tell."""
    if not isinstance(engine, Tracing):
        raise unsupported(engine, "tell why a run waits")
    run = await engine.run(run_id)
    trace = await engine.trace(run)
    touches: Sequence[Touch] = ()
    if isinstance(engine, Cancelling):
        touches = _touches(run, trace, await engine.ledger.touching(run, _mentioned(run, trace)))
        # Some conditions are slow to evaluate, and nobody else should wait for them.
        touches = await asyncio.to_thread(lambda: [_judged(run, each) for each in touches])
    out = 0.0
    if run.status in WAITING:
        rates = (
            each for each in await engine.depth() if (each.app_id, each.function_id) == (run.app_id, run.function_id)
        )
        out = next((each.out_per_second or 0.0 for each in rates), 0.0)
    queue = engine.source_of(run.app_id) if isinstance(engine, Routing) else engine
    stops_at = queue.stops_at if isinstance(queue, Stopping) else None
    return Why(run, trace, _reasons(run, trace, touches), tuple(touches), out, stops_at)


def _mentioned(run: Run, trace: RunTrace) -> list[UUID]:
    """Every record that the run or its trace names."""
    ids = {run.cancellation_id, trace.retry_id, trace.handed_over_from}
    ids |= {each.cancellation_id for each in trace.undecided} | {each.cancellation_id for each in trace.stop_requests}
    return [UUID(id) for id in ids if id is not None]


def _touches(run: Run, trace: RunTrace, records: Sequence[Cancellation]) -> list[Touch]:
    """What the database keeps about each record and the run; `UNKNOWN` where its `if` still has to be evaluated."""
    requests = {each.cancellation_id: each.outcome for each in trace.stop_requests}
    undecided = {each.cancellation_id for each in trace.undecided}
    touches = []
    for record in records:
        id = str(record.id)
        effect = TouchEffect.UNKNOWN
        match record:
            case _ if id == run.cancellation_id and run.status is RunStatus.CANCELLED:
                effect = TouchEffect.CANCELLED
            case _ if id == trace.retry_id:
                effect = TouchEffect.RETRIED
            case _ if id in undecided and record.state == State.ACTIVE:
                effect = TouchEffect.UNDECIDED
            case _ if id in requests and requests[id] is None and record.state == State.ACTIVE:
                effect = TouchEffect.ASKED_TO_STOP
            case _ if id in requests and record.state != State.ACTIVE:
                effect = TouchEffect.FINISHED_FIRST if requests[id] == "finished_first" else TouchEffect.WITHDRAWN
            case _ if id == trace.handed_over_from:
                effect = TouchEffect.HANDED_OVER
            case _ if record.state != State.ACTIVE:
                continue
            case _ if not _in_window(run, record):
                effect = TouchEffect.OUTSIDE_WINDOW
        touches.append(Touch(record, effect))
    return touches


def _in_window(run: Run, record: Cancellation) -> bool:
    after = record.started_after
    return (after is None or run.started_at > after) and run.started_at < record.started_before


def _judged(run: Run, touch: Touch) -> Touch:
    """The touch with the parts that decided, if the condition can be evaluated on the run."""
    record = touch.cancellation
    if touch.effect in (TouchEffect.OUTSIDE_WINDOW, TouchEffect.UNDECIDED):
        return touch  # one was not asked, the other takes too long
    if record.if_ is None or record.kind == Kind.RUN:
        return Touch(record, TouchEffect.MATCHES) if touch.effect is TouchEffect.UNKNOWN else touch
    if (filter := compiled(record)) is None:
        return touch
    judgement = judge(filter, run, record.created_at, _arrived(record))
    effect: TouchEffect = touch.effect
    if effect is TouchEffect.UNKNOWN:
        said = {True: TouchEffect.MATCHES, False: TouchEffect.DOES_NOT_MATCH, None: TouchEffect.CANNOT_BE_EVALUATED}
        effect = said[judgement.matches]
    # The run's present state does not undo what was decided while it waited.
    consistent = judgement.matches is True or effect in (TouchEffect.DOES_NOT_MATCH, TouchEffect.CANNOT_BE_EVALUATED)
    return Touch(record, effect, judgement.parts if consistent else ())


def _arrived(record: Cancellation) -> object:
    """The event that a function's `cancel_on` compares with."""
    text = record.parameters.get("async")
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def _reasons(run: Run, trace: RunTrace, touches: Sequence[Touch]) -> tuple[Reason, ...]:
    effects = {each.effect for each in touches}
    match run.status:
        case RunStatus.RUNNING if run.lost:
            return (Reason.LOST,)
        case RunStatus.RUNNING:
            return (Reason.STOPPING if TouchEffect.ASKED_TO_STOP in effects else Reason.RUNNING,)
        case RunStatus.QUEUED | RunStatus.SCHEDULED:
            pass
        case ended:
            return (Reason(ended.value),)
    waits = run.status is RunStatus.SCHEDULED and _is_ahead(run.scheduled_for, trace.as_of)
    failed_before = bool(run.past_attempts) or bool(run.error)
    holding = {
        Reason.MATCHED: TouchEffect.MATCHES in effects,
        Reason.UNDECIDED: TouchEffect.UNDECIDED in effects,
        Reason.BACKING_OFF: waits and failed_before,
        Reason.SCHEDULED: waits and not failed_before,
        Reason.PAUSED: bool(trace.pauses),
        Reason.LIMITED: trace.concurrency is not None and trace.slots_taken >= trace.concurrency,
    }
    found = tuple(reason for reason, holds in holding.items() if holds)
    if found:
        return found
    return (Reason.QUEUED if trace.workers or trace.listening else Reason.NO_WORKER,)


def _is_ahead(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now
