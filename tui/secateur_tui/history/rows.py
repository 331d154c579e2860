"""A cancellation as a row of the history, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from secateur.ledger.wording import Phase, phase, task_of
from secateur.runs import Functions
from secateur.states import Kind
from secateur.words.figures import ago, number
from secateur.words.lines import one_line
from secateur.words.tables import EXTRA, Column
from secateur_tui.frame.bars import progress
from secateur_tui.frame.columns import Cell, Row

if TYPE_CHECKING:
    from secateur.records import Cancellation

COLUMNS = (
    Column("when", right=False, minimum=8),
    Column("who", "who", right=False, minimum=6, shrinks_to=6, rank=30),
    Column("where", "where", right=False, shrinks_to=22),
    Column("state", "state", right=False, minimum=10),
    Column("planned", "planned", minimum=9, rank=EXTRA),
    Column("cancelled", "cancelled", minimum=9, rank=40),
    Column("reason", "reason", right=False, minimum=8, shrinks_to=8, rank=20),
    Column("if", "if", right=False, shrinks_to=24, rank=5),
)
"""Each is as wide as the longest text that it will show, so that nothing moves from second to second."""

_BAR = 4


def scope_text(cancellation: Cancellation) -> str:
    """Whose runs it cancels; for a single run, its function and the word for one run."""
    return commit_text([cancellation])


def commit_text(commit: Sequence[Cancellation]) -> str:
    """The same for the cancellations of one commit."""
    cancellation = commit[0]
    names = [each.function_id for each in commit if each.function_id is not None]
    scope = one_line(str(Functions.of(cancellation.app_id, names)))
    if cancellation.is_retry:
        return f"retry of {scope}"
    return f"one run of {scope}" if cancellation.kind == Kind.RUN else scope


def row(cancellation: Cancellation, now: datetime) -> Row:
    return {
        "when": Cell(ago(cancellation.created_at, now).removesuffix(" ago"), "quiet"),
        "who": Cell(one_line(cancellation.created_by)),
        "where": Cell(scope_text(cancellation), "strong" if is_under_way(cancellation) else "plain"),
        "state": state(cancellation, now),
        "planned": Cell(_planned(cancellation), "quiet"),
        "cancelled": Cell(number(cancellation.retried if cancellation.is_retry else cancellation.cancelled)),
        "reason": Cell(one_line(cancellation.reason or ""), "quiet"),
        "if": Cell(one_line(" ".join((cancellation.if_ or "").split())), "quiet"),
    }


def _planned(cancellation: Cancellation) -> str:
    if cancellation.expected is None:
        return "–"
    return f"{'' if cancellation.expected_exact else '≈ '}{number(cancellation.expected)}"


def is_under_way(cancellation: Cancellation) -> bool:
    """Whether there is still something to do for it."""
    return cancellation.is_active or cancellation.restoring


_SIGNS = {
    Phase.PENDING: ("◌", "warn"),
    Phase.FAILING: ("!", "error"),
    Phase.HOLDING_BACK: ("◌", "warn"),
    Phase.STANDING: ("◆", "warn"),
    Phase.STOPPING: ("◌", "sweep"),
    Phase.SWEEPING: ("", "sweep"),
    Phase.RETRYING: ("", "sweep"),
    Phase.COMPLETE: ("✓", "good"),
    Phase.RETRIED: ("✓", "good"),
    Phase.STOPPED: ("■", "warn"),
    Phase.RESTORING: ("↺", "sweep"),
    Phase.UNDONE: ("↺", "plain"),
}


def state(cancellation: Cancellation, now: datetime) -> Cell:
    """Its state in words with a sign; with a bar while rows are being rewritten."""
    now_in = phase(cancellation, now)
    sign, tone = _SIGNS[now_in]
    word = f"{sign} {now_in}".lstrip()
    match now_in:
        case Phase.FAILING:
            what = task_of(cancellation)
            word = f"{sign} {what} fails" if cancellation.last_error else f"{sign} no {what}"
        case Phase.HOLDING_BACK:
            word += f" {number(cancellation.undecided)}"
        case Phase.STOPPING:
            word += f" {number(cancellation.stopping)}"
        case Phase.STANDING:
            word += f" until {_short(cancellation.started_before, now)}"
        case Phase.SWEEPING if (share := share_done(cancellation)) is not None:
            word += f" {_bar(share)}"
        case Phase.RESTORING:
            back, wanted = cancellation.restored_of
            word += f" {_bar(min(0.99, back / wanted) if wanted else 0.0)}"
    return Cell(word, tone)


def share_done(cancellation: Cancellation) -> float | None:
    """The part of the counted runs that has been dealt with; None if nothing was counted."""
    if not cancellation.expected:
        return None
    return min(0.99, (cancellation.cancelled + cancellation.finished_first) / cancellation.expected)


def text_of(cancellation: Cancellation, now: datetime) -> str:
    """The text that a search looks in."""
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
    """The time if it is today, else the date; both in UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc:%H:%M}" if utc.date() == now.astimezone(UTC).date() else f"{utc:%m-%d}"
