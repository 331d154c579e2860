"""Reads the bodies of requests: limited in size, checked as a whole, with every problem under its field's name."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Self

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from secateur.errors import RequestError
from secateur.requests import (
    CancellationRequest,
    Reason,
    RetryRequest,
    decoded,
    given,
    null_problems,
    problem_of,
    read_event,
    without_nulls,
)


class OptionalBody(BaseModel):
    """A body that may be left out, because every field has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=without_nulls)
    noun: ClassVar[str]
    example: ClassVar[str]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Raises `RequestError` with every problem at once."""
        document = decoded(body, such_as=cls.example) if body else {}
        problems = null_problems(document, cls)
        try:
            parsed = cls.model_validate(given(document, problems))
        except ValidationError as error:
            problems += [problem_of(detail, cls, cls.noun) for detail in error.errors()]
        if problems:
            raise RequestError(problems)
        return parsed


class UndoBody(OptionalBody):
    """Options of an undo."""

    noun: ClassVar[str] = "an undo"
    example: ClassVar[str] = '{"requeue_stopped": true}'

    requeue_stopped: bool = Field(default=False, strict=True)
    """Also queue the runs again that were stopped while running. They keep their finished steps."""


class RunCancellationBody(OptionalBody):
    """Why a single run is cancelled."""

    noun: ClassVar[str] = "the cancellation of a run"
    example: ClassVar[str] = '{"reason": "a typo"}'

    reason: Reason | None = None


class RejectionBody(OptionalBody):
    """Why a proposal is rejected."""

    noun: ClassVar[str] = "a rejection"
    example: ClassVar[str] = '{"reason": "too wide"}'

    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class EventBody:
    """An event, decoded and as the text that was sent, because decoding and encoding it would change some numbers."""

    event: Any
    text: str


async def _read(request: Request, *, optional: bool = False) -> bytes:
    """Raises HTTP status 415 if the body is not sent as JSON, or is compressed."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the request without a Content-Encoding")
    body = await request.body()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and (body or not optional):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the request as Content-Type: application/json")
    return body


async def _cancellation(request: Request) -> CancellationRequest:
    return CancellationRequest.parse(await _read(request))


async def _retry(request: Request) -> RetryRequest:
    return RetryRequest.parse(await _read(request))


async def _undo(request: Request) -> UndoBody:
    return UndoBody.parse(await _read(request, optional=True))


async def _run_cancellation(request: Request) -> RunCancellationBody:
    return RunCancellationBody.parse(await _read(request, optional=True))


async def _rejection(request: Request) -> RejectionBody:
    return RejectionBody.parse(await _read(request, optional=True))


async def _event(request: Request) -> EventBody:
    return EventBody(*read_event(await _read(request)))


CancellationSent = Annotated[CancellationRequest, Depends(_cancellation)]
RetrySent = Annotated[RetryRequest, Depends(_retry)]
UndoSent = Annotated[UndoBody, Depends(_undo)]
RunCancellationSent = Annotated[RunCancellationBody, Depends(_run_cancellation)]
RejectionSent = Annotated[RejectionBody, Depends(_rejection)]
EventSent = Annotated[EventBody, Depends(_event)]


def _documented(schema: dict[str, Any], example: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema, "example": example}}}
    }


CANCELLATION = _documented(
    CancellationRequest.model_json_schema(),
    {
        "if": "event.data.vendor_id == 'acme_inc'",
        "started_after": "2024-01-21T00:00:00Z",
        "started_before": "2024-01-22T00:00:00Z",
        "app_id": "billing",
        "function_id": "vendor-syncs",
    },
    required=True,
)
RETRY = _documented(
    RetryRequest.model_json_schema(),
    {"app_id": "billing", "function_id": "vendor-syncs", "if": "event.data.vendor_id == 'acme_inc'"},
    required=True,
)
UNDO = _documented(UndoBody.model_json_schema(), {"requeue_stopped": True}, required=False)
RUN_CANCELLATION = _documented(RunCancellationBody.model_json_schema(), {"reason": "a typo"}, required=False)
REJECTION = _documented(RejectionBody.model_json_schema(), {"reason": "too wide"}, required=False)
EVENT = _documented(
    {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "Functions with this trigger get a run."},
            "id": {"description": "Events with the same id cancel only once a day, but start runs each time."},
            "data": {"description": "Expressions read it as event.data."},
            "user": {"description": "Expressions read it as event.user."},
            "ts": {"type": "integer", "description": "Milliseconds since 1970."},
        },
    },
    {"name": "vendor/sync", "id": "4211", "data": {"vendor_id": "globex"}},
    required=True,
)
"""For the documentation of the paths that accept them."""
