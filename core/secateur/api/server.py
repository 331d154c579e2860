"""Serves the API on this machine's loopback, until a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from secateur.api.limits import DEFAULT, Limits
from secateur.api.protocol import protocol_with
from secateur.errors import SecateurError

HOST = "127.0.0.1"
"""There are no tokens, so only this machine is served."""

BACKLOG = 128
"""How many connections may wait to be accepted."""

GIVING_UP_SECONDS = 15.0
"""How long abandoned requests may take to end, while their statements are cancelled in Postgres."""


def listen(port: int) -> socket.socket:
    """A socket on the loopback; port 0 picks a free one. Raises `SecateurError` if the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(BACKLOG)  # so that a client that knows the address can connect, before anything accepts
    except OSError as error:
        listener.close()
        raise SecateurError(
            f"cannot listen on {HOST}:{port}: {error.strerror}; choose another port with --port"
        ) from error
    return listener


class Server(uvicorn.Server):
    """uvicorn's server, configured for the API. Ends when `should_exit` is set."""

    def __init__(self, api: FastAPI, limits: Limits = DEFAULT) -> None:
        super().__init__(
            uvicorn.Config(
                api,
                http=protocol_with(limits),
                ws="none",
                proxy_headers=False,
                log_level="warning",
                access_log=False,
                lifespan="on",
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=round(limits.grace + GIVING_UP_SECONDS),
            )
        )
        self._give_up = api.state.stopping.set
        self._grace = limits.grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the requests in progress; those that take longer than the grace are answered 503."""
        giving_up = asyncio.get_running_loop().call_later(self._grace, self._give_up)
        try:
            await super().shutdown(sockets)
        finally:
            giving_up.cancel()


async def run_server(api: FastAPI, listener: socket.socket, limits: Limits = DEFAULT) -> None:
    """Answer requests until SIGINT or SIGTERM; requests in progress are answered first."""
    server = Server(api, limits)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises the signal again after its graceful end, but this end was requested and is not a failure.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.serve(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
