"""`engines`: which job queues the database has, and what can be done there."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from secateur.cli.opening import find_place
from secateur.cli.output import json_line, table, terminal_width, write
from secateur.engines.listing import ListedQueue, list_queues
from secateur.postgres.database import Database
from secateur.words.figures import number
from secateur.words.lines import one_line
from secateur.words.tables import Column


async def engines(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    async with Database.connect(place.target.url, read_only=True) as database:
        found = await list_queues(database)
        if arguments.json:
            json_line([each.as_json() for each in found])
        else:
            write(
                _lines(found) if found else [f"{database.description} has no job queue of a kind that secateur knows."]
            )
    return 0


def _lines(found: list[ListedQueue]) -> Iterator[str]:
    columns = [Column(title, right=title == "backlog") for title in ("name", "version", "backlog", "can", "gate")]
    rows = [
        (
            each.name,
            each.version,
            "-" if each.backlog is None else number(each.backlog),
            ", ".join(name.replace("_", " ") for name, can in each.capabilities if can) or "nothing",
            each.gate,
        )
        for each in found
    ]
    yield from table(columns, rows, terminal_width())
    for each in found:
        for missing in each.missing:
            yield one_line(f"{each.name}: {missing}")
