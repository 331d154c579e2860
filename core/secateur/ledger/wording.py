"""What a cancellation is doing and what it promises, in words: the same on the command line and in the console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from secateur.instants import utc
from secateur.states import Guarantee, State
from secateur.words.figures import duration, number
from secateur.words.lines import one_line

if TYPE_CHECKING:
    from secateur.records import Cancellation

NEGLECTED_SECONDS = 60.0
"""Whoever sweeps looks every second; after so long there seems to be nobody."""

At = Callable[[datetime], str]
"""How the reader wants instants written."""


class Phase(StrEnum):
    """What a cancellation, or a retry, is doing now, in a word for a list of them."""

    PENDING = "pending"
    FAILING = "failing"
    """Its sweep or its restore fails, or nobody does it."""
    HOLDING_BACK = "holding back"
    """It cannot be decided in time whether some runs match."""
    STANDING = "standing"
    """It also cancels what arrives."""
    STOPPING = "stopping"
    """Only running runs that were asked to stop are waited for."""
    SWEEPING = "sweeping"
    RETRYING = "retrying"
    COMPLETE = "complete"
    RETRIED = "retried"
    STOPPED = "stopped"
    RESTORING = "restoring"
    UNDONE = "undone"


def phase(cancellation: Cancellation, now: datetime) -> Phase:
    """`now` is by the database's clock. What somebody should do something about comes before what goes on."""
    if cancellation.is_pending:
        return Phase.PENDING
    if sweep_in_words(cancellation) is not None:
        return Phase.FAILING
    match cancellation.state:
        case State.ACTIVE if cancellation.undecided:
            return Phase.HOLDING_BACK
        case State.ACTIVE if is_standing(cancellation, now):
            return Phase.STANDING
        case State.ACTIVE if cancellation.swept and cancellation.stopping:
            return Phase.STOPPING
        case State.ACTIVE:
            return Phase.SWEEPING
        case State.COMPLETE if cancellation.is_retry:
            return Phase.RETRIED
        case State.UNDONE if cancellation.restoring:
            return Phase.RESTORING
        case state:
            return Phase(state)


def is_standing(cancellation: Cancellation, now: datetime) -> bool:
    """Whether it also cancels what arrives now."""
    return cancellation.state == State.ACTIVE and cancellation.standing and cancellation.started_before > now


def guarantee_in_words(cancellation: Cancellation, at: At) -> str:
    """What a cancellation promises now."""
    match cancellation.guarantee:
        case Guarantee.ENDED:
            return "ended: it matches nothing any more"
        case Guarantee.PENDING:
            return f"pending: waiting for {blocked_by(cancellation)}"
        case Guarantee.NONE:
            return "none: it is a retry"
    since = at(cancellation.in_force_at or cancellation.created_at)
    matching = "left" if cancellation.state == State.COMPLETE else "claimed"
    return f"in force since {since}: no matching run is {matching}"


def blocked_by(cancellation: Cancellation) -> str:
    """Whose transactions a pending guarantee waits for: `process 123 and process 456`."""
    if not cancellation.blockers:
        return "an older transaction"
    *others, last = map(one_line, cancellation.blockers)
    return f"{', '.join(others)} and {last}" if others else last


STILL_MAY_START = "runs that it has claimed may still start; claims from now on honour the cancellation"
"""What a pending guarantee means, after the name of what it waits for."""


def standing_in_words(cancellation: Cancellation, at: At) -> str:
    arrive, are = ("arrive", "are") if cancellation.state == State.ACTIVE else ("arrived", "were")
    return f"runs that {arrive} until {at(cancellation.started_before)} {are} cancelled too"


def stopping_in_words(cancellation: Cancellation) -> str:
    return f"{number(cancellation.stopping)} asked to stop, still at their step"


def held_back_in_words(cancellation: Cancellation) -> str:
    """How many runs it neither cancels nor lets start, and what to do about it."""
    held = f"{number(cancellation.undecided)} held back: the condition takes too long on them"
    return f"{held}; stop this and write a simpler one" if cancellation.stuck else held


def sweep_in_words(cancellation: Cancellation) -> str | None:
    """What is wrong with its sweep or its restore; None where that goes on or is through."""
    if cancellation.unswept_for is None:
        return None
    what = task_of(cancellation)
    if cancellation.failures > 1 and cancellation.failing_since is not None:
        since = utc(cancellation.failing_since.replace(microsecond=0))
        return f"its {what} has failed {number(cancellation.failures)} times since {since}: {cancellation.last_error}"
    if cancellation.unswept_for > NEGLECTED_SECONDS:
        return f"no {what} for {duration(cancellation.unswept_for)}: start a console, server or worker"
    return None


def task_of(cancellation: Cancellation) -> str:
    """What is done for it in the background: its `sweep`, or its `restore` after an undo."""
    return "restore" if cancellation.restoring else "sweep"


def stopped_in_words(cancellation: Cancellation, at: At) -> str:
    return f"stopped{_signed(cancellation.stopped_at, cancellation.stopped_by, at)}"


def undone_in_words(cancellation: Cancellation, at: At) -> str:
    return f"undone{_signed(cancellation.undone_at, cancellation.undone_by, at)}"


def _signed(moment: datetime | None, who: str | None, at: At) -> str:
    when = f" at {at(moment)}" if moment else ""
    return f"{when} by {one_line(who)}" if who else when


def progress_in_words(cancellation: Cancellation, now: datetime, at: At) -> str:
    """What it is doing, or how it ended, in a sentence."""
    match phase(cancellation, now):
        case Phase.FAILING:
            return one_line(sweep_in_words(cancellation) or "")
        case Phase.PENDING | Phase.SWEEPING:
            return "the rows of its runs are being rewritten"
        case Phase.HOLDING_BACK:
            return held_back_in_words(cancellation)
        case Phase.STANDING:
            return standing_in_words(cancellation, at)
        case Phase.STOPPING:
            return stopping_in_words(cancellation)
        case Phase.RETRYING:
            return "its runs are being queued again"
        case Phase.RETRIED:
            return "every matching run is queued again, or was left alone"
        case Phase.STOPPED:
            then = "what it had not reached stays as it was" if cancellation.is_retry else "matching runs start again"
            return f"{stopped_in_words(cancellation, at)}: {then}"
        case Phase.RESTORING if cancellation.is_retry:
            return "runs that have not begun are being taken back"
        case Phase.RESTORING:
            back, wanted = cancellation.restored_of
            return f"{number(back)} of {number(wanted)} are back"
        case Phase.UNDONE:
            return f"{undone_in_words(cancellation, at)}: what could be restored is back"
        case Phase.COMPLETE:
            done = "every matching run is cancelled, or finished first"
            if cancellation.completed_at is None:
                return done
            took = duration((cancellation.completed_at - cancellation.created_at).total_seconds())
            return f"{done}; at {at(cancellation.completed_at)}, after {took}"
