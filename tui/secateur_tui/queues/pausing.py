"""Pause and resume: what the key does to a row in its current state, worded for before and after.

An app and each of its functions have their own flags; a function's runs are not claimed while either flag is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.notifications import SeverityLevel

from secateur.engines.controls import Controls
from secateur.runs import FunctionDepth, Paused, Scope
from secateur.words.blockers import listed
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur_tui.frame.question import Question
from secateur_tui.themes import toned

_MOST_NAMED = 5
"""The most functions that are listed by name."""


@dataclass(frozen=True, slots=True)
class Change:
    """A flag to set or to clear, and what to say afterwards."""

    scope: Scope
    pause: bool
    done: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What the key offers for one row."""

    label: str
    """What the key will do, for the footer."""
    question: Question
    yes: Change
    other: Change | None = None
    """The alternative, if the question offers one."""


def offer(scope: Scope, depths: Sequence[FunctionDepth]) -> Offer:
    """What can be done for the row of `scope`; `depths` are those of its app's functions."""
    if scope.function_id is None:
        return _resume_app(scope.app_id, depths) if any(each.app_paused for each in depths) else _pause(scope, depths)
    its = [each for each in depths if each.function_id == scope.function_id]
    if any(each.function_paused for each in its):
        return _resume_function(scope, its)
    if any(each.app_paused for each in its):
        return _resume_app_for(scope, depths)
    return _pause(scope, its)


def _pause(scope: Scope, its: Sequence[FunctionDepth]) -> Offer:
    queued = _queued(its)
    waits = (
        f"{runs(queued)} that {_are_due(queued)} {'waits' if queued == 1 else 'wait'}, and so does whatever arrives."
    )
    text = toned(
        ("Pause ", "plain"),
        (_name(scope), "strong"),
        ("?\n\nNothing of it is claimed until somebody resumes it;\n", "plain"),
        (f"{_running(its)}.", "plain"),
        (f"\n\n{waits if queued else 'Whatever arrives waits.'}", "quiet"),
    )
    return Offer("pause", Question("Pause", text, "pause"), _pausing(scope, its))


def _pausing(scope: Scope, its: Sequence[FunctionDepth]) -> Change:
    return Change(scope, True, f"Paused: nothing of {_name(scope)} is claimed; {_running(its)}.")


async def make(change: Change, controls: Controls, author: str) -> tuple[str, SeverityLevel]:
    """Make the change; returns what to say of it, and how loudly."""
    if not change.pause:
        await controls.resume(change.scope, author, "tui")
        return change.done, "information"
    paused = await controls.pause(change.scope, author, "tui")
    return (change.done, "information") if paused.in_force else (_not_in_force(paused), "warning")


def _not_in_force(paused: Paused) -> str:
    """What is said of a pause that open transactions need not obey, and the SQL that ends them."""
    ending = "; ".join(paused.unblocking)
    told = f"Paused, not yet in force: {listed(paused.blockers)} may still start what it has claimed"
    return one_line(f"{told}. To end it: {ending}" if ending else f"{told}.")


def _resume_function(scope: Scope, its: Sequence[FunctionDepth]) -> Offer:
    app, name = one_line(scope.app_id), _name(scope)
    if any(each.app_paused for each in its):
        text = toned(
            ("Resume ", "plain"),
            (name, "strong"),
            (f"?\n\n! It stays paused anyway: the whole of {app} is paused too.", "warn"),
            (f"\n\nTo let it go on, resume {app} as well, on its own row.", "plain"),
        )
        done = f"Not claimed yet: the whole of {app} is paused too. Resume that on its own row."
    else:
        text = toned(
            ("Resume ", "plain"),
            (name, "strong"),
            (f"?\n\nIts {runs(_queued(its))} that {_are_due(_queued(its))} can be claimed again.", "plain"),
        )
        done = f"Resumed: {name} is claimed again."
    return Offer("resume", Question("Resume", text, "resume"), Change(scope, False, done))


def _resume_app(app_id: str, depths: Sequence[FunctionDepth]) -> Offer:
    still = sorted(one_line(each.function_id) for each in depths if each.function_paused)
    queued = _queued([each for each in depths if not each.function_paused])
    text = toned(
        ("Resume ", "plain"),
        (_name(Scope(app_id)), "strong"),
        (f"?\n\nIts {runs(queued)} that {_are_due(queued)} can be claimed again.", "plain"),
        (f"\n\n! Still paused, each by itself: {_named(still)}." if still else "", "warn"),
    )
    done = f"Resumed: {_name(Scope(app_id))}.{f' Still paused: {_named(still)}.' if still else ''}"
    return Offer("resume", Question("Resume", text, "resume"), Change(Scope(app_id), False, done))


def _resume_app_for(scope: Scope, depths: Sequence[FunctionDepth]) -> Offer:
    """The offer for a function that only its app's pause holds back."""
    whole = _resume_app(scope.app_id, depths)
    app, function = one_line(scope.app_id), one_line(scope.function_id or "")
    text = (
        toned((function, "strong"), (f" waits because the whole of {app} is paused.\n\n", "plain"))
        + whole.question.text
        + toned((f"\n\nOr pause {function} by itself as well: then it stays paused when {app} goes on.", "quiet"))
    )
    its = [each for each in depths if each.function_id == scope.function_id]
    question = Question("Resume", text, f"resume {app}", f"pause {function} itself")
    return Offer("resume app", question, whole.yes, _pausing(scope, its))


def _name(scope: Scope) -> str:
    return one_line(str(scope) if scope.function_id else f"the whole of {scope.app_id}")


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _queued(depths: Sequence[FunctionDepth]) -> int:
    return sum(each.queued for each in depths)


def _are_due(queued: int) -> str:
    return "is due" if queued == 1 else "are due"


def _running(depths: Sequence[FunctionDepth]) -> str:
    running = sum(each.running for each in depths)
    if running == 0:
        return "none of it runs now"
    return "the one that has begun goes on" if running == 1 else f"the {number(running)} that have begun go on"
