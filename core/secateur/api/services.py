"""What every path uses: the queue, the author, and the form of answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Request

from secateur.api.answers import Failure
from secateur.api.background import Background
from secateur.api.turns import Turns
from secateur.instants import utc
from secateur.open_queue import OpenQueue

if TYPE_CHECKING:
    from secateur.records import Cancellation


@dataclass(frozen=True, slots=True)
class Services:
    """One queue, and the author to record if a request names none."""

    queue: OpenQueue
    author: str
    counting: Turns
    background: Background


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Injected = Annotated[Services, Depends(_services)]


def _author(services: Injected, x_author: Annotated[str | None, Header(max_length=200)] = None) -> str:
    return _text(x_author) or services.author


Author = Annotated[str, Depends(_author)]
"""The author: `X-Author`, or the server's own user."""

Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200, pattern=r"^[!-~]+$")]


def _text(header: str | None) -> str | None:
    """Headers arrive as Latin-1, and people send UTF-8."""
    if header is None:
        return None
    try:
        text = header.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        text = header
    return text.strip() or None


def answer(data: Any, fetched_at: datetime) -> dict[str, Any]:
    """`fetched_at` is by the database's clock."""
    return {"data": data, "metadata": {"fetched_at": utc(fetched_at)}}


def latest(before: datetime, *written: Cancellation) -> datetime:
    """When a write that began after `before` was done, by its own times; a query for the time could fail afterwards."""
    times = [
        moment
        for each in written
        for moment in (each.created_at, each.completed_at, each.stopped_at, each.undone_at, each.restored_at)
        if moment is not None
    ]
    return max([before, *times])


_REASONS = {
    400: "The request is wrong; `details` has every problem.",
    403: "The server or its role is read-only, or the request came from a page of another site.",
    404: "There is no such cancellation, run, app or function.",
    409: "It conflicts with the current state: the idempotency key was used for another request, the run has finished, "
    "it is too late, or something is unfinished that should be forgotten.",
    413: "The body is too long.",
    415: "The body is not sent as JSON.",
    503: "The database or a lock is not available, or the server is busy or stopping; try again after `Retry-After`.",
    504: "It took too long; nothing was changed, unless the answer says that this is unknown.",
    507: "The disk of the database is full; nothing was changed.",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of a path's failures, including those that every path can have."""
    possible = sorted({*statuses, 403, 503, 504, 507})
    documented: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": _REASONS[status]} for status in possible
    }
    return {**documented, "default": {"model": Failure, "description": "Any other failure."}}


def repeated(form: Any) -> dict[int | str, dict[str, Any]]:
    """The documentation of the answers to a commit without a guarantee: not yet, or no longer."""
    return {
        200: {"model": form, "description": "Committed before under this key, and stopped or undone since: `ended`."},
        202: {"model": form, "description": "Committed, and pending: `blocked_by` says what it waits for."},
    }
