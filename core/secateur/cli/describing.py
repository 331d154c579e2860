"""A request, its count and its cancellation as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from secateur.cli.output import fields, json_text, styled, table, warning
from secateur.instants import in_zone, utc
from secateur.ledger.verifying import Compiled, verify
from secateur.ledger.wording import (
    MAY_STILL_START,
    At,
    blocked_by,
    end_of,
    guarantee_in_words,
    held_back_in_words,
    progress_in_words,
    standing_in_words,
    sweep_in_words,
    undo_waits,
    until_then,
    what_runs_does,
)
from secateur.looking.timed_counting import Seen
from secateur.requests import CancellationRequest
from secateur.runs import UNFINISHED, Count, CountedBy, Run, RunStatus
from secateur.states import Kind
from secateur.words.blockers import unblocking
from secateur.words.figures import number, runs
from secateur.words.lines import one_line
from secateur.words.shell import command_line
from secateur.words.tables import Column

if TYPE_CHECKING:
    from secateur.records import Cancellation


@dataclass(frozen=True, slots=True)
class Reach:
    """What a commit can promise in the queue that it is for."""

    is_gated: bool
    """Claims obey it, or nothing can be committed at all."""
    stops_at: str | None
    """As `Cancellations` has it."""


def instant(moment: datetime, zone: tzinfo) -> str:
    """In UTC, and in the reader's zone where that is another."""
    local = in_zone(moment, zone)
    if not local.utcoffset():
        return utc(moment)
    return f"{utc(moment)} ({local:%Y-%m-%d %H:%M:%S} {local.tzname()})"


def review(request: CancellationRequest, seen: Seen, where: str, zone: tzinfo, reach: Reach) -> list[str]:
    """What a commit would do, in one sentence; then what it is made of."""
    count = seen.count
    lines = [_sentence(count, f"{scopes_in_words(request)} in {one_line(where)}", meant(request))]
    if seen.why is not None:
        exactly = "" if count is None else " exactly"
        verb = {"retry": "retrie"}.get(request.verb, request.verb)
        told = f"Not counted{exactly}: {one_line(seen.why)}. The commit does not need it: it {verb}s whatever matches."
        lines.append(warning(told))
    if request.if_ is None:
        lines.append(warning(f"No condition: this matches every {meant(request)} run of the scope in the window."))
    lines += [f"  {each}" for each in fields(_particulars(request, count, zone, reach))]
    examples = seen.preview.error_examples if seen.preview else ()
    lines += [f"    {one_line(each.run_id)}  {one_line(each.message)}" for each in examples]
    if request.function_id is None and count is not None and count.matched:
        hit = {name: matched for name, matched in sorted(count.by_function.items()) if matched}
        rows = [(name, number(matched)) for name, matched in hit.items()]
        columns = [Column("function", right=False), Column("matching")]
        lines += [f"  {each}" for each in table(columns, rows)]
    return lines


def meant(request: CancellationRequest) -> str:
    """Which runs the request applies to: `unfinished`, `failed`, `failed or cancelled`."""
    return "unfinished" if request.statuses is UNFINISHED else " or ".join(request.statuses)


def _sentence(count: Count | None, where: str, kind: str) -> str:
    if count is None:
        return f"This applies to every matching run of {where}."
    about = "" if count.exact else "About "
    matched = styled(f"{about}{runs(count.matched)}", "\x1b[1m")
    verb = "matches" if count.matched == 1 else "match"
    return f"{matched} of the {number(count.total)} {kind} of {where} {verb}."


def scopes_in_words(request: CancellationRequest) -> str:
    """`billing / vendor-syncs`, `billing / every function`, `billing / invoices, vendor-syncs`."""
    names = [str(request.scopes[0]), *(scope.function_id or "" for scope in request.scopes[1:])]
    return one_line(", ".join(names))


def condition_in_words(cancellation: Cancellation) -> str:
    """Its `if`, marked if that is not what is executed."""
    condition = cancellation.if_ if cancellation.if_ is not None else "(every run)"
    if cancellation.run_id is not None:
        condition = f"(run {cancellation.run_id})"
    match verify(cancellation).compiled:
        case Compiled.UNVERIFIED:
            return f"(not compiled by secateur) {condition}"
        case Compiled.OTHER_VERSION:
            return f"(by another compiler) {condition}"
    return condition


