"""Which database is meant: a URL, a service of `pg_service.conf`, or libpq's `PG*` variables.

asyncpg reads most of these itself. What it does not is resolved here, so that whatever `psql` accepts works:
`PGSERVICE` without a URL, the system-wide service file, and libpq's own parameters, which asyncpg would send
to the server as unknown settings.
"""

from __future__ import annotations

import configparser
import getpass
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from secateur.errors import SettingsError

CLIENT_ONLY = frozenset(
    {
        *("channel_binding", "fallback_application_name", "gssdelegation", "gssencmode", "hostaddr"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts"),
        *("require_auth", "requirepeer", "service", "sslcertmode", "sslcompression", "sslsni"),
        *("tcp_user_timeout",),
    }
)
"""libpq's parameters that mean nothing to asyncpg or the server."""

CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach one database. `description` is for people and holds no password."""

    url: str | None
    """In the form that asyncpg understands completely; None leaves everything to `PG*`."""
    description: str
    """`host/database`."""
    connect_timeout: float = CONNECT_SECONDS
    """Seconds."""


def resolve(url: str | None, environment: Mapping[str, str] | None = None) -> Address:
    """The database of `url`, or of the environment without one. Raises `SettingsError`."""
    environment = os.environ if environment is None else environment
    if url is None and not environment.get("PGSERVICE"):
        return Address(None, _describe({}, environment))
    parts = urlsplit(url or "postgresql:")
    if parts.scheme not in {"postgresql", "postgres"}:
        raise SettingsError("a database URL starts with postgresql://, as in postgresql://user@host/database")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = {**_in_authority(parts.netloc, parts.path), **query}
    service = given.pop("service", None) or (environment.get("PGSERVICE") if url is None else None)
    if service:
        offered = _service(service, environment)
        if "host" in given:
            offered.pop("port", None)  # it belongs to the service's own host
        added = {name: value for name, value in offered.items() if name not in given}
        query.update(added)
        given.update(added)
    timeout = _timeout(given.pop("connect_timeout", None) or environment.get("PGCONNECT_TIMEOUT"))
    if "hostaddr" in query and not given.get("host"):
        query["host"] = given["host"] = query["hostaddr"]
    kept = {name: value for name, value in query.items() if name not in {*CLIENT_ONLY, "connect_timeout"}}
    _check_port(given.get("port"))
    # An empty path would be taken for a database without a name.
    path = "" if parts.path == "/" else parts.path
    resolved = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    resolved = resolved if "//" in resolved else "postgresql://"
    return Address(
        resolved + (f"?{urlencode(kept, quote_via=quote)}" if kept else ""),
        _describe(given, environment),
        timeout,
    )


def _in_authority(netloc: str, path: str) -> dict[str, str]:
    login, _, hosts = netloc.rpartition("@")
    user, _, password = login.partition(":")
    places = [("", "", at) if at.endswith("]") else at.rpartition(":") for at in hosts.split(",")]
    found = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(unquote(host or port) for host, _, port in places),
        "port": ",".join(port for host, _, port in places if host),
        "dbname": unquote(path.removeprefix("/")),
    }
    return {name: value for name, value in found.items() if value}


def _describe(given: Mapping[str, str], environment: Mapping[str, str]) -> str:
    host = given.get("host") or environment.get("PGHOST") or environment.get("PGHOSTADDR") or "local"
    user = given.get("user") or environment.get("PGUSER") or getpass.getuser()
    database = given.get("dbname") or given.get("database") or environment.get("PGDATABASE") or user
    return f"{'local' if host.startswith('/') else host}/{database}"


def _timeout(text: str | None) -> float:
    """libpq's reading: seconds; 0 or nothing waits without end, which nobody at a screen wants."""
    try:
        return float(text) if text and float(text) > 0 else CONNECT_SECONDS
    except ValueError:
        raise SettingsError(f"connect_timeout is a number of seconds, not {text!r}") from None


def _check_port(text: str | None) -> None:
    for port in text.split(",") if text else ():
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise SettingsError(f"the database URL's port is a number from 1 to 65535, not {port!r}")


def _service(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a service, from the first file that has it."""
    looked_in = []
    for path in _service_files(environment):
        if not path.is_file():
            continue
        looked_in.append(str(path))
        parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#",))
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"{path} cannot be read: {error}") from error
        if parser.has_section(name):
            return dict(parser.items(name))
    where = ", ".join(looked_in) or "there is no pg_service.conf"
    raise SettingsError(f"there is no service {name!r} ({where}): see PGSERVICE and PGSERVICEFILE")


def _service_files(environment: Mapping[str, str]) -> Iterator[Path]:
    own = environment.get("PGSERVICEFILE")
    yield Path(own) if own else Path.home() / ".pg_service.conf"
    system = environment.get("PGSYSCONFDIR")
    for directory in [system] if system else ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc"]:
        yield Path(directory) / "pg_service.conf"
