"""`install`: brings the schema to what this program needs, or says what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from secateur.cli.opening import find_place
from secateur.cli.output import done, json_line, write
from secateur.postgres.database import Database
from secateur.schema import InstallSteps, inspect_installation
from secateur.schema import install as apply_migrations
from secateur.words.lines import one_line


async def install(arguments: argparse.Namespace) -> int:
    """Installs or upgrades. With --check it changes nothing, and the exit code is 1 if something is missing."""
    place = find_place(arguments, writes=not arguments.check)
    async with Database.connect(place.target.url, read_only=place.target.read_only) as database:
        where = database.description
        if arguments.check:
            found = await inspect_installation(database)
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


def _lines(found: InstallSteps, files: str, gaps: str) -> Iterator[str]:
    """The lines that say what is wrong. A gap that many objects have takes one line, which names them."""
    if found.files:
        yield f"{files}: {', '.join(found.files)}."
    if found.gaps:
        yield f"{gaps}:"
    by_gap: dict[str, dict[str, None]] = {}
    for gap in found.gaps:
        by_gap.setdefault(gap.gap, {})[gap.what.partition("(")[0]] = None
    for wrong, objects in by_gap.items():
        yield one_line(f"  {wrong}: {', '.join(objects)}")


def _as_json(found: InstallSteps, database: str, files: str, gaps: str) -> dict[str, object]:
    return {
        "database": database,
        files: found.files,
        gaps: [{"object": gap.what, "problem": gap.gap} for gap in found.gaps],
    }
