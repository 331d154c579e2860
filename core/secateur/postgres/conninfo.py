"""Reads a database URL by libpq's rules, so that it means the same as in `psql`.

    postgresql://[user[:password]@][host[:port][,…]][/database][?name=value[&…]]

Errors never quote the URL, because any part of it may be the password.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes

from secateur.errors import SettingsError
from secateur.words.redaction import URL_SHAPE

_START = re.compile(r"(?i)postgres(?:ql)?://")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")

DEFAULT_PORT = "5432"

WRITE_ENCODED = "write / @ : ? # % in a user's name or a password as %2F %40 %3A %3F %23 %25"


def parse_url(url: str) -> dict[str, str]:
    """The parameters under libpq's names; several hosts and ports are joined by commas. Raises `SettingsError`."""
    url = url.strip()
    start = _START.match(url)
    if start is None:
        raise SettingsError(URL_SHAPE)
    rest, _, query = _split_query(url[start.end() :])
    authority, _, database = rest.partition("/")
    login, _, places = authority.rpartition("@")
    if "@" in login or "@" in database or "@" in query:
        raise SettingsError(f"the database URL has a misplaced @: {WRITE_ENCODED}")
    user, _, password = login.partition(":")
    found = {
        "user": _decoded(user),
        "password": _decoded(password),
        **_places(places),
        "dbname": _decoded(database),
        **_parameters(query),
    }
    return {name: value for name, value in found.items() if value}


def _split_query(text: str) -> tuple[str, str, str]:
    """Split at the ? that begins the parameters; a ? within the login is not that one."""
    at, slash = text.find("@"), text.find("/")
    login = at + 1 if at >= 0 and (slash < 0 or at < slash) else 0
    rest, mark, query = text[login:].partition("?")
    return text[:login] + rest, mark, query


def _places(text: str) -> dict[str, str]:
    hosts, ports = [], []
    for place in text.split(",") if text else ():
        if place.startswith("["):
            host, closed, after = place.partition("]")
            if not closed or after[:1] not in {"", ":"}:
                raise SettingsError("the database URL has a [ that does not begin an IPv6 address, as in [::1]")
            host, port = f"{host}]", after[1:]
        else:
            host, _, port = place.partition(":")
        hosts.append(_decoded(host))
        ports.append(_decoded(port))
    return {"host": ",".join(hosts), "port": ",".join(port or DEFAULT_PORT for port in ports) if any(ports) else ""}


def _parameters(query: str) -> dict[str, str]:
    found = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not name or "=" in value:
            raise SettingsError(
                "the database URL must have name=value&name=value after the ? "
                f"(an = or & in a value is %3D or %26; {WRITE_ENCODED})"
            )
        found[_decoded(name)] = _decoded(value)
    if found.get("ssl") == "true":  # JDBC's parameter, which libpq accepts too
        del found["ssl"]
        found.setdefault("sslmode", "require")
    return found


def _decoded(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise SettingsError(f"the database URL has a % that is not followed by two hexadecimal digits: {WRITE_ENCODED}")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise SettingsError("the database URL's %-escapes are not UTF-8") from None
    if "\0" in decoded:
        raise SettingsError("the database URL has a zero byte (%00), which is not allowed")
    return decoded


def check_names(host: str, user: str, database: str) -> None:
    """Refuse names that look like a login or a whole URL, put in the wrong place or encoded as one piece.

    Messages show these names, and would show a password in them. Raises `SettingsError`.
    """
    for one in host.split(","):
        if not one.startswith("/") and (re.search(r"[@/=\s]", one) or (":" in one and not is_ipv6(one))):
            raise SettingsError(f"the database host must be a name, an address or a socket directory ({WRITE_ENCODED})")
    if ":" in user or "=" in user:
        raise SettingsError(
            "the user name must not contain : or =; in a URL, do not write the colon before the password as %3A"
        )
    if re.search("[@:=]", database):
        raise SettingsError(
            "the database name must not contain @, : or =; give a whole URL by --database or DATABASE_URL"
        )


def is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
