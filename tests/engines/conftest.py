"""A queue of others for each test, on its real schema."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from beds import Bed, every_bed

from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installation import quoted

PAGES = Path(__file__).parents[2] / "docs" / "engines"


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
async def watcher_url(bed: Bed, outside: asyncpg.Connection, empty_database_url: str) -> AsyncIterator[str]:
    """The bed's database, as a role with the rights that the engine's page tells to grant, and no others."""
    await outside.execute(rights_of(bed, "secateur_watcher"))
    await outside.execute("alter role secateur_watcher login")
    yield empty_database_url.replace("//postgres", "//secateur_watcher", 1)
    await outside.execute("drop owned by secateur_watcher; drop role secateur_watcher")


def rights_of(bed: Bed, role: str) -> str:
    """The SQL of the engine's page that is about the role, for the bed's schema and prefix."""
    pages = [path for path in PAGES.glob("*.md") if _letters(path.stem) == _letters(bed.engine)]
    if not pages:
        pytest.skip(f"docs/engines has no page about {bed.engine}")
    [page] = pages
    every = re.findall(r"^```sql\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    blocks = [block for block in every if role in block]
    if not blocks:
        pytest.skip(f"{page} tells no rights to grant to {role}")
    sql = "\n".join(blocks)
    home = engine_files()[bed.engine].home
    usual = next(kind.prefix for kind in every_bed() if kind.engine == bed.engine)
    if bed.prefix != usual:
        sql = re.sub(rf"\b{home}\.{usual}(\w+)", lambda found: f"{home}.{quoted(bed.prefix + found[1])}", sql)
    return re.sub(rf"\b{home}\b", lambda _: quoted(bed.schema), sql)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name)
