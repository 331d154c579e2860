"""Workers in the test's own process or as processes, and what they bring about."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from command_line import COMMAND, environment

import secateur
from nursery import start
from patience import PATIENCE, eventually
from secateur import App, Queue, Worker
from secateur.runs import Run, RunStatus

CORE = Path(secateur.__file__).parents[1]


@asynccontextmanager
async def working(url: str, *apps: App, **options: Any) -> AsyncIterator[Worker]:
    """A worker in this process, stopped gracefully at the end."""
    worker = Worker(url, apps=apps, **options)
    task = asyncio.create_task(worker.run())
    await asyncio.wait([task, asyncio.create_task(worker.started.wait())], return_when=asyncio.FIRST_COMPLETED)
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def in_status(queue: Queue, run_id: UUID, status: RunStatus) -> Run:
    async def reached() -> Run | None:
        run = await queue.engine.run(run_id)
        return run if run.status == status else None

    run = await eventually(reached, f"the run to be {status.value}")
    assert run is not None
    return run


async def error_of(queue: Queue, run_id: UUID) -> str:
    text: str = await queue.database.fetchval("select error from secateur.runs where id = $1", run_id)
    return text


class CommandedWorker:
    """`secateur worker` as a process; `lines` is what it has logged so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    async def said(self, text: str) -> None:
        async def logged() -> bool:
            return any(text in line for line in self.lines)

        await eventually(logged, f"the worker to say {text!r}")

    async def exit_code(self) -> int:
        code = await asyncio.to_thread(self.process.wait, timeout=PATIENCE)
        self._reader.join()
        return code


@contextmanager
def commanded(directory: Path, code: str, *arguments: str, **variables: str) -> Iterator[CommandedWorker]:
    """`secateur worker jobs_of_the_command:…` as a process, killed at the end at the latest."""
    (directory / "jobs_of_the_command.py").write_text(textwrap.dedent(code))
    process = start(
        [*COMMAND, "worker", *arguments],
        cwd=directory,
        env=environment(PYTHONPATH=str(CORE), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    worker = CommandedWorker(process)
    try:
        yield worker
    finally:
        process.kill()
        process.wait()
        worker._reader.join()


@contextmanager
def process(directory: Path, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program as a process, killed at the end at the latest; given once it has written `started`."""
    program = directory / "jobs_of_the_test.py"
    program.write_text(textwrap.dedent(code))
    started = subprocess.Popen(
        [sys.executable, program, *arguments],
        env={**os.environ, "PYTHONPATH": str(CORE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "started\n"
        yield started
    finally:
        started.kill()
        started.communicate()
