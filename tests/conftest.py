"""Real Postgres servers for the tests, started when first needed and shared by the session.

Tests that take `database_url`, `empty_database_url` or `postgres_url` run twice: on the embedded Postgres
and, where one is installed, on the system's. Those that take `embedded_url` run on the embedded one only, and so do
those marked `one_postgres`, unless the variable SECATEUR_POSTGRES is `all`: every function of ours is called on both
by test_rows_read.py and test_parameters.py, so that the same story on another version tells nothing new.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest

import nursery
import thrift
from bytecode import keep_bytecode
from interrupts import hear_interrupts
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres, find_binaries, system_binaries
from secateur.postgres.sessions import Sessions
from servers import SETTINGS, Server, use_memory, with_schema

BINARIES = {"embedded": find_binaries()}
if (_system := system_binaries()) not in {None, BINARIES["embedded"]}:
    BINARIES["system"] = _system

EVERY_POSTGRES = os.environ.get("SECATEUR_POSTGRES") == "all"

hear_interrupts()
keep_bytecode()
use_memory()
nursery.OPENED = True
thrift.share_certificates()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if EVERY_POSTGRES:
        return
    given = {item: getattr(item, "callspec", None) for item in items if item.get_closest_marker("one_postgres")}
    left_out = [item for item, call in given.items() if call and call.params.get("postgres_server") == "system"]
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


def pytest_collection_finish() -> None:
    thrift.collect_garbage_rarely()


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Callable[[str], Server]]:
    """Gives the server of that name in `BINARIES`, starting it at the first call."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = Server(EmbeddedPostgres(binaries=BINARIES[name], settings=SETTINGS).start())
        return running[name]

    yield get
    for server in running.values():
        server.stop()


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
    yield from postgres_server.borrow(with_schema)


@pytest.fixture
def empty_database_url(postgres_server: Server) -> Iterator[str]:
    """A database of the test's own without the schema."""
    yield from postgres_server.borrow()


@pytest.fixture
def embedded_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """Like `database_url`, for tests to which the version of Postgres makes no difference."""
    yield from postgres_servers("embedded").borrow(with_schema)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement, as it is sent, but for the rows that a cursor goes on to fetch."""
    sent: list[str] = []
    opened = Sessions.open

    async def watched(self: Sessions, *given: Any, **named: Any) -> asyncpg.Connection:
        connection = await opened(self, *given, **named)
        connection.add_query_logger(lambda record: sent.append(record.query))
        return connection

    monkeypatch.setattr(Sessions, "open", watched)
    return sent
