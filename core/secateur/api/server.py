"""Serves the API until a signal: on this machine's loopback, or where others reach it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from secateur.api.limits import DEFAULT, Limits
from secateur.api.protocol import protocol_with
from secateur.errors import SecateurError, UsageError
from secateur.signals import stopped_by_signals

HOST = "127.0.0.1"
"""Where nobody but this machine is served."""

BACKLOG = 128
"""How many connections may wait to be accepted."""

GIVING_UP_SECONDS = 15.0
"""How long abandoned requests may take to end, while their statements are cancelled in Postgres."""


@dataclass(frozen=True, slots=True)
class Front:
    """What lies between the server and its clients."""

    tls: ssl.SSLContext | None = None
    """None: plain HTTP."""
    proxies: Sequence[str] = ()
    """Addresses or networks of proxies that are believed when they say for whom they ask (`X-Forwarded-For`)."""


PLAIN = Front()


def listen(port: int, host: str = HOST) -> socket.socket:
    """A socket on the first address of the host; port 0 picks a free one. Raises `SecateurError` if it is taken, and
    `UsageError` if there is no such host."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host: there is no host {host!r} here: {getattr(error, 'strerror', error)}") from error
    # asyncio sets TCP_NODELAY only where the protocol is named. Without it an answer, whose head and body are two
    # writes, waits 40 ms for the client to acknowledge the head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # so that a client that knows the address can connect, before anything accepts
    except OSError as error:
        listener.close()
        raise SecateurError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another port with --port"
        ) from error
    return listener


def is_exposed(listener: socket.socket) -> bool:
    """Whether others than this machine reach it."""
    return not ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def load_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, with this certificate (PEM, with its chain) and key. Raises `UsageError`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for flag, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise UsageError(f"{flag}: {path} cannot be read: {error.strerror}") from error
    try:
        # With a password of its own, so that a key which needs one is an error and not a question on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"--tls-cert, --tls-key: {certificate} and {key} must be a PEM certificate and its key without a "
            f"password ({reason})"
        ) from error
    return context


class Server(uvicorn.Server):
    """uvicorn's server, configured for the API. Ends when `should_exit` is set."""

    def __init__(self, api: FastAPI, limits: Limits = DEFAULT, front: Front = PLAIN) -> None:
        tls = front.tls
        super().__init__(
            uvicorn.Config(
                api,
                http=protocol_with(limits),
                ws="none",
                proxy_headers=bool(front.proxies),
                forwarded_allow_ips=list(front.proxies),
                ssl_context_factory=None if tls is None else lambda config, default: tls,
                log_level="warning",
                access_log=False,
                lifespan="on",
                server_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=round(limits.grace + GIVING_UP_SECONDS),
            )
        )
        self._give_up = api.state.stopping.set
        self._end_streams = api.state.streams.end
        self._grace = limits.grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the requests in progress; those that take longer than the grace are answered 503."""
        self._end_streams()
        giving_up = asyncio.get_running_loop().call_later(self._grace, self._give_up)
        try:
            await super().shutdown(sockets)
        finally:
            giving_up.cancel()


async def run_server(api: FastAPI, listener: socket.socket, limits: Limits = DEFAULT, front: Front = PLAIN) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP; requests in progress are answered first."""
    server = Server(api, limits, front)

    def stop() -> None:
        server.should_exit = True

    # uvicorn raises the signal again after its graceful end, but this end was requested and is not a failure.
    with stopped_by_signals(stop):
        await server.serve(sockets=[listener])
