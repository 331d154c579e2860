"""The line that says what came of this console's newest cancellation, with the keys for the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.content import Content
from textual.message import Message

from secateur.ledger.wording import Phase, phase
from secateur.looking.aftermath import Aftermath
from secateur.states import Guarantee
from secateur.words.figures import ago, number, rate
from secateur_tui.themes import toned

if TYPE_CHECKING:
    from secateur.records import Cancellation


_UNFINISHED = (Phase.PENDING, Phase.SWEEPING, Phase.RETRYING, Phase.FAILING, Phase.HOLDING_BACK, Phase.RESTORING)
"""States that are shown for several cancellations while at least one of them is in that state."""

_WORDINGS = ((False, " also those for 2 h"), (False, " also those"), (True, " also those"), (True, ""))
"""Variants from full to short: whether the result is told in fewer words, and what the key does with arriving runs."""


@dataclass
class AlsoWanted(Message):
    """The user wants to review a cancellation of what still arrives, for two hours; the app opens it."""

    cancellations: Sequence[Cancellation]


def aftermath_line(found: Aftermath, width: int, *, also: str, undo: str, redo: str) -> Content:
    """`✂ 99,242 cancelled 1m 04s ago · 124/s still match: f also those for 2 h · z undo`, in fewer words where these
    do not fit into `width` cells.

    `also`, `undo` and `redo` are the keys; an empty one is not offered.
    """
    key, what = (redo, "redo") if found.newest.undone_at else (undo, "undo")
    undoing = toned((" · ", "quiet"), (key, "key"), (f" {what}", "plain")) if key else Content("")
    lines = [
        toned(*_done(found, is_short=is_short)) + _arriving(found, also, those) + undoing
        for is_short, those in _WORDINGS
    ]
    return next((each for each in lines if each.cell_length <= width), lines[-1])


def _arriving(found: Aftermath, also: str, those: str) -> Content:
    if not found.goes_on:
        return Content("")
    told = toned((f" · {rate(found.arriving or 0.0)}/s still match", "warn"))
    return told + toned((": ", "warn"), (also, "key"), (those, "plain")) if also else told


def _done(found: Aftermath, *, is_short: bool) -> list[tuple[str, str]]:
    cancellation, every, now = found.newest, found.cancellations, found.as_of
    since = ago(cancellation.undone_at or cancellation.stopped_at or cancellation.created_at, now)
    many = number(sum(each.retried if each.is_retry else each.cancelled for each in every))
    done = "queued again" if cancellation.is_retry else "cancelled"
    phases = [phase(each, now) for each in every]
    match next((each for each in phases if each in _UNFINISHED), phase(cancellation, now)):
        case Phase.UNDONE | Phase.RESTORING:
            back = sum(each.restored_of[0] for each in every)
            return [("↺ ", "plain"), (f"undone {since}, ", "plain"), (f"{number(back)} are back", "count")]
        case Phase.PENDING:
            what = cancellation.state if cancellation.is_over else "committed"
            return [("◌ ", "warn"), (f"{what}, and pending: an open transaction is in the way", "warn")]
        case Phase.STOPPED:
            return [("■ ", "warn"), (f"{many} {done}, then stopped {since}", "plain")]
        case Phase.SWEEPING | Phase.RETRYING | Phase.FAILING | Phase.HOLDING_BACK:
            when = "" if is_short else f", committed {since}"
            so_far = [("✂ ", "good"), (many, "count"), (f" {done} so far{when}", "plain")]
            if any(each.guarantee == Guarantee.SWEPT for each in every):
                so_far.append((", the rest may still start", "warn"))
            return so_far
        case _:
            return [("✂ ", "good"), (many, "count"), (f" {done} {since}", "plain")]
