"""Server-sent events: the depth, and a cancellation's progress, whenever they change.

A path streams if `Accept` asks for `text/event-stream`, as browsers' `EventSource` does. The data of an event is the
`data` that the path answers otherwise. A stream ends after a while, and at once when the server stops; clients then ask
again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Message

from secateur.api.failures import failure_of
from secateur.api.limits import Limits
from secateur.errors import Busy, SecateurError
from secateur.open_queue import OpenQueue
from secateur.runs import FunctionDepth

MEDIA_TYPE = "text/event-stream"

EVERY_SECONDS = 1.0
"""How often a stream looks for a change."""

SIGN_OF_LIFE_SECONDS = 15.0
"""A stream in which nothing changes sends a comment as often, so that nothing on the way takes it for dead."""

RETRY_MILLISECONDS = 2000
"""How long clients should wait before they ask again."""

LAST = "end"
"""The id of the last event of something that has ended: a client that asks again after it is told to stop."""

Look = Callable[[], Awaitable[tuple[Any, bool]]]
"""What to send now, as JSON, and whether it will not change any more."""


def wants_stream(request: Request) -> bool:
    return MEDIA_TYPE in request.headers.get("accept", "").lower()


def has_seen_end(request: Request) -> bool:
    return request.headers.get("last-event-id") == LAST


def is_stream(start: Message) -> bool:
    """Whether that is the start of a stream."""
    return any(name == b"content-type" and value.startswith(MEDIA_TYPE.encode()) for name, value in start["headers"])


class Streams:
    """The streams of one server, which share their looks at the depth."""

    def __init__(self, queue: OpenQueue, limits: Limits) -> None:
        self._queue = queue
        self._limits = limits
        self._open = 0
        self._ending = asyncio.Event()
        self._looking = asyncio.Lock()
        self._depth: list[FunctionDepth] = []
        self._looked_at = float("-inf")

    def end(self) -> None:
        """End every stream at its next chance, and let no more begin."""
        self._ending.set()

    async def depth(self) -> list[FunctionDepth]:
        """As of the last second, however many streams ask."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= EVERY_SECONDS / 2:
                self._depth = await self._queue.reader.depth()
                self._looked_at = time.monotonic()
        return self._depth

    async def answer(self, event: str, look: Look) -> StreamingResponse:
        """A stream of events of that name. Looks once before it begins, so that what is refused has a status.

        Raises `Busy` if there are too many streams, and what the look raises.
        """
        if self._open >= self._limits.streams or self._ending.is_set():
            raise Busy("too many streams are open, or the server is stopping: try again in a moment")
        first = await look()
        return StreamingResponse(
            self._events(event, first, look),
            media_type=MEDIA_TYPE,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self, event: str, first: tuple[Any, bool], look: Look) -> AsyncIterator[str]:
        began = told = time.monotonic()
        self._open += 1
        try:
            data, is_last = first
            sent = json.dumps(data, separators=(",", ":"))
            yield f"retry: {RETRY_MILLISECONDS}\n\n"
            yield _event(event, sent, is_last)
            while not is_last and time.monotonic() - began < self._limits.stream and await self._pause():
                data, is_last = await look()
                text = json.dumps(data, separators=(",", ":"))
                if text != sent or is_last:
                    sent, told = text, time.monotonic()
                    yield _event(event, sent, is_last)
                elif time.monotonic() - told >= SIGN_OF_LIFE_SECONDS:
                    told = time.monotonic()
                    yield ": nothing has changed\n\n"
        except SecateurError as error:
            yield _event("failure", bytes(failure_of(error).body).decode(), False)
        finally:
            self._open -= 1

    async def _pause(self) -> bool:
        """Whether the stream goes on after it."""
        try:
            async with asyncio.timeout(EVERY_SECONDS):
                await self._ending.wait()
        except TimeoutError:
            return True
        return False


def _event(name: str, data: str, is_last: bool) -> str:
    return (f"id: {LAST}\n" if is_last else "") + f"event: {name}\ndata: {data}\n\n"
