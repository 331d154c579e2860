"""The console as a process: the terminal it needs, and what becomes of a commit when the link drops."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time

import asyncpg
import pytest
from pseudo_terminal import PROGRAM, Terminal
from standing_incident import ACME, ARRIVING, CULPRIT

from patience import PATIENCE, wait_for
from secateur_tui.review.pressing import FRESH_SECONDS


def test_without_a_terminal_it_says_what_to_do_instead(embedded_url: str) -> None:
    done = subprocess.run(
        [*PROGRAM, embedded_url], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "standard input, standard output and standard error are not terminals" in done.stderr
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
    """A press that comes too soon after another is ignored, and so is one after the decision."""

    def pressed() -> bool:
        time.sleep(FRESH_SECONDS * 1.2)
        terminal.send(b"\r")
        return terminal.has_painted("committing")

    wait_for(pressed, "the commit")


def _reach_the_commit(terminal: Terminal) -> None:
    terminal.read_until("flood")
    terminal.send(b"\r")
    terminal.read_until("Matches")
    terminal.send(CULPRIT.encode())
    terminal.read_until(f"{ACME + ARRIVING}")
    terminal.send(b"\x1b[20~")
    terminal.read_until("enter goes on")
    terminal.send(b"INC-1\r")
    terminal.read_until("vendor-syncs or 623")
    terminal.send(b"vendor-syncs\r")
    terminal.read_until("enter cancels")


def test_a_terminal_that_moves_its_cursor_otherwise_is_refused(embedded_url: str, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(embedded_url, term="vt52"))
    terminals[0].read_until("TERM is 'vt52'")
    assert terminals[0].process.wait(PATIENCE) == 2


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp437:replace"},
        {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_an_output_that_is_not_in_utf_8_is_drawn_in_ascii(
    incident_url: str, terminals: list[Terminal], variables: dict[str, str | None]
) -> None:
    terminals.append(Terminal(incident_url, **variables))
    terminals[0].read_until("^ flood: billing / vendor-syncs")
    terminals[0].send(b"?")
    terminals[0].read_until("you are here")
    assert terminals[0].everything.isascii()
    assert b"\\u" not in terminals[0].everything


def test_the_locale_c_alone_is_utf_8(incident_url: str, terminals: list[Terminal]) -> None:
    terminals.append(Terminal(incident_url, LC_ALL="C", PYTHONUTF8=None, PYTHONIOENCODING=None))
    terminals[0].read_until("│")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>/dev/null"])
def test_closed_streams_are_refused(embedded_url: str, closed: str) -> None:
    done = subprocess.run(
        ["script", "-qec", f"{PROGRAM[0]} {PROGRAM[1]} '{embedded_url}' {closed}", "/dev/null"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stdout


async def test_no_byte_that_is_typed_ends_it(incident_url: str, terminals: list[Terminal]) -> None:
    """A letter in Latin-1, and whatever else a terminal may send."""
    terminal = Terminal(incident_url)
    terminals.append(terminal)
    await asyncio.to_thread(terminal.read_until, "flood")
    terminal.send(b"\r")
    await asyncio.to_thread(terminal.read_until, "Matches")
    terminal.send(b"'\xe9\xff\xc3")
    terminal.send(b"\x1b[200~\xe9t\xe9 \x80\x1b[201~")
    terminal.send(b"\x11")
    assert await asyncio.to_thread(terminal.process.wait, PATIENCE) == 0, terminal.everything[-2000:]
