"""How a runner talks with the benchmark that started it: JSON lines, and only what Python brings along.

    python run_….py install URL
    python run_….py enqueue URL one|many|bulk COUNT      -> {"seconds": …}
    python run_….py pace URL RATE SECONDS                -> {"seconds": …}
    python run_….py book URL RATE SECONDS                -> {"put": number} or {"refused": number}, for each job
    python run_….py work URL SETTING                     -> {"ready": true}, waits for a line, then {"done": n,
                                                            "waited": […]} …

A worker goes on until its standard input ends. Of jobs that `book` puts in, it says {"begun": number} and
{"ended": number}, each at once, so that what it said stands when it is killed.
"""

from __future__ import annotations

import asyncio
import json
import random
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

WORK_SECONDS = 0.02
"""What a job of `book` takes."""

NUMBER = "number"
"""The member of an event that says which of the jobs of `book` it is."""

SENT = "sent"
"""The member of an event that says when it was put in, in seconds of the machine's clock."""


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Tally:
    """How many jobs this process has performed, and how many seconds each had waited that says when it was put in."""

    def __init__(self) -> None:
        self.done = 0
        self._waited: list[float] = []

    def begun(self, event: dict[str, Any]) -> None:
        self.done += 1
        self._waited.append(time.time() - event[SENT])

    async def report(self) -> None:
        said = 0
        while True:
            await asyncio.sleep(TICK)
            if self.done != said:
                said, waited, self._waited = self.done, self._waited, []
                say(done=said, waited=waited)


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


async def pace(rate: float, seconds: float, one: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
    """Put jobs in, one a call, at that rate and at random moments, as many callers of a service do."""
    begun = time.perf_counter()
    due = begun
    async with asyncio.TaskGroup() as group:
        while (due := due + random.expovariate(rate)) < begun + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(_put({**EVENT, SENT: time.time()}, one))
    say(seconds=time.perf_counter() - begun)


async def _put(event: dict[str, Any], one: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
    await one(event)


async def book(rate: float, seconds: float, one: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
    """Put numbered jobs in, one a call, at that rate, whatever happens to the database; say which it acknowledged."""

    async def put(number: int) -> None:
        try:
            await one({**EVENT, NUMBER: number})
        except Exception:
            say(refused=number)
        else:
            say(put=number)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            group.create_task(put(number))


async def perform_booked(event: dict[str, Any]) -> None:
    """One of these jobs."""
    say(begun=event[NUMBER])
    await asyncio.sleep(WORK_SECONDS)
    say(ended=event[NUMBER])


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
