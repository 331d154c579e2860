"""`demo`, `worker` and the console: what starts something."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import sys
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from secateur.cli.console import Console, load_console
from secateur.cli.opening import Place, find_place, open_session, read_settings
from secateur.cli.output import line, notice
from secateur.errors import SettingsError, UsageError
from secateur.postgres.addresses import resolve
from secateur.settings import Target

if TYPE_CHECKING:
    from secateur.engines.native.worker import Worker

_SILENCE_SECONDS = 0.3
"""Seconds that connecting may take before a message says so."""


async def console(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    shown = load_console()
    if arguments.once:
        return await _show_once(shown, place)
    shown.check_terminal()
    return await _show(shown, place)


async def _show_once(console: Console, place: Place) -> int:
    """A frame as large as the terminal, or as COLUMNS and LINES say."""
    size = shutil.get_terminal_size((120, 36))
    async with open_session(place, statement_timeout=place.settings.query_timeout_seconds) as session:
        line(await console.frame(session, size.columns, size.lines))
    return 0


async def _show(console: Console, place: Place) -> int:
    saying = asyncio.create_task(_say_what_is_awaited(place))
    # While the database is far away, or slow to answer.
    loading = asyncio.create_task(asyncio.to_thread(console.load, place.settings))
    try:
        async with open_session(place, statement_timeout=place.settings.query_timeout_seconds) as session:
            saying.cancel()
            await loading
            return await console.run(session)
    finally:
        saying.cancel()
        loading.cancel()


async def _say_what_is_awaited(place: Place) -> None:
    """Nobody shall look at an empty line for long without knowing why."""
    await asyncio.sleep(_SILENCE_SECONDS)
    notice(f"secateur: connecting to {resolve(place.target.url).description} … (ctrl+C gives up)")


def demo(arguments: argparse.Namespace) -> int:
    """Runs the demo. It is no coroutine, because preparing the incident blocks and a signal must be able to end it."""
    from secateur.demo import DEFAULT_RUNS, incident, report_on, run_headless

    if arguments.database or arguments.context:
        raise UsageError("the demo brings its own database: leave out --database and --context")
    runs, report = arguments.runs or DEFAULT_RUNS, report_on(sys.stderr)
    if arguments.headless:
        run_headless(runs, report)
        return 0
    settings = read_settings(arguments)
    shown = load_console()
    shown.check_terminal()
    with incident(runs, report) as place:
        # What the console keeps for its user goes with the demo.
        os.environ["XDG_STATE_HOME"] = str(place.server.directory / "state")
        target = Target(place.url, settings.read_only or arguments.read_only, "demo")
        return asyncio.run(_show(shown, Place(settings, target, arguments.read_only)))


async def worker(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    worker = _worker(arguments)
    if arguments.metrics_port is None:
        await worker.run(to_the_end=True)
        return 0
    from secateur.metrics.workers import WorkerMetrics

    worker.observer = metrics = WorkerMetrics(worker.name, worker.concurrency)
    host, port = arguments.metrics_port
    with metrics.served(host, port) as chosen:
        logging.info("metrics are served on %s:%s", host, chosen)
        await worker.run(to_the_end=True)
    return 0


def _worker(arguments: argparse.Namespace) -> Worker:
    """The one that `MODULE:OBJECT` names, with its own settings, or one for the apps that it names, with those of the
    configuration. Flags come before either."""
    from secateur.cli.loading import load_worker
    from secateur.engines.native.worker import Worker

    # Loading the module may do anything, so whatever must be refused is refused before.
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