def scope_in_words(cancellation: Cancellation) -> str:
    """The scope of a cancellation."""
    scope = cancellation.scope
    return one_line(f"run {cancellation.run_id} of {scope}" if cancellation.run_id else str(scope))


def run_in_words(run: Run) -> str:
    """One run, before somebody cancels it."""
    return (
        f"run {one_line(run.id)} of {one_line(run.app_id)} / {one_line(run.function_id)}: {run.status}, "
        f"in the queue since {utc(run.started_at)}, {run.attempt} attempts so far"
    )


def run_lines(run: Run, zone: tzinfo) -> list[str]:
    """Everything that is kept of a run; its event last."""
    status = str(run.status)
    if run.lost:
        status += ": its lease has expired, so no live worker has it; the next claim takes it back"
    pairs = [
        ("id", one_line(run.id)),
        ("status", status),
        ("run of", one_line(str(run.scope))),
        ("started", instant(run.started_at, zone)),
        ("priority", number(run.priority)),
        ("attempts", number(run.attempt)),
    ]
    if run.idempotency_key is not None:
        pairs.append(("key", one_line(run.idempotency_key)))
    moments = (
        ("scheduled for", run.scheduled_for),
        ("last claimed", run.claimed_at),
        ("lease until", run.lease_expires_at),
        ("ended", run.finished_at),
    )
    pairs += [(label, instant(moment, zone)) for label, moment in moments if moment is not None]
    if run.worker is not None:
        pairs.append(("worker", one_line(run.worker)))
    if run.step is not None and run.step_at is not None:
        pairs.append(("last step", f"{one_line(run.step)}, begun {instant(run.step_at, zone)}"))
    if run.cancellation_id is not None:
        pairs.append(("cancellation", run.cancellation_id))
    if run.error is not None:
        pairs.append(("error", one_line(run.error)))
    pairs.append(("event", one_line(json_text(run.event))))
    return fields(pairs)


def _particulars(
    request: CancellationRequest, count: Count | None, zone: tzinfo, reach: Reach
) -> list[tuple[str, str]]:
    after, before = request.started_after, request.started_before
    window = f"after {instant(after, zone)}, " if after else "any time "
    window += f"before {instant(before, zone)}" if before else "before the commit"
    pairs = [("if", one_line(request.if_))] if request.if_ is not None else []
    if request.standing and before:
        pairs.append(("standing", f"matching runs that arrive until {instant(before, zone)} are cancelled too"))
    if request.rate is not None:
        pairs.append(("rate", f"at most {number(request.rate)} rows a second are rewritten; this delays nothing else"))
    pairs.append(("started", window))
    if not reach.is_gated and request.verb == "cancel":
        pairs.append(("guarantee", warning(f"swept: {MAY_STILL_START}")))
    return pairs if count is None else pairs + _figures(count, reach.stops_at)


def _figures(count: Count, stops_at: str | None) -> list[tuple[str, str]]:
    by_status = ", ".join(f"{number(matched)} {status}" for status, matched in count.by_status.items())
    accuracy = "exact"
    if not count.exact:
        between = f" ({number(count.low)} to {number(count.high)})" if count.low is not None and count.high else ""
        accuracy = f"an estimate{between}"
    whose = ", by the replica" if count.source is CountedBy.REPLICA else ""
    pairs = [("counted", f"{by_status}; {accuracy} at {utc(count.as_of)}{whose}")]
    if count.evaluated_here:
        pairs.append(("evaluated", "by this program, on the rows: the database lacks helper functions for this `if`"))
    if count.replica_failed:
        pairs.append(("replica", f"not used; the primary was counted instead: {one_line(count.replica_failed)}"))
    if running := count.by_status.get(RunStatus.RUNNING):
        which, first = ("this one", "it ends") if running == 1 else ("these", "they end")
        unless = f", unless {first} first" if stops_at else ""
        pairs.append(("running", f"{which} {what_runs_does(stops_at, running)}{unless}"))
    if count.errors:
        pairs.append(("errors", f"{runs(count.errors)} could not be evaluated; they do not match"))
    return pairs


