"""pgqueuer's side of the comparison, on uvloop as its own command line runs it."""

from __future__ import annotations

import json
import sys

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from protocol import EVENT, Tally, book, enqueue, pace, perform_booked, work

PAYLOAD = json.dumps(EVENT).encode()


async def perform(connection: asyncpg.Connection, setting: int) -> None:
    tally = Tally()
    queue = PgQueuer.from_asyncpg_connection(connection)

    @queue.entrypoint("noop")
    async def noop(job: Job) -> None:
        tally.done += 1

    @queue.entrypoint("timed")
    async def timed(job: Job) -> None:
        tally.begun(json.loads(job.payload or b""))

    @queue.entrypoint("booked")
    async def booked(job: Job) -> None:
        await perform_booked(json.loads(job.payload or b""))

    await work(tally, lambda: queue.run(batch_size=setting))


async def main(action: str, url: str, *rest: str) -> None:
    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    match action, rest:
        case "install", []:
            await queries.install()
        case "enqueue", [way, count]:
            await enqueue(
                way,
                int(count),
                lambda: queries.enqueue("noop", PAYLOAD),
                lambda jobs: queries.enqueue(["noop"] * jobs, [PAYLOAD] * jobs, [0] * jobs),
            )
        case "pace", [rate, seconds]:
            async with asyncpg.create_pool(url) as pool:
                pooled = Queries(AsyncpgPoolDriver(pool))
                await pace(
                    float(rate), float(seconds), lambda event: pooled.enqueue("timed", json.dumps(event).encode())
                )
        case "book", [rate, seconds]:
            async with asyncpg.create_pool(url) as pool:
                pooled = Queries(AsyncpgPoolDriver(pool))
                await book(
                    float(rate), float(seconds), lambda event: pooled.enqueue("booked", json.dumps(event).encode())
                )
        case "work", [setting]:
            await perform(connection, int(setting))
    connection.terminate()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
