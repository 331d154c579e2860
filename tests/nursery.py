"""Programs as processes that begin where their imports end.

The command `secateur` spends half a second on imports, to do what takes milliseconds. So a process of the tests' own,
the nursery, imports a program once. Whoever wants the program as a process gets one that is forked from it, with the
standard streams, the environment and the directory that were asked for; it runs from the program's first line to its
exit. Tests of how a program starts use `subprocess` itself, and so does whatever is no test, such as a demo.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TextIO

PRELOADED = {
    "secateur.cli": (
        *("secateur.api", "secateur.cli.commands", "secateur.doctor", "secateur.engines.foreign.engine"),
        *("secateur.engines.listing", "secateur.engines.native.engine", "secateur.engines.native.worker"),
        *("uvicorn", "uvicorn.protocols.http.auto", "uvicorn.lifespan.on", "uvicorn.loops.auto"),
    ),
    "beds.absurd": ("beds.processes", "absurd_sdk"),
    "beds.chancy": ("beds.processes", "chancy", "chancy.worker"),
    "beds.dbos": ("beds.processes", "dbos"),
    "beds.django_tasks_db": ("beds.processes", "django.core.management", "django.db", "psycopg.conninfo"),
    "beds.good_job": ("beds.processes",),
    "beds.pgqueuer": ("beds.processes", "pgqueuer", "pgqueuer.qm", "pgqueuer.db"),
    "beds.procrastinate": ("beds.processes", "procrastinate"),
    "beds.river": ("beds.processes",),
    "beds.solid_queue": ("beds.processes",),
}
"""The programs that it knows, each with the modules that are imported with it, as far as they are installed."""

OPENED = False
"""Whether programs come from a nursery in this process: in one that runs tests. See conftest.py."""

TRIED = ((3, 11), (3, 12))
"""The versions of Python whose `subprocess.Popen` is as `_Forked` needs it. With others, nothing is forked."""

AT_THE_START = ("PYTHON", "LC_", "LANG")
"""What variables begin with that Python reads when it starts: other values take a start."""
NO_MATTER = {"PYTHONPATH", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED"}

_PREFIX = 8
"""Bytes of the number that tells how long an order is."""


def start(command: Sequence[str], *, env: dict[str, str], **options: Any) -> subprocess.Popen[Any]:
    """As `subprocess.Popen`. The process comes from the nursery, if that knows the program and can give it the
    variables; not on other systems than Linux, where some libraries do not outlive a fork.

    One in a session of its own takes its standard input for its terminal, where that is one.
    """
    can = OPENED and sys.platform == "linux" and sys.version_info[:2] in TRIED
    known = [(sys.executable, "-m", program) for program in PRELOADED] if can else []
    if tuple(command[:3]) in known and _at_the_start(env) == _at_the_start(os.environ):
        return _Forked([*command], env=env, **options)
    taking = {"preexec_fn": _take_terminal} if options.get("start_new_session") else {}
    return subprocess.Popen(command, env=env, **options, **taking)


def _take_terminal() -> None:
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _at_the_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(AT_THE_START) and name not in NO_MATTER}


class _Forked(subprocess.Popen[Any]):
    """`python -m PROGRAM …`, whose parent is the nursery: that one tells when and how it ended."""

    def _execute_child(self, args: list[str], *more: Any) -> None:
        cwd, env = more[4:6]
        pipes, new_session = more[9:15], more[-2]
        theirs = [pipes[0], pipes[3], pipes[5]]
        order = {
            "arguments": args[3:],
            "directory": os.fspath(cwd or Path.cwd()),
            "environment": env,
            "new_session": bool(new_session),
        }
        self._status, status = socket.socketpair()
        with status:
            streams = [place if number == -1 else number for place, number in enumerate(theirs)]
            _nursery(args[2]).order(order, [*streams, status.fileno()])
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self.pid = int(self._status.recv(32))
        self._child_created = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        said = self._status.recv(32)
        self._status.close()
        return self.pid, int(said or signal.SIGKILL)

    def _internal_poll(self, _deadstate: int | None = None, **_: Any) -> int | None:
        polled: int | None = super()._internal_poll(  # type: ignore[misc]
            _deadstate, _waitpid=lambda _, flags: self._try_wait(flags)
        )
        return polled


class _Nursery:
    """The process, seen from the tests."""

    def __init__(self, program: str) -> None:
        self._control, theirs = socket.socketpair()
        self._one_at_a_time = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, program, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._close)

    def order(self, order: dict[str, Any], descriptors: list[int]) -> None:
        with self._one_at_a_time:
            text = json.dumps(order).encode()
            socket.send_fds(self._control, [len(text).to_bytes(_PREFIX)], descriptors)
            self._control.sendall(text)

    def _close(self) -> None:
        self._control.close()
        self._process.wait()


@cache
def _nursery(program: str) -> _Nursery:
    return _Nursery(program)


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork for each order. In the forked process it returns, with the order; in the nursery, never."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, int] = {}
    """Whom to tell of the end of each."""
    while True:
        ready, _, _ = select.select([control, reader], [], [])
        if reader in ready:
            os.read(reader, 512)
            _tell_ends(children)
        if control in ready:
            order, descriptors = _next_order(control)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.detach()
                for place, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, place)
                os.closerange(3, max(reader, writer, *descriptors, *children.values(), 64) + 1)
                return order
            children[pid] = descriptors[3]
            os.write(descriptors[3], str(pid).encode())
            for descriptor in descriptors[:3]:
                os.close(descriptor)


def _next_order(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    prefix, descriptors, _, _ = socket.recv_fds(control, _PREFIX, 4)
    if not prefix:
        os._exit(0)  # the tests are over
    text, length = b"", int.from_bytes(prefix)
    while len(text) < length:
        text += control.recv(length - len(text))
    return json.loads(text), descriptors


def _tell_ends(children: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            descriptor = children.pop(ended[0])
            with contextlib.suppress(OSError):  # whoever asked for it has gone
                os.write(descriptor, str(ended[1]).encode())
            os.close(descriptor)


def _become(program: str, order: dict[str, Any]) -> None:
    """As Python does when it starts."""
    if order["new_session"]:
        os.setsid()
        _take_terminal()
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[0:1] = [order["directory"], *(path for path in paths if path not in sys.path)]
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)
    sys.stdout = sys.__stdout__ = _output(sys.stdout, by_line=os.isatty(1))
    sys.stderr = sys.__stderr__ = _output(sys.stderr, by_line=True)
    sys.argv[1:] = order["arguments"]


def _output(old: TextIO, *, by_line: bool) -> TextIO:
    """As the old stream, which was made for another file."""
    buffer = os.fdopen(old.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        buffer,
        encoding=old.encoding,
        errors=old.errors,
        newline="\n",
        line_buffering=by_line,
        write_through=bool(os.environ.get("PYTHONUNBUFFERED")),
    )


if __name__ == "__main__":
    name, descriptor = sys.argv[1:]
    for module in PRELOADED[name]:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    given = _serve(socket.socket(fileno=int(descriptor)))
    _become(name, given)
    runpy.run_module(name, run_name="__main__", alter_sys=True)
