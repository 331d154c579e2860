"""oban's side of the comparison (of Python; it needs Python 3.12)."""

from __future__ import annotations

import asyncio
import sys

import oban
from oban.schema import install
from protocol import EVENT, Tally, enqueue, work
from psycopg_pool import AsyncConnectionPool


async def main(action: str, url: str, *rest: str) -> None:
    tally = Tally()

    @oban.worker()
    class Noop:
        async def process(self, job: oban.Job) -> None:
            tally.done += 1

    async with AsyncConnectionPool(url, min_size=1, max_size=4, open=False) as pool:
        client = oban.Oban(pool=pool, queues={"default": int(rest[0])} if action == "work" else {})
        match action, rest:
            case "install", []:
                await install(pool)
            case "enqueue", [way, count]:
                await enqueue(
                    way,
                    int(count),
                    lambda: client.enqueue(Noop.new(EVENT)),
                    lambda jobs: client.enqueue_many([Noop.new(EVENT) for _ in range(jobs)]),
                )
            case "work", [_]:

                async def perform() -> None:
                    async with client:
                        await asyncio.Event().wait()

                await work(tally, perform)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
