"""No message has a password in it, whatever is wrong with the URL or wherever it was put."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from secateur.cli import main
from secateur.errors import SettingsError
from secateur.postgres.addresses import resolve
from secateur.settings_loading import load_settings
from secateur.words.redaction import redact

SECRET = "hunter2"
"""A part of each password: long enough to be nothing else."""

PASSWORDS = st.tuples(st.text("/?#[]@:%&=,+ '\"\\x1", max_size=3), st.text("/?#[]@:%&=,+ '\"\\x1", max_size=3)).map(
    lambda around: around[0] + SECRET + around[1]
)


@st.composite
def broken_urls(draw: st.DrawFn) -> str:
    """URLs with the password as it stands, encoded, cut, quoted, or with something pressed in."""
    password = draw(PASSWORDS)
    written = draw(st.sampled_from([password, quote(password), quote(password, safe="")]))
    login = draw(st.sampled_from([f"ada:{written}@", f"ada%3A{written}@", f":{written}@", f"ada:{written}%40"]))
    place = draw(st.sampled_from(["pg-3", "pg-3:6432", "[::1]", "[::1", "a,b", "", "%2Frun", "pg-3/"]))
    rest = draw(
        st.sampled_from(["/billing", "", "/", "/billing?sslmode=prefer", "?dbname=x", f"/?password={written}", "/b@x"])
    )
    url = (
        draw(st.sampled_from(["postgresql://", "postgres://", "postgresql:/", "postgresql:///", ""]))
        + login
        + place
        + rest
    )
    change = draw(st.sampled_from(["none", "cut", "quoted", "encoded", "pressed", "twice"]))
    if change == "cut":
        begin = draw(st.integers(0, len(url)))
        return url[begin : draw(st.integers(begin, len(url)))]
    if change == "pressed":
        at = draw(st.integers(0, len(url)))
        return url[:at] + draw(st.sampled_from(list("/?#[]@:%&= '\"\n\0"))) + url[at:]
    if change == "quoted":
        mark = draw(st.sampled_from("'\"`"))
        return mark + url + mark
    return {"none": url, "encoded": quote(url, safe=""), "twice": f"{url} {url}"}[change]


def is_said(text: str) -> bool:
    return SECRET in text


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(broken_urls())
@example(f"postgresql://u:{SECRET}/x@h/db")
@example(f"postgresql://u:{SECRET}?x@h/db")
@example(f"postgresql://u:{SECRET}#x@h/db")
@example(f"postgresql://u:{SECRET}[x@h/db")
@example(f"postgresql://u:1/{SECRET}@h/db")
@example(f"postgresql://u:1?{SECRET}=w@h/db")
@example(f"postgresql://u:p@{SECRET}@h/db")
@example(f"postgresql://u:{SECRET}")
@example(f"postgresql://u%3A{SECRET}@h")
@example(f"postgresql://u%3A{SECRET}%40h%2Fdb")
@example(f"postgresql:///u:{SECRET}@h/db")
@example(f"postgresql:///u:{SECRET}?%40h")
@example(f"host=h password={SECRET}")
@example(f"postgresql://h/d?connect_timeout={SECRET}")
@example(f"postgresql://u:{SECRET}@h/db?%zz=1")
def test_of_a_url(url: str) -> None:
    try:
        said = resolve(url, {"USER": "ada"}).description
        # Cut before its @, a password that begins like /x or 1/x is the name of a database.
        assume("@" in url or "%40" in url)
    except SettingsError as error:
        said = str(error)
    assert not is_said(said)


@pytest.mark.parametrize(
    "variable", ["PGHOST", "PGUSER", "PGDATABASE", "PGPORT", "PGSERVICE", "PGSSLMODE", "PGHOSTADDR"]
)
@pytest.mark.parametrize("value", [f"postgresql://ada:{SECRET}@h/db", f"ada:{SECRET}@h", f"host=h password={SECRET}"])
def test_of_a_url_in_a_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(None, {variable: value})
    assert not is_said(str(caught.value))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable says anything; the configuration file of this path is read."""
    for name in os.environ:
        if name.startswith(("PG", "SECATEUR_", "DATABASE_URL")):
            monkeypatch.delenv(name)
    file = tmp_path / "config.toml"
    monkeypatch.setenv("SECATEUR_CONFIG", str(file))
    file.write_text("")
    return file


URL = f"postgresql://ada:{SECRET}@h/db"


@pytest.mark.parametrize(
    "content",
    [
        f'contexts = "{URL}"',
        f'contexts = ["{URL}"]',
        f'author = ["{URL}"]',
        f'author = {{database = "{URL}"}}',
        f'read_only = "{URL}"',
        f'timezone = "{URL}"',
        f'refresh_seconds = "{URL}"',
        f'default_context = "{URL}"',
        f'"{URL}" = 1',
        f'[contexts."{URL}"]',
        f'[contexts.prod]\ndatabse = "{URL}"',
        f'[contexts.prod]\ndatabase = ["{URL}"]',
        f"[contexts.prod]\ndatabase = {URL}",
        f'[contexts.prod]\ndatabase = "{URL}',
        f'database = "{URL}"',
    ],
)
def test_of_a_configuration_file(alone: Path, content: str) -> None:
    alone.write_text(content)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert not is_said(str(caught.value))


def test_of_a_variable_of_settings(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONTEXTS", "READ_ONLY", "REFRESH_SECONDS", "TIMEZONE", "DEFAULT_CONTEXT"):
        with monkeypatch.context() as patch:
            patch.setenv(f"SECATEUR_{name}", URL)
            with pytest.raises(SettingsError) as caught:
                load_settings()
            assert not is_said(str(caught.value)), name


@pytest.mark.parametrize(
    "arguments",
    [
        [URL],
        ["depth", URL],
        ["--context", URL, "depth"],
        ["--config", URL, "depth"],
        ["--databse", URL, "depth"],
        [f"--databse={URL}", "depth"],
        ["worker", URL],
        ["show", URL],
        ["undo", URL, "--yes"],
        ["--database", f"'{URL}'", "depth"],
        ["--database", f"host=h password={SECRET}", "depth"],
        [f"host=h password={SECRET}", "depth"],
        ["depth", "--limit", URL],
        ["history", "--limit", URL],
        ["serve", "--port", URL],
        ["--database", f"postgresql://u:{SECRET}[x@127.0.0.1:9/db", "depth"],
        ["--database", f"postgresql://u:{SECRET}/x@127.0.0.1:9/db", "depth"],
        ["--database", f"postgresql://u:{SECRET}@127.0.0.1:9/db", "depth"],
        ["--database", f"postgresql://u:{SECRET}@no-such-host.invalid/db", "depth"],
    ],
    ids=lambda arguments: " ".join(arguments)[:50],
)
def test_of_a_command_line(alone: Path, arguments: list[str]) -> None:
    written = io.StringIO()
    with redirect_stderr(written):
        assert main(arguments) in {1, 2}
    assert written.getvalue().startswith("secateur: ")
    assert not is_said(written.getvalue())


def test_an_address_shows_it_to_the_driver_only() -> None:
    address = resolve(URL, {})
    assert address.arguments["dsn"].count(SECRET) == 1
    assert not is_said(repr(address))


def test_a_database_named_postgres_is_no_url() -> None:
    for said in ("cannot reach pg-3/postgres: the server is away", "cannot reach pg-3/my_postgres: the server is away"):
        assert redact(said) == said
