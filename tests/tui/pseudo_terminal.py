"""A console in a pseudo-terminal of its own: a real process, fed with bytes, and the bytes that it paints."""

from __future__ import annotations

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
                self._changed.notify_all()

    def read_until(self, text: str) -> None:
        """Wait until the text has been painted since the last call."""
        with self._changed:
            painted = self._changed.wait_for(lambda: text.encode() in self._painted, PATIENCE)
            assert painted, f"{text!r} was not painted; at the end there was {self._painted[-2000:]!r}"
            self._painted = b""

    def until(self, condition: Callable[[bytes], bool]) -> None:
        """Wait until it is true of all that was ever painted."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.everything), PATIENCE), self.everything[-2000:]

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
