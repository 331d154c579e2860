"""Pictures of the console over other engines' queues, with real schemas and workers, as in `make demo ENGINE=…`."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from screenshots.camera import Camera, console
from screenshots.incident import going_on, seed
from secateur.engines.loading import open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install

sys.path.append(str(Path(__file__).parents[1] / "tests" / "engines"))

from beds import Bed
from beds.pgboss import PgBoss
from beds.procrastinate import Procrastinate
from beds.river import River
from incident import incident

ALONE = (Procrastinate, River)
TOGETHER = (Procrastinate, River, PgBoss)
FLOODS = {"procrastinate": 5_000, "river": 2_000, "pg-boss": 1_000}
"""How many jobs of each flood wait."""


def name_of(bed: type[Bed]) -> str:
    """Of the pictures over that engine."""
    return bed.engine.replace("-", "_")


async def alone(size: tuple[int, int], directory: Path, bed_of: type[Bed]) -> None:
    """One queue of another engine: its flood, and the filter that is suggested for it."""

    async def take(camera: Camera) -> None:
        await camera.shows("event.data.vendor == ")
        await settled(camera)
        await camera.take(f"{name_of(bed_of)}-queues")
        await camera.pilot.press("enter")
        await camera.shows("tab takes it")
        await camera.pilot.press("tab")
        await camera.until(
            lambda: "live" in camera.text and "exact" in camera.text and re.search(r"✗ [\d,]+", camera.text)
        )
        await camera.take(f"{name_of(bed_of)}-filter")

    with EmbeddedPostgres(settings={"fsync": "off"}) as postgres:
        async with at_work(postgres.url, (bed_of,)):
            await _photograph(postgres.url, bed_of.engine, size, directory, take)


async def together(size: tuple[int, int], directory: Path) -> None:
    """secateur's own queue and three others in one database."""

    async def take(camera: Camera) -> None:
        await camera.shows("▾ native", "▲ flood")
        await camera.pilot.pause(1.0)  # the cursor has come to the flood
        await camera.pilot.press(
            "home", "space", "down", "down", "down"
        )  # secateur's own would leave no room for the others
        there_is_room = size[1] > 24
        await camera.shows("▸ native", *(f"▾ {bed.engine}" for bed in TOGETHER[: None if there_is_room else 1]))
        await settled(camera)
        await camera.at_leisure("event.data.")
        await camera.take("several-queues")

    with EmbeddedPostgres(settings={"fsync": "off"}) as postgres:
        async with Database.connect(postgres.url) as database:
            await install(database)
            await seed(database)
            async with going_on(database), at_work(postgres.url, TOGETHER):
                await _photograph(postgres.url, None, size, directory, take)


SETTLED = re.compile(r"sync .* [1-9]\d?(\.\d)? +[1-9]\S* +growing")
"""Jobs come and go: rates are those of ten seconds, and the backlog came in at once, longer ago."""


async def settled(camera: Camera) -> None:
    await camera.until(lambda: "live" in camera.text and SETTLED.search(camera.text))


@asynccontextmanager
async def at_work(url: str, beds: tuple[type[Bed], ...]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for bed_of in beds:
            await stack.enter_async_context(incident(bed_of(url), FLOODS[bed_of.engine]))
        yield


async def _photograph(
    url: str,
    engine: str | None,
    size: tuple[int, int],
    directory: Path,
    what: Callable[[Camera], Awaitable[None]],
) -> None:
    async with Database.connect(url) as database:
        database.description = "pg-3/shop"
        queue = OpenQueue.over(await open_engine(database, name=engine), batch=2_000)
        await console(database, queue, size, directory, what)
