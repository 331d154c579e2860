"""The HTTP API of a real queue for its tests, without a network in between or over a real socket."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from billing import CULPRIT
from command_line import COMMAND, environment

from nursery import start
from patience import PATIENCE, eventually
from secateur.api import create_api
from secateur.api.answers import Failure
from secateur.api.limits import DEFAULT, Limits
from secateur.api.server import Server, listen
from secateur.engines.native.engine import NativeEngine
from secateur.ledger.proposals import Proposals
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.tokens.keeping import Tokens

FLOOD = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}


@asynccontextmanager
async def running_api(
    database: Database, *, engine: NativeEngine | None = None, tokens: Tokens | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that runs, read-only if the database's sessions are."""
    engine = engine or NativeEngine(database)
    queue = OpenQueue.over(engine, read_only=database.read_only)
    proposals = Proposals(database, queue.cancellations)
    api = create_api(queue, author="server", tokens=tokens, proposals=proposals, database=database)
    transport = httpx.ASGITransport(app=api, raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as client,
    ):
        yield client


@dataclass(frozen=True, slots=True)
class Serving:
    """A server within the test's own process."""

    server: Server
    task: asyncio.Task[None]
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until_left(self) -> None:
        """Until it has noticed that all clients are gone."""

        async def nobody() -> bool:
            return not self.server.server_state.connections

        await eventually(nobody, "the server to notice that its clients are gone")

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.task


@asynccontextmanager
async def serving(
    database: Database, limits: Limits = DEFAULT, *, engine: NativeEngine | None = None
) -> AsyncIterator[Serving]:
    """A server that listens on a free port."""
    engine = engine or NativeEngine(database)
    server = Server(
        create_api(OpenQueue.over(engine, counts_at_once=limits.counts), author="server", limits=limits), limits
    )
    with listen(0) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        running = Serving(server, task, listener.getsockname()[1])
        try:
            yield running
        finally:
            await running.stop()


@contextmanager
def server_process(url: str, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`secateur serve` on a free port, and its address."""
    process = start(
        [*COMMAND, "serve", "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(url),
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[0]
    finally:
        process.kill()
        process.communicate()


def request(method: str, path: str, body: object = None, **headers: str) -> bytes:
    """As it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
    lines += ["Content-Type: application/json"] if content else []
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass(frozen=True, slots=True)
class Client:
    """A connection whose every byte is the test's."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, server: Serving) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def leave(self) -> None:
        self.writer.transport.abort()

    async def answers(self) -> list[tuple[int, Any]]:
        """Status and body of every answer until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            received = await self.reader.read()
        self.writer.close()
        found: list[tuple[int, Any]] = []
        while received:
            head, _, rest = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert length is not None, head
            found.append((int(head.split()[1]), json.loads(rest[: int(length[1])])))
            received = rest[int(length[1]) :]
        return found


def data_of(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    answer = response.json()
    assert list(answer) == ["data", "metadata"]
    assert list(answer["metadata"]) == ["fetched_at"]
    assert answer["metadata"]["fetched_at"].endswith("Z")
    return answer["data"]


def failure_of(response: httpx.Response, status: int) -> Failure:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    failure = Failure.model_validate(response.json())
    assert failure.status == status
    assert failure.error
    return failure
