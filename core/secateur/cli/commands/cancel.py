"""`preview`, `cancel`, `retry`, `cancel-run` and `stop`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

from secateur.backoff import persist
from secateur.cel import Diagnostic
from secateur.cli.asking import answer, consents, require_a_terminal
from secateur.cli.describing import Reach, follow, outcome, pending, review, run_in_words
from secateur.cli.identifying import naming_run, read_id, read_run_id
from secateur.cli.opening import CommandSession, find_place, open_session
from secateur.cli.output import done, json_line, line, notice, write
from secateur.cli.proposed import proposed_lines
from secateur.cli.requesting import read_request, warn
from secateur.cli.waiting import wait_for
from secateur.errors import DatabaseError, NeedsApproval, NotFound, SecateurError, Unreachable, UsageError
from secateur.ledger.commits import COMMITTING
from secateur.ledger.forms import cancellation_form
from secateur.ledger.proposal_forms import count_in_proposal, proposal_form
from secateur.looking.advising import advise_request
from secateur.looking.forms import preview_form
from secateur.looking.timed_counting import Seen, count_within, within
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur.states import Guarantee, State
from secateur.words.figures import runs
from secateur.words.lines import one_line
from secateur.words.shell import command_line

if TYPE_CHECKING:
    from secateur.records import Cancellation

ADVICE_SECONDS = 3.0
"""Seconds for which the warnings about its condition may hold up a commit."""

_DONE = {"cancel": "cancelled", "retry": "retried"}
_NOUN = {"cancel": "cancellation", "retry": "retry"}
_UNKNOWN = {"cancel": "cancellation is in force", "retry": "retry is committed"}
_ADD_YES = "add --yes to do it without being asked"


async def preview(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    resolve = read_request(arguments, place.settings.zone)
    async with open_session(place) as session:
        await _preview(session, resolve(await session.queue.reader.clock()), as_json=arguments.json)
    return 0


async def _preview(session: CommandSession, request: CancellationRequest, *, as_json: bool) -> None:
    # The count comes first: of an app that does not exist nothing could be sampled.
    counted = await session.queue.reader.counter.preview(request)
    warnings = await advise_request(session.queue.reader, request)
    if as_json:
        json_line(preview_form(counted, warnings).as_json())
    else:
        warn(request, warnings)
        write(_review(session, request, Seen(counted)))


async def look(session: CommandSession, request: CancellationRequest) -> Seen:
    """Counts in bounded time what a commit would cancel, and prints warnings about the condition."""
    seconds = session.place.settings.query_timeout_seconds
    seen = await count_within(session.queue.reader.counter, request, seconds, on_primary=True)
    with suppress(DatabaseError):
        warn(request, await within(min(seconds, ADVICE_SECONDS), advise_request(session.queue.reader, request)))
    return seen


async def cancel(arguments: argparse.Namespace) -> int:
    return await _ask_and_commit(arguments)


async def retry(arguments: argparse.Namespace) -> int:
    return await _ask_and_commit(arguments)


async def _ask_and_commit(arguments: argparse.Namespace) -> int:
    if arguments.dry_run and arguments.no_count:
        raise UsageError("--dry-run and --no-count cannot be given together: leave one out")
    place = find_place(arguments, writes=not arguments.dry_run)
    resolve = read_request(arguments, place.settings.zone)
    if not arguments.dry_run and not arguments.yes:
        _check_that_somebody_can_answer(arguments)
    async with open_session(place) as session:
        began = await session.queue.reader.clock()
        request = resolve(began)
        if arguments.dry_run:
            await _preview(session, request, as_json=arguments.json)
            return 0
        uncounted = _why_uncounted(arguments, must_count=session.proposals.has_budget)
        seen = await look(session, request) if uncounted is None else Seen(None, uncounted)
        if not agreed(arguments, session, request, seen):
            notice(f"Nothing was {_DONE[request.verb]}.")
            return 1
        key = arguments.idempotency_key or str(uuid4())
        if not arguments.json:
            # Before it is sent: should this process be killed now, the key is what tells whether it was committed.
            write([f"Committing under the idempotency key {key}."])
        try:
            session.proposals.require_within_budget(request, seen.count)
            async with nullcontext() if uncounted is None else _advised(session, request):
                committed = await _commit(session, request, seen.count, key)
        except NeedsApproval as error:
            return await _propose_instead(arguments, session, request, seen, key, error)
        done.extend(f"{_NOUN[request.verb]} {each.id} is committed{follow(each.id)}" for each in committed)
        if not arguments.json:
            write(committed_lines(committed, began, waits=arguments.wait))
        for each in committed:
            for said in pending(each):
                notice(said)
        waits = arguments.wait
        if waits:
            committed = [await wait_for(session, each) for each in committed]
        elif session.queue.cancellations.wants_sweep(committed[0].app_id) and not committed[0].is_retry:
            # This process does not leave it to others.
            committed = [await wait_for(session, each, until_idle=True) for each in committed]
            waits = not arguments.json
    if arguments.json:
        documents = [cancellation_form(each).as_json() for each in committed]
        json_line(documents if request.function_ids is not None else documents[0])
    elif waits:
        write(outcome(each) for each in committed)
    return exit_code(committed, waited=arguments.wait)


async def _propose_instead(
    arguments: argparse.Namespace,
    session: CommandSession,
    request: CancellationRequest,
    seen: Seen,
    key: str,
    error: NeedsApproval,
) -> int:
    notice(f"secateur: not committed: {one_line(str(error))}")
    made = await session.proposals.propose(
        request,
        author=session.place.settings.author_name,
        source="cli",
        seen=count_in_proposal(seen.count),
        key=key,
    )
    done.append(f"proposal {made.id} is made")
    if arguments.json:
        json_line(proposal_form(made).as_json())
    else:
        write(proposed_lines(made))
    return 1


async def cancel_run(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    run_id = read_run_id(place, arguments.run)
    if not arguments.yes:
        require_a_terminal(_ADD_YES)
    async with open_session(place) as session:
        with naming_run(run_id):
            run = await session.queue.reader.run(run_id)
        if not arguments.yes:
            notice(run_in_words(run))
            if not consents("Cancel this run?"):
                notice("Nothing was cancelled.")
                return 1
        # Two attempts to cancel the same run are two cancellations; under one key they are one.
        cancelled = await session.queue.cancellations.cancel_run(
            run_id,
            author=place.settings.author_name,
            source="cli",
            reason=arguments.reason,
            idempotency_key=str(uuid4()),
        )
        stops_at = session.queue.cancellations.stops_at(run.app_id)
    done.append(f"cancellation {cancelled.id} of run {run_id} is committed{follow(cancelled.id)}")
    if arguments.json:
        json_line(cancellation_form(cancelled).as_json())
    else:
        stops = cancelled.stopping > 0
        line(f"Asked to stop: it stops at its {stops_at}." if stops else "Cancelled: it will not start.")
        line(f"  Take it back: {command_line('restore-run', str(run_id))}")
    return 0


async def stop(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    cancellation_id = read_id(arguments.id)
    async with open_session(place) as session:
        stopped = await session.queue.cancellations.stop(
            cancellation_id, author=place.settings.author_name, source="cli"
        )
    done.append(f"{stopped.id} is {stopped.state}{follow(stopped.id)}")
    if arguments.json:
        json_line(cancellation_form(stopped).as_json())
    elif stopped.state == State.STOPPED:
        line(f"Stopped. {outcome(stopped)}")
        for said in pending(stopped):
            line(said)
    else:
        line(f"It was already {stopped.state}; nothing was left to stop. {outcome(stopped)}")
    return 0


def _why_uncounted(arguments: argparse.Namespace, *, must_count: bool) -> str | None:
    """Why there is no count before the commit, or None if there is one. A commit that asks nobody waits for none."""
    if arguments.no_count:
        return "--no-count was given"
    return (
        "--yes commits at once, unless --count is given"
        if arguments.yes and not arguments.count and not must_count
        else None
    )


def _review(session: CommandSession, request: CancellationRequest, seen: Seen) -> list[str]:
    where, zone = session.database.description, session.place.settings.zone
    cancellations, app_id = session.queue.cancellations, request.app_id
    gated = cancellations.is_gated(app_id) or not cancellations.can_cancel
    return review(request, seen, where, zone, Reach(gated, cancellations.stops_at(app_id)))


def _check_that_somebody_can_answer(arguments: argparse.Namespace) -> None:
    if arguments.request == "-":
        raise UsageError(f"--request - reads stdin, so you cannot be asked: {_ADD_YES}")
    require_a_terminal(f"{_ADD_YES}, or --dry-run to count")


def agreed(arguments: argparse.Namespace, session: CommandSession, request: CancellationRequest, seen: Seen) -> bool:
    shown = _review(session, request, seen)
    if not arguments.json:
        write(shown)
    elif not arguments.yes:
        notice("\n".join(shown))
    elif seen.why and arguments.count:
        notice(f"secateur: not counted: {one_line(seen.why)}")
    return arguments.yes or _consents(request, seen, session.place.settings.confirm_above)


def _consents(request: CancellationRequest, seen: Seen, confirm_above: int) -> bool:
    """Ask on the terminal; a mere `y` could be a slip beyond `confirm_above` runs, and where nobody knows how many."""
    count = seen.count if seen.why is None else None
    if count is not None and count.matched <= confirm_above:
        return consents(f"{request.verb.capitalize()} {runs(count.matched)}?")
    name = request.function_id or request.app_id
    what = "whatever matches" if count is None else runs(count.matched)
    typed = answer(f"{request.verb.capitalize()} {what}? Type {one_line(name)} to confirm: ")
    return typed == name or (count is not None and typed.replace(",", "") == str(count.matched))


@asynccontextmanager
async def _advised(session: CommandSession, request: CancellationRequest) -> AsyncIterator[None]:
    """Looks for warnings while the block commits, which waits for no sample, and prints them when it has committed."""

    async def look_soon() -> tuple[Diagnostic, ...]:
        return await within(ADVICE_SECONDS, advise_request(session.queue.reader, request))

    looking = asyncio.create_task(look_soon())
    try:
        yield
        with suppress(DatabaseError, NotFound):
            warn(request, await looking)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _commit(
    session: CommandSession, request: CancellationRequest, expected: Count | None, key: str
) -> Sequence[Cancellation]:
    """Commit, asking again with the same key when the answer is lost."""

    def commit() -> Awaitable[Sequence[Cancellation]]:
        return session.queue.cancellations.commit_all(
            request,
            author=session.place.settings.author_name,
            source="cli",
            idempotency_key=key,
            expected=expected,
        )

    def note(error: Unreachable) -> None:
        notice(f"secateur: {one_line(str(error))}; trying again with the same idempotency key")

    try:
        return await persist(commit, COMMITTING, Unreachable, note)
    except Unreachable as error:
        _outcome_is_unknown(request, key, error)
    except asyncio.CancelledError:
        notice(f"secateur: interrupted: {_how_to_find_out(request, key)}")
        raise


def _outcome_is_unknown(request: CancellationRequest, key: str, error: SecateurError) -> NoReturn:
    raise SecateurError(f"{error}: {_how_to_find_out(request, key)}") from error


def _how_to_find_out(request: CancellationRequest, key: str) -> str:
    again = request.command_line(key=key, yes=True)
    return (
        f"it is unknown whether the {_UNKNOWN[request.verb]}; repeat it with the same key, "
        f"which commits it at most once: {again}"
    )


def committed_lines(committed: Sequence[Cancellation], began: datetime, *, waits: bool) -> list[str]:
    """The lines that report the commit, before its rows are rewritten."""
    if any(each.is_over for each in committed):
        lines = [
            "It was already committed under this idempotency key, and has been stopped or undone since: it no longer",
            "matches anything. To do it again, leave the key out or use a new one.",
        ]
    elif committed[0].created_at < began:
        lines = ["It was already committed under this idempotency key; nothing was done twice."]
    elif any(each.is_pending for each in committed):
        lines = ["Committed, but not yet in force."]
    elif committed[0].is_retry:
        lines = ["Committed: the matching runs are being queued again."]
    elif committed[0].guarantee == Guarantee.SWEPT:
        lines = ["Committed: its runs are being cancelled. What is not reached yet may still start."]
    else:
        lines = ["In force: no matching run can be claimed."]
    lines += [f"  {each.id}, {each.state}{_of_function(each, committed)}" for each in committed]
    if not waits and any(each.is_active for each in committed):
        if committed[0].guarantee == Guarantee.SWEPT:
            lines.append("  This command does it now; any running secateur console or server goes on with it.")
        else:
            lines.append("  Any running secateur console, worker or server rewrites the rows.")
        if len(committed) == 1:
            each = committed[0]
            lines += [
                f"  Follow it:     {command_line('show', str(each.id))}",
                f"  Stop it:       {command_line('stop', str(each.id))}",
                f"  Take it back:  {command_line('undo', str(each.id))}",
            ]
        else:
            lines.append(f"  Follow each with its ID, or stop or undo it:  {command_line('show', 'ID')}")
    elif waits and any(each.standing and each.state == State.ACTIVE for each in committed):
        lines.append("  It stands until its window ends; this command waits for that.")
    return lines


def _of_function(cancellation: Cancellation, committed: Sequence[Cancellation]) -> str:
    return f", {one_line(cancellation.function_id or '')}" if len(committed) > 1 else ""


def exit_code(committed: Sequence[Cancellation], *, waited: bool) -> int:
    """Fails if somebody has stopped or undone the cancellation; waiting also if it is not complete."""
    if any(each.is_over for each in committed):
        return 1
    return 1 if waited and any(each.state != State.COMPLETE for each in committed) else 0
