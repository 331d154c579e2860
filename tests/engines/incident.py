"""An incident on a queue of others, to try secateur on: its real schema, its own workers, a flood, and the console.

    make demo ENGINE=procrastinate

`billing` syncs vendors, and one of them floods it: its jobs come faster than the workers can run them. `mailers` goes
on as usual. Everything ends with the console, or at SIGTERM, SIGINT and SIGHUP, and nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from beds import Bed, every_bed

from secateur.engines.foreign.gating import GateKeeper, can_gate
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation
from secateur.errors import EmbeddedPostgresError, SecateurError
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres, find_binaries

USUAL = 600
"""Syncs that wait before the flood."""

SYNCS_A_SECOND = 40
MAILS_A_SECOND = 6
"""What comes in, where the engine takes it so fast. The workers run 5 syncs of the flood a second, or 80 usual ones."""

FLOOD_SHARE = 0.85
USUAL_SHARE = 0.04
"""How many of the syncs are of the vendor that floods, since then and before."""

WORKERS = 2
CONCURRENCY = 2
QUEUES = ("billing", "mailers")

VENDORS = ("globex", "initech", "umbrella", "hooli", "stark")
REGIONS = ("eu", "us", "ap")


class Sender:
    """Enqueues by the engine's own API. Every job has a number of its own."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._dice = random.Random(7)
        self._next = 0

    async def syncs(self, number: int, share: float) -> None:
        """A share of them are of one vendor, and slow."""
        await self._bed.enqueue([*self._payloads(number, share)], task="sync", queue="billing")

    async def mails(self, number: int) -> None:
        await self._bed.enqueue([*self._payloads(number, 0)], task="mail", queue="mailers")

    async def forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.syncs(SYNCS_A_SECOND, FLOOD_SHARE)
            await self.mails(MAILS_A_SECOND)
            due = max(due + 1, loop.time())
            await asyncio.sleep(due - loop.time())

    def _payloads(self, number: int, share: float) -> Iterator[dict[str, Any]]:
        dice = self._dice
        for _ in range(number):
            is_flood = dice.random() < share
            yield {
                "number": self._next,
                "vendor": "acme" if is_flood else dice.choice(VENDORS),
                "region": dice.choice(REGIONS),
                "amount": round(dice.lognormvariate(4, 1), 2),
                "seconds": round(dice.uniform(0.7, 0.9) if is_flood else dice.uniform(0.04, 0.06), 3),
            }
            self._next += 1


async def prepare(bed: Bed, database: Database, sender: Sender, flood: int) -> None:
    await bed.install()
    await sender.syncs(USUAL, USUAL_SHARE)
    await sender.mails(MAILS_A_SECOND)
    await sender.syncs(flood, FLOOD_SHARE)
    installation = await find_installation(database, bed.engine)
    await install_queue(database, installation, author="demo")
    if can_gate(installation):
        await GateKeeper(database, installation).install("demo")


@asynccontextmanager
async def incident(bed: Bed, flood: int) -> AsyncIterator[asyncio.Task[None]]:
    """The engine with its backlog, its workers and what comes in. The task ends only if sending fails."""
    sender = Sender(bed)
    async with Database.connect(bed.url) as database:
        await prepare(bed, database, sender, flood)
    async with AsyncExitStack() as stack:
        for queue in QUEUES:
            for _ in range(WORKERS):
                await stack.enter_async_context(bed.worker(queue=queue, concurrency=CONCURRENCY))
        sending = asyncio.create_task(sender.forever())
        stack.callback(sending.cancel)
        yield sending


async def run(bed_of: type[Bed], flood: int, *, headless: bool) -> int:
    with EmbeddedPostgres(binaries=find_binaries(), settings={"fsync": "off"}) as server:
        say(f"{bed_of.engine}: its schema, {flood + USUAL:,} jobs that wait, {WORKERS} workers for each queue …")
        async with incident(bed_of(server.url), flood) as sending:
            if headless:
                print(server.url, flush=True)
                await sending
            code = await console(server.url, bed_of.engine, server.directory / "state")
            if sending.done():
                sending.result()  # raises why nothing has arrived any more
            return code


async def console(url: str, engine: str, state: Path) -> int:
    """The console's exit code, once somebody has left it; what it keeps for its user goes with the demo."""
    command = [sys.executable, "-m", "secateur.cli", "--database", url, "--engine", engine]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "XDG_STATE_HOME": str(state)})
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def until_told(bed_of: type[Bed], flood: int, *, headless: bool) -> int:
    """As `run`; a signal ends it as if it had come to its end, with all of its processes."""
    work = asyncio.create_task(run(bed_of, flood, headless=headless))

    def stop() -> None:
        if not work.cancelling():  # a second signal must not disturb the end
            work.cancel()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await work
    except asyncio.CancelledError:
        return 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    beds = {bed.engine: bed for bed in reversed(every_bed())}
    parser = argparse.ArgumentParser(prog="make demo ENGINE=", description=__doc__)
    parser.add_argument("engine", choices=sorted(beds))
    parser.add_argument("--runs", type=int, default=5_000, help="size of the flood (default: 5000)")
    parser.add_argument("--headless", action="store_true", help="no console; print the database's URL")
    arguments = parser.parse_args()
    bed = beds[arguments.engine]
    if bed.missing is not None:
        say(f"{bed.engine} cannot be started here: {bed.missing}")
        return 1
    try:
        return asyncio.run(until_told(bed, arguments.runs, headless=arguments.headless))
    except EmbeddedPostgresError as error:
        say(str(error))
    except (SecateurError, AssertionError) as error:  # a worker's own words are in the latter
        say(f"{bed.engine}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
