"""The demo without a console, as a process: what it sets up, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

import secateur.demo
from patience import PATIENCE, eventually, wait_for
from secateur import Queue
from secateur.cli.arguments import parse
from secateur.cli.commands import start
from secateur.cli.opening import Place
from secateur.demo import DEFAULT_RUNS, Progress, report_on, start_postgres
from secateur.demo.story import DUTIES, STREAMS
from secateur.postgres.embedded import system_binaries
from secateur_tui import launching
from secateur_tui.expressions import Kept, of_user

CORE = Path(secateur.__file__).parents[1]

RUNS = 600

HEADLESS = f"""
import sys
from secateur.demo import report_on, run_headless
run_headless({RUNS}, report_on(sys.stderr))
"""


@dataclass
class Demo:
    process: subprocess.Popen[str]
    url: str
    family: list[psutil.Process]
    directory: Path

    def leaves_nothing(self) -> bool:
        return wait_for(lambda: not self.directory.exists() and all(map(is_gone, self.family)))


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def works_as(process: psutil.Process, role: str) -> bool:
    try:
        return process.cmdline()[-2:] == role.split()
    except psutil.Error:
        return False


@pytest.fixture
def demo() -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-c", HEADLESS],
        env={**os.environ, "PYTHONPATH": str(CORE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["database"]
        family = psutil.Process(process.pid).children(recursive=True)
        server = next(child for child in family if child.name() == "postgres" and "-D" in child.cmdline())
        yield Demo(process, url, family, Path(server.cmdline()[server.cmdline().index("-D") + 1]).parent)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
async def queue(demo: Demo) -> AsyncIterator[Queue]:
    async with secateur.connect(demo.url) as queue:
        yield queue


async def test_an_incident_goes_on(demo: Demo, queue: Queue) -> None:
    depth = {(one.app_id, one.function_id): one for one in await queue.engine.depth()}
    assert sorted(depth) == sorted((duty.app_id, duty.function_id) for duty in DUTIES)
    assert len({app_id for app_id, _ in depth}) >= 3
    flooded = depth["billing", "vendor-syncs"]
    oldest = flooded.oldest_started_at
    assert oldest is not None
    usual = STREAMS[1]
    since = usual.reaches_back(int(RUNS * usual.backlog))
    assert timedelta() <= flooded.as_of - oldest - since < timedelta(minutes=5)
    growing = await queue.depth_history("billing", "vendor-syncs", range="15m")
    assert sum(point.queued is not None for point in growing.points) > 2
    assert flooded.queued > 0.8 * RUNS
    assert depth["growth", "weekly-digest"].scheduled > 0
    culprit = {"app_id": "billing", "function_id": "vendor-syncs", "if": "event.data.vendor_id == 'acme_inc'"}
    before = (await queue.preview(culprit)).count.matched
    assert before > 0.3 * RUNS

    async def grows() -> bool:
        return (await queue.preview(culprit)).count.matched > before

    async def moves() -> bool:
        busy = [one for one in await queue.engine.depth() if one.function_id != "weekly-digest"]
        return all(one.in_per_second > 0 and one.out_per_second > 0 for one in busy)

    await eventually(grows, "more of the flood than the workers drain")
    await eventually(moves, "every function to take in and to end runs")
    cancellation = await queue.cancel(culprit, wait=True)
    assert cancellation.state == "complete"
    assert cancellation.cancelled >= before
    demo.process.send_signal(signal.SIGTERM)
    _, progress = await asyncio.to_thread(demo.process.communicate, timeout=PATIENCE)
    assert demo.process.returncode == 0
    assert f"{RUNS} of {RUNS} runs" in progress
    assert demo.leaves_nothing()


async def test_a_killed_worker_is_replaced(demo: Demo, queue: Queue) -> None:
    worker = next(child for child in demo.family if works_as(child, "worker 1"))
    worker.kill()

    def replaced() -> bool:
        children = psutil.Process(demo.process.pid).children()
        return any(works_as(child, "worker 1") and child.pid != worker.pid for child in children)

    assert await asyncio.to_thread(wait_for, replaced)
    demo.process.send_signal(signal.SIGINT)
    await asyncio.to_thread(demo.process.communicate, timeout=PATIENCE)
    assert demo.process.returncode == 0
    assert demo.leaves_nothing()


def test_nothing_outlives_a_killed_demo(demo: Demo) -> None:
    assert {process.name() for process in demo.family} >= {"postgres"}
    demo.process.kill()
    demo.process.wait()
    assert demo.leaves_nothing()


def test_falls_back_to_the_systems_postgres(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = system_binaries()
    if system is None:
        pytest.skip("no Postgres on this machine")
    for name in ("initdb", "postgres"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(secateur.demo, "find_binaries", lambda: tmp_path)
    with start_postgres() as server:
        assert server.binaries == system


def test_the_story_adds_up() -> None:
    assert sum(stream.backlog for stream in STREAMS) == pytest.approx(1)
    flooded = [duty for duty in DUTIES if duty.function_id == "vendor-syncs"]
    arriving = sum(stream.per_second for stream in STREAMS if stream.function_id == "vendor-syncs")
    draining = sum(2 * duty.concurrency / sum(duty.step_seconds) for duty in flooded)
    assert arriving > 2 * draining
    assert max(STREAMS, key=lambda stream: stream.backlog * DEFAULT_RUNS).function_id == "vendor-syncs"


def test_progress_is_one_changing_line_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    steps = [Progress("starting"), Progress("seeding", 10, 2000, 3), Progress("seeding", 2000, 2000, 1234.5)]
    terminal, file = Terminal(), io.StringIO()
    for step in steps:
        report_on(file)(step)
    report = report_on(terminal)
    for step in steps:
        report(step)
    assert file.getvalue() == "starting…\nseeding… 2,000 of 2,000 runs, 1,234/s\n"
    assert terminal.getvalue() == (
        "\rstarting…\n\rseeding… 10 of 2,000 runs, 3/s\rseeding… 2,000 of 2,000 runs, 1,234/s\n"
    )


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_what_its_console_keeps_goes_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    kept: list[Path] = []

    async def keep(_: object, place: Place) -> int:
        await of_user(str(place.target.context)).keep(Kept("billing", None, "event.name == 'x'"))
        kept.extend(files_in(Path(os.environ["XDG_STATE_HOME"])))
        return 0

    monkeypatch.setattr(launching, "check_terminal", lambda: None)
    monkeypatch.setattr(start, "_show", keep)
    assert start.demo(parse(["demo", "--runs", "300"])) == 0
    assert [path.name for path in kept] == ["expressions.sqlite3"]
    assert not kept[0].exists()
    assert [*tmp_path.iterdir()] == []
