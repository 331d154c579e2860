"""`demo`, `worker` and the console: what starts something."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING

from secateur.cli.opening import Place, find_place, open_session, read_settings
from secateur.errors import SettingsError, UsageError
from secateur.settings import Target

if TYPE_CHECKING:
    from secateur.engines.native.worker import Worker


async def console(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    _check_terminal()
    return await show_console(place)


async def show_console(place: Place) -> int:
    """The console on the place's database, until somebody leaves it."""
    settings, target = place.settings, place.target
    app = import_module("secateur_tui.app")
    async with open_session(place, statement_timeout=settings.query_timeout_seconds) as session:
        console = app.Session(
            database=session.database,
            engine=session.engine,
            cancellations=session.cancellations,
            author=settings.author_name,
            read_only=target.read_only,
            context=target.context,
            production=target.production,
            zone=settings.zone,
            refresh_seconds=settings.refresh_seconds,
            query_timeout_seconds=settings.query_timeout_seconds,
            confirm_above=settings.confirm_above,
        )
        code: int = await app.run_console(console, theme=settings.theme)
    return code


def _check_terminal() -> None:
    """Before anything is connected. The console is above this package, so that it is found by name only."""
    import_module("secateur_tui.terminal").check_terminal()


def demo(arguments: argparse.Namespace) -> int:
    """Not a coroutine: preparing the incident blocks, and a signal must be able to end it."""
    from secateur.demo import DEFAULT_RUNS, incident, report_on, run_headless

    if arguments.database or arguments.context:
        raise UsageError("the demo brings its own database: leave out --database and --context")
    runs, report = arguments.runs or DEFAULT_RUNS, report_on(sys.stderr)
    if arguments.headless:
        run_headless(runs, report)
        return 0
    settings = read_settings(arguments)
    _check_terminal()
    with incident(runs, report) as place:
        target = Target(place.url, settings.read_only or arguments.read_only, "demo")
        return asyncio.run(show_console(Place(settings, target)))


async def worker(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    await _worker(arguments).run(to_the_end=True)
    return 0


def _worker(arguments: argparse.Namespace) -> Worker:
    """The one that `MODULE:OBJECT` names, with its own settings, or one for the apps that it names, with those of the
    configuration. Flags come before either."""
    from secateur.cli.loading import load_worker
    from secateur.engines.native.worker import Worker

    # What is refused is refused before the module is loaded, which may do anything.
    with suppress(SettingsError):  # a Worker may bring the database that nothing else names
        find_place(arguments, writes=True)
    found = load_worker(arguments.target)
    own = found.url if isinstance(found, Worker) and not arguments.context else None
    place = find_place(arguments, writes=True, database=own)
    if isinstance(found, Worker):
        worker = found
        worker.configure(url=place.target.url)
    else:
        settings = place.settings
        worker = Worker(
            place.target.url,
            apps=found,
            concurrency=settings.worker_concurrency,
            lease=timedelta(seconds=settings.worker_lease_seconds),
            grace=timedelta(seconds=settings.worker_grace_seconds),
            connections=settings.worker_connections,
        )
    worker.configure(
        concurrency=arguments.concurrency,
        lease=arguments.lease,
        grace=arguments.grace,
        name=arguments.name,
        connections=arguments.connections,
    )
    return worker
