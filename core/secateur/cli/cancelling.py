"""`preview`, `cancel` and `stop`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID, uuid4

from secateur.cancellations import Preview, cancellation_json
from secateur.cli.describing import outcome, review
from secateur.cli.opening import Session, find_place, open_session
from secateur.cli.output import json_line, line, notice, number, one_line, runs
from secateur.cli.requesting import read_request, warn
from secateur.errors import SecateurError, Unreachable, UsageError
from secateur.requests import CancellationRequest

if TYPE_CHECKING:
    from secateur.records import Cancellation

ASK_AGAIN_AFTER = (0.5, 1.0, 2.0)
"""Seconds between attempts to commit when the connection is lost: under its key it is committed once at most."""

WAIT_ATTEMPTS = 60
"""How often `--wait` goes on, a second later, when the connection is lost."""


async def preview(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    resolve = read_request(arguments, place.settings.zone)
    async with open_session(place) as session:
        await _preview(session, resolve(await session.engine.clock()), as_json=arguments.json)
    return 0


async def _preview(session: Session, request: CancellationRequest, *, as_json: bool) -> None:
    warn(request)
    counted = await session.cancellations.preview(request)
    if as_json:
        json_line(counted.as_json())
    else:
        _write(_review(session, request, counted))


async def cancel(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=not arguments.dry_run)
    resolve = read_request(arguments, place.settings.zone)
    if not arguments.dry_run and not arguments.yes:
        _check_that_somebody_can_answer(arguments)
    async with open_session(place) as session:
        request = resolve(await session.engine.clock())
        if arguments.dry_run:
            await _preview(session, request, as_json=arguments.json)
            return 0
        warn(request)
        counted = await session.cancellations.preview(request)
        if not _agreed(arguments, session, request, counted):
            notice("Nothing was cancelled.")
            return 1
        key = arguments.idempotency_key or str(uuid4())
        if not arguments.json:
            # Before it is sent: should this process be killed now, the key is what tells whether it was committed.
            _write([f"Committing under the idempotency key {key}."])
        committed = await _commit(session, request, counted, key)
        if not arguments.json:
            _write(_committed(committed, counted, waits=arguments.wait))
        if arguments.wait:
            committed = await _wait(session, committed)
    if arguments.json:
        json_line(cancellation_json(committed))
    elif arguments.wait:
        line(outcome(committed))
    return _exit_code(committed, waited=arguments.wait)


async def stop(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    cancellation_id = read_id(arguments.id)
    async with open_session(place) as session:
        stopped = await session.cancellations.stop(cancellation_id, author=place.settings.author_name)
    if arguments.json:
        json_line(cancellation_json(stopped))
    elif stopped.state == "stopped":
        line(f"Stopped. {outcome(stopped)}")
    else:
        line(f"It was {stopped.state} already: there was nothing left to stop. {outcome(stopped)}")
    return 0


def read_id(text: str) -> UUID:
    """A cancellation's id. Raises `UsageError`."""
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a cancellation's id; `secateur history` lists them") from None


def _review(session: Session, request: CancellationRequest, counted: Preview) -> list[str]:
    return review(request, counted, session.database.description, session.place.settings.zone)


def _write(lines: Iterable[str]) -> None:
    for each in lines:
        line(each)
    sys.stdout.flush()


def _check_that_somebody_can_answer(arguments: argparse.Namespace) -> None:
    if arguments.request == "-":
        raise UsageError(
            "--request - uses stdin up, so that nobody could answer: add --yes to cancel without being asked"
        )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "there is no terminal to ask on: add --yes to cancel without being asked, or --dry-run to count"
        )


def _agreed(arguments: argparse.Namespace, session: Session, request: CancellationRequest, counted: Preview) -> bool:
    shown = _review(session, request, counted)
    if not arguments.json:
        _write(shown)
    elif not arguments.yes:
        notice("\n".join(shown))
    return arguments.yes or _consents(request, counted, session.place.settings.confirm_above)


