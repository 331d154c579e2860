"""A queue of others for each test, on its real schema."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from beds import Bed, every_bed


@pytest.fixture(params=every_bed(), ids=lambda kind: kind.__name__)
async def bed(request: pytest.FixtureRequest, empty_database_url: str) -> Bed:
    """Every bed in turn, installed in a database of its own."""
    kind: type[Bed] = request.param
    if kind.missing is not None:
        pytest.skip(kind.missing)
    made = kind(empty_database_url)
    await made.install()
    return made


@pytest.fixture
async def outside(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Into the bed's database, as its superuser."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()
