"""A cancellation as a row of the history, and how far it is."""

from __future__ import annotations

from datetime import UTC, datetime

from secateur.ledger.cancellations import sweep_in_words
from secateur.records import Cancellation
from secateur.runs import Scope
from secateur.states import Kind, State
from secateur.words.figures import ago, number
from secateur.words.lines import one_line
from secateur.words.tables import Column
from secateur_tui.frame.bars import progress
from secateur_tui.frame.columns import Cell, Row

COLUMNS = (
    Column("when", "when", right=False, minimum=9),
    Column("who", "who", right=False, minimum=6, shrinks_to=6, rank=30),
    Column("where", "where", right=False, shrinks_to=14),
    Column("state", "state", right=False, minimum=14),
    Column("cancelled", "cancelled", "cancel.", minimum=7),
    Column("reason", "reason", right=False, minimum=6, shrinks_to=6, rank=20),
)

_BAR = 6


def scope_text(cancellation: Cancellation) -> str:
    """Whose runs it is of; of a single run its function, and that it is one only."""
    scope = one_line(str(Scope(cancellation.app_id, cancellation.function_id)))
    if cancellation.is_retry:
        return f"retry of {scope}"
    return f"one run of {scope}" if cancellation.kind == Kind.RUN else scope


def row(cancellation: Cancellation, now: datetime) -> Row:
    return {
        "when": Cell(ago(cancellation.created_at, now), "quiet"),
        "who": Cell(one_line(cancellation.created_by)),
        "where": Cell(scope_text(cancellation), "strong" if is_under_way(cancellation) else "plain"),
        "state": state(cancellation, now),
        "cancelled": Cell(number(cancellation.retried if cancellation.is_retry else cancellation.cancelled)),
        "reason": Cell(one_line(cancellation.reason or ""), "quiet"),
    }


def is_under_way(cancellation: Cancellation) -> bool:
    """Whether there is something left to do for it."""
    return cancellation.is_active or cancellation.restoring


def state(cancellation: Cancellation, now: datetime) -> Cell:
    """Where it stands, in words and with a sign; while rows are rewritten with a bar."""
    if cancellation.is_pending:
        return Cell("◌ pending", "warn")
    match cancellation.state:
        case State.ACTIVE | State.RETRYING | State.UNDONE if sweep_in_words(cancellation) is not None:
            what = "restore" if cancellation.restoring else "sweep"
            return Cell(f"! {what} fails" if cancellation.last_error else f"! no {what}", "error")
        case State.RETRYING:
            return Cell("queueing again", "sweep")
        case State.COMPLETE if cancellation.is_retry:
            return Cell("✓ retried", "good")
        case State.ACTIVE if cancellation.undecided:
            return Cell(f"◌ holding back {number(cancellation.undecided)}", "warn")
        case State.ACTIVE if cancellation.standing and cancellation.started_before > now:
            return Cell(f"◆ standing until {_short(cancellation.started_before, now)}", "warn")
        case State.ACTIVE if cancellation.swept and cancellation.stopping:
            return Cell(f"◌ stopping {number(cancellation.stopping)}", "sweep")
        case State.ACTIVE:
            share = share_done(cancellation)
            return Cell("sweeping" if share is None else f"sweeping {_bar(share)}", "sweep")
        case State.COMPLETE:
            return Cell("✓ complete", "good")
        case State.UNDONE if cancellation.restoring:
            back, wanted = restored_of(cancellation)
            return Cell(f"↺ restoring {_bar(min(0.99, back / wanted) if wanted else 0.0)}", "sweep")
        case State.UNDONE:
            return Cell("↺ undone", "plain")
        case other:
            return Cell(f"■ {other}", "warn")


def share_done(cancellation: Cancellation) -> float | None:
    """How much of what the review counted has been dealt with; None where nothing was counted."""
    if not cancellation.expected:
        return None
    return min(0.99, (cancellation.cancelled + cancellation.finished_first) / cancellation.expected)


def restored_of(cancellation: Cancellation) -> tuple[int, int]:
    """How many runs an undo has dealt with, and of how many."""
    if cancellation.is_retry:
        return cancellation.restored, cancellation.retried
    left_out = 0 if cancellation.requeue_stopped else cancellation.stopped
    wanted = max(0, cancellation.cancelled - cancellation.pruned - left_out)
    return min(wanted, cancellation.restored + cancellation.handed_over), wanted


def text_of(cancellation: Cancellation, now: datetime) -> str:
    """What a search looks in."""
    parts = (
        cancellation.app_id,
        cancellation.function_id,
        cancellation.created_by,
        cancellation.reason,
        state(cancellation, now).text,
        cancellation.state,
        cancellation.if_,
        str(cancellation.id),
        cancellation.run_id or "",
    )
    return " ".join(part for part in parts if part).casefold()


def _bar(share: float) -> str:
    return f"{progress(share, _BAR)} {share:.0%}"


def _short(moment: datetime, now: datetime) -> str:
    """The time where it is today's, else the date; both in UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc:%H:%M}" if utc.date() == now.astimezone(UTC).date() else f"{utc:%m-%d}"