def _consents(request: CancellationRequest, counted: Preview, confirm_above: int) -> bool:
    """Ask on the terminal; beyond `confirm_above` runs a mere `y` could be a slip."""
    matched = counted.count.matched
    if matched <= confirm_above:
        return _answer(f"Cancel {runs(matched)}? [y/N] ").lower() in {"y", "yes"}
    name = request.function_id or request.app_id
    answer = _answer(f"Cancel {runs(matched)}? Type {one_line(name)} to confirm: ")
    return answer == name or answer.replace(",", "") == str(matched)


def _answer(question: str) -> str:
    with _interruptible():
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        notice("")
    return answer.strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a read from the terminal; the event loop's handler would only take note of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _commit(session: Session, request: CancellationRequest, counted: Preview, key: str) -> Cancellation:
    """Commit, asking again with the same key when the answer is lost."""
    attempts = len(ASK_AGAIN_AFTER) + 1
    for attempt in range(attempts):
        try:
            return await session.cancellations.commit(
                request,
                author=session.place.settings.author_name,
                source="cli",
                idempotency_key=key,
                expected=counted.count,
            )
        except Unreachable as error:
            if attempt == attempts - 1:
                _outcome_is_unknown(request, key, error)
            notice(f"secateur: {one_line(str(error))}; asking again, with the same idempotency key")
            await asyncio.sleep(ASK_AGAIN_AFTER[attempt])
        except asyncio.CancelledError:
            notice(f"secateur: interrupted: {_how_to_find_out(request, key)}")
            raise
    raise AssertionError("unreachable")


def _outcome_is_unknown(request: CancellationRequest, key: str, error: SecateurError) -> NoReturn:
    raise SecateurError(f"{error}: {_how_to_find_out(request, key)}") from error


def _how_to_find_out(request: CancellationRequest, key: str) -> str:
    again = f"{request.command_line()} --idempotency-key {key} --yes"
    return (
        "it is unknown whether the cancellation is in force; ask again under the same key, "
        f"which commits it once at most: {again}"
    )


def _committed(committed: Cancellation, counted: Preview, *, waits: bool) -> list[str]:
    if committed.created_at < counted.count.as_of:
        first = "It was committed before, under the same idempotency key; nothing was done twice."
    else:
        first = "In force: no matching run is claimed any more."
    lines = [first, f"  {committed.id}, {committed.state}"]
    if not waits and committed.state == "active":
        lines += [
            "  The rows are rewritten by whichever secateur console, worker or server is running.",
            f"  Follow it: secateur show {committed.id}    stop it: secateur stop {committed.id}",
        ]
    return lines


async def _wait(session: Session, committed: Cancellation) -> Cancellation:
    """Sweep until nothing is left, with progress for whoever looks on."""
    sweep = asyncio.create_task(_sweep(session, committed.id))
    try:
        while not (await asyncio.wait({sweep}, timeout=1))[0]:
            await _show_progress(session, committed)
    except asyncio.CancelledError:
        notice(f"secateur: no longer waiting; the cancellation is in force: secateur show {committed.id}")
        raise
    finally:
        sweep.cancel()
    return await sweep


async def _sweep(session: Session, cancellation_id: UUID) -> Cancellation:
    for attempt in range(1, WAIT_ATTEMPTS + 1):
        try:
            return await session.cancellations.wait(cancellation_id)
        except Unreachable as error:
            if attempt == WAIT_ATTEMPTS:
                raise Unreachable(
                    f"{error}; the cancellation is in force, and `secateur show {cancellation_id}` follows it"
                ) from error
            await asyncio.sleep(1)
    raise AssertionError("unreachable")


async def _show_progress(session: Session, committed: Cancellation) -> None:
    if not sys.stderr.isatty():
        return
    try:
        now = await session.cancellations.get(committed.id)
    except SecateurError:
        return
    expected = f" of {number(now.expected)}" if now.expected is not None else ""
    stopping = f", {number(now.stopping)} still running" if now.stopping else ""
    notice(f"  {number(now.cancelled)}{expected} cancelled{stopping}")


def _exit_code(committed: Cancellation, *, waited: bool) -> int:
    """Waiting fails if somebody stopped the cancellation before it was complete."""
    return 1 if waited and committed.state != "complete" else 0
