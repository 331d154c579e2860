"""Connections that end while nobody uses them, or between two statements: an error in words, and a new connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from secateur.errors import Unreachable
from secateur.postgres.database import Database


class Link:
    """A TCP port in front of a server's socket. Last words pass, the first end of a connection does not."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._database, self._user = parts.path.lstrip("/"), parts.username
        self.said_goodbye = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The url of the same database through the link."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            yield f"postgresql://{self._user}@127.0.0.1:{port}/{self._database}?sslmode=disable"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        back = asyncio.create_task(self._bring_back(from_server, writer))
        while data := await reader.read(65536):
            to_server.write(data)
        back.cancel()
        to_server.close()
        writer.close()

    async def _bring_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        if self.said_goodbye.is_set():
            writer.close()
        self.said_goodbye.set()


async def end(database: Database, pid: int) -> None:
    """End that backend and wait until it is gone."""
    assert await database.fetchval("select pg_terminate_backend($1, 5000)", pid)


async def test_words_of_farewell_on_an_idle_connection(empty_database_url: str) -> None:
    """The next statement may come before the end of the connection does."""
    link = Link(empty_database_url)
    async with link.open() as url, Database.connect(url) as database, Database.connect(empty_database_url) as other:
        await end(other, await database.fetchval("select pg_backend_pid()"))
        await link.said_goodbye.wait()
        await asyncio.sleep(0.05)
        with pytest.raises(Unreachable, match="was lost"):
            await database.fetchval("select 1")
        assert await database.fetchval("select 1") == 1


async def test_words_of_farewell_before_a_read(empty_database_url: str) -> None:
    link = Link(empty_database_url)
    async with link.open() as url, Database.connect(url) as database, Database.connect(empty_database_url) as other:
        await end(other, await database.fetchval("select pg_backend_pid()"))
        await link.said_goodbye.wait()
        await asyncio.sleep(0.05)
        assert await database.fetchval("select 1", repeatable=True) == 1


async def test_a_connection_that_ends_between_two_statements(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        with pytest.raises(Unreachable, match="was lost"):
            async with database.transaction() as connection:
                await end(database, await connection.fetchval("select pg_backend_pid()"))
                await asyncio.sleep(0.05)
                await connection.execute("select 1")
        assert await database.fetchval("select 1") == 1


async def test_a_connection_that_ends_before_its_transactions_commit(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        with pytest.raises(Unreachable, match="was lost"):
            async with database.transaction() as connection:
                await end(database, await connection.fetchval("select pg_backend_pid()"))
                await asyncio.sleep(0.05)
        assert await database.fetchval("select 1") == 1
