"""Postgres servers that many tests share, and the databases that tests borrow from them."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import psutil

from patience import eventually
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install

SETTINGS = {
    "fsync": "off",
    "jit": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "max_wal_size": "256MB",
    "track_commit_timestamp": "on",
}
"""Fast and forgetful: tests of faults start servers of their own."""

Prepare: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]
"""Fills the database of that url."""

YOUNG_SECONDS = 60.0
"""How long a layer of runs may be copied: the ages and leases of its runs are those of when it was made."""

_MEMORY = Path("/dev/shm")
_ROOM = 3 * 2**30
"""Bytes that the servers of two test processes may take, with much to spare."""

_numbers = count(1)


def use_memory() -> None:
    """Put temporary files where no disk is, on a machine with memory enough; the variable TMPDIR is obeyed.

    Every test has a database of its own, which is some three hundred files: on a disk, making them can take longer
    than the tests do.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    may_run_programs = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    if may_run_programs and shutil.disk_usage(_MEMORY).free >= _ROOM:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # what was worked out before holds no more


async def with_schema(url: str) -> None:
    """The schema `secateur`, as a layer of a database."""
    async with Database.connect(url) as database:
        await install(database)


class Server:
    """A running server. All of its databases are made and dropped over one connection, in a thread of its own."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres
        self._templates: dict[tuple[Prepare, ...], tuple[str, float]] = {(): ("template1", time.monotonic())}
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def create_database(self, *layers: Prepare, youth: float = inf) -> str:
        """The name of a new database: a copy of one that the layers filled in turn when they were first asked for.

        What the last of them filled is made anew where it is older than `youth` seconds.
        """
        return self._copy_of(self._template(layers, youth))

    def borrow(self, *layers: Prepare, youth: float = inf) -> Iterator[str]:
        """The url of such a database, which goes afterwards."""
        name = self.create_database(*layers, youth=youth)
        yield self.postgres.database_url(name)
        self.drop_database(name)

    def drop_database(self, name: str) -> None:
        self._apart(self._drop(name))

    def stop(self) -> None:
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()
        self.postgres.stop()

    def _template(self, layers: tuple[Prepare, ...], youth: float) -> str:
        if layers in self._templates:
            name, made_at = self._templates[layers]
            if time.monotonic() - made_at <= youth:
                return name
            self.drop_database(name)
        name = self._copy_of(self._template(layers[:-1], inf))
        made_at = time.monotonic()
        self._apart(layers[-1](self.postgres.database_url(name)))
        self._templates[layers] = name, made_at
        return name

    def _copy_of(self, template: str) -> str:
        name = f"test_{next(_numbers)}"
        self._apart(self._copy(template, name))
        return name

    def _apart(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine out of the way of the test's own event loop."""
        self._thread.submit(self._runner.run, work).result()

    async def _copy(self, template: str, name: str) -> None:
        connection = await self._connected()
        quickly = " strategy file_copy" if connection.get_server_version().major >= 15 else ""
        await connection.execute(f"create database {name} template {template}{quickly}")

    async def _drop(self, name: str) -> None:
        await (await self._connected()).execute(f"drop database if exists {name} with (force)")

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self.postgres.url)
        return self._connection


@dataclass(frozen=True)
class Pair:
    """A server and its streaming standby."""

    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    async def until_followed(self) -> None:
        """Until the standby has all that the primary has."""
        one, other = [await asyncpg.connect(each.url) for each in (self.primary, self.standby)]
        written = await one.fetchval("select pg_current_wal_flush_lsn()")
        followed = "select pg_last_wal_replay_lsn() >= $1::pg_lsn"

        async def done() -> bool:
            return bool(await other.fetchval(followed, written))

        await eventually(done, "the standby to follow")
        await one.close()
        await other.close()


@contextmanager
def streaming() -> Iterator[Pair]:
    """A server of its own, and its standby."""
    with tempfile.TemporaryDirectory(prefix="secateur-") as place, EmbeddedPostgres() as primary:
        os.chmod(place, 0o755)
        standby = EmbeddedPostgres(directory=Path(place) / "standby")
        _copy(primary, standby)
        with standby:
            yield Pair(primary, standby)
        shutil.rmtree(standby.directory)


def _copy(primary: EmbeddedPostgres, standby: EmbeddedPostgres) -> None:
    data = standby.directory / "data"
    standby.directory.mkdir()
    subprocess.run(
        [
            *(str(primary.binaries / "pg_basebackup"), "--pgdata", str(data), "--write-recovery-conf"),
            *("--checkpoint", "fast", "--no-sync", "--dbname", primary.url),
        ],
        check=True,
        capture_output=True,
    )
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (standby.directory, data, *data.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def kill_everything(postgres: EmbeddedPostgres) -> None:
    """Every process of the server at once: none has a moment to say good-bye or to write anything down."""
    server = psutil.Process(postgres.pid)
    server.suspend()
    for child in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    postgres.kill()
