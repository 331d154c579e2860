"""What the beds' workers have in common: a process each, and what a job does in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from nursery import start

GRACE = 2.0
"""Seconds for a worker to end its jobs, some of which would never end."""

TESTS = Path(__file__).parents[2]


@asynccontextmanager
async def worker_process(
    *command: str, environment: dict[str, str] | None = None
) -> AsyncIterator[subprocess.Popen[Any]]:
    """The process of `command`, or of `python -m beds.…` where that is what it begins with; told to stop at the end.

    Raises `AssertionError` with what it printed, if it ended before it was told to.
    """
    if command[0].startswith("beds."):
        command = (sys.executable, "-m", *command)
    with tempfile.TemporaryFile() as printed:
        process = start(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            env={**python_environment(), **(environment or {})},
        )
        try:
            yield process
            if process.poll() is not None:
                printed.seek(0)
                raise AssertionError(f"the worker ended with {process.returncode}:\n{printed.read().decode()[-4000:]}")
        finally:
            await asyncio.to_thread(_end, process)


def python_environment() -> dict[str, str]:
    """In which the modules of the tests can be imported."""
    paths = os.pathsep.join([str(TESTS / "engines"), str(TESTS), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Api:
    """A process that calls an engine's API: a program that is told what to do and answers by lines of JSON.

    It ends with the object: its standard input is closed then.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._printed = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the object
        self._busy = asyncio.Lock()

    async def call(self, what: str, **given: Any) -> Any:
        """What the program's function of that name answers. Raises `AssertionError` with what went wrong in it."""
        async with self._busy:
            return await asyncio.to_thread(self._call, json.dumps({"what": what, **given}))

    def _call(self, request: str) -> Any:
        if self._process is None:
            self._process = start(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                text=True,
            )
            weakref.finalize(self, _close, self._process)
        sent, answered = self._process.stdin, self._process.stdout
        assert sent is not None
        assert answered is not None
        sent.write(f"{request}\n")
        sent.flush()
        if not (line := answered.readline()):
            self._printed.seek(0)
            raise AssertionError(f"{' '.join(self._command[:3])} ended at {request}:\n{self._printed.read()[-4000:]}")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]


def _close(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def told_to_stop() -> None:
    """Waits for the end of `worker_process`, so that a worker can end its jobs in its own way."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()


async def serve(calls: object) -> None:
    """The other side of `Api`: calls the methods of `calls`, until there is nothing more to read."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        given = json.loads(line)
        try:
            said = {"value": await getattr(calls, given.pop("what"))(**given)}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)


class Job:
    """What a job does: it notes its start in `bed_ran`, takes its time, is held if it is to be, fails if it is to, and
    notes its end.

    One with `is_noop` does nothing at all.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def run(self, payload: dict[str, Any], beat: Callable[[], Awaitable[Any]] | None = None) -> None:
        """`beat` is called again and again, where it is what the engine stops a job by."""
        if payload.get("is_noop"):
            return
        number = payload["number"]
        await self.note(number, "start")
        try:
            await self._take(payload.get("seconds", 0), beat)
            while payload.get("held") and await self._is_held(number):
                await asyncio.sleep(0.05)
                if beat is not None:
                    await beat()
        except BaseException:
            # Some workers cancel whatever their job still waits for.
            await asyncio.shield(self.note(number, "stopped"))
            raise
        if payload.get("fails"):
            raise RuntimeError(f"number {number} fails")
        await self.note(number, "end")

    async def _take(self, seconds: float, beat: Callable[[], Awaitable[Any]] | None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while beat is not None and loop.time() < end:
            await asyncio.sleep(0.1)
            await beat()
        await asyncio.sleep(max(0, end - loop.time()))

    async def note(self, number: int, what: str) -> None:
        """Committed at once, over a connection that the engine knows nothing of."""
        pool = await self._opened()
        await pool.execute("insert into public.bed_ran (number, what) values ($1, $2)", number, what)

    async def _is_held(self, number: int) -> bool:
        pool = await self._opened()
        held: bool = await pool.fetchval("select exists (select from public.bed_held where number = $1)", number)
        return held

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=2)
        return self._pool
