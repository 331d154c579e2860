"""awa's side of the comparison: a queue written in Rust, with its functions in Python."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import awa
from protocol import EVENT, Tally, enqueue, work

QUEUE = "default"


@dataclass
class Noop:
    name: str
    data: dict[str, Any]


async def main(action: str, url: str, *rest: str) -> None:
    tally = Tally()
    client = awa.AsyncClient(url.replace("@/", "@localhost/"))  # it wants a host besides the socket of the query

    @client.task(Noop, kind="noop", queue=QUEUE)
    async def noop(job: awa.Job[Noop]) -> None:
        tally.done += 1

    match action, rest:
        case "install", []:
            await client.migrate()
        case "enqueue", [way, count]:
            await enqueue(
                way,
                int(count),
                lambda: client.insert(Noop(**EVENT), kind="noop", queue=QUEUE),
                lambda jobs: client.insert_many_copy([Noop(**EVENT)] * jobs, kind="noop", queue=QUEUE),
            )
        case "work", [setting]:

            async def perform() -> None:
                await client.start([(QUEUE, int(setting))])
                await asyncio.Event().wait()

            await work(tally, perform)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
