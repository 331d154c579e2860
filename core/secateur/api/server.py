"""Serving the API on this machine's loopback, until a signal."""

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
"""Without tokens nobody but this machine is answered."""

BACKLOG = 128
"""Connections that wait to be accepted."""

GIVING_UP_SECONDS = 15.0
"""How long requests may take to end once they are given up: their statements are cancelled in Postgres."""


def listen(port: int) -> socket.socket:
    """A socket on the loopback; 0 takes a free port. Raises `SecateurError` if it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(BACKLOG)  # so that whoever is told the address can connect, also before anybody accepts
    except OSError as error:
        listener.close()
        raise SecateurError(
            f"cannot listen on {HOST}:{port}: {error.strerror}; choose another port with --port"
        ) from error
    return listener


class Server(uvicorn.Server):
    """uvicorn's, as the API needs it. Ends when `should_exit` is set."""

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
        """Waits for the requests that are under way; those that take longer than the grace are answered 503."""
        giving_up = asyncio.get_running_loop().call_later(self._grace, self._give_up)
        try:
            await super().shutdown(sockets)
        finally:
            giving_up.cancel()


async def run_server(api: FastAPI, listener: socket.socket, limits: Limits = DEFAULT) -> None:
    """Answer requests until SIGINT or SIGTERM; those under way are answered first."""
    server = Server(api, limits)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises the signal again after its own graceful end; this end is what was asked for, not a failure.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.serve(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
