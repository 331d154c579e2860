"""A queue of others for each test, on its real schema."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from beds import Bed, every_bed
from pruning import Pruning
from rights import rights_of

from secateur.engines.foreign.discovery import installations
from secateur.postgres.database import Database


@pytest.fixture(params=every_bed(), ids=lambda kind: kind.__name__)
async def bed(request: pytest.FixtureRequest, empty_database_url: str) -> Bed:
    """Every bed in turn, installed in a database of its own."""
    kind: type[Bed] = request.param
    if kind.missing is not None:
        pytest.skip(kind.missing)
    made = kind(empty_database_url)
    await made.install()
    return made


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only the usual installation of each engine is tried on every Postgres."""
    usual = {kind.engine: kind for kind in reversed(every_bed())}
    left_out = []
    for item in items:
        given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        kind = given.get("bed")
        if kind is not None and usual[kind.engine] is not kind and given["postgres_server"] != "embedded":
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
async def outside(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Into the bed's database, as its superuser."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def pruning(bed: Bed, outside: asyncpg.Connection, empty_database_url: str) -> Pruning:
    async with Database.connect(empty_database_url) as database:
        [found] = await installations(database)
    if "cancel" not in found.file.statements:
        pytest.skip(f"runs of {bed.engine} cannot be cancelled yet")
    return Pruning(bed, outside, found)


@pytest.fixture
async def watcher_url(bed: Bed, outside: asyncpg.Connection, empty_database_url: str) -> AsyncIterator[str]:
    """The bed's database, as a role with the rights that the engine's page tells to grant, and no others."""
    await outside.execute(rights_of(bed, "secateur_watcher"))
    await outside.execute("alter role secateur_watcher login")
    yield empty_database_url.replace("//postgres", "//secateur_watcher", 1)
    await outside.execute("drop owned by secateur_watcher; drop role secateur_watcher")
