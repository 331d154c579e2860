"""URLs and PG* variables: what the driver gets, what is refused, and descriptions without passwords."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from secateur.errors import SettingsError
from secateur.postgres.addresses import CONNECT_SECONDS, resolve


def query(url: str | None) -> dict[str, str]:
    assert url is not None
    return dict(parse_qsl(urlsplit(url).query))


@pytest.mark.parametrize(
    ("url", "description"),
    [
        ("postgresql://ada:secret@pg-3/billing", "pg-3/billing"),
        ("postgres://pg-3:6432/billing", "pg-3/billing"),
        ("postgresql://ada@pg-3", "pg-3/ada"),
        ("postgresql://[::1]:5432/billing", "[::1]/billing"),
        ("postgresql://[::1]/billing", "[::1]/billing"),
        ("postgresql://a:1,b:2/billing", "a,b/billing"),
        ("postgresql:///billing?host=/run/postgresql", "local/billing"),
        ("postgresql://%2Frun%2Fpostgresql/billing", "local/billing"),
        ("postgresql://pg-3/b%C3%A4r", "pg-3/bär"),
        ("postgresql://?dbname=x&host=pg-3", "pg-3/x"),
    ],
)
def test_describes_without_a_password(url: str, description: str) -> None:
    assert resolve(url, {}).description == description


def test_describes_the_environment() -> None:
    address = resolve(None, {"PGHOST": "pg-3", "PGUSER": "ada"})
    assert (address.url, address.description) == (None, "pg-3/ada")


def test_the_driver_gets_all_that_a_url_says() -> None:
    address = resolve("postgresql://ada:s%40cret@pg-3:6432/billing?sslmode=require&application_name=x", {})
    assert query(address.url) == {
        "user": "ada",
        "password": "s@cret",
        "host": "pg-3",
        "port": "6432",
        "dbname": "billing",
        "sslmode": "require",
        "application_name": "x",
    }


def test_what_only_libpq_knows_is_not_sent_to_the_server() -> None:
    address = resolve("postgresql://h/d?connect_timeout=3&channel_binding=prefer&sslmode=require", {})
    assert query(address.url) == {"host": "h", "dbname": "d", "sslmode": "require"}
    assert address.connect_timeout == 3
    assert resolve("postgresql://h/d", {}).connect_timeout == CONNECT_SECONDS
    assert resolve("postgresql://h/d?connect_timeout=0", {}).connect_timeout == CONNECT_SECONDS
    assert resolve("postgresql://h/d", {"PGCONNECT_TIMEOUT": "7"}).connect_timeout == 7


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://h/d", "must start with postgresql://"),
        ("billing", "must start with postgresql://"),
        ("host=h dbname=d", "must start with postgresql://"),
        ("postgresql+asyncpg://h/d", "must start with postgresql://"),
        ("postgresql://h:port/d", "database port must be a number"),
        ("postgresql://h:70000/d", "database port must be a number"),
        ("postgresql://h/d?connect_timeout=soon", "number of seconds"),
    ],
)
def test_refuses(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        resolve(url, {})


class TestServices:
    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        (tmp_path / "mine").write_text(
            "# services\n[billing]\nhost=pg-3\nport=6432\ndbname=billing\nuser=ada\npassword=50%;#x\n"
            "connect_timeout=4\n\n[local]\nhost=/run/postgresql\n"
        )
        (tmp_path / "pg_service.conf").write_text("[everyones]\nhost=pg-9\ndbname=d\n")
        return {"PGSERVICEFILE": str(tmp_path / "mine"), "PGSYSCONFDIR": str(tmp_path)}

    def test_by_the_environment(self, environment: dict[str, str]) -> None:
        address = resolve(None, {**environment, "PGSERVICE": "billing"})
        expected = {"host": "pg-3", "port": "6432", "dbname": "billing", "user": "ada", "password": "50%;#x"}
        assert query(address.url) == expected
        assert address.description == "pg-3/billing"
        assert address.connect_timeout == 4

    def test_by_the_url_which_says_more(self, environment: dict[str, str]) -> None:
        address = resolve("postgresql://grace@/other?service=billing", environment)
        assert address.description == "pg-3/other"
        assert query(address.url) == {
            "host": "pg-3",
            "port": "6432",
            "user": "grace",
            "password": "50%;#x",
            "dbname": "other",
        }

    def test_the_services_port_belongs_to_its_host(self, environment: dict[str, str]) -> None:
        assert "port" not in query(resolve("postgresql://elsewhere/?service=billing", environment).url)

    def test_a_url_without_a_service_ignores_the_environments(self, environment: dict[str, str]) -> None:
        assert resolve("postgresql://h/d", {**environment, "PGSERVICE": "billing"}).description == "h/d"

    def test_of_the_system(self, environment: dict[str, str]) -> None:
        assert resolve(None, {**environment, "PGSERVICE": "everyones"}).description == "pg-9/d"

    def test_unknown(self, environment: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match=r"no service 'nope' \(.*mine, .*pg_service\.conf\)"):
            resolve(None, {**environment, "PGSERVICE": "nope"})

    def test_a_broken_file(self, tmp_path: Path) -> None:
        (tmp_path / "broken").write_text("host=x\n")
        environment = {"PGSERVICE": "x", "PGSERVICEFILE": str(tmp_path / "broken")}
        with pytest.raises(SettingsError, match="broken cannot be read"):
            resolve(None, environment)
