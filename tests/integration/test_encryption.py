"""TLS, passwords and what the driver cannot do: each failure says what is wrong, in words."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command_line import run

from secateur.errors import PermissionDenied, SettingsError, Unreachable
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres, system_binaries

OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's certificate for `localhost` that it signed, and another authority."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("root", "other"):
        openssl(directory, f"req -x509 -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.crt")
    openssl(directory, "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr")
    (directory / "names").write_text("subjectAltName=DNS:localhost")
    signed = "-CA root.crt -CAkey root.key -CAcreateserial -extfile names"
    openssl(directory, f"x509 -req -in server.csr -out server.crt {signed}")
    (directory / "text.crt").write_text("no certificate")
    return directory


def openssl(directory: Path, arguments: str) -> None:
    subprocess.run([str(OPENSSL), *arguments.split()], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def plain() -> Iterator[EmbeddedPostgres]:
    """Over TCP with a password, without TLS."""
    with EmbeddedPostgres(tcp=True, settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture(scope="module")
def encrypted(certificates: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(binaries=system_binaries(), tcp=True, settings={"fsync": "off"}) as server:
        for name in ("server.crt", "server.key"):
            target = Path(asyncio.run(setting(server, "data_directory"))) / name
            shutil.copy(certificates / name, target)
            shutil.chown(target, target.parent.owner())
            target.chmod(0o600)
        asyncio.run(turn_on(server))
        server.restart()
        yield server


async def setting(server: EmbeddedPostgres, name: str) -> str:
    async with Database.connect(server.url) as database:
        return str(await database.fetchval(f"show {name}"))


async def turn_on(server: EmbeddedPostgres) -> None:
    async with Database.connect(server.url) as database:
        if not await database.fetchval("select count(*) from pg_settings where name = 'ssl_library' and setting <> ''"):
            pytest.skip("this Postgres was built without TLS")
        await database.execute("alter system set ssl = on")


async def answer(url: str, more: str) -> object:
    async with Database.connect(f"{url.replace('127.0.0.1', 'localhost')}?{more}") as database:
        return await database.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_of_a_server_without_it(plain: EmbeddedPostgres, certificates: Path, mode: str) -> None:
    with pytest.raises(Unreachable, match=r"localhost/postgres: the server does not offer TLS") as caught:
        await answer(plain.url, f"sslmode={mode}&sslrootcert={certificates}/root.crt")
    assert str(urlsplit(plain.url).password) not in str(caught.value)
    assert await answer(plain.url, "sslmode=prefer") is False


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            "sslmode=require&sslrootcert=/nowhere/root.crt",
            "sslrootcert: /nowhere/root.crt cannot be read: No such file",
        ),
        ("sslmode=verify-full&sslrootcert=/nowhere/root.crt", "sslrootcert: /nowhere/root.crt cannot be read"),
        ("sslcert=/nowhere/my.crt", "sslcert: /nowhere/my.crt cannot be read: No such file"),
        ("sslmode=require&sslcrl=/nowhere/crl", "sslcrl: /nowhere/crl cannot be read"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full"),
        ("sslmode=allways", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("channel_binding=require", "channel_binding is not supported by the driver: leave it out"),
        ("require_auth=scram-sha-256", "require_auth is not supported by the driver"),
        ("gssencmode=require", "gssencmode is not supported by the driver"),
        ("requirepeer=postgres", "requirepeer is not supported by the driver"),
        ("sslcertmode=require", "sslcertmode is not supported by the driver"),
        ("target_session_attrs=leader", "target_session_attrs must be one of any, primary"),
        ("statement_cache_size=many", "statement_cache_size must be a number"),
    ],
)
async def test_of_what_cannot_be_meant(plain: EmbeddedPostgres, more: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        await answer(plain.url, more)


async def test_of_files_that_are_no_certificates(plain: EmbeddedPostgres, certificates: Path) -> None:
    with pytest.raises(SettingsError, match=r"sslrootcert: .*text\.crt is not a certificate in PEM form"):
        await answer(plain.url, f"sslmode=verify-ca&sslrootcert={certificates}/text.crt")
    with pytest.raises(SettingsError, match=r"sslcert: .*server\.crt and its key .*other\.key cannot be used"):
        await answer(plain.url, f"sslcert={certificates}/server.crt&sslkey={certificates}/other.key")


async def test_without_any_authority(plain: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="sslmode=verify-full needs the certificate of the authority"):
        await answer(plain.url, "sslmode=verify-full")


async def test_of_a_server_with_it(encrypted: EmbeddedPostgres, certificates: Path) -> None:
    root, other = certificates / "root.crt", certificates / "other.crt"
    for more in (
        "sslmode=require",
        "",
        f"sslmode=verify-full&sslrootcert={root}",
        f"sslmode=verify-ca&sslrootcert={root}",
    ):
        assert await answer(encrypted.url, more) is True
    assert await answer(encrypted.url, "sslmode=disable") is False
    for more in (
        f"sslmode=verify-ca&sslrootcert={other}",
        "sslrootcert=system",
        "sslmode=verify-full&sslrootcert=system",
    ):
        with pytest.raises(Unreachable, match="the server's certificate is not trusted: "):
            await answer(encrypted.url, more)
    with pytest.raises(Unreachable, match=r"not trusted: .*IP address mismatch"):
        async with Database.connect(f"{encrypted.url}?sslmode=verify-full&sslrootcert={root}") as database:
            await database.fetchval("select 1")


@pytest.mark.parametrize("password", ["a:b", "a\\b", "\\", ":", "ha#sh/and?[x]@%41", "ü ß"])
async def test_a_password_with_anything_in_it(plain: EmbeddedPostgres, tmp_path: Path, password: str) -> None:
    """By a file as psql reads it, by a variable, and encoded in the URL."""
    async with Database.connect(plain.url) as database:
        await database.execute("drop role if exists ada")
        quoted = password.replace("'", "''")
        await database.execute(f"create role ada login password e'{quoted}'".replace("\\", "\\\\"))
    file = tmp_path / "pgpass"
    file.touch(0o600)
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"127.0.0.1:{plain.port}:*:ada:{escaped}\n")
    url = f"postgresql://ada@127.0.0.1:{plain.port}/postgres"
    async with Database.connect(f"{url}?passfile={file}") as database:
        assert await database.fetchval("select current_user") == "ada"
    file.write_text("*:*:*:*:wrong\n")
    async with Database.connect(f"{url}?passfile={file}") as database:
        with pytest.raises(PermissionDenied, match="refused the login"):
            await database.fetchval("select current_user")


def test_a_password_file_that_others_may_read(plain: EmbeddedPostgres, tmp_path: Path) -> None:
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:*:hunter2\n")
    file.chmod(0o644)
    url = f"postgresql://postgres@127.0.0.1:{plain.port}/postgres"
    done = run("depth", url=url, PGPASSFILE=str(file))
    assert done.code == 1
    assert f"the password file {file} is ignored, because others can read it: chmod 600 {file}" in done.err
    assert "UserWarning" not in done.err
    assert "refused the login" in done.err
