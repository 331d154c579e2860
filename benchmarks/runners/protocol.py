"""How a runner talks with the benchmark that started it: JSON lines, and only what Python brings along.

    python run_….py install URL
    python run_….py enqueue URL one|many|bulk COUNT      -> {"seconds": …}
    python run_….py work URL SETTING                     -> {"ready": true}, waits for a line, {"done": n} …

A worker goes on until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

EVENT = {
    "name": "bench/run",
    "data": {
        "vendor_id": "v8",
        "amount": 4000,
        "items": [{"sku": "s1", "quantity": 2}, {"sku": "common", "quantity": 1}],
        "note": "x" * 150,
    },
}
"""What every run carries, in every queue."""

BATCH = 1000
"""Jobs that `many` puts in with one call."""

TICK = 0.02


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Tally:
    """How many jobs this process has performed."""

    def __init__(self) -> None:
        self.done = 0

    async def report(self) -> None:
        said = 0
        while True:
            await asyncio.sleep(TICK)
            if self.done != said:
                said = self.done
                say(done=said)


async def work(tally: Tally, perform: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Announce readiness, wait for the word, and perform until the input ends or `perform` returns."""
    loop = asyncio.get_running_loop()
    say(ready=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    reporting = asyncio.create_task(tally.report())
    performing = asyncio.create_task(perform())
    ended = loop.run_in_executor(None, sys.stdin.readline)
    await asyncio.wait([performing, ended], return_when=asyncio.FIRST_COMPLETED)
    reporting.cancel()
    performing.cancel()
    with suppress(asyncio.CancelledError):
        await performing


async def enqueue(
    way: str, count: int, one: Callable[[], Awaitable[object]], many: Callable[[int], Awaitable[object]]
) -> None:
    """Put `count` jobs in: one by one, a thousand a call or all with one call, after one that is not counted; say how
    long it took."""
    await one()
    calls = {"one": 0, "many": count // BATCH, "bulk": 1}[way]
    begun = time.perf_counter()
    if way == "one":
        for _ in range(count):
            await one()
    for _ in range(calls):
        await many(count // calls)
    say(seconds=time.perf_counter() - begun)
