"""Databases whose SQL functions can be paused and mutated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import arena
import pytest

from servers import with_schema


def prepared(server: Any, mutations: list[arena.Mutation] | None = None) -> str:
    """The url of a new arena; the server's end removes it."""
    url = server.postgres.database_url(server.create_database(with_schema))
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, arena.prepare(url, mutations)).result()
    return url


@pytest.fixture(scope="session")
def arena_url(postgres_server: Any) -> str:
    """An arena on each server, shared: every test has an app of its own."""
    return prepared(postgres_server)


@pytest.fixture(scope="session")
def mutant_url(postgres_servers: Callable[[str], Any]) -> Callable[[list[arena.Mutation]], str]:
    """Makes an arena with faults in it, on the embedded server."""
    return lambda mutations: prepared(postgres_servers("embedded"), mutations)
