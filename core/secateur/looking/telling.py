"""Explains a run's state in one sentence that a tired person understands, and its life as a list of moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.cel.authoring.explain import Part
from secateur.looking.why import Reason, Touch, TouchEffect, Why
from secateur.runs import AttemptOutcome, Run, RunStatus
from secateur.states import Kind
from secateur.traces import MOST_AHEAD, RunTrace
from secateur.words.figures import ago, duration, number, rate
from secateur.words.lines import one_line, shorten

if TYPE_CHECKING:
    from secateur.records import Cancellation

_LONGEST_ERROR = 200
_LONGEST_PART = 120
_MOST_PARTS = 3


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that has happened to a run, or will."""

    at: datetime
    what: str
    """A few words, such as `attempt 2 began` or `due`."""
    details: str = ""
    """Who, where or why, on one line."""


def sentence(why: Why) -> str:
    """What became of the run; for a waiting run, why it still waits."""
    return _sentence(why, why.reason)


def others(why: Why) -> list[str]:
    """What else holds the run up, one sentence each."""
    return [_sentence(why, each) for each in why.reasons[1:]]


def _sentence(why: Why, reason: Reason) -> str:
    run, trace = why.run, why.trace
    now = trace.as_of
    scope = one_line(str(run.scope))
    attempt = f"attempt {run.attempt} of {trace.max_attempts}"
    match reason:
        case Reason.COMPLETED:
            return f"It completed{_when(run.finished_at, now)}, on {attempt}."
        case Reason.FAILED:
            return f"It failed for good{_when(run.finished_at, now)}, on {attempt}: {_error(run)}."
        case Reason.CANCELLED:
            return _cancelled(why)
        case Reason.RUNNING | Reason.STOPPING:
            at = f", at step {one_line(run.step)}" if run.step else ""
            running = f"It has been running for {_since(run.claimed_at, now)} on {_worker(run)} ({attempt}){at}"
            touch = why.touch(TouchEffect.ASKED_TO_STOP)
            if touch is None:
                return f"{running}."
            return f"{running}. {_named(touch.cancellation)} asked it to stop: it does at its {why.stops_at or 'end'}."
        case Reason.LOST:
            takes = (
                "the next claim takes it back"
                if trace.workers or trace.listening
                else "start a worker, to take it back"
            )
            return f"{_worker(run)} is gone: the lease of {attempt} ended{_when(run.lease_expires_at, now)}; {takes}."
        case Reason.MATCHED:
            return f"{touch_in_words(_needed(why, TouchEffect.MATCHES), now)}: no worker starts it any more."
        case Reason.UNDECIDED:
            return f"{touch_in_words(_needed(why, TouchEffect.UNDECIDED), now)}: it waits until that is decided."
        case Reason.BACKING_OFF:
            # The last failure that counted.
            return f"{_last_failure(run)}; the next attempt is due {_in(run.scheduled_for, now)}."
        case Reason.SCHEDULED:
            return f"It is scheduled: it becomes due {_in(run.scheduled_for, now)}."
        case Reason.PAUSED:
            pause = trace.pauses[0]
            what = f"The app {one_line(run.app_id)}" if pause.function_id is None else scope
            by = f" by {one_line(pause.by)}" if pause.by else ""
            return f"{what} was paused{by}{_when(pause.since, now)}: nothing of it starts."
        case Reason.LIMITED:
            many = "1 run" if trace.concurrency == 1 else f"{number(trace.concurrency or 0)} runs"
            return f"{scope} may run {many} at once, and does: it waits for one of them to end{_behind(why)}."
        case Reason.NO_WORKER:
            return f"Nothing holds it up, but no worker seems to serve {one_line(run.app_id)}: start one."
        case Reason.QUEUED:
            return _turn(why)


def _turn(why: Why) -> str:
    ahead = why.trace.ahead
    if not ahead:
        return "It is the first of its function: the next claim takes it."
    many = f"{number(ahead)}{' or more' if ahead >= MOST_AHEAD else ''} {'run is' if ahead == 1 else 'runs are'}"
    if why.out_per_second > 0 and ahead < MOST_AHEAD:
        takes = f"at {rate(why.out_per_second)}/s it starts in about {duration(ahead / why.out_per_second)}"
    elif why.out_per_second > 0:
        takes = f"{rate(why.out_per_second)} end each second"
    else:
        takes = "none has ended in the last ten seconds"
    return f"It waits for its turn: {many} ahead of it, and {takes}."


def _behind(why: Why) -> str:
    ahead = why.trace.ahead
    return f", behind {number(ahead)}{' or more' if ahead >= MOST_AHEAD else ''} others" if ahead else ""


def _cancelled(why: Why) -> str:
    when = _when(why.run.finished_at, why.trace.as_of)
    touch = why.touch(TouchEffect.CANCELLED)
    if touch is None:
        return f"It was cancelled{when}, by no cancellation that is kept here."
    record = touch.cancellation
    return f"It was cancelled{when} by {one_line(record.created_by)}{_reason(record)}{_because(touch)}."


