"""What came of this console's newest cancellation, in a line with the keys that go on from there."""

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
"""What is said of several cancellations as long as it is true of one."""


@dataclass
class AlsoWanted(Message):
    """The user wants to review a cancellation of what still arrives, for two hours; the app opens it."""

    cancellations: Sequence[Cancellation]


def aftermath_line(found: Aftermath, *, also: str, undo: str, redo: str) -> Content:
    """`✂ 99,242 cancelled 1m 04s ago · 124/s still match: f also those for 2 h · z undo`.

    `also`, `undo` and `redo` are the keys; an empty one is not offered.
    """
    line = toned(*_done(found))
    if found.goes_on:
        line += toned((f" · {rate(found.arriving or 0.0)}/s still match", "warn"))
        if also:
            line += toned((": ", "warn"), (also, "key"), (" also those for 2 h", "plain"))
    key, what = (redo, "redo") if found.newest.undone_at else (undo, "undo")
    if key:
        line += toned((" · ", "quiet"), (key, "key"), (f" {what}", "plain"))
    return line


def _done(found: Aftermath) -> list[tuple[str, str]]:
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
            return [("◌ ", "warn"), ("committed, and pending: an open transaction is in the way", "warn")]
        case Phase.STOPPED:
            return [("■ ", "warn"), (f"{many} {done}, then stopped {since}", "plain")]
        case Phase.SWEEPING | Phase.RETRYING | Phase.FAILING | Phase.HOLDING_BACK:
            so_far = [("✂ ", "good"), (many, "count"), (f" {done} so far, committed {since}", "plain")]
            if any(each.guarantee == Guarantee.SWEPT for each in every):
                so_far.append((", the rest may still start", "warn"))
            return so_far
        case _:
            return [("✂ ", "good"), (many, "count"), (f" {done} {since}", "plain")]
