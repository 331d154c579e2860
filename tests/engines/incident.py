"""An incident on a queue of others, to try secateur on: its real schema, its own workers, a flood, and the console.

    make demo ENGINE=procrastinate

Everything ends with the console, and nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

from beds import Bed, every_bed

from secateur.engines.foreign.gating import GateKeeper, can_gate
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation
from secateur.errors import EmbeddedPostgresError, SecateurError
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres, find_binaries

USUAL = 600
"""Jobs that wait before the flood."""

EACH_SECOND = 40
"""Jobs that come in, most of them the flood's."""

FLOOD_SHARE = 0.85
WORKERS = 2

VENDORS = ("globex", "initech", "umbrella", "hooli", "stark")
REGIONS = ("eu", "us", "ap")


def payloads(number: int, first: int, flood: float, dice: random.Random) -> Iterator[dict[str, Any]]:
    """Some of them are the flood's: one vendor's, and slow."""
    for place in range(first, first + number):
        is_flood = dice.random() < flood
        yield {
            "number": place,
            "vendor": "acme" if is_flood else dice.choice(VENDORS),
            "region": dice.choice(REGIONS),
            "amount": round(dice.lognormvariate(4, 1), 2),
            "seconds": 0.3 if is_flood else 0.05,
        }


async def send_forever(bed: Bed, first: int, dice: random.Random) -> None:
    while True:
        await bed.enqueue([*payloads(EACH_SECOND, first, FLOOD_SHARE, dice)], queue="vendors")
        first += EACH_SECOND
        await asyncio.sleep(1)


async def prepare(bed: Bed, database: Database, runs: int, dice: random.Random) -> None:
    await bed.install()
    await bed.enqueue([*payloads(USUAL, 0, 0.04, dice)], queue="vendors")
    await bed.enqueue([*payloads(USUAL // 4, USUAL, 0.0, dice)], task="mail", queue="mailers")
    await bed.enqueue([*payloads(runs, 2 * USUAL, FLOOD_SHARE, dice)], queue="vendors")
    installation = await find_installation(database, bed.engine)
    await install_queue(database, installation, author="demo")
    if can_gate(installation):
        await GateKeeper(database, installation).install("demo")


async def run(bed_of: type[Bed], runs: int, *, headless: bool) -> int:
    dice = random.Random(7)
    print(f"an incident on {bed_of.engine}, with its own workers …", file=sys.stderr)
    try:
        server = EmbeddedPostgres(binaries=find_binaries()).start()
    except EmbeddedPostgresError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        bed = bed_of(server.url)
        async with Database.connect(server.url) as database:
            await prepare(bed, database, runs, dice)
        async with AsyncExitStack() as stack:
            for queue in ("vendors", "mailers"):
                for _ in range(WORKERS):
                    await stack.enter_async_context(bed.worker(queue=queue, concurrency=2))
            sending = asyncio.create_task(send_forever(bed, 2 * USUAL + runs, dice))
            stack.callback(sending.cancel)
            if headless:
                print(server.url, flush=True)
                await asyncio.Event().wait()
            command = [sys.executable, "-m", "secateur.cli", "--database", server.url, "--engine", bed.engine]
            console = await asyncio.create_subprocess_exec(*command)
            return await console.wait()
    finally:
        server.stop()


def main() -> int:
    beds = {bed.engine: bed for bed in reversed(every_bed())}
    parser = argparse.ArgumentParser(prog="make demo ENGINE=", description=__doc__)
    parser.add_argument("engine", choices=sorted(beds))
    parser.add_argument("--runs", type=int, default=5_000, help="size of the flood (default: 5000)")
    parser.add_argument("--headless", action="store_true", help="no console; print the database's URL")
    arguments = parser.parse_args()
    bed = beds[arguments.engine]
    if bed.missing is not None:
        print(f"{bed.engine} cannot be started here: {bed.missing}", file=sys.stderr)
        return 1
    try:
        return asyncio.run(run(bed, arguments.runs, headless=arguments.headless))
    except SecateurError as error:
        print(f"{bed.engine}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
