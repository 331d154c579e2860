"""A pooler on a TCP port in front of a Postgres socket: a stand-in that needs no installation, and PgBouncer itself.

The stand-in does what poolers do to sessions, and nothing else: in session mode a client keeps a server connection
until it leaves, in transaction mode until the server is ready for the next statement and in no transaction.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from lossy_proxy import Proxy, running

Mode = Literal["session", "transaction", "statement"]
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pooling(url: str, mode: Mode, size: int) -> Iterator[str]:
    """The URL of the same database through the stand-in, which opens at most `size` connections to the server."""
    with running(_Pooler(url, mode, size)) as pooled:
        yield pooled


@contextmanager
def pgbouncer(url: str, directory: Path, mode: Mode, size: int, *lines: str) -> Iterator[str]:
    """The URL of the same database through PgBouncer, as it comes but for the mode, the size and `lines`."""
    server = Proxy(url)
    port = _free_port()
    (directory / "users").write_text('"postgres" ""\n')
    (directory / "pgbouncer.ini").write_text(
        "\n".join(
            (
                f"[databases]\n* = host={Path(server.socket).parent} port={server.socket.rpartition('.')[2]}",
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust",
                f"auth_file = {directory}/users\npool_mode = {mode}\ndefault_pool_size = {size}",
                *lines,
            )
        )
    )
    is_root = os.geteuid() == 0
    if is_root:
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755)
    with subprocess.Popen(
        [str(PGBOUNCER), "-q", str(directory / "pgbouncer.ini")],
        user="nobody" if is_root else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            _wait_for(port, process)
            yield f"postgresql://{server.user}@127.0.0.1:{port}/{server.database}?sslmode=disable"
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


class _Server:
    """A connection to Postgres, after its login; `greeting` is what the server then said of itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes


class _Pooler(Proxy):
    def __init__(self, url: str, mode: Mode, size: int) -> None:
        super().__init__(url)
        self._mode = mode
        self._free: list[_Server] = []
        """The one that was given back last is given out first."""
        self._size = size
        self._opened = 0
        self._given_back = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            startup = await reader.readexactly(length - 4)
            if startup[:4] == struct.pack("!i", 80877102):
                return  # somebody wants a statement cancelled
            # As a pooler does it: with what some server said, and a number of its own for cancelling.
            first = await self._take()
            writer.write(first.greeting)
            writer.write(_message(b"K", struct.pack("!ii", secrets.randbits(30), secrets.randbits(30))))
            writer.write(_message(b"Z", b"I"))
            await self._give_back(first)
            await self._serve_statements(reader, writer)
        writer.close()

    async def _serve_statements(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said: asyncio.Queue[tuple[str, bytes, bytes]] = asyncio.Queue()
        listening = asyncio.create_task(_hear(reader, "client", said))
        held: _Server | None = None
        answering: asyncio.Task[None] | None = None
        unanswered = 0
        try:
            while True:
                who, kind, message = await said.get()
                if kind in {b"", b"X"}:
                    break
                if who == "client":
                    if held is None:
                        held = await self._take()
                        answering = asyncio.create_task(_hear(held.reader, "server", said))
                    held.writer.write(message)
                    unanswered += kind in {b"S", b"Q"}
                    continue
                writer.write(message)
                unanswered -= kind == b"Z"
                is_done = kind == b"Z" and not unanswered and message[-1:] == b"I"
                if is_done and self._mode != "session" and held is not None and answering is not None:
                    answering.cancel()
                    await self._give_back(held)
                    held = None
        finally:
            listening.cancel()
            if answering is not None:
                answering.cancel()
            if held is not None:
                held.writer.close()
                async with self._given_back:
                    self._opened -= 1
                    self._given_back.notify()

    async def _take(self) -> _Server:
        async with self._given_back:
            await self._given_back.wait_for(lambda: self._free or self._opened < self._size)
            if self._free:
                return self._free.pop()
            self._opened += 1
        return await self._open()

    async def _give_back(self, server: _Server) -> None:
        async with self._given_back:
            self._free.append(server)
            self._given_back.notify()

    async def _open(self) -> _Server:
        server = _Server()
        server.reader, server.writer = await asyncio.open_unix_connection(self.socket)
        words = f"user\0{self.user}\0database\0{self.database}\0\0".encode()
        server.writer.write(struct.pack("!ii", len(words) + 8, 196608) + words)
        server.greeting = b""
        while True:
            kind, message = await _read(server.reader)
            if kind == b"Z":
                return server
            if kind != b"K":
                server.greeting += message


async def _hear(reader: asyncio.StreamReader, who: str, said: asyncio.Queue[tuple[str, bytes, bytes]]) -> None:
    """Message by message; one of no kind when the other side has left."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            said.put_nowait((who, *await _read(reader)))
    said.put_nowait((who, b"", b""))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A message's kind, and all of it."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)
