"""`install`: brings the schema to what this program needs, or says what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from secateur.cli.opening import Place, find_place
from secateur.cli.output import done, json_line, write
from secateur.engines.foreign.installing import LEDGER, inspect_queue, install_queue
from secateur.engines.loading import OWN, find_installation
from secateur.postgres.database import Database
from secateur.schema import EVERYTHING, InstallSteps, by_owner, inspect_installation
from secateur.schema import install as apply_migrations
from secateur.words.lines import one_line


async def install(arguments: argparse.Namespace) -> int:
    """Installs or upgrades. With --check it changes nothing, and the exit code is 1 if something is missing.

    With --engine it does so for that queue of others; secateur's own queue is made with --queue, or without --engine.
    """
    place = find_place(arguments, writes=not arguments.check)
    if place.target.engine not in (None, OWN):
        return await _install_for(arguments, place, str(place.target.engine))
    async with Database.connect(place.target.url, read_only=place.target.read_only) as database:
        where = database.description
        if arguments.check:
            found = await inspect_installation(database, parts=EVERYTHING)
            lines = [*_lines(found, f"To be applied to {where}", f"To be mended in {where}")]
            document = _as_json(found, where, "to_apply", "to_mend")
        else:
            found = await apply_migrations(database, author=place.settings.author_name)
            if found.files or found.gaps:
                done.append(f"the schema of {where} is installed and up to date")
            lines = [*_lines(found, f"Installed in {where}", f"Mended in {where}")]
            document = _as_json(found, where, "applied", "mended")
    if arguments.json:
        json_line(document)
    else:
        write(lines or [f"{where} {'is' if arguments.check else 'was already'} up to date."])
    return 1 if arguments.check and not found.is_complete else 0


async def _install_for(arguments: argparse.Namespace, place: Place, name: str) -> int:
    async with Database.connect(place.target.url, read_only=place.target.read_only) as database:
        where = database.description
        queue = await find_installation(database, name)
        parts = EVERYTHING if arguments.queue else LEDGER
        if arguments.check:
            found = await inspect_queue(database, queue, parts=parts)
            lines = list(_lines(found.schema, f"To be applied to {where}", f"To be mended in {where}"))
            told, up_to_date = (
                f"To be installed for the queue {found.queue}",
                f"{where} is up to date for {found.queue}.",
            )
        else:
            found = await install_queue(database, queue, author=place.settings.author_name, parts=parts)
            if not found.is_complete:
                done.append(f"runs of {found.queue} can be cancelled")
            lines = list(_lines(found.schema, f"Installed in {where}", f"Mended in {where}"))
            told, up_to_date = (
                f"Installed for the queue {found.queue}",
                f"{where} was already up to date for {found.queue}.",
            )
        if found.is_new:
            lines.append(f"{told}, version {found.version}.")
    if arguments.json:
        names = ("to_apply", "to_mend") if arguments.check else ("applied", "mended")
        document = _as_json(found.schema, where, *names)
        json_line(document | {"queue": found.queue, "version": found.version, "new": found.is_new})
    else:
        write(lines or [up_to_date])
    return 1 if arguments.check and not found.is_complete else 0


def _lines(found: InstallSteps, files: str, gaps: str) -> Iterator[str]:
    """The lines that say what is wrong. A gap that many objects have takes one line, which names them."""
    if found.files:
        yield f"{files}: {', '.join(found.files)}."
    if found.gaps:
        yield f"{gaps}:"
    for (wrong, statement), objects in found.by_problem().items():
        yield one_line(f"  {wrong}: {', '.join(objects)}{by_owner(statement, '; ')}")


def _as_json(found: InstallSteps, database: str, files: str, gaps: str) -> dict[str, object]:
    return {
        "database": database,
        files: found.files,
        gaps: [{"object": gap.what, "problem": gap.gap, "statement": gap.statement} for gap in found.gaps],
    }
