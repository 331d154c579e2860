"""Finds the queues of a database, and opens one.

An engine is registered by its class (entry points `secateur.engines`): secateur's own queue is, and packages may add
others. Every other kind of queue that secateur knows is one SQL file: see `secateur.engines.foreign`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from secateur.engines.base import Source
from secateur.engines.foreign.discovery import installations
from secateur.engines.foreign.file import engine_files
from secateur.errors import DatabaseError, NotInstalled, PermissionDenied, UsageError
from secateur.ledger.ledger import Cancelling
from secateur.postgres.database import Database

if TYPE_CHECKING:
    from secateur.engines.foreign.installation import Installation

OWN = "native"
"""secateur's own queue: what a database without any queue is asked to install."""


class Registered(Protocol):
    """The class of a registered engine."""

    def __call__(self, database: Database, replica: Database | None = None) -> Source: ...

    def problem_of_run_id(self, run_id: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class FoundQueue:
    """A queue in a database."""

    source: Source
    engine: str
    schema: str | None
    """None where the engine does not say."""
    version: str
    supported: bool = True
    """False for an unknown newer version: it can be looked at, and is never written to."""

    @property
    def name(self) -> str:
        return self.source.name


@cache
def registered() -> Mapping[str, Registered]:
    """The classes by name, looked for once: that reads the metadata of every package there is."""
    found = {entry.name: entry for entry in entry_points(group="secateur.engines")}
    return {name: found[name].load() for name in sorted(found)}


def require_known(name: str) -> None:
    """Raises `UsageError` for the name of no engine; `oban:jobs` is an installation of Oban."""
    known = sorted({*registered(), *engine_files()})
    if name.partition(":")[0] not in known:
        raise UsageError(f"there is no engine {name!r}; known engines: {', '.join(known)}")


def problem_of_run_id(engine: str | None, run_id: str) -> str | None:
    """Why that cannot be the id of a run of the engine, as far as that can be told without the database."""
    if engine is None:
        return None
    known = registered().get(engine) or engine_files().get(engine.partition(":")[0])
    return None if known is None else known.problem_of_run_id(run_id)


async def find_queues(database: Database, replica: Database | None = None) -> list[FoundQueue]:
    """Every queue in the database that is known, registered engines first. Nothing is written.

    secateur's own is left out while it has no function and secateur is installed for another one: then its tables are
    there for the ledger's sake. What this role may not read is left out as well, unless there is nothing else: then it
    raises `PermissionDenied`.
    """
    found: list[FoundQueue] = []
    refused: PermissionDenied | None = None
    for name, engine in registered().items():
        source = engine(database, replica)
        try:
            found.append(FoundQueue(source, name, "secateur" if name == OWN else None, await source.detect()))
        except NotInstalled:
            continue
        except PermissionDenied as error:  # this role may be there for another queue alone
            refused = error
    if not (others := await installations(database)):
        if refused is not None and not found:
            raise refused
        return found
    of_others = await _queues_of_others(database, replica, others)
    if any(isinstance(each.source, Cancelling) for each in of_others):
        found = [each for each in found if each.engine != OWN or not await _is_unused(each.source)]
    return [*found, *of_others]


async def _queues_of_others(
    database: Database, replica: Database | None, others: Sequence[Installation]
) -> list[FoundQueue]:
    # What a database with secateur's own queue alone never needs.
    from secateur.engines.foreign.engine import foreign_engine
    from secateur.engines.foreign.installing import installed_queues
    from secateur.engines.foreign.source import ForeignSource

    found: list[FoundQueue] = []
    installed = await installed_queues(database)
    for each in others:
        known = installed.get(each.name)
        made = (
            ForeignSource(database, replica, each)
            if known is None
            # Its records are in secateur's tables: they stay, whatever has become of the engine.
            else foreign_engine(database, replica, each, gated=known.gated and each.can_cancel)
        )
        found.append(FoundQueue(made, each.file.engine, each.schema, each.version, each.supported))
    return found


async def find_installation(database: Database, name: str | None) -> Installation:
    """The other engine's queue with that name, or the only one of that engine; without a name, the only one.

    Raises `NotInstalled` and `UsageError`.
    """
    if name is not None:
        require_known(name)
    found = await installations(database)
    chosen = [each for each in found if each.name == name]
    chosen = chosen or [each for each in found if name in (None, each.file.engine)]
    of = "" if name is None else f" of {name}"
    if not chosen:
        raise NotInstalled(f"{database.description} has no queue{of or ' of another engine'}")
    if len(chosen) > 1:
        names = ", ".join(each.name for each in chosen)
        raise UsageError(f"{database.description} has several queues{of}: choose one with --engine ({names})")
    return chosen[0]


async def open_engine(database: Database, replica: Database | None = None, name: str | None = None) -> Source:
    """The queue of that name or, without a name, all that `find_queues` finds as one: see `secateur.engines.several`.

    Raises `NotInstalled` where there is none, `UsageError` where the name is no engine's or means several queues, and
    `DatabaseError`.
    """
    if name is not None:
        require_known(name)
        if (engine := registered().get(name)) is not None:
            source = engine(database, replica)
            await source.detect()
            return source
    queues = await find_queues(database, replica)
    chosen = [each for each in queues if each.name == name]
    chosen = chosen or [each for each in queues if name in (None, each.engine)]
    if not chosen:
        await _refuse_missing(database, name, queues)
    for each in chosen:
        if each.engine in engine_files():  # those that are registered have just been asked
            await each.source.detect()
    if len(chosen) == 1:
        return chosen[0].source
    if name is not None:
        names = ", ".join(each.name for each in chosen)
        raise UsageError(f"{database.description} has several queues of {name}: choose one with --engine ({names})")
    from secateur.engines.several import several

    own = next((each.source for each in chosen if each.engine == OWN), None)
    others = [each.source for each in chosen if each.source is not own]
    return several(own, others)


async def _is_unused(own: Source) -> bool:
    """Whether secateur's own queue exists only because its schema was installed for other engines' queues."""
    try:
        return not await own.depth()
    except DatabaseError:
        return False


async def _refuse_missing(database: Database, name: str | None, queues: list[FoundQueue]) -> None:
    if name is None:
        # Says how to install secateur's own, or what is wrong with it.
        await registered()[OWN](database).detect()
        raise DatabaseError(f"{database.description}: a queue has just been made; try again")
    there = f"; it has {', '.join(each.name for each in queues)}" if queues else ""
    raise NotInstalled(f"{database.description} has no queue of {name}{there}")
