"""The command `secateur` as a user starts it: a process of its own, with a terminal or without one."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nursery import start

COMMAND = (sys.executable, "-m", "secateur.cli")
SECONDS = 60.0

REMOVED = ("DATABASE_URL", "PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Here = Callable[..., Done]
"""Runs a command within the test's process: the fixture `here`, which takes what `run` takes."""


def environment(url: str | None = None, **more: str) -> dict[str, str]:
    """Without what the machine may say about databases, and in UTC."""
    kept = {
        name: value for name, value in os.environ.items() if name not in REMOVED and not name.startswith("SECATEUR_")
    }
    kept |= {"XDG_CONFIG_HOME": "/dev/null/none", "TZ": "UTC", "SECATEUR_AUTHOR": "nadia", **more}
    return kept | ({"DATABASE_URL": url} if url else {})


def run(*arguments: str, url: str | None = None, stdin: str | bytes = b"", **variables: str) -> Done:
    """Without a terminal."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with start([*COMMAND, *arguments], env=environment(url, **variables), **pipes) as process:
        try:
            out, err = (said.decode() for said in process.communicate(given, SECONDS))
        finally:
            process.kill()
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err)


def run_on_terminal(
    *arguments: str, url: str | None = None, answers: Sequence[tuple[str, str]] = (), **variables: str
) -> Done:
    """With a terminal as all three streams. Each answer is typed once its question stands on the screen."""
    master, slave = pty.openpty()
    process = start(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(url, TERM="xterm", **variables),
        start_new_session=True,
    )
    os.close(slave)
    seen = ""
    try:
        for question, answer in answers:
            seen += _read_until(master, question)
            os.write(master, answer.encode())
        seen += _read_until(master, None)
        code = process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return Done(code, seen, "")


def _read_until(descriptor: int, text: str | None) -> str:
    seen, deadline = "", time.monotonic() + SECONDS
    while text is None or text not in seen:
        assert time.monotonic() < deadline, f"waited for {text!r}, saw {seen!r}"
        if not select.select([descriptor], [], [], 1)[0]:
            continue
        try:
            read = os.read(descriptor, 4096)
        except OSError:
            read = b""
        if not read:
            assert text is None, f"waited for {text!r}, saw {seen!r}"
            break
        seen += read.decode(errors="replace")
    return seen


def write(directory: Path, name: str, content: Mapping[str, object] | str) -> str:
    """A file's path, for a flag."""
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)
