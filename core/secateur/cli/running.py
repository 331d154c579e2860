"""`install`, `demo`, `worker` and the console: what starts something."""

from __future__ import annotations

import argparse
import logging
import sys
from importlib import import_module

from secateur.cli.opening import Place, find_place, open_session
from secateur.cli.output import line
from secateur.database import Database


async def console(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    _check_terminal()
    return await show_console(place)


async def show_console(place: Place) -> int:
    """The console on the place's database, until somebody leaves it."""
    settings, target = place.settings, place.target
    async with open_session(place) as session:
        code: int = await import_module("secateur_tui").run_console(
            session.database,
            session.engine,
            session.cancellations,
            author=settings.author_name,
            read_only=target.read_only,
            context=target.context,
            production=target.production,
            zone=settings.zone,
            refresh_seconds=settings.refresh_seconds,
            query_timeout_seconds=settings.query_timeout_seconds,
            confirm_above=settings.confirm_above,
            theme=settings.theme,
        )
    return code


def _check_terminal() -> None:
    """Before anything is connected. The console is above this package, so that it is found by name only."""
    import_module("secateur_tui.terminal").check_terminal()


async def install(arguments: argparse.Namespace) -> int:
    from secateur.migrations import install as apply_migrations

    place = find_place(arguments, writes=True)
    async with Database.connect(place.target.url) as database:
        applied = await apply_migrations(database)
        if applied:
            line(f"Installed in {database.description}: {', '.join(applied)}.")
        else:
            line(f"{database.description} was up to date.")
    return 0


async def worker(arguments: argparse.Namespace) -> int:
    from secateur.worker import Worker, load_apps

    place = find_place(arguments, writes=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    await Worker(place.target.url, apps=load_apps(arguments.target)).run()
    return 0
