"""The ground that every benchmark stands on: a server of its own, a seeded queue, quantiles."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from secateur.cancellations import Cancellations
from secateur.database import Database
from secateur.embedded import EmbeddedPostgres
from secateur.engines.native import NativeEngine
from secateur.migrations import install

SEED_BATCH = 10_000
VENDORS = 1000


@dataclass(frozen=True, slots=True)
class Bed:
    """A fresh database with the schema installed."""

    database: Database
    engine: NativeEngine
    cancellations: Cancellations


@asynccontextmanager
async def bed() -> AsyncIterator[Bed]:
    # Durable commits as in production; the server's memory is what a small machine would give it.
    with EmbeddedPostgres(settings={"shared_buffers": "512MB", "max_wal_size": "4GB"}) as server:
        async with Database.connect(server.url, max_size=4) as database:
            await install(database)
            engine = NativeEngine(database)
            yield Bed(database, engine, Cancellations(engine))


async def seed(database: Database, runs: int, *, functions: int = 3) -> None:
    """Queue `runs` runs of app `bench`, each event about 300 bytes, one in a thousand of `vendor_id` `v7`."""
    for start in range(0, runs, SEED_BATCH):
        events = [
            json.dumps(
                {
                    "name": "bench/run",
                    "data": {
                        "vendor_id": f"v{n % VENDORS}",
                        "amount": n % 5000,
                        "items": [{"sku": f"s{n % 100}", "quantity": n % 7}, {"sku": "common", "quantity": 1}],
                        "note": "x" * 150,
                    },
                }
            )
            for n in range(start, min(runs, start + SEED_BATCH))
        ]
        await database.execute(
            "select count(*) from secateur.enqueue_many($1, $2, $3::jsonb[])",
            "bench",
            f"f{start // SEED_BATCH % functions}",
            events,
        )
    await database.execute("vacuum analyze secateur.runs")


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    """Seconds that one call took."""
    begun = time.perf_counter()
    await action()
    return time.perf_counter() - begun


def quantile(seconds: Sequence[float], share: float) -> float:
    """Milliseconds below which `share` of the calls lie."""
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[round(share * 100) - 1]
