"""Builds a request from the flags, whose times may be relative and local, or from a JSON body."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from secateur.cel import Diagnostic
from secateur.cli.output import YELLOW, noted, notice
from secateur.errors import Problem, RequestError, UsageError
from secateur.instants import utc
from secateur.requests import CancellationRequest, RetryRequest
from secateur.times import resolve_time, resolve_times
from secateur.words.lines import one_line

AT_COMMIT = "now"
"""As the end of a window it leaves the end open: the commit then uses its own time, so no run is missed in between."""

_FLAGS = {"app": "app_id", "if_": "if", "rate": "rate"}
_TIMES = {"after": "started_after", "before": "started_before"}

Resolve = Callable[[datetime], CancellationRequest]


def read_request(arguments: argparse.Namespace, zone: tzinfo) -> Resolve:
    """The request, as a function of the database's time, which relative times need.

    The whole request is checked here, before a connection is made: raises `RequestError` with all problems at
    once, or `UsageError`.
    """
    given = {name for name in (*_FLAGS, "function", *_TIMES) if getattr(arguments, name) is not None}
    given |= {name for name in ("standing", "cancelled") if getattr(arguments, name, False)}
    if arguments.request is not None:
        if given:
            flags = ", ".join(f"--{name.rstrip('_')}" for name in sorted(given))
            raise UsageError(f"--request already selects the runs: leave out {flags}")
        request = _from_body(arguments)
        return lambda now: request
    if arguments.app is None:
        raise UsageError(
            "no runs are selected: give --app APP (and --function, --if, --after, --before), or --request FILE"
        )

    def resolve(now: datetime) -> CancellationRequest:
        return _from_flags(arguments, now, zone)

    resolve(datetime.now(UTC))
    return resolve


def read_input(name: str) -> bytes:
    """A file's content; `-` is stdin. Raises `UsageError`."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from error


def read_span(arguments: argparse.Namespace, now: datetime, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """What `--since` and `--until` mean. Raises `RequestError` with both problems at once."""
    times = resolve_times({name: getattr(arguments, name) for name in ("since", "until")}, now, zone)
    return times.get("since"), times.get("until")


def warn(request: CancellationRequest, warnings: Iterable[Diagnostic]) -> None:
    """Print the warnings about a condition that is valid."""
    for found in warnings:
        place = f"line {found.line}, column {found.column}"
        noted(f"secateur: warning: if ({place}): {one_line(found.message)}", YELLOW)
        notice("\n".join(f"  {shown}" for shown in found.excerpt(request.if_ or "").split("\n")))
        if found.suggestion:
            noted(f"  {one_line(found.suggestion)}")


def _model(arguments: argparse.Namespace) -> type[CancellationRequest]:
    return RetryRequest if arguments.verb == RetryRequest.verb else CancellationRequest


def _from_body(arguments: argparse.Namespace) -> CancellationRequest:
    request = _model(arguments).parse(read_input(arguments.request))
    reason = getattr(arguments, "reason", None)
    if reason is None:
        return request
    if request.reason is not None:
        raise UsageError("the request already has a reason: leave out --reason")
    return _model(arguments).parse({**request.body(), "reason": reason})


def _from_flags(arguments: argparse.Namespace, now: datetime, zone: tzinfo) -> CancellationRequest:
    body: dict[str, object] = {field: getattr(arguments, name) for name, field in _FLAGS.items()}
    functions: list[str] = arguments.function or []
    body |= {"function_id": functions[0]} if len(functions) == 1 else {"function_ids": functions or None}
    body |= {"standing": getattr(arguments, "standing", None) or None, "reason": getattr(arguments, "reason", None)}
    body |= {"with_cancelled": getattr(arguments, "cancelled", None) or None}
    problems: list[Problem] = []
    for name, field in _TIMES.items():
        text = getattr(arguments, name)
        if text is None or (name == "before" and text.strip().lower() == AT_COMMIT):
            continue
        try:
            body[field] = utc(resolve_time(text, now, zone))
        except UsageError as error:
            problems.append(Problem(field, str(error)))
    try:
        request = _model(arguments).parse({field: value for field, value in body.items() if value is not None})
    except RequestError as error:
        problems += error.problems
    if problems:
        raise RequestError(problems)
    return request
