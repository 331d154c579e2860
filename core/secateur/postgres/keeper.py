"""Runs one Postgres for `embedded.py`, and outlives the process that started it, just long enough to clean up.

A script, started by its path in its own session and never imported. It needs only the standard library, so that
it starts in a few milliseconds. It reads orders from stdin and writes events to stdout, one per line:

    {…}              first of all the plan, as JSON (`Plan`)
    start            start the server again after it has exited
    end of file      the asker stopped or died, in whatever way: stop the server, remove what is temporary

    started <pid>    the server's process exists (it may not accept connections yet)
    exited <status>  the server and all its processes are gone
    failed <text>    it could not be prepared; the server's log says more

If the keeper itself is killed, Linux interrupts the server (PR_SET_PDEATHSIG). The keeper has a single thread,
so "the parent" in that rule means the whole keeper.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ORDERS = 0
STOP_SECONDS = 10.0
ORPHAN_SECONDS = 1.0
"""How long a backend may continue after its server was killed; most end at once, but a busy one does not notice."""


class Plan(TypedDict):
    """What to run. `user` and `group` are the ids to run the server under; None keeps our own."""

    directory: str
    temporary: bool
    """Remove `directory` at the end, and shut down without a checkpoint."""
    socket_directory: str | None
    """An extra directory, created and always removed, if `directory` is too long for a socket's address."""
    copies: list[tuple[str, str]]
    """Directory trees to copy first, as (from, to), if the server's user cannot reach the originals."""
    user: int | None
    group: int | None
    password: str
    """The superuser's, for a new directory."""
    initdb: list[str]
    server: list[str]


class Keeper:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.directory = Path(plan["directory"])
        self.server: subprocess.Popen[bytes] | None = None
        self.asked_to_stop = False
        self.libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        if self.libc is not None:
            # If the server is killed, its children become ours, whatever process 1 does with orphans.
            self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self) -> None:
        signalled = self._wake_on_signals()
        try:
            try:
                self._prepare()
                self._start()
            except (OSError, subprocess.SubprocessError) as error:
                _tell(f"failed {error}".replace("\n", " "))
            while not self.asked_to_stop:
                ready, _, _ = select.select([ORDERS, signalled], [], [])
                if signalled in ready:
                    os.read(signalled, 512)
                    self._reap()
                if ORDERS in ready:
                    if not os.read(ORDERS, 64):
                        return
                    if self.server is None:
                        self._start()
        finally:
            self._stop()
            self._remove()

    def _wake_on_signals(self) -> int:
        """A descriptor that becomes readable when a child has exited or a signal tells us to stop."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        return reader

    def _ask_to_stop(self, *_: object) -> None:
        self.asked_to_stop = True

    def _prepare(self) -> None:
        self._make_directory(self.directory, new=self.plan["temporary"])
        if self.plan["socket_directory"]:
            self._make_directory(Path(self.plan["socket_directory"]), new=True)
        for source, target in self.plan["copies"]:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
        if (self.directory / "data" / "PG_VERSION").exists():
            return
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(self.plan["password"])
        self._own(password)
        with (self.directory / "log").open("ab") as log:
            status = self._spawn(self.plan["initdb"], log).wait()
        if status:
            raise subprocess.SubprocessError(f"initdb ended with status {status}")

    def _make_directory(self, path: Path, *, new: bool) -> None:
        path.mkdir(mode=0o700, parents=not new, exist_ok=not new)
        self._own(path)

    def _own(self, path: Path) -> None:
        if self.plan["user"] is not None and self.plan["group"] is not None:
            os.chown(path, self.plan["user"], self.plan["group"])

    def _start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.server = self._spawn(self.plan["server"], log)
        _tell(f"started {self.server.pid}")

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        as_root = self.plan["user"] is not None
        return subprocess.Popen(  # noqa: S603 - the plan is our own
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            # An unknown LC_ALL, common over SSH, stops initdb; an odd TZ would become the server's.
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            user=self.plan["user"],
            group=self.plan["group"],
            extra_groups=[] if as_root else None,
            preexec_fn=self._die_with_keeper(),
        )

    def _die_with_keeper(self) -> Callable[[], None]:
        keeper, libc = os.getpid(), self.libc

        def run_in_child() -> None:
            # After the change of user, which clears it; the keeper may have died before that.
            if libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
                if os.getppid() != keeper:
                    os._exit(1)

        return run_in_child

    def _reap(self) -> None:
        """Reap the processes that have exited; once the server has, make sure that none of its processes stays."""
        server = self.server
        for pid, status in iter(_ended_child, None):
            if server is not None and pid == server.pid:
                server.returncode = os.waitstatus_to_exitcode(status)
        if server is None or server.returncode is None:
            return
        self.server = None
        deadline = time.monotonic() + ORPHAN_SECONDS
        while children := _children():
            if time.monotonic() > deadline:
                for pid in children:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
            for _ in iter(_ended_child, None):
                pass
        _tell(f"exited {server.returncode}")

    def _stop(self) -> None:
        if self.server is None:
            return
        order = [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]
        for number in order[1:] if self.plan["temporary"] else order:
            os.kill(self.server.pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline:
                self._reap()
                if self.server is None:
                    return
                time.sleep(0.005)

    def _remove(self) -> None:
        if self.plan["temporary"]:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self.plan["socket_directory"]:
            shutil.rmtree(self.plan["socket_directory"], ignore_errors=True)


def _ended_child() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _children() -> list[int]:
    """The ids of our children; empty on systems without /proc, where orphans go to process 1 anyway."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            parent = entry.read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue
        if int(parent) == os.getpid():
            found.append(int(entry.parent.name))
    return found


def _tell(event: str) -> None:
    with suppress(OSError):  # if nobody reads any more, the end of file on stdin tells us
        os.write(1, f"{event}\n".encode())


if __name__ == "__main__":
    with open(ORDERS, "rb", buffering=0, closefd=False) as orders:
        plan = orders.readline()
    Keeper(json.loads(plan)).run()
