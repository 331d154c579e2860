"""A TCP port in front of a Postgres socket that loses the answer to one commit, as a bad link does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

COMMIT = b"commit_cancellation"
SECONDS_TO_COMMIT = 0.5


@contextmanager
def losing_one_answer(url: str) -> Iterator[str]:
    """The URL of the same database through the proxy."""
    with running(_LosesOne(url)) as proxied:
        yield proxied


@contextmanager
def running(proxy: Proxy) -> Iterator[str]:
    """The proxy's URL, as long as it is wanted."""
    thread = threading.Thread(target=lambda: asyncio.run(proxy.run()))
    thread.start()
    proxy.ready.wait(10)
    try:
        yield proxy.url
    finally:
        proxy.stop()
        thread.join(10)


class Proxy:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self.socket = str(Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}")
        self.database, self.user = parts.path.lstrip("/"), parts.username
        self.ready = threading.Event()
        self.url = ""

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"postgresql://{self.user}@127.0.0.1:{port}/{self.database}?sslmode=disable"
        self.ready.set()
        await self._stopping.wait()
        server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class _LosesOne(Proxy):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._lost = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self.socket)
        back = asyncio.create_task(copy(from_server, writer))
        is_commit = False
        try:
            while data := await reader.read(65536):
                losing = is_commit and not self._lost
                is_commit = is_commit or COMMIT in data
                if losing:
                    # Prepared before, executed now: the server commits, and nobody hears of it.
                    self._lost = True
                    back.cancel()
                    to_server.write(data)
                    await asyncio.sleep(SECONDS_TO_COMMIT)
                    break
                to_server.write(data)
        finally:
            back.cancel()
            to_server.close()
            writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()
