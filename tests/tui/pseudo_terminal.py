"""A console in a pseudo-terminal of its own: a real process, fed with bytes, and the bytes that it paints."""

from __future__ import annotations

import codecs
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

from terminal_screen import TerminalScreen

from patience import PATIENCE

PROGRAM = [sys.executable, str(Path(__file__).with_name("console_process.py"))]


class Terminal:
    """A pseudo-terminal with a console in it; what it paints is kept as bytes."""

    def __init__(
        self, url: str, term: str = "xterm-256color", *, size: tuple[int, int] = (80, 24), **variables: str | None
    ) -> None:
        """`variables` are the environment's; None takes one out of it."""
        columns, lines = size
        environment = {**os.environ, "TERM": term, **variables}
        self._ours, theirs = pty.openpty()
        ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [*PROGRAM, url],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={name: value for name, value in environment.items() if value is not None},
            close_fds=True,
        )
        os.close(theirs)
        self._painted = b""
        self.everything = b""
        """All that was ever painted."""
        self.screen = TerminalScreen(size)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
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
                self.everything += painted
                self.screen.write(self._decoder.decode(painted))
                self._changed.notify_all()

    def read_until(self, text: str) -> None:
        """Wait until the text is on the screen, or has been written in one piece since the last call."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._has(text), PATIENCE), (
                f"{text!r} did not appear; the screen shows:\n" + "\n".join(self.screen.lines)
            )
            self._painted = b""

    def _has(self, text: str) -> bool:
        return text.encode() in self._painted or any(text in line for line in self.screen.lines)

    def until(self, condition: Callable[[bytes], bool]) -> None:
        """Wait until it is true of all that was ever painted."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.everything), PATIENCE), self.everything[-2000:]

    def has_painted(self, text: str) -> bool:
        """Whether the text is on the screen, or has been written in one piece since the last `read_until`."""
        with self._changed:
            return self._has(text)

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
