"""The paths of retries: preview and commit. A retry is followed, stopped and undone by the paths of cancellations."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from secateur.api.answers import Answer
from secateur.api.bodies import RETRY, RetrySent
from secateur.api.parameters import require_unambiguous
from secateur.api.routes.cancelling import Committed, committed_answer, counted_answer
from secateur.api.services import AskedAt, Author, Injected, Key, failures, repeated
from secateur.looking.forms import PreviewForm

router = APIRouter(dependencies=[Depends(require_unambiguous)])


@router.post(
    "/v1/retries",
    status_code=HTTPStatus.CREATED,
    response_model=Committed,
    responses=repeated(Committed) | failures(409, 413, 415),
    openapi_extra=RETRY,
    summary="Queue the matching failed runs again",
)
async def retry(
    request: Request,
    response: Response,
    services: Injected,
    body: RetrySent,
    author: Author,
    asked_at: AskedAt,
    idempotency_key: Key = None,
) -> dict[str, Any]:
    """Failed runs, and with `with_cancelled` cancelled ones, that ended before now. They are queued in the background,
    with a fresh count of attempts and their finished steps kept; `state` is `retrying` as long as that takes.

    The record is one of kind `retry`: `/v1/cancellations/{id}` shows how far it is, stops and undoes it, and lists the
    runs that it left alone (`unrestored`). `Idempotency-Key`, `X-Author` and `function_ids` as for a cancellation.
    """
    return await committed_answer(request, response, services, body, author, asked_at, idempotency_key)


@router.post(
    "/v1/retries/preview",
    response_model=Answer[PreviewForm],
    responses=failures(413, 415),
    openapi_extra=RETRY,
    summary="Count the matching failed runs",
)
async def preview(services: Injected, body: RetrySent) -> dict[str, Any]:
    """Exactly which runs a retry would queue now. Changes nothing."""
    return await counted_answer(services, body)
