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
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import asyncpg
import pytest
from standing_incident import CULPRIT

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
        self.painted = b""

    def read_until(self, text: str, seconds: float = 20.0) -> None:
        """Wait until the text has been painted since the last call."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.painted:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not painted; at the end there was {self.painted[-2000:]!r}"
            try:
                self.painted += os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                assert text.encode() in self.painted, self.painted[-2000:]
        self.painted = b""

    def send(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def drain(self, seconds: float) -> None:
        """Keep reading, so that the console never waits for us."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._ours], [], [], left)[0]:
                try:
                    os.read(self._ours, 65536)
                except OSError:
                    return

    def vanish(self) -> None:
        """As when the link drops: whatever is read or written from now on fails. No signal is sent."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_without_a_terminal_it_says_what_to_do_instead(embedded_url: str) -> None:
    done = subprocess.run(
        [*PROGRAM, embedded_url], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "secateur depth" in done.stderr


def test_a_dumb_terminal_is_refused(embedded_url: str, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(embedded_url, term="dumb"))
    terminals[0].read_until("TERM is 'dumb'")
    assert terminals[0].process.wait(20) == 2


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_a_hang_up_ends_it(incident_url: str, terminals: list[Terminal], number: signal.Signals) -> None:
    terminals.append(Terminal(incident_url))
    await asyncio.to_thread(terminals[0].read_until, "flood")
    terminals[0].process.send_signal(number)
    await asyncio.to_thread(terminals[0].drain, 1.0)
    assert await asyncio.to_thread(terminals[0].process.wait, 20) == 0


async def test_it_ends_with_its_terminal(incident_url: str, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(incident_url))
    await asyncio.to_thread(terminals[0].read_until, "flood")
    terminals[0].vanish()
    assert await asyncio.to_thread(terminals[0].process.wait, 20) == 0


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
            terminal.send(b"\r")
            await asyncio.to_thread(terminal.read_until, "committing")
            terminal.vanish()
            await asyncio.sleep(1.0)
            assert terminal.process.poll() is None, "it waits for its commit"
        assert await asyncio.to_thread(terminal.process.wait, 20) == 0
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
            terminal.send(b"\r")
            await asyncio.to_thread(terminal.read_until, "committing")
            terminal.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(terminal.drain, 0.5)
            assert terminal.process.poll() is None, "it waits for its commit"
        await asyncio.to_thread(terminal.drain, 2.0)
        assert await asyncio.to_thread(terminal.process.wait, 20) == 0
        assert await connection.fetchval("select count(*) from secateur.cancellations") == 1
    finally:
        await connection.close()


def _reach_the_commit(terminal: Terminal) -> None:
    terminal.read_until("flood")
    terminal.send(b"\r")
    terminal.read_until("Matches")
    terminal.send(CULPRIT.encode())
    terminal.read_until("acme_inc")
    terminal.drain(2.0)
    terminal.send(b"\x1b[20~")
    terminal.read_until("enter goes on")
    terminal.send(b"INC-1\r")
    terminal.read_until("then enter goes on")
    terminal.send(b"vendor-syncs\r")
    terminal.read_until("enter cancels")
    terminal.drain(0.5)
