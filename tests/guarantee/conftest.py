"""Databases whose SQL functions can be paused and mutated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import arena
import pytest

from servers import Server, with_schema


@pytest.fixture(scope="module")
def arena_url(postgres_server: Server) -> Iterator[str]:
    """An arena on each server, shared: every test has an app of its own."""
    yield from postgres_server.borrow(with_schema, arena.prepare)


@pytest.fixture(scope="module")
def embedded_arena_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """As `arena_url`, on one server."""
    yield from postgres_servers("embedded").borrow(with_schema, arena.prepare)


@pytest.fixture
def own_arena_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """An arena that a test may spoil."""
    yield from postgres_servers("embedded").borrow(with_schema, arena.prepare)
