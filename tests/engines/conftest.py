"""A queue of others for each test, on its real schema."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from beds import Bed, every_bed
from layers import gate_of, installation_of, ledger_of, queue_of
from pruning import Pruning
from rights import rights_of
from sameness import SAME

from secateur.engines.foreign.discovery import installations
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installation import Installation
from secateur.postgres.database import Database
from servers import Prepare, Server


@pytest.fixture
def layers(request: pytest.FixtureRequest) -> tuple[Prepare, ...]:
    """What the test's database begins with: the queue of its bed, and what is installed for it, if the test asks."""
    kind = bed_of(request.node)
    if kind is None or kind.missing is not None:
        return ()
    more = {"installed": ledger_of(kind), "keeper": gate_of(kind)}
    return (queue_of(kind), *(layer for name, layer in more.items() if name in request.fixturenames))


@pytest.fixture
def empty_database_url(postgres_server: Server, layers: tuple[Prepare, ...]) -> Iterator[str]:
    """A database of the test's own."""
    yield from postgres_server.borrow(*layers)


@pytest.fixture(params=every_bed(), ids=lambda kind: kind.__name__)
async def bed(request: pytest.FixtureRequest, empty_database_url: str) -> Bed:
    """Every bed in turn, installed in a database of its own."""
    kind: type[Bed] = request.param
    if kind.missing is not None:
        pytest.skip(kind.missing)
    return kind(empty_database_url)


@pytest.fixture
async def database(bed: Bed, empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        yield database


@pytest.fixture
async def installed(bed: Bed, database: Database) -> Installation:
    """The bed's queue, for which secateur is installed."""
    return await installation_of(type(bed), database)


@pytest.fixture
def keeper(installed: Installation, database: Database) -> GateKeeper:
    """Of the gate that the bed's queue has, too."""
    return GateKeeper(database, installed)


def bed_of(item: pytest.Item) -> type[Bed] | None:
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    kind: type[Bed] | None = given.get("bed")
    return kind


EVERYTHING = os.environ.get("SECATEUR_ENGINES") == "all"
"""`make engines`: every installation of every queue, on every Postgres. It takes an hour."""

EVERYWHERE = {"dbos"}
"""Tried on every Postgres: its texts are proven to be JSON in another way before Postgres 16."""

UNUSUAL = {"test_an_installation_is_found_without_a_right", "test_every_field_is_as_the_engine_says"}
"""What `make test` tries on installations in unusual places, too."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_postgres: one queue stands for all, so try it on every Postgres")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` tries the usual installation of each queue, most of them on one Postgres.

    All tests of a bed follow each other: with several test processes, each installs few of the queues.
    """
    usual = {kind.engine: kind for kind in reversed(every_bed())}
    order = {kind: place for place, kind in enumerate(every_bed(), 1)}

    def is_wanted(item: pytest.Item) -> bool:
        if (kind := bed_of(item)) is None or item.get_closest_marker("every_postgres"):
            return True
        if any(is_needless_on(kind, mark) for mark in item.iter_markers("tried_on")):
            return False
        is_usual = usual[kind.engine] is kind
        on_embedded = item.callspec.params.get("postgres_server") == "embedded"  # type: ignore[attr-defined]
        if EVERYTHING:
            return is_usual or on_embedded
        if not is_usual:
            return on_embedded and item.originalname in UNUSUAL  # type: ignore[attr-defined]
        return on_embedded or kind.engine in EVERYWHERE

    def is_needless_on(kind: type[Bed], mark: pytest.Mark) -> bool:
        return kind.engine not in mark.args and not (EVERYTHING and mark.kwargs["why"] is SAME)

    def by_bed(item: pytest.Item) -> int:
        return order[bed_of(item)]  # type: ignore[index]

    left_out = [item for item in items if not is_wanted(item)]
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    places = [place for place, item in enumerate(items) if bed_of(item) is not None and item not in gone]
    for place, item in zip(places, sorted((items[place] for place in places), key=by_bed), strict=True):
        items[place] = item
    items[:] = [item for item in items if item not in gone]


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