def cancellation_lines(cancellation: Cancellation, now: datetime, zone: tzinfo) -> list[str]:
    """Everything that is kept of a cancellation, or of a retry."""
    retries = cancellation.is_retry
    pairs = [("id", str(cancellation.id)), ("state", _state(cancellation, now, zone))]
    pairs += _retry_kind(cancellation) if retries else _cancellation_kind(cancellation, zone)
    if retries or cancellation.kind == Kind.BULK:
        after = cancellation.started_after
        window = f"after {instant(after, zone)}, " if after else "any time "
        condition = one_line(cancellation.if_) if cancellation.if_ is not None else "(no condition: every run)"
        pairs += [("started", f"{window}before {instant(cancellation.started_before, zone)}"), ("if", condition)]
    if not retries and (verification := verify(cancellation).in_words()) is not None:
        pairs.append(("compiled", warning(verification)))
    if cancellation.standing:
        pairs.append(("standing", standing_in_words(cancellation, _at(zone))))
    if cancellation.rate is not None:
        pairs.append(("rate", f"at most {number(cancellation.rate)} rows a second"))
    pairs += [
        ("committed", f"{instant(cancellation.created_at, zone)} by role {one_line(cancellation.created_role)}"),
        (
            "author",
            f"{one_line(cancellation.created_by)}, from {one_line(cancellation.source)} (claimed, not verified)",
        ),
        ("reason", one_line(cancellation.reason) if cancellation.reason else "-"),
        ("expected", expected_in_words(cancellation)),
        ("matched", number(cancellation.matched)),
        *(_retry_figures(cancellation) if retries else _cancellation_figures(cancellation)),
        ("errors", f"{number(cancellation.errors)} could not be evaluated and were left alone"),
    ]
    if cancellation.undecided:
        pairs.append(("undecided", held_back_in_words(cancellation)))
    if cancellation.undone_at is not None:
        by = one_line(cancellation.undone_by or "somebody")
        pairs.append(("undone", f"{instant(cancellation.undone_at, zone)} by {by}"))
        pairs += _undone_retry(cancellation) if retries else _undone_cancellation(cancellation)
    if not retries and cancellation.retried:
        pairs.append(("retried", f"{number(cancellation.retried)} were queued again by a retry"))
    if cancellation.pruned:
        pairs.append(("pruned", f"{number(cancellation.pruned)} have been deleted since"))
    if cancellation.undo_until is not None:
        pairs.append(("undo until", instant(cancellation.undo_until, zone)))
    if (why := undo_waits(cancellation)) is not None:
        pairs.append(("undo", warning(why)))
    return [*fields(pairs), *pending(cancellation)]


def _retry_kind(retry: Cancellation) -> list[tuple[str, str]]:
    return [
        ("retry of", scope_in_words(retry)),
        ("which", "failed and cancelled runs" if retry.with_cancelled else "failed runs"),
    ]


def _cancellation_kind(cancellation: Cancellation, zone: tzinfo) -> list[tuple[str, str]]:
    pairs = [("guarantee", guarantee_in_words(cancellation, _at(zone)))]
    if (wrong := sweep_in_words(cancellation)) is not None:
        pairs.append(("sweep", warning(one_line(wrong))))
    pairs.append(("runs of", scope_in_words(cancellation)))
    if cancellation.odd:
        names = ", ".join(name.rstrip("_") for name in cancellation.odd)
        pairs.append(("odd", warning(f"{names}: not as secateur writes it; shown as far as possible")))
    return pairs


def _retry_figures(retry: Cancellation) -> list[tuple[str, str]]:
    return [
        ("queued again", number(retry.retried)),
        ("left alone", f"{number(retry.left_alone)}: their key is in use, or an active cancellation matches them"),
    ]


def _cancellation_figures(cancellation: Cancellation) -> list[tuple[str, str]]:
    asked, stopping = number(cancellation.requested), number(cancellation.stopping)
    return [
        ("cancelled", number(cancellation.cancelled)),
        ("requested", f"{asked} running asked to stop, {stopping} still running")
        if cancellation.stops_at is not None
        else ("running", f"{asked} when it reached them, {stopping} still"),
        ("finished first", number(cancellation.finished_first)),
    ]


