"""Serving the API on this machine's loopback, until a signal."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from secateur.errors import SecateurError

HOST = "127.0.0.1"
"""Without tokens nobody but this machine is answered."""

BACKLOG = 128
"""Connections that wait to be accepted."""

GRACE_SECONDS = 10
"""How long requests under way may take once a signal has come."""


def listen(port: int) -> socket.socket:
    """A socket on the loopback; 0 takes a free port. Raises `SecateurError` if it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(BACKLOG)  # so that whoever is told the address can connect, also before anybody accepts
    except OSError as error:
        listener.close()
        raise SecateurError(f"cannot listen on {HOST}:{port}: {error.strerror}; --port takes another") from error
    return listener


async def run_server(api: FastAPI, listener: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM; those under way are answered first."""
    server = uvicorn.Server(
        uvicorn.Config(
            api,
            log_level="warning",
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises the signal again after its own graceful end; this end is what was asked for, not a failure.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        await server.serve(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
