"""The command line and the HTTP API within the test's own process, and logins in the roles that `install` creates."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest
from api_client import running_api
from billing import end_running, seed
from command_line import Done, Here, environment
from roles import LOGINS, NOBODY, ROLES, url_of

from secateur.cli import main
from secateur.postgres.database import Database
from servers import YOUNG_SECONDS, Server, with_schema


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command in this process, which is quicker, where the process itself makes no difference."""

    def run_here(*arguments: str, url: str | None = None, stdin: str = "", **variables: str) -> Done:
        with monkeypatch.context() as patch:
            for name in os.environ:
                patch.delenv(name)
            for name, value in environment(url, **variables).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            try:
                code = main(arguments)
            except SystemExit as left:
                code = int(left.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run_here


@pytest.fixture
def billing_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """A database of the test's own with the queue of `billing`."""
    yield from postgres_servers("embedded").borrow(with_schema, seed, youth=YOUNG_SECONDS)


@pytest.fixture
def idle_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """As `billing_url`, and nothing runs."""
    yield from postgres_servers("embedded").borrow(with_schema, _seed_idle, youth=YOUNG_SECONDS)


async def _seed_idle(url: str) -> None:
    await seed(url)
    await end_running(url)


@pytest.fixture
async def flooded(idle_url: str) -> AsyncIterator[Database]:
    """The queue of `billing`, of which nothing runs."""
    async with Database.connect(idle_url) as database:
        yield database


@pytest.fixture
async def client(flooded: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API of `flooded`."""
    async with running_api(flooded) as client:
        yield client


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Who installed; the logins exist as long as the test lasts, for roles belong to the whole server."""
    connection = await asyncpg.connect(database_url)
    for role, login in LOGINS.items():
        await connection.execute(f"create role {login} login in role {role}")
    await connection.execute(f"create role {NOBODY} login")
    yield connection
    for login in (*LOGINS.values(), NOBODY):
        await connection.execute(f"drop owned by {login}")
        await connection.execute(f"drop role {login}")
    await connection.close()


@pytest.fixture
async def logins(owner: asyncpg.Connection, database_url: str) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A session for each role, and one for a stranger."""
    async with AsyncExitStack() as stack:
        connections = {}
        for role in (*ROLES, NOBODY):
            connections[role] = await asyncpg.connect(url_of(role, database_url))
            stack.push_async_callback(connections[role].close)
        yield connections