def touch_in_words(touch: Touch, now: datetime) -> str:
    """What the cancellation or retry did to the run, and which part of its `if` decided."""
    name = _named(touch.cancellation)
    match touch.effect:
        case TouchEffect.CANCELLED:
            return f"{name} cancelled it{_because(touch)}"
        case TouchEffect.MATCHES:
            return f"{name} matches it{_because(touch)}"
        case TouchEffect.ASKED_TO_STOP:
            return f"{name} asked it to stop{_because(touch)}"
        case TouchEffect.FINISHED_FIRST:
            return f"{name} asked it to stop, but it finished first"
        case TouchEffect.WITHDRAWN:
            return f"{name} asked it to stop, but no longer does"
        case TouchEffect.UNDECIDED:
            return f"{name} holds it back, because its condition takes too long on this event"
        case TouchEffect.DOES_NOT_MATCH:
            return f"{name} does not match it{_because(touch, 'because not')}"
        case TouchEffect.CANNOT_BE_EVALUATED:
            return f"{name} does not match it: its condition cannot be evaluated{_because(touch, 'because of')}"
        case TouchEffect.OUTSIDE_WINDOW:
            return f"{name} does not match it: the run started outside of its window"
        case TouchEffect.HANDED_OVER:
            return f"{name} had it, was undone, and another one has it now"
        case TouchEffect.RETRIED:
            return f"{name} queued it again"
        case TouchEffect.UNKNOWN:
            return f"{name} may match it: its condition cannot be evaluated here"


def _named(record: Cancellation) -> str:
    what = "The retry" if record.is_retry else "The cancellation"
    if record.kind == Kind.EVENT:
        what = "The function's own cancel_on"
        return f"{what} ({record.id})"
    return f"{what} by {one_line(record.created_by)}{_reason(record)}"


def _reason(record: Cancellation) -> str:
    return f" (“{shorten(record.reason, 60)}”)" if record.reason else ""


def _because(touch: Touch, word: str = "because") -> str:
    record = touch.cancellation
    if touch.decided_by:
        shown = [decided(part) for part in touch.decided_by[:_MOST_PARTS]]
        more = f" and {len(touch.decided_by) - _MOST_PARTS} more" if len(touch.decided_by) > _MOST_PARTS else ""
        return f", {word} {' and '.join(shown)}{more}"
    if record.if_ is None and record.kind == Kind.BULK and touch.effect in (TouchEffect.CANCELLED, TouchEffect.MATCHES):
        return ", because it takes every run of its window"
    return ""


def decided(part: Part) -> str:
    """A part of an expression, and the value that decided: `event.data.amount > 100 (is 250)`."""
    text = shorten(part.text, _LONGEST_PART)
    if part.error is not None:
        return f"{text} ({shorten(part.error, _LONGEST_PART)})"
    # Of a comparison with `==` that is true the value is in the text.
    values = [each.outcome for each in part.parts if each.used and each.outcome]
    if len(values) != 1 or (part.value is True and values[0] in part.text):
        return text
    return f"{text} (it is {shorten(values[0], _LONGEST_PART)})"


def timeline(run: Run, trace: RunTrace | None = None) -> list[Moment]:
    """The run's life in order of time, ending with what is still to come. Without a trace, the steps are missing."""
    return sorted(_moments(run, trace), key=lambda moment: moment.at)


def _moments(run: Run, trace: RunTrace | None) -> Iterator[Moment]:
    yield Moment(run.started_at, "queued")
    attempts = run.attempts
    due = run.scheduled_for
    if due is not None and due > run.started_at:
        yield Moment(due, "due")
    for attempt in attempts:
        on = f"on {one_line(attempt.worker)}" if attempt.worker else ""
        if attempt.began_at is not None:
            yield Moment(attempt.began_at, f"attempt {attempt.number} began", on)
        # The end of the run itself comes below.
        if attempt.ended_at not in (None, run.finished_at) and attempt.outcome is not AttemptOutcome.RUNNING:
            yield Moment(attempt.ended_at, f"attempt {attempt.number} {attempt.outcome}", _first_line(attempt.error))
        if attempt.outcome is AttemptOutcome.RUNNING and attempt.lease_expires_at is not None:
            yield Moment(attempt.lease_expires_at, "the lease ends", "unless its worker extends it")
    if run.step is not None and run.step_at is not None:
        yield Moment(run.step_at, f"step {one_line(run.step)} began")
    if trace is not None:
        for step in trace.steps:
            yield Moment(step.finished_at, f"step {one_line(step.name)} finished")
        for request in trace.stop_requests:
            yield Moment(request.requested_at, "asked to stop", f"by cancellation {request.cancellation_id}")
    if run.finished_at is not None:
        by = f"by cancellation {run.cancellation_id}" if run.cancellation_id else ""
        told = {RunStatus.CANCELLED: by, RunStatus.FAILED: _first_line(run.error)}.get(run.status, "")
        yield Moment(run.finished_at, str(run.status), told)


def _needed(why: Why, effect: TouchEffect) -> Touch:
    touch = why.touch(effect)
    assert touch is not None  # noqa: S101 - the reason is taken from it
    return touch


def _worker(run: Run) -> str:
    return f"worker {one_line(run.worker)}" if run.worker else "a worker"


def _error(run: Run) -> str:
    return _first_line(run.error) or "without an error"


def _last_failure(run: Run) -> str:
    if not run.past_attempts:
        return f"Its last attempt failed: {_error(run)}"
    last = run.past_attempts[-1]
    return f"Attempt {last.number} {last.outcome}: {_first_line(last.error) or 'without an error'}"


def _first_line(error: str | None) -> str:
    return shorten((error or "").split("\n", 1)[0], _LONGEST_ERROR).rstrip(". ")


def _when(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else f" {ago(moment, now)}"


def _since(moment: datetime | None, now: datetime) -> str:
    return "some time" if moment is None else duration((now - moment).total_seconds())


def _in(moment: datetime | None, now: datetime) -> str:
    return "later" if moment is None else f"in {duration((moment - now).total_seconds())}"
