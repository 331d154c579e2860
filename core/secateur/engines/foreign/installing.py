"""Installs secateur for another engine's queue: its schema in the database, and a row that names the queue."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.engines.foreign.installation import Installation
from secateur.errors import DatabaseError, PermissionDenied
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.schema import InstallSteps, Part, inspect_installation, install

_SQL = Statements.load("secateur.engines.foreign", "foreign.sql")

LEDGER = frozenset({Part.LEDGER})
"""All that it takes to cancel in another engine's queue: no table and no function of secateur's own queue."""


@dataclass(frozen=True, slots=True)
class QueueSteps:
    """What the install of a queue did, or has yet to do."""

    schema: InstallSteps
    queue: str
    version: str
    is_new: bool
    """The queue was not installed, or as another version."""

    @property
    def is_complete(self) -> bool:
        return self.schema.is_complete and not self.is_new


@dataclass(frozen=True, slots=True)
class InstalledQueue:
    """Another engine's queue for which secateur was installed."""

    version: str
    """As it was then."""
    gated: bool
    """A gate keeps what cancellations match from being claimed."""


async def installed_queues(database: Database) -> dict[str, InstalledQueue]:
    """The queues by name, as far as this role may see them."""
    if not await database.fetchval(_SQL["may_see_installed"], repeatable=True):
        return {}
    rows = await database.fetch(_SQL["installed"], repeatable=True)
    return {row["name"]: InstalledQueue(row["version"], row["gated"]) for row in rows}


async def inspect_queue(
    database: Database, installation: Installation, *, parts: frozenset[Part] = LEDGER
) -> QueueSteps:
    """What `install_queue` would do; raises as `inspect_installation` and `install_queue` do."""
    _require_known(installation)
    schema = await inspect_installation(database, parts=parts)
    return _steps(schema, await installed_queues(database), installation)


async def install_queue(
    database: Database,
    installation: Installation,
    *,
    author: str | None = None,
    parts: frozenset[Part] = LEDGER,
) -> QueueSteps:
    """Installs or upgrades secateur's schema, and notes that runs of the queue may be cancelled. Repeatable.

    secateur's own queue is made only if it is one of `parts`; where it is, it stays.

    Raises as `secateur.schema.install` does, and `DatabaseError` for a version of the engine that is not known.
    """
    _require_known(installation)
    schema = await install(database, author=author, parts=parts)
    steps = _steps(schema, await installed_queues(database), installation)
    if steps.is_new:
        found = installation
        values = (found.name, found.file.engine, found.schema, found.prefix, found.version, author, None)
        try:
            await database.fetchval(_SQL["install"], *values)
        except PermissionDenied as error:
            raise PermissionDenied(
                f"installing for a queue needs the role that owns the schema secateur ({error})"
            ) from error
    return steps


def _steps(schema: InstallSteps, installed: dict[str, InstalledQueue], installation: Installation) -> QueueSteps:
    known = installed.get(installation.name)
    is_new = known is None or known.version != installation.version
    return QueueSteps(schema, installation.name, installation.version, is_new)


def _require_known(installation: Installation) -> None:
    if installation.why_not is not None:
        raise DatabaseError(installation.why_not)
