"""`make demo ENGINE=…`: it tells of a flood by the engine's own workers, and leaves nothing when it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest
from beds.procrastinate import Procrastinate

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(Procrastinate.missing is not None, reason=str(Procrastinate.missing)),
]

PATIENCE_SECONDS = 120
SCRIPT = Path(__file__).with_name("incident.py")


@pytest.fixture
def started() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "procrastinate", "--headless", "--runs", "200"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


def depth(url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "secateur.cli", "depth", "--engine", "procrastinate", "--database", url, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {each["app_id"]: each for each in json.loads(done.stdout)}


async def ended(url: str) -> set[str]:
    """The kinds of jobs of which at least one came to its end."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("select distinct task_name from procrastinate_jobs where status = 'succeeded'")
    finally:
        await connection.close()
    return {row["task_name"] for row in rows}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def around(directory: str) -> list[list[str]]:
    """The command lines that name the directory of the database."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any(directory in word for word in line):
            found.append(line)
    return found


def test_it_floods_the_queue_and_ends_with_all_of_its_processes(started: subprocess.Popen[str]) -> None:
    assert started.stdout is not None
    url = started.stdout.readline().strip()
    assert url, "it ended before it was ready"
    [directory] = parse_qs(urlsplit(url).query)["host"]
    until(lambda: asyncio.run(ended(url)) == {"sync", "mail"})
    before = depth(url)["billing"]["queued"]
    until(lambda: depth(url)["billing"]["queued"] > before + 40)
    assert sum("beds.procrastinate" in line for line in around(directory)) == 4

    started.send_signal(signal.SIGTERM)
    assert started.wait(PATIENCE_SECONDS) == 0
    until(lambda: not around(directory))
    assert not Path(directory).exists()
