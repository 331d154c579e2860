"""How much a console writes to its terminal, by the byte: what a slow link has to carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from console_driver import NARROW, WIDE
from pseudo_terminal import Terminal
from terminal_screen import TerminalScreen

from patience import PATIENCE
from secateur.postgres.database import Database

LIVE_BYTES, IDLE_BYTES = 2_000, 100
"""A second, at most."""
WINDOW_SECONDS = 4.0
"""A rate is measured over time, however fast the machine is."""
GLANCE_SECONDS = 0.3
"""So long is nothing painted once a key has had its effect; the clock is."""
FUNCTIONS = 12
PAUSE_SECONDS = 0.2
"""From one arrival of runs in every function to the next: several in each refresh of the console."""

PLACES = {
    "queues": ((b"", "flood"),),
    "history": ((b"H", "No cancellation yet"),),
    "filter": ((b"\x1b", "flood"), (b"\r", "exact")),
}
"""The keys that lead there from the place before, and what is then seen."""


async def opened(url: str, terminals: list[Terminal], size: tuple[int, int]) -> Terminal:
    terminal = Terminal(url, size=size, COLORTERM="truecolor", SECATEUR_REFRESH_SECONDS="1")
    terminals.append(terminal)
    await asyncio.to_thread(terminal.read_until, "flood")
    await at_rest(terminal)
    return terminal


async def usual_rate(terminal: Terminal, most: float) -> float:
    """Bytes a second, in a window without news such as the next minute of an age: one of three has none."""
    for _ in range(3):
        if (written := await rate(terminal)) < most:
            break
    return written


async def rates(terminal: Terminal, most: float) -> dict[str, float]:
    """What it writes in each place."""
    found = {}
    for place, steps in PLACES.items():
        for keys, shown in steps:
            terminal.send(keys)
            await asyncio.to_thread(terminal.read_until, shown)
        await at_rest(terminal)
        found[place] = await usual_rate(terminal, most)
    return found


async def check_rates(url: str, terminals: list[Terminal], most: float) -> None:
    narrow, wide = [await opened(url, terminals, size) for size in (NARROW, WIDE)]
    narrowly, widely = await asyncio.gather(usual_rate(narrow, most), rates(wide, most))
    written = {**widely, "queues, narrow": narrowly}
    assert all(0 < bytes_a_second < most for bytes_a_second in written.values()), written


async def at_rest(terminal: Terminal, most: float = LIVE_BYTES, seconds: float = 1.0) -> None:
    """Until it writes no more than that a second, for so long: what came last has been painted."""
    deadline = time.monotonic() + PATIENCE
    while await rate(terminal, seconds) > most:
        assert time.monotonic() < deadline


async def rate(terminal: Terminal, seconds: float = WINDOW_SECONDS) -> float:
    """Bytes a second."""
    before, began = len(terminal.everything), time.monotonic()
    await asyncio.sleep(seconds)
    return (len(terminal.everything) - before) / (time.monotonic() - began)


@asynccontextmanager
async def traffic(url: str) -> AsyncIterator[None]:
    """Runs arrive in many functions and are worked off, in every refresh some in each."""
    async with Database.connect(url) as database:
        going_on = asyncio.create_task(_traffic(database))
        yield
        going_on.cancel()
        with suppress(asyncio.CancelledError):
            await going_on


async def _traffic(database: Database) -> None:
    events = ['{"name": "busy"}'] * 7
    while True:
        for number in range(FUNCTIONS):
            await database.execute(
                "select secateur.enqueue_many('busy', $1, $2::jsonb[])", f"function-{number}", events
            )
        await database.execute(
            """
            select secateur.complete('busy', run.id, run.claim_token)
              from secateur.claim('busy', null, 60, 'worker-1', '1 minute') as run
            """
        )
        await asyncio.sleep(PAUSE_SECONDS)


async def test_idle_it_writes_little_more_than_its_clock(incident_url: str, terminals: list[Terminal]) -> None:
    await check_rates(incident_url, terminals, IDLE_BYTES)


async def test_live_it_writes_only_the_figures_that_changed(incident_url: str, terminals: list[Terminal]) -> None:
    async with traffic(incident_url):
        await check_rates(incident_url, terminals, LIVE_BYTES)


async def test_without_the_focus_it_looks_less_often(incident_url: str, terminals: list[Terminal]) -> None:
    terminal = await opened(incident_url, terminals, NARROW)
    terminal.send(b"\x1b[O")
    await asyncio.to_thread(terminal.read_until, "live 10 s")
    away = await usual_rate(terminal, IDLE_BYTES / 2)
    terminal.send(b"\x1b[I")
    await asyncio.to_thread(terminal.read_until, "live 1 s")
    assert away < IDLE_BYTES / 2


async def test_what_was_painted_piece_by_piece_is_what_the_screen_is(
    incident_url: str, terminals: list[Terminal]
) -> None:
    """Painted again as a whole, every screen on the way shows the same cells."""
    terminal = await opened(incident_url, terminals, NARROW)
    for keys in (b"jjk", b"s", b"/sync\r", b"\x1b", b"?", b"\x1b", b"\r", b"event.da", b"\x1b", b"\x1b", b"p"):
        terminal.send(keys)
        await at_rest(terminal, IDLE_BYTES, GLANCE_SECONDS)
        await _same_when_painted_again(terminal, keys)


async def _same_when_painted_again(terminal: Terminal, keys: bytes) -> None:
    """A figure may change in between; then it is tried again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        before = terminal.everything
        terminal.send(b"\x0c")
        await asyncio.to_thread(terminal.until, partial(_is_longer, len(before) + 1_000))
        await at_rest(terminal, IDLE_BYTES, GLANCE_SECONDS)
        pieces, whole = TerminalScreen(NARROW), TerminalScreen(NARROW)
        pieces.write(before.decode())
        whole.write(terminal.everything[len(before) :].decode())
        if _but_clock(pieces) == _but_clock(whole):
            return
        assert time.monotonic() < deadline, (keys, pieces.lines, whole.lines)


def _is_longer(least: int, painted: bytes) -> bool:
    return len(painted) > least


def _but_clock(screen: TerminalScreen) -> dict[tuple[int, int], tuple[str, str]]:
    return {place: cell for place, cell in screen.cells.items() if place[1] > 0 and cell[0].strip()}
