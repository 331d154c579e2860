"""~/.pgpass by libpq's rules: which line counts, escapes, permissions."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from secateur.postgres.addresses import resolve
from secateur.postgres.passfile import find_password

HERE = [("pg-3", "5432")]


@pytest.fixture
def passfile(tmp_path: Path) -> Path:
    path = tmp_path / "pgpass"
    path.touch(0o600)
    return path


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("pg-3:5432:billing:ada:secret", "secret"),
        (r"pg-3:5432:billing:ada:a\:b", "a:b"),
        (r"pg-3:5432:billing:ada:a\\b", r"a\b"),
        (r"pg-3:5432:billing:ada:a\\\:b\\", "a\\:b\\"),
        (r"pg-3:5432:billing:ada:a\bc", "abc"),
        ("pg-3:5432:billing:ada:a:b", "a"),
        ("pg-3:5432:billing:ada:a\\", "a\\"),
        ("*:*:*:*: two words ", " two words "),
        ("*:*:*:ada:secret\r", "secret"),
        ("*:5433:*:*:secret", None),
        ("pg-33:*:*:*:secret", None),
        ("*:*:*:*", None),
        ("# *:*:*:*:secret", None),
        ("localhost:*:*:*:secret", None),
    ],
)
def test_a_line_is_read_as_by_libpq(passfile: Path, line: str, password: str | None) -> None:
    passfile.write_text(f"other:5432:billing:ada:wrong\n\n{line}\n*:*:*:someone:wrong\n", newline="")
    assert find_password(passfile, HERE, "billing", "ada") == password


def test_names_are_escaped_too(passfile: Path) -> None:
    passfile.write_text("*:*:bill\\:ing:a\\\\da:secret\n")
    assert find_password(passfile, HERE, "bill:ing", r"a\da") == "secret"


def test_a_socket_is_localhost_and_the_first_line_that_fits_counts(passfile: Path) -> None:
    passfile.write_text("/run/pg:*:*:*:by path\nlocalhost:*:*:*:by name\n")
    assert find_password(passfile, [("/run/pg", "5432")], "billing", "ada") == "by path"
    assert find_password(passfile, [("/tmp", "5432")], "billing", "ada") == "by name"
    assert find_password(passfile, [("", "5432")], "billing", "ada") == "by name"


def test_where_the_file_is(passfile: Path, tmp_path: Path) -> None:
    passfile.write_text("pg-3:6432:billing:ada:secret\n")
    (tmp_path / ".pgpass").write_text("*:*:*:*:at home\n")
    (tmp_path / ".pgpass").chmod(0o600)
    url, home = "postgresql://ada@pg-3:6432/billing", {"HOME": str(tmp_path)}
    found = {
        "environment": resolve(url, {**home, "PGPASSFILE": str(passfile)}),
        "url": resolve(f"{url}?passfile={passfile}", home),
        "home": resolve(url, home),
        "variables": resolve(
            None, {"PGHOST": "pg-3", "PGPORT": "6432", "PGUSER": "ada", "PGDATABASE": "billing", **home}
        ),
    }
    passwords = {name: address.arguments["password"]() for name, address in found.items()}
    assert passwords == {"environment": "secret", "url": "secret", "home": "at home", "variables": "at home"}
    assert "password" not in resolve(url, {**home, "PGPASSWORD": "x"}).arguments
    assert "password" not in resolve(url.replace("ada@", "ada:x@"), home).arguments


@pytest.mark.parametrize(("mode", "read"), [(0o600, True), (0o400, True), (0o644, False), (0o640, False)])
def test_others_may_not_read_it(passfile: Path, mode: int, read: bool, caplog: pytest.LogCaptureFixture) -> None:
    passfile.write_text("*:*:*:*:secret\n")
    passfile.chmod(mode)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert find_password(passfile, HERE, "d", "u") == ("secret" if read else None)
    said = (
        [] if read else [f"the password file {passfile} is ignored, because others can read it: chmod 600 {passfile}"]
    )
    assert [record.getMessage() for record in caplog.records] == said


def test_what_is_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_password(tmp_path / "nowhere", HERE, "d", "u") is None
    assert not caplog.records
    assert find_password(tmp_path, HERE, "d", "u") is None
    assert "it is not a plain file" in caplog.text


def test_a_line_that_is_no_text_hides_no_other(passfile: Path, caplog: pytest.LogCaptureFixture) -> None:
    passfile.write_bytes(b"# caf\xe9\n*:1:*:*:caf\xe9\n*:5432:*:*:secret\n")
    for _ in range(2):
        assert find_password(passfile, HERE, "d", "u") == "secret"
    said = f"line 2 of the password file {passfile} is ignored: it is not UTF-8"
    assert [record.getMessage() for record in caplog.records] == [said]
