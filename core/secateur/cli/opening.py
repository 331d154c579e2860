"""From flags to an open queue: the settings, the database, its engine and the services over it."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.cli.output import notice
from secateur.engines.loading import open_engine
from secateur.errors import ReadOnly
from secateur.open_queue import OpenQueue
from secateur.places import default_path
from secateur.postgres.database import Database
from secateur.postgres.reachable import until_reachable
from secateur.settings import Settings, Target
from secateur.settings_loading import load_settings

if TYPE_CHECKING:
    from secateur.ledger.proposals import Proposals


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works; nothing is connected yet."""

    settings: Settings
    target: Target
    must_not_write: bool = False
    """Whether `--read-only` was given, which holds for whatever is opened later as well."""

    def elsewhere(self, context: str) -> Place:
        """The place of another context. Raises `SettingsError`."""
        target = self.settings.target(context=context, read_only=self.must_not_write)
        return Place(self.settings, target, self.must_not_write)

    def refuse_writes(self) -> None:
        """Raises `ReadOnly` if nothing may be written."""
        if self.target.read_only:
            where = f"the context {self.target.context!r}" if self.target.context else "this session"
            raise ReadOnly(f"{where} is read-only, because of --read-only or a setting: nothing was changed")


@dataclass(frozen=True, slots=True)
class CommandSession:
    """An open queue."""

    place: Place
    database: Database
    queue: OpenQueue

    @property
    def proposals(self) -> Proposals:
        from secateur.ledger.proposals import Proposals

        return Proposals(self.database, self.queue.cancellations, self.place.target.budget)


def read_settings(arguments: argparse.Namespace) -> Settings:
    return load_settings(Path(arguments.config) if arguments.config else None)


def config_file(arguments: argparse.Namespace) -> Path:
    """The configuration file, which need not exist."""
    return Path(arguments.config) if arguments.config else default_path()


def find_place(arguments: argparse.Namespace, *, writes: bool = False, database: str | None = None) -> Place:
    """The place named by the flags, else by `database`, else by the environment and the configuration file.

    Raises `SettingsError`; and `ReadOnly` if the command writes but writes are refused."""
    settings = read_settings(arguments)
    target = settings.target(
        database=arguments.database or database,
        context=arguments.context,
        engine=arguments.engine,
        read_only=arguments.read_only,
    )
    place = Place(settings, target, arguments.read_only)
    if writes:
        place.refuse_writes()
    return place


@asynccontextmanager
async def open_session(
    place: Place, *, statement_timeout: float | None = None, counts_at_once: int = 1, wait: bool = False
) -> AsyncIterator[CommandSession]:
    """Raises `NotInstalled`, so that no command fails half-way. `statement_timeout` is in seconds. With `wait`, wait
    for a database that cannot be reached yet, instead of failing."""
    target, most = place.target, place.settings.connections
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.connect(target.url, read_only=target.read_only, max_size=most, statement_timeout=statement_timeout)
        )
        if wait:
            await until_reachable(database, notice)
        replica = None
        if target.replica is not None:
            replica = await stack.enter_async_context(
                Database.connect(target.replica, read_only=True, max_size=most, statement_timeout=statement_timeout)
            )
        engine = await open_engine(database, replica, target.engine)
        queue = OpenQueue.over(
            engine, read_only=target.read_only, batch=place.settings.sweep_batch, counts_at_once=counts_at_once
        )
        yield CommandSession(place, database, queue)
