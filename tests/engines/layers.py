"""What the databases of these tests begin with, made once a server: packages take a second or more to install."""

from __future__ import annotations

from functools import cache

from beds import Bed

from secateur.engines.foreign.gating import GateKeeper, GateState
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, find_queues
from secateur.postgres.database import Database
from servers import Prepare


@cache
def queue_of(kind: type[Bed]) -> Prepare:
    """The queue itself, as its own package installs it."""

    async def install(url: str) -> None:
        await kind(url).install()

    return install


@cache
def ledger_of(kind: type[Bed]) -> Prepare:
    """What secateur installs so that it can cancel in the queue."""

    async def install(url: str) -> None:
        async with Database.connect(url) as database:
            await install_queue(database, await installation_of(kind, database), author="tester")

    return install


@cache
def gate_of(kind: type[Bed]) -> Prepare:
    """A gate on its claims, which obeys the ledger."""

    async def install(url: str) -> None:
        async with Database.connect(url) as database:
            keeper = GateKeeper(database, await installation_of(kind, database))
            assert (await keeper.install("tester")).state is GateState.ON

    return install


async def installation_of(kind: type[Bed], database: Database) -> Installation:
    """The one that is in the database."""
    [found] = [each for each in await find_queues(database) if each.engine == kind.engine]
    return await find_installation(database, found.name)
