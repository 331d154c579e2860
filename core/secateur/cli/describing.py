"""A request, its count and its cancellation as people read them."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from secateur.cancellations import Preview
from secateur.cli.output import duration, fields, number, one_line, runs, styled, table, warning
from secateur.requests import CancellationRequest, utc
from secateur.runs import UNFINISHED, RunStatus, Scope

if TYPE_CHECKING:
    from secateur.records import Cancellation


def instant(moment: datetime, zone: tzinfo) -> str:
    """In UTC, and in the reader's zone where that is another."""
    local = moment.astimezone(zone)
    if not local.utcoffset():
        return utc(moment)
    return f"{utc(moment)} ({local:%Y-%m-%d %H:%M:%S} {local.tzname()})"


def review(request: CancellationRequest, preview: Preview, where: str, zone: tzinfo) -> list[str]:
    """What a commit would do, in one sentence; then what it is made of."""
    count = preview.count
    matched = styled(runs(count.matched), "\x1b[1m")
    total = number(count.total)
    lines = [
        f"{matched} of the {total} unfinished of {one_line(str(request.scope))} in {one_line(where)} "
        f"{'matches' if count.matched == 1 else 'match'}."
    ]
    if request.if_ is None:
        lines.append(warning("There is no condition: this is every unfinished run of the scope in the window."))
    lines += [f"  {each}" for each in fields(_particulars(request, preview, zone))]
    lines += [f"    {one_line(each.run_id)}  {one_line(each.message)}" for each in preview.error_examples]
    if request.function_id is None and count.matched:
        hit = {name: matched for name, matched in sorted(count.by_function.items()) if matched}
        rows = [(name, number(matched)) for name, matched in hit.items()]
        lines += [f"  {each}" for each in table(("function", "matching"), rows, left=1)]
    return lines


def _particulars(request: CancellationRequest, preview: Preview, zone: tzinfo) -> list[tuple[str, str]]:
    count = preview.count
    after, before = request.started_after, request.started_before
    window = f"after {instant(after, zone)}, " if after else "any time "
    window += f"before {instant(before, zone)}" if before else "before the commit"
    by_status = ", ".join(f"{number(count.by_status.get(status, 0))} {status}" for status in UNFINISHED)
    accuracy = "exact" if count.exact else "estimate"
    pairs = [("if", one_line(request.if_))] if request.if_ is not None else []
    pairs += [("started", window), ("counted", f"{by_status}; {accuracy} at {utc(count.as_of)}")]
    if count.by_status.get(RunStatus.RUNNING):
        pairs.append(("running", "these stop at their next step, unless they end before it"))
    if count.errors:
        pairs.append(("errors", f"{runs(count.errors)} could not be evaluated; they do not match"))
    return pairs


def cancellation_lines(cancellation: Cancellation, zone: tzinfo) -> list[str]:
    """Everything that is kept of a cancellation."""
    after = cancellation.started_after
    window = f"after {instant(after, zone)}, " if after else "any time "
    asked, stopping = number(cancellation.requested), number(cancellation.stopping)
    by = f"{one_line(cancellation.created_by)}, {cancellation.source}"
    pairs = [
        ("id", str(cancellation.id)),
        ("state", state_in_words(cancellation, zone)),
        ("runs of", one_line(str(Scope(cancellation.app_id, cancellation.function_id)))),
        ("started", f"{window}before {instant(cancellation.started_before, zone)}"),
        ("if", one_line(cancellation.if_) if cancellation.if_ is not None else "(no condition: every run)"),
        ("committed", f"{instant(cancellation.created_at, zone)} by {by}"),
        ("reason", one_line(cancellation.reason) if cancellation.reason else "-"),
        ("expected", "-" if cancellation.expected is None else number(cancellation.expected)),
        ("matched", number(cancellation.matched)),
        ("cancelled", number(cancellation.cancelled)),
        ("requested", f"{asked} running asked to stop, {stopping} still running"),
        ("finished first", number(cancellation.finished_first)),
        ("errors", f"{number(cancellation.errors)} could not be evaluated and were left alone"),
    ]
    return fields(pairs)


def state_in_words(cancellation: Cancellation, zone: tzinfo) -> str:
    match cancellation.state:
        case "active":
            return "active: no matching run is claimed; their rows are being rewritten"
        case "complete" if cancellation.completed_at:
            took = duration((cancellation.completed_at - cancellation.created_at).total_seconds())
            return f"complete at {instant(cancellation.completed_at, zone)}, after {took}"
        case "stopped" if cancellation.stopped_at:
            by = one_line(cancellation.stopped_by or "somebody")
            return f"stopped at {instant(cancellation.stopped_at, zone)} by {by}"
        case state:
            return state


def outcome(cancellation: Cancellation) -> str:
    """How a cancellation that is active no more came out, in one line."""
    scope = one_line(str(Scope(cancellation.app_id, cancellation.function_id)))
    text = f"{runs(cancellation.cancelled)} of {scope} cancelled"
    if cancellation.finished_first:
        text += f"; {number(cancellation.finished_first)} finished first"
    if cancellation.errors:
        text += f"; {runs(cancellation.errors)} could not be evaluated: left alone"
    return f"{text}."
