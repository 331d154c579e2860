"""Requests in progress: each one ends, and no work is done for a client that has left."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secateur.api.failures import RETRY_AFTER_SECONDS, Unknown, failure
from secateur.api.limits import LARGEST_BODY, Limits
from secateur.api.streams import is_stream

logger = logging.getLogger(__name__)


class End(Enum):
    """Why a request ends without the application's answer."""

    LEFT = auto()
    TOO_LONG = auto()
    STOPPING = auto()
    OUT_OF_TIME = auto()
    BROKEN = auto()


class Reply:
    """Wraps `send`, and knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.is_stream = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        if message["type"] == "http.response.start":
            self.is_stream = is_stream(message)
        await self._send(message)


class UnderWay:
    """Abandons a request if its client leaves, its time is over, or the server stops.

    This cancels its task, and with it the statement in Postgres. A client that is still there gets an answer, in the
    form of every failure; so it does if the application crashes. `stopping` is set when the server has waited long
    enough for the requests in progress.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, stopping: asyncio.Event) -> None:
        self._app = app
        self._limits = limits
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "state": scope.get("state", {})}  # where handlers leave a message for whoever answers
        reply = Reply(send)
        end = await self._run(scope, receive, reply)
        if end not in (None, End.LEFT) and not reply.begun:
            await _answer(end, scope)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, reply: Reply) -> End | None:
        """Why the request was abandoned; None if the application has answered."""
        messages: asyncio.Queue[Message] = asyncio.Queue()
        working = asyncio.create_task(self._work(scope, messages.get, reply))
        watching = asyncio.create_task(_watch(receive, messages))
        stopping = asyncio.create_task(self._stopping.wait())
        tasks = {working, watching, stopping}
        try:
            await asyncio.wait(tasks, timeout=self._limits.request, return_when=asyncio.FIRST_COMPLETED)
            if reply.is_stream:  # has a limit of its own
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return _outcome(working, scope)
            if watching.done():
                return watching.result()
            return End.STOPPING if stopping.done() else End.OUT_OF_TIME
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _outcome(working: asyncio.Task[None], scope: Scope) -> End | None:
    error = asyncio.CancelledError() if working.cancelled() else working.exception()
    if error is None:
        return None
    logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    return End.BROKEN


async def _watch(receive: Receive, messages: asyncio.Queue[Message]) -> End:
    """Pass the body on, then wait for the client to leave."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return End.LEFT
        size += len(message.get("body", b""))
        if size > LARGEST_BODY:
            return End.TOO_LONG
        messages.put_nowait(message)


def _answer(end: End | None, scope: Scope) -> JSONResponse:
    if end is End.TOO_LONG:
        too_long = f"the request is longer than {LARGEST_BODY:,} bytes"
        return failure(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_long)
    headers: dict[str, str] = {}
    match end:
        case End.STOPPING:
            status, message = HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping"
            headers = {"Retry-After": RETRY_AFTER_SECONDS, "Connection": "close"}
        case End.OUT_OF_TIME:
            status, message = HTTPStatus.GATEWAY_TIMEOUT, "the request took too long and was cancelled"
        case _:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            message = "internal error; see the server's log"
    unknown: Unknown | None = scope["state"].get("unknown")
    if unknown is not None:
        message += f"; {unknown.words}"
        headers |= unknown.headers
    return failure(status, message, headers=headers)
