"""secateur's own side of the comparison: its client and its worker, as an application would use them."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from protocol import EVENT, Tally, book, enqueue, pace, perform_booked, work

from secateur import App, Worker, connect
from secateur.engines.native.active_runs import ActiveRun
from secateur.postgres.database import Database
from secateur.schema import install as install_schema

LEASE = timedelta(seconds=6)
"""Short, so that a benchmark of a few seconds has heartbeats in it."""


async def install(url: str) -> None:
    async with Database.connect(url) as database:
        await install_schema(database)


async def put(url: str, way: str, count: int) -> None:
    async with connect(url) as queue:
        many = queue.enqueue_bulk if way == "bulk" else queue.enqueue_many
        await enqueue(
            way,
            count,
            lambda: queue.enqueue("bench", "noop", EVENT),
            lambda jobs: many("bench", "noop", [EVENT] * jobs),
        )


async def perform(url: str, setting: int) -> None:
    tally = Tally()
    app = App("bench")

    @app.function(id="noop")
    async def noop(run: ActiveRun) -> None:
        tally.done += 1

    @app.function(id="timed")
    async def timed(run: ActiveRun) -> None:
        tally.begun(run.event)

    @app.function(id="booked")
    async def booked(run: ActiveRun) -> None:
        await perform_booked(run.event)

    await work(tally, Worker(url, apps=[app], concurrency=setting, lease=LEASE).run)


async def main(action: str, url: str, *rest: str) -> None:
    match action, rest:
        case "install", []:
            await install(url)
        case "enqueue", [way, count]:
            await put(url, way, int(count))
        case "pace", [rate, seconds]:
            async with connect(url) as queue:
                await pace(float(rate), float(seconds), lambda event: queue.enqueue("bench", "timed", event))
        case "book", [rate, seconds]:
            async with connect(url) as queue:
                await book(float(rate), float(seconds), lambda event: queue.enqueue("bench", "booked", event))
        case "work", [setting]:
            await perform(url, int(setting))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