def _undone_retry(retry: Cancellation) -> list[tuple[str, str]]:
    return [
        ("taken back", number(retry.restored)),
        ("not", f"{number(retry.not_restored)} that had begun, or that a cancellation has"),
    ]


def _undone_cancellation(cancellation: Cancellation) -> list[tuple[str, str]]:
    return [
        ("restored", number(cancellation.restored)),
        ("handed over", f"{number(cancellation.handed_over)} that another cancellation matches too"),
        ("not restored", number(cancellation.not_restored)),
    ]


def _at(zone: tzinfo) -> At:
    return partial(instant, zone=zone)


def _state(cancellation: Cancellation, now: datetime, zone: tzinfo) -> str:
    """As in the record, and what that means."""
    told = progress_in_words(cancellation, now, _at(zone))
    names_it = cancellation.is_over and (cancellation.is_pending or not cancellation.restoring)
    return told if names_it else f"{cancellation.state}: {told}"


def expected_in_words(cancellation: Cancellation) -> str:
    """What was counted before the commit."""
    if cancellation.expected is None:
        return "not counted"
    return f"{'' if cancellation.expected_exact else 'about '}{number(cancellation.expected)}"


def pending(cancellation: Cancellation) -> list[str]:
    """What a pending commit, stop or undo means, and what can be done about it; nothing for what is in force."""
    if not cancellation.is_pending:
        return []
    lines = [
        f"Pending: {_in_the_way(cancellation)} is in the way. Runs that it has",
        "claimed may still start; claims from now on obey the cancellation. It cannot be lost, and",
        "will be in force when that transaction ends.",
    ]
    if cancellation.is_over:
        end = end_of(cancellation)
        then = ". Its runs come back then." if end == "undo" else "."
        lines = [
            f"The {end} is not yet in force: {_in_the_way(cancellation)} is in the way;",
            f"{until_then(cancellation)}.",
            f"It cannot be lost, and will be in force when that transaction ends{then}",
        ]
    return [*lines, *ways_out(cancellation.blocked_by, cancellation.blocked_by_prepared)]


def _in_the_way(cancellation: Cancellation) -> str:
    """A prepared transaction is one itself; a process has one."""
    has_one = cancellation.blocked_by and not cancellation.blocked_by_prepared
    return f"an open transaction of {blocked_by(cancellation)}" if has_one else blocked_by(cancellation)


def ways_out(pids: Sequence[int], gids: Sequence[str]) -> list[str]:
    """What the transactions that something waits for do, and how to end them."""
    lines: list[str] = []
    for pid, ending in zip(pids, unblocking(pids, []), strict=True):
        lines += [
            f"  What it does:  select state, xact_start, query from pg_stat_activity where pid = {pid}",  # noqa: S608
            f"  To end it:     {ending}",
        ]
    for gid, ending in zip(gids, unblocking([], gids), strict=True):
        lines += [f"  Prepared transaction {gid!r} has no process.", f"  To end it:     {ending}"]
    return lines


def follow(cancellation_id: UUID) -> str:
    """What follows a sentence about a cancellation or a retry: the command that shows it."""
    return f": {command_line('show', str(cancellation_id))}"


def outcome(cancellation: Cancellation) -> str:
    """How a cancellation that is active no more, or a retry, came out, in one line."""
    if cancellation.is_retry:
        text = f"{runs(cancellation.retried)} of {scope_in_words(cancellation)} queued again"
        if cancellation.left_alone:
            text += f"; {number(cancellation.left_alone)} left alone (`{command_line('show', str(cancellation.id))}`)"
        if cancellation.errors:
            text += f"; {runs(cancellation.errors)} could not be evaluated and were left alone"
        return f"{text}."
    text = f"{runs(cancellation.cancelled)} of {scope_in_words(cancellation)} cancelled"
    if cancellation.finished_first:
        text += f"; {number(cancellation.finished_first)} finished first"
    if cancellation.stopping and cancellation.stops_at != "next step":
        text += f"; {number(cancellation.stopping)} still running"
    if cancellation.errors:
        text += f"; {runs(cancellation.errors)} could not be evaluated and were left alone"
    return f"{text}."
