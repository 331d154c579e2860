"""The console as a process: the terminal it needs, and what becomes of a commit when the link drops."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import asyncpg
import pytest
from standing_incident import ACME, ARRIVING, CULPRIT

from patience import PATIENCE
from secateur_tui.review import SETTLE_SECONDS

PROGRAM = [sys.executable, str(Path(__file__).with_name("console_process.py"))]


class Terminal:
    """A pseudo-terminal with a console in it; what it paints is kept as bytes."""

    def __init__(self, url: str, term: str = "xterm-256color") -> None:
        self._ours, theirs = pty.openpty()
        ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = subprocess.Popen(
            [*PROGRAM, url],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": term},
            close_fds=True,
        )
        os.close(theirs)
        self._painted = b""
        self._changed = threading.Condition()
        self._is_open = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Keeps reading, so that the console never waits for us."""
        while self._is_open:
            if not select.select([self._ours], [], [], 0.05)[0]:
                continue
            try:
                painted = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                return
            with self._changed:
                self._painted += painted
                self._changed.notify_all()

    def read_until(self, text: str) -> None:
        """Wait until the text has been painted since the last call."""
        with self._changed:
            painted = self._changed.wait_for(lambda: text.encode() in self._painted, PATIENCE)
            assert painted, f"{text!r} was not painted; at the end there was {self._painted[-2000:]!r}"
            self._painted = b""

    def has_painted(self, text: str) -> bool:
        """Whether the text has been painted since the last `read_until`."""
        return text.encode() in self._painted

    def send(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def vanish(self) -> None:
        """As when the link drops: whatever is read or written from now on fails. No signal is sent."""
        self._is_open = False
        self._reader.join()
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            self.vanish()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_without_a_terminal_it_says_what_to_do_instead(embedded_url: str) -> None:
    done = subprocess.run(
        [*PROGRAM, embedded_url], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "secateur depth" in done.stderr


def test_a_dumb_terminal_is_refused(embedded_url: str, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(embedded_url, term="dumb"))
    terminals[0].read_until("TERM is 'dumb'")
    assert terminals[0].process.wait(PATIENCE) == 2


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_hang_up_ends_it(incident_url: str, terminals: list[Terminal], number: signal.Signals) -> None:
    terminals.append(Terminal(incident_url))
    await asyncio.to_thread(terminals[0].read_until, "flood")
    terminals[0].process.send_signal(number)
    assert await asyncio.to_thread(terminals[0].process.wait, PATIENCE) == 0


async def test_it_ends_with_its_terminal(incident_url: str, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(incident_url))
    await asyncio.to_thread(terminals[0].read_until, "flood")
    terminals[0].vanish()
    assert await asyncio.to_thread(terminals[0].process.wait, PATIENCE) == 0


HOLD = "lock table secateur.sweeps in share row exclusive mode"
"""The app's lock would only make a commit pending."""


async def test_a_commit_outlives_the_terminal(incident_url: str, terminals: list[Terminal]) -> None:
    terminal = Terminal(incident_url)
    terminals.append(terminal)
    await asyncio.to_thread(_reach_the_commit, terminal)
    connection = await asyncpg.connect(incident_url)
    try:
        async with connection.transaction():
            await connection.execute(HOLD)
            await asyncio.to_thread(_commit, terminal)
            terminal.vanish()
            await _goes_on(terminal)
        assert await asyncio.to_thread(terminal.process.wait, PATIENCE) == 0
        assert await connection.fetchval("select count(*) from secateur.cancellations") == 1
    finally:
        await connection.close()


async def test_a_hang_up_waits_for_the_commit_under_way(incident_url: str, terminals: list[Terminal]) -> None:
    terminal = Terminal(incident_url)
    terminals.append(terminal)
    await asyncio.to_thread(_reach_the_commit, terminal)
    connection = await asyncpg.connect(incident_url)
    try:
        async with connection.transaction():
            await connection.execute(HOLD)
            await asyncio.to_thread(_commit, terminal)
            terminal.process.send_signal(signal.SIGHUP)
            await _goes_on(terminal)
        assert await asyncio.to_thread(terminal.process.wait, PATIENCE) == 0
        assert await connection.fetchval("select count(*) from secateur.cancellations") == 1
    finally:
        await connection.close()


async def _goes_on(terminal: Terminal) -> None:
    """It waits for its commit: it would have ended within this second."""
    with pytest.raises(subprocess.TimeoutExpired):
        await asyncio.to_thread(terminal.process.wait, 1.0)


def _commit(terminal: Terminal) -> None:
    """A press that comes sooner after the button got the focus is ignored."""
    time.sleep(SETTLE_SECONDS)
    terminal.send(b"\r")
    terminal.read_until("committing")


def _reach_the_commit(terminal: Terminal) -> None:
    terminal.read_until("flood")
    terminal.send(b"\r")
    terminal.read_until("Matches")
    terminal.send(CULPRIT.encode())
    terminal.read_until(f"{ACME + ARRIVING}")
    terminal.send(b"\x1b[20~")
    terminal.read_until("enter goes on")
    terminal.send(b"INC-1\r")
    terminal.read_until("then enter goes on")
    terminal.send(b"vendor-syncs\r")
    terminal.read_until("enter cancels")
