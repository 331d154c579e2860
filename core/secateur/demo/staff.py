"""The demo's own processes: `python -m secateur.demo.staff worker|producer NUMBER`.

The database's URL is the first line on stdin, which stays open while the starting process lives. The process exits
when stdin ends, so that nothing outlives the demo, whatever kills it. `ready` on stdout says that the work has begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from random import Random

import secateur
from secateur.demo.story import DUTIES, STREAMS, WORKERS, Duty, Stream
from secateur.engines.native.active_runs import ActiveRun
from secateur.engines.native.functions import App
from secateur.engines.native.worker import Worker
from secateur.errors import DatabaseError

TICK = 0.25
"""Seconds between the producer's checks for what is due."""

LEASE = timedelta(seconds=10)


def main() -> None:
    role, number = sys.argv[1], int(sys.argv[2])
    url = sys.stdin.readline().strip()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    asyncio.run(_work(url, number) if role == "worker" else _produce(url, number))


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)  # nothing here is worth saving: the whole database goes


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def _work(url: str, number: int) -> None:
    concurrency = sum(duty.concurrency for duty in DUTIES)
    worker = Worker(url, apps=_apps(), concurrency=concurrency, lease=LEASE, name=f"demo-worker-{number}")

    async def announce() -> None:
        await worker.started.wait()
        _say_ready()

    await asyncio.gather(worker.run(), announce())


def _apps() -> list[App]:
    apps: dict[str, App] = {}
    for duty in DUTIES:
        _declare(apps.setdefault(duty.app_id, App(duty.app_id)), duty)
    return list(apps.values())


def _declare(app: App, duty: Duty) -> None:
    random = Random()  # noqa: S311

    @app.function(id=duty.function_id, triggers=[duty.trigger], concurrency=WORKERS * duty.concurrency)
    async def perform(run: ActiveRun) -> None:
        for field in duty.needs:
            run.event["data"][field]  # a KeyError, as an unguarded function would have it
        for step in duty.steps:
            await run.step(step, asyncio.sleep, random.uniform(*duty.step_seconds))
        if random.random() < duty.fails:
            raise ConnectionError("the service behind it did not answer")


async def _produce(url: str, number: int) -> None:
    random = Random(number)  # noqa: S311
    owed = [stream.per_second for stream in STREAMS]
    async with secateur.connect(url, application_name="secateur demo producer") as queue:
        _say_ready()
        while True:
            for place, stream in enumerate(STREAMS):
                owed[place] += stream.per_second * TICK * random.uniform(0.7, 1.3)
                due, owed[place] = divmod(owed[place], 1)
                try:
                    await queue.enqueue_many(stream.app_id, stream.function_id, _events(stream, random, int(due)))
                except DatabaseError as error:
                    logging.error("%d events were not enqueued: %s", due, error)
            await asyncio.sleep(TICK)


def _events(stream: Stream, random: Random, number: int) -> list[object]:
    now = datetime.now(UTC)
    return [stream.make(random, now) for _ in range(number)]


if __name__ == "__main__":
    main()
