"""`postmortem`: a cancellation's story as Markdown."""

from __future__ import annotations

import argparse

from secateur.cli.identifying import read_id
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import line
from secateur.looking.postmortem import postmortem


async def write(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    cancellation_id = read_id(arguments.id)
    async with open_session(place) as session:
        where = place.target.context or session.database.description
        document = await postmortem(session.queue.cancellations, session.queue.reader, cancellation_id, where)
    for each in document.rstrip("\n").split("\n"):
        line(each)
    return 0
