"""Workers in the test's own process or as processes, and what they bring about."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import secateur
from patience import eventually
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
