"""`forget`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from secateur.cli.asking import consents, require_a_terminal
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import done, json_line, notice, write
from secateur.looking.listing import read_scope
from secateur.runs import Scope
from secateur.words.lines import one_line


async def forget(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    scope = read_scope(arguments.app, arguments.function)
    name = one_line(str(scope))
    if not arguments.yes:
        require_a_terminal("add --yes to forget without being asked")
    async with open_session(place) as session:
        if not arguments.yes:
            notice(
                f"Forget {name}: it is left out of depth and console, and events start no runs of it.\n"
                "  Its history stays. It comes back when something is enqueued into it, or a worker has it."
            )
            if not consents(f"Forget {name}?"):
                notice("Nothing was changed.")
                return 1
        forgotten = await session.queue.controls.forget(scope, place.settings.author_name, "cli")
    done.append(f"{name} is forgotten")
    if arguments.json:
        json_line([{"app_id": scope.app_id, "function_id": each} for each in forgotten])
    else:
        write(_forgotten(scope, forgotten))
    return 0


def _forgotten(scope: Scope, forgotten: Sequence[str]) -> list[str]:
    name = one_line(str(scope))
    if not forgotten:
        return [f"Nothing to forget: {name} was forgotten before."]
    if scope.function_id is not None:
        return [f"Forgotten: {name}."]
    return [f"Forgotten: {name}: {', '.join(map(one_line, forgotten))}."]
