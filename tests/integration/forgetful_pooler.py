"""A TCP port in front of a Postgres socket that drops what a session was to begin with, as some poolers do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lossy_proxy import Proxy, copy, running

KEPT = (b"user", b"database")


@contextmanager
def forgetting_settings(url: str) -> Iterator[str]:
    """The URL of the same database through the pooler."""
    with running(_Pooler(url)) as pooled:
        yield pooled


class _Pooler(Proxy):
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self.socket)
        with suppress(asyncio.IncompleteReadError):
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            startup = await reader.readexactly(length - 4)
            words = startup[4:].split(b"\0")
            kept = [(name, value) for name, value in zip(words[::2], words[1::2], strict=False) if name in KEPT]
            body = startup[:4] + b"".join(name + b"\0" + value + b"\0" for name, value in kept) + b"\0"
            to_server.write(struct.pack("!i", len(body) + 4) + body)
            await asyncio.gather(copy(reader, to_server), copy(from_server, writer))
