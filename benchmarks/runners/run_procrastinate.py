"""procrastinate's side of the comparison."""

from __future__ import annotations

import asyncio
import sys

import procrastinate
from protocol import EVENT, Tally, book, enqueue, perform_booked, work


def application(url: str, tally: Tally) -> tuple[procrastinate.App, procrastinate.tasks.Task, procrastinate.tasks.Task]:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="noop")
    async def noop(event: dict[str, object]) -> None:
        tally.done += 1

    @app.task(name="booked")
    async def booked(event: dict[str, object]) -> None:
        await perform_booked(event)

    return app, noop, booked


async def main(action: str, url: str, *rest: str) -> None:
    tally = Tally()
    app, noop, booked = application(url, tally)
    async with app.open_async():
        match action, rest:
            case "install", []:
                await app.schema_manager.apply_schema_async()
            case "enqueue", [way, count]:
                await enqueue(
                    way,
                    int(count),
                    lambda: noop.defer_async(event=EVENT),
                    lambda jobs: noop.batch_defer_async(*[{"event": EVENT}] * jobs),
                )
            case "book", [rate, seconds]:
                await book(float(rate), float(seconds), lambda event: booked.defer_async(event=event))
            case "work", [setting]:
                # At the end of the input the worker is cancelled, by this program and not by a signal.
                await work(
                    tally,
                    lambda: app.run_worker_async(concurrency=int(setting), install_signal_handlers=False),
                )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
