"""`pause` and `resume`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from secateur.cli.asking import consents, require_a_terminal
from secateur.cli.describing import ways_out
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import done, json_line, notice, write
from secateur.looking.forms import depth_form, paused_form
from secateur.looking.listing import read_scope
from secateur.runs import FunctionDepth, Paused, Scope
from secateur.words.blockers import listed
from secateur.words.figures import runs
from secateur.words.lines import one_line
from secateur.words.shell import command_line


async def pause(arguments: argparse.Namespace) -> int:
    return await _change(arguments, resume=False)


async def resume(arguments: argparse.Namespace) -> int:
    return await _change(arguments, resume=True)


async def _change(arguments: argparse.Namespace, *, resume: bool) -> int:
    place = find_place(arguments, writes=True)
    scope = read_scope(arguments.app, arguments.function)
    verb = "resume" if resume else "pause"
    if not arguments.yes:
        require_a_terminal(f"add --yes to {verb} without being asked")
    async with open_session(place) as session:
        if not arguments.yes:
            before = await session.queue.reader.depth_of(scope)
            notice("\n".join(_prospect(scope, before, resume=resume)))
            if not consents(f"{verb.capitalize()} {one_line(str(scope))}?"):
                notice("Nothing was changed.")
                return 1
        paused = None
        if resume:
            await session.queue.controls.resume(scope, place.settings.author_name, "cli")
        else:
            paused = await session.queue.controls.pause(scope, place.settings.author_name, "cli")
        done.append(f"{one_line(str(scope))} is {verb}d")
        after = await session.queue.reader.depth_of(scope)
    if arguments.json:
        forms = [depth_form(each) if paused is None else paused_form(each, paused) for each in after]
        json_line([each.as_json() for each in forms])
    else:
        write(_resumed(scope, after) if paused is None else _paused(scope, after, paused))
    return 0


def _prospect(scope: Scope, depths: Sequence[FunctionDepth], *, resume: bool) -> list[str]:
    queued = sum(each.queued for each in depths)
    running = sum(each.running for each in depths)
    name = one_line(str(scope))
    if resume:
        return [f"Resume {name}: it is claimed again. Waiting: {runs(queued)}."]
    return [
        f"Pause {name}: none of its runs is claimed until somebody resumes it.",
        f"  Waiting: {runs(queued)}, and new runs wait too. Running runs go on: {runs(running)}.",
    ]


def _paused(scope: Scope, depths: Sequence[FunctionDepth], paused: Paused) -> list[str]:
    running = sum(each.running for each in depths)
    names = [name for name in (scope.app_id, scope.function_id) if name]
    lines = [f"Paused: no run of {one_line(str(scope))} is claimed. Running runs go on: {runs(running)}."]
    if not paused.in_force:
        lines = [
            f"Paused, but not yet in force: {listed(paused.blockers)} may still start what it has claimed.",
            "Claims from now on obey the pause.",
            *ways_out(paused.blocked_by, paused.blocked_by_prepared),
            f"  To ask again:  {command_line('pause', *names)}",
        ]
    return [*lines, f"  To resume: {command_line('resume', *names)}"]


def _resumed(scope: Scope, depths: Sequence[FunctionDepth]) -> list[str]:
    """The answer, with what is still paused because it was paused separately: the whole app, or single functions."""
    paused = [one_line(each.function_id) for each in depths if each.paused]
    if not paused:
        return [f"Resumed: {one_line(str(scope))} is claimed again."]
    if scope.function_id is None:
        return [f"Resumed, but these were paused by themselves and still are: {', '.join(paused)}."]
    whole = command_line("resume", scope.app_id)
    return [f"Still not claimed: all of {one_line(scope.app_id)} is paused too: {whole}"]
