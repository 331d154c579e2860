"""Finds the database: from a URL, a service in `pg_service.conf`, or libpq's `PG*` variables.

The driver reads most of these itself, but not as `psql` does. So everything that psql accepts is resolved here into a
URL that the driver fully supports, and parameters that the driver would silently ignore are refused.
"""

from __future__ import annotations

import configparser
import getpass
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from secateur.encodings import check_encodings
from secateur.errors import SettingsError
from secateur.postgres.conninfo import DEFAULT_PORT, check_names, is_ipv6, parse_url
from secateur.postgres.encryption import prepare_encryption
from secateur.postgres.passfile import find_password, passfile_path
from secateur.words.redaction import quoted

CLIENT_ONLY = frozenset(
    {
        *("channel_binding", "fallback_application_name", "gssdelegation", "gssencmode", "hostaddr"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts"),
        *("passfile", "require_auth", "requirepeer", "sslcertmode", "sslcompression", "sslsni"),
        *("tcp_user_timeout",),
    }
)
"""libpq's parameters that mean nothing to asyncpg or the server."""

VARIABLES = {
    **{name: f"PG{name.upper()}" for name in ("host", "hostaddr", "port", "user", "password")},
    **{name: f"PG{name.upper()}" for name in ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcertmode")},
    **{name: f"PG{name.upper().replace('_', '')}" for name in ("channel_binding", "require_auth", "requirepeer")},
    "dbname": "PGDATABASE",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
"""The variable that libpq reads if a parameter is not given."""

DEMANDS: dict[str, Callable[[str], bool]] = {
    "channel_binding": lambda value: value == "require",
    "gssencmode": lambda value: value == "require",
    "sslcertmode": lambda value: value == "require",
    "require_auth": bool,
    "requirepeer": bool,
}
"""Parameters that request a protection that the driver cannot provide."""

TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl")
SESSION_ATTRIBUTES = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")

CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach one database. `description` is for people and holds no password."""

    url: str | None = field(repr=False)
    """A URL that asyncpg fully supports; None leaves everything to `PG*`."""
    description: str
    """`host/database`."""
    connect_timeout: float = CONNECT_SECONDS
    """Seconds."""
    statement_cache_size: int | None = None
    """asyncpg's option; None for its default."""
    find_password: Callable[[], str | None] | None = field(default=None, compare=False)
    """Looks up the password if neither the URL nor the environment has one."""
    encryption: ssl.SSLContext | None = field(default=None, compare=False)
    """The TLS context, if the driver cannot create it."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments for `asyncpg.connect` and `create_pool`, besides the session's settings."""
        given = {
            "statement_cache_size": self.statement_cache_size,
            "password": self.find_password,
            "ssl": self.encryption,
        }
        return {
            "dsn": self.url,
            "timeout": self.connect_timeout,
            **{name: value for name, value in given.items() if value is not None},
        }


def resolve(url: str | None, environment: Mapping[str, str] | None = None) -> Address:
    """The database of `url`, or without one, of the environment. Raises `SettingsError`, never with a password."""
    environment = os.environ if environment is None else environment
    check_encodings(environment, [name for name in environment if name.startswith("PG")])
    given = parse_url(url) if url is not None else {}
    if "database" in given:
        given.setdefault("dbname", given.pop("database"))
    service = given.pop("service", None) or (environment.get("PGSERVICE") if url is None else None)
    if service:
        offered = _service(service, environment)
        if "host" in given:
            offered.pop("port", None)  # it belongs to the service's own host
        given = {**offered, **given}

    def parameter(name: str) -> str | None:
        variable = VARIABLES.get(name)
        return given.get(name) or (environment.get(variable) if variable else None) or None

    host = parameter("host") or parameter("hostaddr") or ""
    check_names(host, parameter("user") or "", parameter("dbname") or "")
    _refuse_demands(parameter)
    _check_places(parameter)
    encryption = prepare_encryption(parameter)
    kept = {name: value for name, value in given.items() if name not in CLIENT_ONLY}
    if ("host" not in kept and not parameter("host")) or ":" in host:
        kept["host"] = ",".join(f"[{one}]" if one[:1] != "[" and is_ipv6(one) else one for one in host.split(","))
    timeout = _timeout(parameter("connect_timeout"))
    cached = _cache_size(kept.pop("statement_cache_size", None))
    for name in ("connect_timeout", *(TLS if encryption is not None else ())):
        kept.pop(name, None)
    kept = {name: value for name, value in kept.items() if value}
    return Address(
        None
        if url is None and not kept
        else "postgresql://" + (f"?{urlencode(kept, quote_via=quote)}" if kept else ""),
        _describe(parameter),
        timeout,
        cached,
        None if parameter("password") else _password_finder(parameter, given.get("passfile"), environment),
        encryption,
    )


def _refuse_demands(parameter: Callable[[str], str | None]) -> None:
    for name, demands in DEMANDS.items():
        if demands(parameter(name) or ""):
            raise SettingsError(
                f"{name} is not supported by the driver: leave it out (and unset {VARIABLES[name]}); "
                "use sslmode=verify-full to authenticate the server"
            )
    if parameter("target_session_attrs") not in {None, *SESSION_ATTRIBUTES}:
        raise SettingsError(f"target_session_attrs must be one of {', '.join(SESSION_ATTRIBUTES)}")


def _check_places(parameter: Callable[[str], str | None]) -> None:
    hosts, ports = (parameter("host") or "").split(","), (parameter("port") or "").split(",")
    if len(hosts) > 1 and not all(hosts):
        raise SettingsError("the list of database hosts has an empty entry")
    if len(ports) > 1 and len(ports) != len(hosts):
        raise SettingsError(
            f"the database has {len(hosts)} hosts but {len(ports)} ports: give one port for each host, or one for all"
        )
    for port in ports if any(ports) else ():
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise SettingsError("the database port must be a number from 1 to 65535 (is it part of a password?)")


def _describe(parameter: Callable[[str], str | None]) -> str:
    host = parameter("host") or parameter("hostaddr") or "local"
    database = parameter("dbname") or parameter("user") or getpass.getuser()
    return f"{'local' if host.startswith('/') else host}/{database}"


def _password_finder(
    parameter: Callable[[str], str | None], passfile: str | None, environment: Mapping[str, str]
) -> Callable[[], str | None]:
    """Looked up for each connection, so that a changed password is found."""
    hosts, ports = (parameter("host") or "").split(","), (parameter("port") or DEFAULT_PORT).split(",")
    places = [(host.strip("[]"), ports[at] if len(ports) > 1 else ports[0]) for at, host in enumerate(hosts)]
    path = passfile_path(passfile, environment)
    user = parameter("user") or getpass.getuser()
    database = parameter("dbname") or user
    return lambda: find_password(path, places, database, user) if path else None


def _timeout(text: str | None) -> float:
    """As libpq reads it, in seconds; but 0 or nothing, which would wait forever, gives the default."""
    try:
        return float(text) if text and float(text) > 0 else CONNECT_SECONDS
    except ValueError:
        raise SettingsError("connect_timeout must be a number of seconds") from None


def _cache_size(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= 1_000_000):
        raise SettingsError("statement_cache_size must be a number from 0 to 1000000")
    return int(text)


def _service(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a service, from the first file that contains it."""
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
    raise SettingsError(f"there is no service {quoted(name)} ({where}): see PGSERVICE and PGSERVICEFILE")


def _service_files(environment: Mapping[str, str]) -> Iterator[Path]:
    own = environment.get("PGSERVICEFILE")
    yield Path(own) if own else Path.home() / ".pg_service.conf"
    system = environment.get("PGSYSCONFDIR")
    for directory in [system] if system else ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc"]:
        yield Path(directory) / "pg_service.conf"
