"""Processes that claim, complete and enqueue without pause, so that the backlog stays as it is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("runners") / "run_load.py"


class Load:
    """`done` is the number of runs that its processes have been through, about a second ago."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    @property
    def done(self) -> int:
        return sum(self._counts.values())

    async def follow(self, place: int, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self._counts[place] = json.loads(line).get("done", 0)


@asynccontextmanager
async def loaded(url: str, processes: int) -> AsyncIterator[Load]:
    """The load, from when each process has been through its first runs."""
    load = Load()
    async with AsyncExitStack() as stack:
        for place in range(processes):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(SCRIPT), url), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            stack.push_async_callback(_end, process)
            if process.stdout is None or not await process.stdout.readline():
                raise RuntimeError("a claiming process does not start")
            follower = asyncio.create_task(load.follow(place, process.stdout))
            stack.callback(follower.cancel)
        yield load


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
