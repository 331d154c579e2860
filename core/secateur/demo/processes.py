"""Starts the demo's workers and producer, restarts those that end, and leaves none behind."""

from __future__ import annotations

import select
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from secateur.demo.story import WORKERS
from secateur.errors import SecateurError

READY_SECONDS = 60.0
STOP_SECONDS = 5.0
RESTART_SECONDS = 2.0
LOG_TAIL = 2000

ROSTER = (*(("worker", number + 1) for number in range(WORKERS)), ("producer", 1))


@dataclass(slots=True)
class Post:
    """A role, and the process that has it at present."""

    role: str
    number: int
    process: subprocess.Popen[str]


class Staff:
    """The demo's processes. Each holds a pipe from this one, and ends when the pipe does; see `staff.py`."""

    def __init__(self, url: str, log: Path) -> None:
        self._url = url
        self._log = log
        self._posts: list[Post] = []
        self._leaving = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Self:
        """Returns when all of them work. Raises `SecateurError` with the log's end if one does not."""
        try:
            self._posts = [Post(role, number, self._start(role, number)) for role, number in ROSTER]
            for post in self._posts:
                self._await_ready(post)
        except BaseException:
            self._end_all()
            raise
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._supervisor.join()
        self._end_all()

    def _start(self, role: str, number: int) -> subprocess.Popen[str]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "secateur.demo.staff", role, str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a ctrl+c in the terminal is ours to handle
            )
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            process.stdin.write(f"{self._url}\n")  # here rather than in the arguments, which everybody can read
            process.stdin.flush()
        return process

    def _await_ready(self, post: Post) -> None:
        assert post.process.stdout is not None  # noqa: S101
        readable, _, _ = select.select([post.process.stdout], [], [], READY_SECONDS)
        if not readable or post.process.stdout.readline() != "ready\n":
            tail = self._log.read_text(errors="replace")[-LOG_TAIL:].strip()
            raise SecateurError(f"the demo's {post.role} did not start\n{tail}".rstrip())

    def _supervise(self) -> None:
        """As in any deployment: a process that ends is started again."""
        while not self._leaving.wait(RESTART_SECONDS):
            for post in self._posts:
                if post.process.poll() is not None:
                    _end(post.process)
                    post.process = self._start(post.role, post.number)

    def _end_all(self) -> None:
        for post in self._posts:
            if post.process.stdin is not None:
                with suppress(BrokenPipeError):
                    post.process.stdin.close()
        for post in self._posts:
            _end(post.process)


def _end(process: subprocess.Popen[str]) -> None:
    """Harmless for a process that has ended."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
