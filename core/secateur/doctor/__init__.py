"""Examines everything that secateur depends on: the database and its server, the schema, this machine.

It writes nothing, and needs no right: what a role cannot see is a finding, too. Each check says what it found and
what to do about it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from secateur.doctor import database, here, holding, queues, tables
from secateur.doctor.findings import Finding, Patient, Severity, worst
from secateur.errors import (
    DatabaseError,
    NotInstalled,
    OutOfResources,
    PermissionDenied,
    QueryTimeout,
    SecateurError,
    SettingsError,
    Unreachable,
)
from secateur.postgres.database import Database
from secateur.settings import Settings, Target

__all__ = ["CHECKS", "Finding", "Severity", "examine", "worst"]

STATEMENT_SECONDS = 10.0
"""The longest that a check waits for a statement: an unhealthy database shall not make the doctor hang."""

APPLICATION = "secateur doctor"

Check = Callable[[Patient], Awaitable[Iterable[Finding]]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("version", database.version),
    ("login", database.login),
    ("schema", queues.schema),
    ("tables", tables.tables),
    ("indexes", tables.indexes),
    ("bloat", tables.bloat),
    ("transactions", holding.transactions),
    ("prepared", holding.prepared),
    ("slots", holding.slots),
    ("guarantee", queues.guarantee),
    ("sweeps", queues.sweeps),
    ("depth", queues.depth),
    ("engines", queues.engines),
    ("pooler", database.pooler),
    ("tls", database.tls),
    ("clock", database.clock),
    ("server", database.server),
)
"""Every check of a database, in the order in which they are shown. Those of this machine follow: see `here.CHECKS`."""


async def examine(settings: Settings, target: Target, file: Path) -> AsyncIterator[Finding]:
    """Every finding as soon as there is one; at least one for each check. `file` is the configuration's."""
    connecting = Database.connect(
        target.url, read_only=True, application_name=APPLICATION, max_size=2, statement_timeout=STATEMENT_SECONDS
    )
    try:
        async with connecting as opened:
            await opened.fetchval("select 1", repeatable=True)
            yield Finding("connection", Severity.OK, f"connected to {opened.description}")
            patient = Patient(opened, settings, target)
            for name, check in CHECKS:
                for each in await _made(name, check, patient):
                    yield each
    except SecateurError as error:
        yield _unconnected(error)
    for each in here.examine(settings, file):
        yield each


async def _made(name: str, check: Check, patient: Patient) -> list[Finding]:
    try:
        return list(await check(patient))
    except PermissionDenied as error:
        role = None
        with suppress(SecateurError):
            role = await patient.database.fetchval("select current_user::text", repeatable=True)
        advice = f"grant secateur_viewer to {role or 'this role'}, or ask as a role that has it"
        return [Finding(name, Severity.UNSEEN, f"cannot be seen: {error}", advice)]
    except QueryTimeout:
        return [Finding(name, Severity.UNSEEN, f"could not be seen within {STATEMENT_SECONDS:.0f} s", "ask again")]
    except Unreachable:
        raise
    except (DatabaseError, NotInstalled) as error:
        return [Finding(name, Severity.UNSEEN, f"cannot be seen: {error}", "mend what `schema` says, and ask again")]


def _unconnected(error: SecateurError) -> Finding:
    advice = {
        SettingsError: "correct the address: --database, the context, or the variables of the environment",
        PermissionDenied: "check user and password, pg_hba.conf, and the right to CONNECT to the database",
        DatabaseError: "choose another database: --database, the context, or the variables of the environment",
        OutOfResources: "raise max_connections, or close what is not needed; the server's log says more",
    }.get(type(error), "check that the server runs, its address, and what is between here and there")
    return Finding("connection", Severity.ERROR, str(error), advice)
