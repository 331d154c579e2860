"""Real Postgres servers for the tests, started when first needed and shared by the session.

Tests that take `database_url`, `empty_database_url` or `postgres_url` run twice: on the embedded Postgres
and, where one is installed, on the system's. Those that take `embedded_url` run on the embedded one only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import asyncpg
import pytest

from secateur.database import Database
from secateur.embedded import EmbeddedPostgres, find_binaries, system_binaries
from secateur.migrations import install

BINARIES = {"embedded": find_binaries()}
if (_system := system_binaries()) not in {None, BINARIES["embedded"]}:
    BINARIES["system"] = _system

SERVER_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "max_wal_size": "4GB",
    "track_commit_timestamp": "on",
}
"""Fast and forgetful: tests of faults start servers of their own."""

TEMPLATE = "secateur_template"
_numbers = count(1)


class Server:
    """A running server and the databases that tests borrow from it."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres
        self._has_template = False

    def create_database(self, *, installed: bool) -> str:
        """The name of a new database, with the schema `secateur` or empty."""
        if installed and not self._has_template:
            self._run(f"create database {TEMPLATE}")
            _apart(_install(self.postgres.database_url(TEMPLATE)))
            self._has_template = True
        name = f"test_{next(_numbers)}"
        self._run(f"create database {name}" + (f" template {TEMPLATE}" if installed else ""))
        return name

    def drop_database(self, name: str) -> None:
        self._run(f"drop database if exists {name} with (force)")

    def _run(self, sql: str) -> None:
        _apart(_execute(self.postgres.url, sql))


def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine in a thread, out of the way of the test's own event loop."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, work).result()


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _install(url: str) -> None:
    async with Database.connect(url) as database:
        await install(database)


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Callable[[str], Server]]:
    """Gives the server of that name in `BINARIES`, starting it at the first call."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            postgres = EmbeddedPostgres(binaries=BINARIES[name], settings=SERVER_SETTINGS)
            running[name] = Server(postgres.start())
        return running[name]

    yield get
    for server in running.values():
        server.postgres.stop()


@pytest.fixture(scope="session", params=sorted(BINARIES))
def postgres_server(request: pytest.FixtureRequest, postgres_servers: Callable[[str], Server]) -> Server:
    return postgres_servers(request.param)


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    """The maintenance database of each server, as superuser: shared, so leave nothing in it."""
    return postgres_server.postgres.url


@pytest.fixture
def database_url(postgres_server: Server) -> Iterator[str]:
    """A database of the test's own with the schema installed, as superuser."""
    yield from _borrow(postgres_server, installed=True)


@pytest.fixture
def empty_database_url(postgres_server: Server) -> Iterator[str]:
    """A database of the test's own without the schema."""
    yield from _borrow(postgres_server, installed=False)


@pytest.fixture
def embedded_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """Like `database_url`, for tests to which the version of Postgres makes no difference."""
    yield from _borrow(postgres_servers("embedded"), installed=True)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database


def _borrow(server: Server, *, installed: bool) -> Iterator[str]:
    name = server.create_database(installed=installed)
    yield server.postgres.database_url(name)
    server.drop_database(name)
