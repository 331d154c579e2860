"""The paths of the API."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.exceptions import HTTPException

from secateur.api.answers import Answer, CancellationForm, DepthForm, Failure, Health, PreviewForm
from secateur.cancellations import Cancellations, cancellation_json
from secateur.depth import depth_json
from secateur.engines.base import QueueEngine
from secateur.requests import CancellationRequest, utc

if TYPE_CHECKING:
    from secateur.records import Cancellation

LARGEST_BODY = 256 * 1024
"""Bytes; many times what the longest expression takes."""

PREVIEWS_AT_ONCE = 2
"""Counting is slow and committing must not wait for it: the others of the few connections stay free."""


@dataclass(frozen=True, slots=True)
class Services:
    engine: QueueEngine
    cancellations: Cancellations
    author: str
    counting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PREVIEWS_AT_ONCE))


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _read_request(request: Request) -> CancellationRequest:
    """The body as a request. Raises `RequestError`, and HTTP's own errors for what is no JSON text at all."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the request as Content-Type: application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"the request is longer than {LARGEST_BODY:,} bytes")
    return CancellationRequest.parse(bytes(body))


Injected = Annotated[Services, Depends(_services)]
Body = Annotated[CancellationRequest, Depends(_read_request)]

_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": CancellationRequest.model_json_schema(),
                "example": {
                    "if": "event.data.vendor_id == 'acme_inc'",
                    "started_after": "2024-01-21T00:00:00Z",
                    "started_before": "2024-01-22T00:00:00Z",
                    "app_id": "billing",
                    "function_id": "vendor-syncs",
                },
            }
        },
    }
}

_REASONS = {
    400: "The request is wrong; `details` has every problem.",
    403: "The server or its role may only read, or the request came from a page of another site.",
    404: "There is no such cancellation.",
    409: "The idempotency key was used before, for another request.",
    413: "The body is too long.",
    415: "The body is not sent as JSON.",
    503: "The database or a lock cannot be had now; try again.",
    504: "The database took too long; nothing was changed.",
}


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    documented: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": _REASONS[status]} for status in sorted({*statuses, 403, 503, 504})
    }
    return {**documented, "default": {"model": Failure, "description": "Any other failure."}}


router = APIRouter()


@router.post(
    "/v1/cancellations",
    status_code=HTTPStatus.CREATED,
    response_model=Answer[CancellationForm],
    responses=_failures(400, 409, 413, 415),
    openapi_extra=_REQUEST_BODY,
    summary="Cancel the matching runs",
)
async def cancel(
    request: Request,
    response: Response,
    services: Injected,
    body: Body,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200, pattern=r"^[!-~]+$")] = None,
    x_author: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:
    """Once this has answered, no matching run is claimed any more; the rows are rewritten in the background.

    Under the same `Idempotency-Key` the same request is committed once. The answer names the key, also if the
    server made it. `X-Author` is recorded as who cancelled; without it, the server's own user.
    """
    now = await services.engine.clock()
    # From here on a lost connection leaves it unknown whether it was committed; the failure then names the key.
    key = request.state.idempotency_key = idempotency_key or str(uuid4())
    committed = await services.cancellations.commit(
        body, author=_text(x_author) or services.author, source="api", idempotency_key=key
    )
    response.headers["Idempotency-Key"] = key
    response.headers["Location"] = f"/v1/cancellations/{committed.id}"
    return _answer(cancellation_json(committed), max(now, *_times(committed)))


@router.post(
    "/v1/cancellations/preview",
    response_model=Answer[PreviewForm],
    responses=_failures(400, 413, 415),
    openapi_extra=_REQUEST_BODY,
    summary="Count the matching runs",
)
async def preview(services: Injected, body: Body) -> dict[str, Any]:
    """What a cancellation would hit now, exactly. Changes nothing."""
    async with services.counting:
        counted = await services.cancellations.preview(body)
    return _answer(counted.as_json(), counted.count.as_of)


@router.get(
    "/v1/cancellations",
    response_model=Answer[list[CancellationForm]],
    responses=_failures(400, 404),
    summary="List cancellations",
)
async def history(
    services: Injected,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many.")] = 50,
    before: Annotated[UUID | None, Query(description="The last id of the page before.")] = None,
) -> dict[str, Any]:
    """Newest first."""
    if before is not None:
        await services.cancellations.get(before)
    page = await services.cancellations.list(limit, before)
    return _answer([cancellation_json(each) for each in page], await services.engine.clock())


@router.get(
    "/v1/cancellations/{cancellation_id}",
    response_model=Answer[CancellationForm],
    responses=_failures(400, 404),
    summary="Show a cancellation and its progress",
)
async def show(services: Injected, cancellation_id: UUID) -> dict[str, Any]:
    cancellation = await services.cancellations.get(cancellation_id)
    return _answer(cancellation_json(cancellation), await services.engine.clock())


@router.delete(
    "/v1/cancellations/{cancellation_id}",
    response_model=Answer[CancellationForm],
    responses=_failures(400, 404),
    summary="Stop a cancellation",
)
async def stop(
    services: Injected, cancellation_id: UUID, x_author: Annotated[str | None, Header(max_length=200)] = None
) -> dict[str, Any]:
    """It matches nothing from now on; what it cancelled stays cancelled. Can be repeated."""
    now = await services.engine.clock()
    stopped = await services.cancellations.stop(cancellation_id, author=_text(x_author) or services.author)
    return _answer(cancellation_json(stopped), max(now, *_times(stopped)))


@router.get(
    "/v1/queues", response_model=Answer[list[DepthForm]], responses=_failures(), summary="Show the queues' depth"
)
async def queues(services: Injected) -> dict[str, Any]:
    """Per app and function."""
    depths = await services.engine.depth()
    return _answer(depth_json(depths), depths[0].as_of if depths else await services.engine.clock())


@router.get(
    "/healthz", response_model=Answer[Health], responses=_failures(), summary="Say whether the database answers"
)
async def health(services: Injected) -> dict[str, Any]:
    return _answer({"status": "ok"}, await services.engine.clock())


def _answer(data: Any, fetched_at: datetime) -> dict[str, Any]:
    return {"data": data, "metadata": {"fetched_at": utc(fetched_at)}}


def _times(cancellation: Cancellation) -> list[datetime]:
    """A write has its own times; asking for the clock after it could fail, though it was done."""
    times = (cancellation.created_at, cancellation.completed_at, cancellation.stopped_at)
    return [moment for moment in times if moment is not None]


def _text(header: str | None) -> str | None:
    """Headers arrive as Latin-1, and people send UTF-8."""
    if header is None:
        return None
    try:
        text = header.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        text = header
    return text.strip() or None
