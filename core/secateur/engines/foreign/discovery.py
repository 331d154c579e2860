"""Finds other engines' queues in a database, whatever their schemas and prefixes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from secateur.engines.foreign.file import EngineFile, engine_files
from secateur.engines.foreign.installation import Installation
from secateur.errors import DatabaseError, PermissionDenied, Unreachable
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements, fill

STATEMENTS = Statements.load("secateur.engines.foreign", "foreign.sql")

logger = logging.getLogger(__name__)


async def installations(database: Database) -> list[Installation]:
    """All of them, by name. Needs no rights but those on the catalog.

    A kind that cannot be looked for is left out, with a warning: it must not hide the others.
    """
    server, detected = await _detect(database)
    found: list[Installation] = []
    for file, row in detected:
        installation = installation_of(file, row, server)
        try:
            found.append(await _found(database, installation))
        except Unreachable:
            raise
        except DatabaseError as error:
            logger.warning("looking for queues of %s failed: %s", file.engine, error)
    for each in found:
        if not each.is_usable:
            logger.warning("%s is left out: secateur cannot work with a schema or prefix of such a name", each.name)
    return sorted((each for each in found if each.is_usable), key=lambda each: each.name)


async def _found(database: Database, installation: Installation) -> Installation:
    if not installation.is_usable:
        return installation
    try:
        return await _looked_at(database, installation)
    except PermissionDenied:  # such as for its list of queues: others of its kind may be readable
        return replace(installation, unread=[installation.schema])


async def _detect(database: Database) -> tuple[int, Sequence[tuple[EngineFile, Mapping[str, Any]]]]:
    """The server's version, and the rows of every `detect`, in one answer: somebody waits for the queue to open."""
    files = [*engine_files().values()]
    try:
        return await _detect_all(database, files)
    except DatabaseError:
        server = int(await database.fetchval("show server_version_num", repeatable=True))
    detected: list[tuple[EngineFile, Mapping[str, Any]]] = []
    for file in files:
        try:
            detected += (await _detect_all(database, [file]))[1]
        except Unreachable:
            raise
        except DatabaseError as error:
            logger.warning("looking for queues of %s failed: %s", file.engine, error)
    return server, detected


async def _detect_all(
    database: Database, files: Sequence[EngineFile]
) -> tuple[int, Sequence[tuple[EngineFile, Mapping[str, Any]]]]:
    asked = "\nunion all\n".join(
        fill(STATEMENTS["numbered"], {"number": str(number), "detect": file.statements["detect"]})
        for number, file in enumerate(files)
    )
    rows = await database.fetch(fill(STATEMENTS["detected"], {"asked": asked}), repeatable=True)
    found = [(files[row["file"]], json.loads(row["found"])) for row in rows if row["found"] is not None]
    return int(rows[0]["server"]), found


async def _looked_at(database: Database, installation: Installation) -> Installation:
    """The installation, with its parts and with the tables that this role cannot see."""
    found = await with_parts(database, installation)
    rows = await database.fetch(STATEMENTS["hidden"], found.schema, found.source, repeatable=True)
    return replace(found, hidden=[row["name"] for row in rows])


def installation_of(file: EngineFile, row: Mapping[str, Any], server: int) -> Installation:
    """Made of a row of `detect`. Each further text column of the row fills the placeholder of its name."""
    return Installation(
        file=file,
        schema=row["schema"],
        prefix=row["prefix"],
        version=row["version"] or "unknown",
        supported=row["supported"],
        server=server,
        places={
            name: text
            for name, text in row.items()
            if isinstance(text, str) and name not in ("schema", "prefix", "version")
        },
    )


async def with_parts(database: Database, installation: Installation) -> Installation:
    """The installation with its queues as they are now, where each queue has tables of its own.

    Queues that this role may not read are named, and left out: one of them must not hide the others.
    """
    if not installation.has_parts:
        return installation
    rows = await database.fetch(installation.sql("parts"), repeatable=True)
    parts = [{name: value for name, value in row.items() if isinstance(value, str)} for row in rows if row["readable"]]
    return replace(installation, parts=parts, unread=[row["part"] for row in rows if not row["readable"]])
