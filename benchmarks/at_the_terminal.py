"""How long does somebody at a terminal wait: for the first screen, for a key's effect, for the guarantee?

A real `secateur` in a pseudo-terminal. The clock runs from the key, or from the start of the process, until the text is
on the screen that the terminal would show. Beside it stands the processor time of the console, which a busy machine
changes less.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.bed import Ground, processor_seconds, say, seed
from benchmarks.report import because, goal

TITLE = "At the terminal"

STARTS = 10
COMMITS = 10
KEYS = 20
FUNCTIONS = 3_000
QUIET_SECONDS = 0.4
"""The screen is at rest when nothing was painted for so long."""
RESTING_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""An enter sooner after another one would be taken for its repeat, and commit nothing."""
PATIENCE_SECONDS = 60.0

SECATEUR = [str(Path(sys.executable).with_name("secateur"))]
WHY = "mostly the console's own processor time, which the table shows; the load says what else used the cores"


@dataclass(slots=True)
class Waits:
    """Of one thing that somebody waits for."""

    what: str
    most: float
    """Seconds: the goal."""
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Of the console, meanwhile."""

    @property
    def row(self) -> str:
        took = f"{1000 * statistics.median(self.seconds):,.0f} ms | {1000 * min(self.seconds):,.0f} ms"
        return f"| {self.what} | {len(self.seconds)} | {took} | {1000 * statistics.median(self.processor):,.0f} ms |"

    @property
    def verdict(self) -> list[str]:
        return because(goal(self.what, 1000 * statistics.median(self.seconds), " ms", most=1000 * self.most), WHY)


class Screen:
    """A console in a pseudo-terminal, and a clock."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal

    def shows(self, holds: Callable[[list[str]], bool]) -> None:
        with self._terminal._changed:
            lines: list[str] = self._terminal.screen.lines
            shown = self._terminal._changed.wait_for(lambda: holds(self._terminal.screen.lines), PATIENCE_SECONDS)
            if not shown:
                raise TimeoutError("\n".join(lines))

    def rests(self) -> None:
        """Wait until nothing is painted; on a busy machine there may be no such moment."""
        painted, end = -1, time.monotonic() + RESTING_SECONDS
        while painted != (painted := len(self._terminal.everything)) and time.monotonic() < end:
            time.sleep(QUIET_SECONDS)

    def press(self, keys: bytes, *texts: str) -> None:
        """And wait until the screen shows these texts."""
        self._terminal.send(keys)
        self.shows(lambda lines: all(any(text in line for line in lines) for text in texts))

    def timed(self, waits: Waits, keys: bytes, holds: Callable[[list[str]], bool]) -> None:
        busy, began = self.processor, time.perf_counter()
        self._terminal.send(keys)
        self.shows(holds)
        waits.seconds.append(time.perf_counter() - began)
        waits.processor.append(self.processor - busy)

    @property
    def processor(self) -> float:
        """Seconds."""
        return sum(processor_seconds([self._terminal.process.pid]).values())

    @property
    def row(self) -> str:
        """The one under the cursor."""
        return next((line for line in self._terminal.screen.lines if "▌" in line), "")


async def measure(ground: Ground) -> list[str]:
    first = Waits("start to the first whole screen", 0.7)
    commit = Waits("commit key to the guarantee", 0.3)
    told = Waits("key to what is wrong with the expression", 0.03)
    moved = Waits(f"key to the cursor, {FUNCTIONS:,} functions", 0.05)
    async with ground.bed() as bed, ground.bed() as many:
        await seed(bed.database, 10_000)
        await seed(many.database, 2 * FUNCTIONS, functions=FUNCTIONS)
        for _ in range(1 + ground.scaled(STARTS)):
            await asyncio.to_thread(_start, bed.url, first)
        del first.seconds[0], first.processor[0]  # which may compile the program
        say(first.row)
        await asyncio.to_thread(_commit, bed.url, ground.scaled(COMMITS), commit, told)
        say(commit.row)
        await asyncio.to_thread(_move, many.url, ground.scaled(KEYS), moved)
    every = (first, commit, told, moved)
    help_, nothing = _help(ground.scaled(2 * STARTS))
    return [
        f"### 80×24, a database on this machine; load of the machine {os.getloadavg()[0]:.1f}",
        "",
        "| what | times | median | least | processor time of the console |",
        "|:--|---:|---:|---:|---:|",
        *(each.row for each in every),
        "",
        *(line for each in every for line in each.verdict),
        *because(goal("processor time of --help against `python -c pass`", help_ / nothing, most=1.6), WHY),
    ]


@contextmanager
def _console(url: str) -> Iterator[Screen]:
    tests = Path(__file__).parent.parent / "tests"
    for place in (str(tests), str(tests / "tui")):
        if place not in sys.path:
            sys.path.insert(0, place)
    pseudo_terminal = import_module("pseudo_terminal")
    pseudo_terminal.PROGRAM = [*SECATEUR, "--database"]
    terminal = pseudo_terminal.Terminal(url, COLORTERM="truecolor", PYTHONDONTWRITEBYTECODE=None)
    try:
        yield Screen(terminal)
    finally:
        terminal.close()


def _start(url: str, waits: Waits) -> None:
    began = time.perf_counter()
    with _console(url) as screen:
        screen.shows(_is_whole)
        waits.seconds.append(time.perf_counter() - began)
        waits.processor.append(screen.processor)


def _is_whole(lines: list[str]) -> bool:
    """The header, the figures, and the keys below them."""
    return "live" in lines[0] and any("functions" in line for line in lines) and "enter filter" in lines[-1]


def _is_in_force(lines: list[str]) -> bool:
    """As the review tells, or else the history: it may lie over the review before the terminal is looked at."""
    return any("guaranteed" in line or "in force since" in line for line in lines)


def _commit(url: str, times: int, commit: Waits, told: Waits) -> None:
    """Each in a console of its own: the first commit of a session takes longest."""
    for number in range(times):
        with _console(url) as screen:
            screen.shows(_is_whole)
            screen.press(b"j")
            screen.press(b"\r", "Matches", "no condition")
            screen.press(f"event.data.vendor_id == 'v{number}' ".encode(), "✓ valid", "exact")
            screen.rests()
            screen.timed(told, b"&", lambda lines: any("cannot appear" in line for line in lines))
            screen.press(b"\x7f", "✓ valid", "exact")  # or the review would still ask for a typed confirmation
            screen.press(b"\x1b[20~", "enter goes on")
            screen.press(b"benchmark\r", "esc leaves")
            time.sleep(FRESH_SECONDS)
            screen.timed(commit, b"\r", _is_in_force)


def _move(url: str, times: int, moved: Waits) -> None:
    with _console(url) as screen:
        screen.shows(_is_whole)
        screen.rests()
        for _ in range(times):
            before = screen.row
            screen.timed(moved, b"j", lambda _, before=before: screen.row not in ("", before))  # type: ignore[misc]
            time.sleep(QUIET_SECONDS)


def _help(times: int) -> tuple[float, float]:
    """Seconds of processor time: of the help, and of an interpreter that does nothing."""
    return _processor_of([*SECATEUR, "--help"], times), _processor_of([sys.executable, "-c", "pass"], times)


def _processor_of(command: list[str], times: int) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)  # makes what is kept
    before = os.times()
    for _ in range(times):
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent / times
