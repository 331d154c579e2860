"""What can be done with each queue of a database, and why not more."""

from __future__ import annotations

from pydantic import Field

from secateur.engines.base import Gate, Stopping
from secateur.engines.foreign.gating import GateKeeper, GateState, can_gate
from secateur.engines.foreign.source import ForeignSource
from secateur.engines.loading import FoundQueue, find_queues
from secateur.errors import DatabaseError
from secateur.forms import JsonForm
from secateur.ledger.ledger import Cancelling
from secateur.postgres.database import Database
from secateur.words.shell import command_line


class Capabilities(JsonForm):
    watch: bool
    filter: bool
    cancel: bool
    stop_running: bool
    undo: bool
    gate: bool


class ListedQueue(JsonForm):
    """A queue as `secateur engines` shows it."""

    name: str
    """What `--engine` takes."""
    engine: str
    schema_: str | None = Field(alias="schema")
    version: str
    capabilities: Capabilities
    gate: str
    """Whether claims obey cancellations: `on`, `none`, or `stale` if the engine has changed since the gate was made."""
    missing: list[str]
    """Why it can do no more, and what to do about it."""
    backlog: int | None
    """Runs that wait; None where they cannot be counted."""


async def list_queues(database: Database) -> list[ListedQueue]:
    """Every queue in the database, secateur's own first, then by name. Changes nothing."""
    return [await _listed(each) for each in await find_queues(database)]


async def _listed(found: FoundQueue) -> ListedQueue:
    source, missing = found.source, []
    backlog: int | None = None
    try:
        await source.detect()
        backlog = sum(each.backlog for each in await source.depth())
    except DatabaseError as error:
        missing.append(f"it cannot be read: {error}")
    if isinstance(source, ForeignSource):
        missing += source.unseen
    cancels = isinstance(source, Cancelling) and source.only_watched is None
    if not found.supported:
        missing.append(f"{found.version} is not known to secateur: it is watched and filtered, never written to")
    elif not cancels and source.to_cancel is not None:
        missing.append(f"to cancel runs: {source.to_cancel}")
    elif not cancels:
        missing.append("its runs cannot be cancelled with this version of secateur")
    elif isinstance(source, Cancelling) and (reads := await source.ledger.only_reads()) not in (None, "session"):
        missing.append(f"nothing can be cancelled by this {reads}")  # `session` would be this command's own
    gate = "on" if cancels and isinstance(source, Gate) else "none"
    if isinstance(source, ForeignSource) and (cancels or backlog is not None):
        check = await GateKeeper(source.database, source.installation).check()
        gate = check.state
        missing += [f"its gate does not hold: {each}" for each in check.problems]
        if cancels and check.state is GateState.NONE and can_gate(source.installation):
            command = command_line("gate", "install", flags=[("--engine", found.name)])
            missing.append(f"what a sweep has not reached may still start; to prevent that: {command}")
    return ListedQueue(
        name=found.name,
        engine=found.engine,
        schema=found.schema,
        version=found.version,
        capabilities=Capabilities(
            watch=backlog is not None,
            filter=backlog is not None,
            cancel=cancels,
            stop_running=cancels and isinstance(source, Stopping),
            undo=cancels,
            gate=cancels and isinstance(source, Gate),
        ),
        gate=gate,
        missing=missing,
        backlog=backlog,
    )
