"""`send` and `enqueue`: what puts runs into secateur's own queue."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import IO

from secateur.cli.asking import interruptible
from secateur.cli.opening import CommandSession, find_place, open_session
from secateur.cli.output import done, json_line, line
from secateur.cli.progress import ProgressBar
from secateur.cli.requesting import read_input
from secateur.documents import read_json
from secateur.engines.base import Sent
from secateur.engines.native.enqueueing import Enqueueing
from secateur.engines.native.events import JsonText
from secateur.errors import Problem, RequestError, UsageError
from secateur.requests import read_event
from secateur.times import resolve_time
from secateur.words.figures import runs
from secateur.words.shell import command_line

SPOOLED = 8 * 2**20
"""Bytes of standard input that are kept in memory; the rest goes to a temporary file."""

LONGEST_SHOWN = 20
"""Runs of an event that are listed; `--json` has them all."""


async def send(arguments: argparse.Namespace) -> int:
    """Starts a run of every function that the event's name triggers, and cancels by `cancel_on`."""
    place = find_place(arguments, writes=True)
    event, text = _event(arguments)
    async with open_session(place) as session:
        sent = await session.queue.controls.send(event, text, idempotency_key=arguments.idempotency_key)
    started, cancelled = len(sent.runs), len(sent.cancellations)
    done.append(f"the event is sent; it started {runs(started)} and {_cancellations(cancelled)}")
    if arguments.json:
        effects = {"runs": sent.runs, "cancellations": sent.cancellations}
        json_line(
            {
                name: [{"id": str(one.id), "app_id": one.app_id, "function_id": one.function_id} for one in each]
                for name, each in effects.items()
            }
        )
    else:
        for each in _sent_lines(sent):
            line(each)
    return 0


def _cancellations(many: int) -> str:
    return f"{many} cancellation{'' if many == 1 else 's'}"


def _sent_lines(sent: Sent) -> Iterator[str]:
    yield f"Sent: it started {runs(len(sent.runs))} and {_cancellations(len(sent.cancellations))}."
    for name, each in (("run", sent.runs), ("cancellation", sent.cancellations)):
        for one in each[:LONGEST_SHOWN]:
            yield f"  {name} {one.id}  {one.app_id} / {one.function_id}"
        if len(each) > LONGEST_SHOWN:
            yield f"  and {len(each) - LONGEST_SHOWN} more"
    if not sent.runs and not sent.cancellations:
        yield "No function has this trigger, and no cancel_on of this event matches a run."


async def enqueue(arguments: argparse.Namespace) -> int:
    """One run, or one for each line of `--jsonl`, all or none."""
    place = find_place(arguments, writes=True)
    if arguments.jsonl is not None and arguments.idempotency_key is not None:
        raise UsageError("--idempotency-key is for one run, and --jsonl for many: leave one out")
    text = _event(arguments)[1] if arguments.jsonl is None else None
    at = _scheduled_for(arguments, datetime.now(UTC), place.settings.zone)  # complains before it connects
    async with open_session(place) as session:
        if at is not None:
            at = _scheduled_for(arguments, await session.queue.reader.clock(), place.settings.zone)
        await session.queue.controls.require_taking(arguments.app)
        if text is None:
            return await _enqueue_lines(arguments, session, at)
        run_id = await Enqueueing(session.database).enqueue(
            arguments.app,
            arguments.function,
            JsonText(text),
            scheduled_for=at,
            priority=arguments.priority,
            idempotency_key=arguments.idempotency_key,
        )
    done.append(f"run {run_id} is enqueued; {command_line('run', str(run_id))} shows it")
    if arguments.json:
        json_line({"id": str(run_id), "app_id": arguments.app, "function_id": arguments.function})
    else:
        line(f"Enqueued run {run_id}.")
    return 0


async def _enqueue_lines(arguments: argparse.Namespace, session: CommandSession, at: datetime | None) -> int:
    progress = ProgressBar()
    try:
        with _opened(arguments.jsonl) as file:
            many = await Enqueueing(session.database).enqueue_bulk(
                arguments.app,
                arguments.function,
                _lines(file, progress),
                scheduled_for=at,
                priority=arguments.priority,
            )
    finally:
        progress.end()
    done.append(f"{runs(many)} enqueued")
    if arguments.json:
        json_line({"enqueued": many, "app_id": arguments.app, "function_id": arguments.function})
    else:
        line(f"Enqueued {runs(many)}.")
    return 0


def _event(arguments: argparse.Namespace) -> tuple[object, str]:
    """The event, decoded and as it is written. Raises `UsageError` and `RequestError`."""
    given = [flag for flag in ("name", "data") if getattr(arguments, flag) is not None]
    if arguments.event is not None:
        if given:
            raise UsageError(f"--event is the whole event: leave out --{given[0]}")
        return read_event(read_input(arguments.event))
    if not given:
        raise UsageError("there is no event: give --event FILE, or --name and --data")
    data = arguments.data
    if data is not None:
        try:
            read_json(data)
        except ValueError as error:
            raise UsageError(f"--data is not JSON: {error}") from error
    parts = [] if arguments.name is None else [f'"name": {json.dumps(arguments.name)}']
    parts += [] if data is None else [f'"data": {data}']
    return read_event(f"{{{', '.join(parts)}}}".encode())


def _scheduled_for(arguments: argparse.Namespace, now: datetime, zone: tzinfo) -> datetime | None:
    if arguments.scheduled_for is None:
        return None
    return resolve_time(arguments.scheduled_for, now, zone)


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    """The file; standard input to its end, so that no transaction waits for whoever writes it."""
    if name != "-":
        try:
            with open(name, "rb") as file:
                yield file
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}") from error
        return
    with tempfile.SpooledTemporaryFile(SPOOLED) as kept:
        with interruptible():
            while part := sys.stdin.buffer.read(1 << 20):
                kept.write(part)
        kept.seek(0)
        yield kept


def _lines(file: IO[bytes], progress: ProgressBar) -> Iterator[JsonText]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            yield JsonText(read_event(text.strip())[1])
        except RequestError as error:
            raise RequestError(
                [Problem("jsonl", f"line {number:,} {problem.message}") for problem in error.problems]
            ) from error
        progress.show(f"{runs(number)} read")
