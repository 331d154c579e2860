"""What every path uses: the queue, the author, and the form of answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Request

from secateur.api.access import Caller
from secateur.api.answers import Failure
from secateur.api.background import Background
from secateur.api.streams import MEDIA_TYPE, Streams
from secateur.api.turns import Turns
from secateur.bounds import LONGEST_NAME, problem_of_name, require
from secateur.errors import Unsupported
from secateur.instants import utc
from secateur.ledger.proposals import Proposals
from secateur.metrics.queues import QueueMetrics
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database

if TYPE_CHECKING:
    from secateur.records import Cancellation


@dataclass(frozen=True, slots=True)
class Services:
    """One queue, and the author to record if a request names none."""

    queue: OpenQueue
    author: str
    counting: Turns
    background: Background
    metrics: QueueMetrics
    streams: Streams
    kept_proposals: Proposals | None
    database: Database | None
    """Whose queues are listed."""

    @property
    def proposals(self) -> Proposals:
        """Raises `Unsupported` where none are kept."""
        if self.kept_proposals is None:
            raise Unsupported("this server keeps no proposals")
        return self.kept_proposals


# None of these dependencies waits, but a plain function would be sent to a thread, which takes longer than it does.


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Injected = Annotated[Services, Depends(_services)]


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _author(
    request: Request, services: Injected, x_author: Annotated[str | None, Header(max_length=LONGEST_NAME)] = None
) -> str:
    token, named = caller_of(request).token, _text(x_author)
    if token is None:
        return named or services.author
    author = f"{named} by token {token}" if named else f"token {token}"
    require({"X-Author": problem_of_name(author)})
    return author


Author = Annotated[str, Depends(_author)]
"""The author: the token, with what `X-Author` says; without a token `X-Author`, or the server's own user."""


async def _asked_at(request: Request, services: Injected) -> datetime:
    return caller_of(request).asked_at or await services.queue.reader.clock()


AskedAt = Annotated[datetime, Depends(_asked_at)]
"""The database's time before a request writes anything, which was looked up together with its token."""

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
    401: "The request needs a token, or its token is wrong, expired or revoked.",
    403: "The token may only read, the server or its role is read-only, or the request came from a page of another "
    "site.",
    404: "There is no such cancellation, proposal, run, app or function.",
    408: "The request did not arrive in time.",
    409: "It conflicts with the current state: the idempotency key was used for another request, the run has finished, "
    "it is too late, something is unfinished that should be forgotten, or a proposal needs somebody else.",
    413: "The body is too long.",
    415: "The body is not sent as JSON.",
    429: "Too many requests without a valid token came from this address; try again after `Retry-After`.",
    500: "A fault of the server, which its log has.",
    503: "The database or a lock is not available, or the server is busy or stopping; try again after `Retry-After`.",
    504: "It took too long; nothing was changed, unless the answer says that this is unknown.",
    507: "The disk of the database is full; nothing was changed.",
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of a path's failures, including those that every path can have."""
    possible = sorted({*statuses, 400, 401, 403, 408, 429, 500, 503, 504, 507})
    documented: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": _REASONS[status]} for status in possible
    }
    return {**documented, "default": {"model": Failure, "description": "Any other failure."}}


NEXT_PAGE = {
    "Link": {"description": 'The next page: `<…>; rel="next"`; absent on the last.', "schema": {"type": "string"}}
}
"""The documentation of a header of lists."""


def link_to_next(request: Request, before: object) -> str:
    """The header `Link` of a page that ends with `before`."""
    url = request.url.include_query_params(before=before)
    return f'<{url.path}?{url.query}>; rel="next"'


def stream_of(events: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of a path that may also answer with a stream of events."""
    return {
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "description": events}}}},
        204: {"description": "A stream has told everything: `Last-Event-ID` is `end`."},
    }


def repeated(form: Any) -> dict[int | str, dict[str, Any]]:
    """The documentation of the answers to a commit without a guarantee: not yet, or no longer."""
    return {
        200: {"model": form, "description": "Committed before under this key, and stopped or undone since: `ended`."},
        202: {"model": form, "description": "Committed, and pending: `blocked_by` says what it waits for."},
    }
