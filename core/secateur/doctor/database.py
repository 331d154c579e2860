"""The server, and the way to it: version, login, pooler, TLS, clock, settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from secateur import __version__
from secateur.doctor.findings import SQL, Finding, Patient, Severity
from secateur.errors import DatabaseError
from secateur.postgres.addresses import resolve
from secateur.postgres.sessions import OWN_PROCESS
from secateur.schema import OLDEST_POSTGRES
from secateur.words.figures import number

CLOCK_SECONDS = 2.0
"""A difference of the two clocks that nobody needs to know of."""

FULL = 0.85
"""The share of the server's connections from which on it is nearly full."""

_WISHES = {
    "autovacuum": ("on", Severity.WARNING, "dead rows are never removed, so that claims and the depth get slower"),
    "track_counts": ("on", Severity.WARNING, "autovacuum does not learn what there is to remove"),
    "fsync": ("on", Severity.WARNING, "a crash of the machine can lose or spoil what was committed"),
    "full_page_writes": ("on", Severity.WARNING, "a crash of the machine can spoil pages that were being written"),
    "synchronous_commit": (
        "on",
        Severity.NOTE,
        "a crash can lose the last runs that were enqueued or completed; what is audited, such as a commit, is safe",
    ),
}
"""Settings of the server: what they should be, and what happens where they are not."""

_DURABLE = {"on", "remote_write", "remote_apply", "local"}


async def version(patient: Patient) -> list[Finding]:
    server = await patient.database.fetchrow(SQL["server"], repeatable=True)
    assert server is not None  # noqa: S101 - it asks of no table
    details = {"program": __version__, "postgres": server["version"], "is_standby": server["is_standby"]}
    said = f"secateur {__version__}, Postgres {server['version']}"
    if server["major"] < OLDEST_POSTGRES:
        return [
            Finding(
                "version",
                Severity.ERROR,
                f"{said}: secateur needs Postgres {OLDEST_POSTGRES} or newer",
                "upgrade Postgres",
                details,
            )
        ]
    if server["is_standby"]:
        advice = "to cancel, connect to the primary; for counts, name this server as `replica` of a context"
        return [Finding("version", Severity.NOTE, f"{said}: a standby, which only reads", advice, details)]
    return [Finding("version", Severity.OK, said, details=details)]


async def login(patient: Patient) -> list[Finding]:
    """What the login may do with secateur's own schema."""
    row = await patient.database.fetchrow(SQL["login"], repeatable=True)
    assert row is not None  # noqa: S101 - it asks of no table
    role, roles = row["role"], [*row["roles"]]
    details = {"role": role, "roles": roles, "is_superuser": row["is_superuser"], "is_owner": row["is_owner"]}
    if row["is_superuser"]:
        advice = "work as a role in secateur_operator: a superuser's mistakes are stopped by nothing"
        return [Finding("login", Severity.NOTE, f"{role} is a superuser", advice, details)]
    if not row["is_installed"]:
        return [Finding("login", Severity.OK, f"{role}; there is no schema `secateur` to use", None, details)]
    if row["is_owner"]:
        return [Finding("login", Severity.OK, f"{role} owns the schema `secateur`: it may upgrade it", None, details)]
    if not roles:
        summary = f"{role} is in none of secateur's roles: it sees nothing of the queue"
        return [Finding("login", Severity.UNSEEN, summary, f"grant secateur_viewer to {role}", details)]
    return [Finding("login", Severity.OK, f"{role} is in {', '.join(roles)}", None, details)]


async def pooler(patient: Patient) -> list[Finding]:
    """A pooler in transaction mode refuses the connection, so here only one in session mode can be."""
    if not await _is_pooled(patient):
        return [Finding("pooler", Severity.OK, "connected directly, with no pooler in between")]
    return [
        Finding(
            "pooler",
            Severity.NOTE,
            "a pooler in session mode is in between",
            "its pool must have room for all connections of secateur's programs together (default_pool_size)",
        )
    ]


async def _is_pooled(patient: Patient) -> bool:
    """A pooler invents the process id that it tells its clients."""
    async with patient.database.transaction() as connection:
        own: int = await connection.fetchval(OWN_PROCESS)
        return bool(own != connection.get_server_pid())


