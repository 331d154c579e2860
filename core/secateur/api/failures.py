"""Answers every failure in one form, whether it comes from the queue, the framework or a bug."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from secateur.api.answers import Detail, Failure
from secateur.bounds import KEY_FORM
from secateur.errors import (
    Busy,
    Conflict,
    DiskFull,
    LockUnavailable,
    NotFound,
    NotInstalled,
    OutOfResources,
    PermissionDenied,
    QueryTimeout,
    ReadOnly,
    RequestError,
    SecateurError,
    Unreachable,
    UsageError,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "1"

STATUSES: tuple[tuple[type[SecateurError], HTTPStatus], ...] = (
    (Conflict, HTTPStatus.CONFLICT),
    (UsageError, HTTPStatus.BAD_REQUEST),
    (NotFound, HTTPStatus.NOT_FOUND),
    (ReadOnly, HTTPStatus.FORBIDDEN),
    (PermissionDenied, HTTPStatus.FORBIDDEN),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE),
    (NotInstalled, HTTPStatus.SERVICE_UNAVAILABLE),
    (LockUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (Unreachable, HTTPStatus.SERVICE_UNAVAILABLE),
    (OutOfResources, HTTPStatus.SERVICE_UNAVAILABLE),
    (QueryTimeout, HTTPStatus.GATEWAY_TIMEOUT),
    (DiskFull, HTTPStatus.INSUFFICIENT_STORAGE),
)
"""The first match applies; any other error is the server's own, 500."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Added to a failure when the connection is lost during a write, so that nobody can tell whether it was done."""

    words: str
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(
    status: int, error: str, details: Sequence[Detail] = (), headers: Mapping[str, str] | None = None
) -> JSONResponse:
    body = Failure(error=error, status=status, details=list(details))
    return JSONResponse(body.model_dump(), status, headers)


def install_failure_handlers(api: FastAPI) -> None:
    api.add_exception_handler(SecateurError, _refused)
    api.add_exception_handler(HTTPException, _not_routed)
    api.add_exception_handler(RequestValidationError, _not_valid)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SecateurError)  # noqa: S101 - it is registered for these
    return failure_of(error, getattr(request.state, "unknown", None))


def failure_of(error: SecateurError, unknown: Unknown | None = None) -> JSONResponse:
    """The answer that tells an error, with what cannot be known if the connection was lost."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    message, headers = str(error), {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    if unknown is not None and isinstance(error, Unreachable):
        headers |= unknown.headers
        message += f"; {unknown.words}"
    details = [
        Detail(
            field=problem.field,
            message=problem.message,
            line=problem.line,
            column=problem.column,
            suggestion=problem.suggestion,
            excerpt=_writable(problem.excerpt),
        )
        for problem in (error.problems if isinstance(error, RequestError) else ())
    ]
    return failure(status, message, details, headers)


def _writable(excerpt: str | None) -> str | None:
    """None for one that no answer can have, with half of a surrogate pair."""
    try:
        (excerpt or "").encode()
    except UnicodeEncodeError:
        return None
    return excerpt


async def _not_routed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            message = f"there is no resource at {request.url.path}; /openapi.json lists those that there are"
        case _:
            message = error.detail
    return failure(error.status_code, message, headers=error.headers)


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    """Errors in the path, query and headers; the request model itself reads the body."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    details = [Detail(field=str(problem["loc"][-1]), message=_in_words(problem)) for problem in error.errors()]
    message = "; ".join(f"{detail.field}: {detail.message}" for detail in details)
    return failure(HTTPStatus.BAD_REQUEST, message, details)


def _in_words(problem: Mapping[str, Any]) -> str:
    """Pydantic's error about a parameter or a header, reworded if only a programmer would understand it."""
    bound = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "is required"
        case "string_pattern_mismatch":
            return KEY_FORM
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"is longer than {bound['max_length']} characters"
        case "greater_than_equal":
            return f"must be at least {bound['ge']:,}"
        case "less_than_equal":
            return f"must be at most {bound['le']:,}"
        case "int_parsing" | "int_parsing_size":
            return "must be a whole number"
        case "bool_parsing":
            return "must be true or false"
        case "uuid_parsing":
            return "must be a UUID"
        case _:
            text = str(problem["msg"])
            return text[:1].lower() + text[1:]
