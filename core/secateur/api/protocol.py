"""uvicorn's HTTP/1.1, with a time limit on everything that the client has to do."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from secateur.api.failures import RETRY_AFTER_SECONDS, failure
from secateur.api.limits import DEFAULT, Limits


def protocol_with(limits: Limits) -> type[H11Protocol]:
    """The class of which uvicorn creates an object for each connection."""
    return type("LimitedProtocol", (TimedProtocol,), {"limits": limits})


class TimedProtocol(H11Protocol):
    """Answers 408 to a slow client, 503 to one too many, and 400 to invalid HTTP; then the connection is closed.

    The time limit applies to a head or a body as a whole: sending a byte now and then does not extend it.
    """

    limits: ClassVar[Limits] = DEFAULT
    _timer: asyncio.TimerHandle | None = None
    _awaited: object = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self.app = _busy
        if len(self.connections) > 2 * self.limits.connections:
            transport.abort()
        else:
            self._await(h11.IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
            self._await(self.conn.their_state)

    def on_response_complete(self) -> None:
        if self.conn.their_state is not h11.SEND_BODY:
            self._await(None)  # until the next head begins, uvicorn's own limit for idle connections applies
        super().on_response_complete()

    def shutdown(self) -> None:
        if self._refused:
            self.transport.close()
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._drop_later()

    def send_400_response(self, msg: str) -> None:
        self._refuse(failure(HTTPStatus.BAD_REQUEST, "the request is not HTTP/1.1, or its head is too long"))

    def _await(self, state: object) -> None:
        """Start the time limit for what h11 is waiting for from the client; most states have none."""
        if state is self._awaited:
            return
        self._awaited = state
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if state is h11.IDLE:
            self._timer = self.loop.call_later(self.limits.head, self._too_slow, "head", self.limits.head)
        elif state is h11.SEND_BODY:
            self._timer = self.loop.call_later(self.limits.body, self._too_slow, "body", self.limits.body)

    def _too_slow(self, part: str, seconds: float) -> None:
        message = f"the {part} of the request did not arrive within {seconds:g} s"
        self._refuse(failure(HTTPStatus.REQUEST_TIMEOUT, message))

    def _refuse(self, answer: JSONResponse) -> None:
        """Answer, unless an answer has begun, and close the connection. A request in progress sees its client leave.

        What the client sends meanwhile is read and dropped: bytes that arrive at a closed socket reset the
        connection, and a reset overtakes the answer.
        """
        self._refused = True
        self._await(None)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers: Any = [*answer.raw_headers, (b"connection", b"close")]
            reason = HTTPStatus(answer.status_code).phrase.encode()
            for event in (
                h11.Response(status_code=answer.status_code, headers=headers, reason=reason),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self._drop_later()

    def _drop_later(self) -> None:
        """Closing a connection waits for the client to read, and to close its side; this limits that time."""
        self.loop.call_later(self.limits.body, self.transport.abort)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    message = "the server has too many connections; try again"
    headers = {"Retry-After": RETRY_AFTER_SECONDS, "Connection": "close"}
    await failure(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=headers)(scope, receive, send)
