"""What the beds' workers have in common: a process each, and what a job does in it."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

GRACE = 2.0
"""Seconds for a worker to end its jobs, some of which would never end."""

TESTS = Path(__file__).parents[2]


@asynccontextmanager
async def worker_process(*command: str, environment: dict[str, str] | None = None) -> AsyncIterator[Any]:
    """The process of `command`, or of `python -m beds.…` where that is what it begins with; told to stop at the end.

    Raises `AssertionError` with what it printed, if it ended before it was told to.
    """
    if command[0].startswith("beds."):
        command = (sys.executable, "-m", *command)
    paths = os.pathsep.join([str(TESTS / "engines"), str(TESTS), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryFile() as printed:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        try:
            yield process
            if process.returncode is not None:
                printed.seek(0)
                raise AssertionError(f"the worker ended with {process.returncode}:\n{printed.read().decode()[-4000:]}")
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()


class Job:
    """What a job does: it notes its start in `bed_ran`, takes its time, fails if it is to, and notes its end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def run(self, payload: dict[str, Any]) -> None:
        number = payload["number"]
        await self.note(number, "start")
        try:
            await asyncio.sleep(payload.get("seconds", 0))
        except asyncio.CancelledError:
            await self.note(number, "stopped")
            raise
        if payload.get("fails"):
            raise RuntimeError(f"number {number} fails")
        await self.note(number, "end")

    async def note(self, number: int, what: str) -> None:
        """Committed at once, over a connection that the engine knows nothing of."""
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=2)
        await self._pool.execute("insert into public.bed_ran (number, what) values ($1, $2)", number, what)