async def tls(patient: Patient) -> list[Finding]:
    row = await patient.database.fetchrow(SQL["tls"], repeatable=True)
    if row is None:
        return [Finding("tls", Severity.UNSEEN, "cannot be seen")]
    if await _is_pooled(patient):
        summary = "how the connection to the pooler is protected cannot be seen from the server"
        return [Finding("tls", Severity.UNSEEN, summary, "look at the pooler's client_tls_sslmode")]
    details = {"encrypted": row["is_encrypted"], "version": row["version"], "cipher": row["cipher"]}
    if row["is_socket"]:
        return [Finding("tls", Severity.OK, "a Unix socket: nothing leaves this machine", None, details)]
    if not row["is_encrypted"]:
        if row["is_loopback"]:
            return [Finding("tls", Severity.OK, "no TLS, over this machine's loopback", None, details)]
        summary = "no TLS: the password's exchange and every event can be read on the way"
        return [Finding("tls", Severity.WARNING, summary, "add sslmode=verify-full to the address", details)]
    said = f"{row['version']}, {row['cipher']}"
    if not _verifies(patient.target.url):
        summary = f"{said}; but the server is not authenticated, so that somebody in between could pose as it"
        return [
            Finding("tls", Severity.NOTE, summary, "add sslmode=verify-full and sslrootcert to the address", details)
        ]
    return [Finding("tls", Severity.OK, f"{said}; the server is authenticated", None, details)]


def _verifies(url: str | None) -> bool:
    address = resolve(url)
    if address.encryption is not None:
        return True
    given = parse_qs(urlsplit(address.url).query).get("sslmode") if address.url else None
    return (given[0] if given else os.environ.get("PGSSLMODE", "")) in {"verify-ca", "verify-full"}


async def clock(patient: Patient) -> list[Finding]:
    """The server's clock against this machine's. Ages, windows and leases go by the server's."""
    began = datetime.now(UTC)
    there = await patient.database.fetchval("select clock_timestamp()", repeatable=True)
    took = (datetime.now(UTC) - began).total_seconds()
    ahead = (there - began).total_seconds() - took / 2
    details = {"ahead_seconds": round(ahead, 3), "uncertain_seconds": round(took / 2, 3)}
    if abs(ahead) <= CLOCK_SECONDS + took / 2:
        return [Finding("clock", Severity.OK, "the server's clock and this machine's agree", None, details)]
    which = "ahead of" if ahead > 0 else "behind"
    summary = f"the server's clock is {abs(ahead):,.1f} s {which} this machine's; ages and windows go by the server's"
    return [Finding("clock", Severity.WARNING, summary, "let both machines keep time by NTP", details)]


async def server(patient: Patient) -> list[Finding]:
    names = [*_WISHES, "idle_in_transaction_session_timeout"]
    rows = await patient.database.fetch(SQL["settings"], names, repeatable=True)
    found = {row["name"]: row["setting"] for row in rows}
    findings = [*_settings(found), *await _connections(patient)]
    if found.get("idle_in_transaction_session_timeout") == "0":
        summary = "idle_in_transaction_session_timeout is off: a client that forgets its transaction keeps it open"
        advice = "alter role ROLE set idle_in_transaction_session_timeout = '5min', for the roles of applications"
        findings.append(Finding("server", Severity.NOTE, summary, advice, {"idle_in_transaction_session_timeout": 0}))
    if not any(each.severity is Severity.WARNING for each in findings):
        findings.insert(0, Finding("server", Severity.OK, "autovacuum is on, and commits survive a crash", None, found))
    return findings


def _settings(found: dict[str, str]) -> Iterator[Finding]:
    for name, (wish, severity, why) in _WISHES.items():
        setting = found.get(name, wish)
        if setting != wish and not (name == "synchronous_commit" and setting in _DURABLE):
            advice = f"alter system set {name} = {wish}; select pg_reload_conf()"
            yield Finding("server", severity, f"{name} is {setting}: {why}", advice, {name: setting})


async def _connections(patient: Patient) -> list[Finding]:
    try:
        row = await patient.database.fetchrow(SQL["connections"], repeatable=True)
    except DatabaseError:
        return []
    if row is None or row["used"] < FULL * row["most"]:
        return []
    return [
        Finding(
            "server",
            Severity.WARNING,
            f"{number(row['used'])} of {number(row['most'])} connections are taken: soon the next one is refused",
            "close what is idle, put a pooler in session mode in front, or raise max_connections",
            dict(row),
        )
    ]
