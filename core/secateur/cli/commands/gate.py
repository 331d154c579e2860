"""`gate`: keeps claims of another engine's queue from taking what a cancellation matches."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from secateur.cli.opening import find_place
from secateur.cli.output import done, json_line, line, write
from secateur.engines.foreign.gating import GateCheck, GateKeeper, GateState
from secateur.engines.loading import OWN, find_installation
from secateur.errors import UsageError
from secateur.postgres.database import Database


async def gate(arguments: argparse.Namespace) -> int:
    """With `check`, the exit code is 1 unless the gate is on."""
    writes = arguments.what != "check" and not arguments.sql
    place = find_place(arguments, writes=writes)
    async with Database.connect(place.target.url, read_only=place.target.read_only) as database:
        if place.target.engine == OWN:
            raise UsageError("secateur's own queue needs no gate: its claims ask for themselves")
        installation = await find_installation(database, place.target.engine)
        keeper = GateKeeper(database, installation)
        if arguments.sql:
            for statement in await keeper.printed(remove=arguments.what == "remove"):
                line(f"{statement.rstrip()};\n")
            return 0
        if arguments.what == "install":
            found = await keeper.install(place.settings.author_name)
            done.append(f"the gate of {installation.name} is there")
        elif arguments.what == "remove":
            await keeper.remove(place.settings.author_name)
            done.append(f"the gate of {installation.name} is removed")
            found = GateCheck(GateState.NONE)
        else:
            found = await keeper.check()
    if arguments.json:
        json_line({"name": installation.name, **asdict(found)})
    else:
        write(_lines(installation.name, found))
    return 1 if arguments.what == "check" and found.state is not GateState.ON else 0


def _lines(name: str, found: GateCheck) -> list[str]:
    said = {
        GateState.ON: "is on: once a cancellation is in force, no worker claims what it matches",
        GateState.NONE: "has not been made: what a sweep has not reached may still start",
        GateState.STALE: "does not hold",
    }[found.state]
    lines = [f"The gate of {name} {said}."]
    lines += [f"  {each}" for each in found.problems]
    return lines
