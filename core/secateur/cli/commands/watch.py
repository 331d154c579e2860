"""`watch`: evaluates the rules of the configuration, and posts when one fires."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, datetime
from functools import partial
from typing import Any

from secateur.cli.exits import WARNINGS
from secateur.cli.opening import CommandSession, config_file, find_place, open_session, read_settings
from secateur.cli.output import flush, json_line, line, noted
from secateur.instants import utc
from secateur.signals import stopped_by_signals
from secateur.watch.answers import text_of, threshold_in_words
from secateur.watch.keeping import InDatabase, targets_of
from secateur.watch.opening import IN_PROCESS, Rules, harmless
from secateur.watch.outbox import Happening
from secateur.watch.watching import QueueWatch
from secateur.watch_settings import WatchRule, WatchSettings
from secateur.words.lines import one_line
from secateur.words.shell import work_at


async def watch(arguments: argparse.Namespace) -> int:
    rules = _rules(arguments)
    if arguments.check:
        _show(arguments, rules.settings)
        return 0
    place = find_place(arguments)
    # The commands in messages are for other machines, which do not have this one's files.
    work_at(database=arguments.database, context=place.target.context, engine=place.target.engine)
    say = partial(_say, as_json=arguments.json)
    timeout = place.settings.query_timeout_seconds
    only_once = arguments.once or arguments.dry_run
    async with open_session(place, statement_timeout=timeout, wait=not only_once) as session:
        name, where = session.queue.reader.engine_name, session.database.description
        kept = None
        if not arguments.dry_run:
            kept = await InDatabase.where_possible(session.database, name)
            if kept is None:
                noted(IN_PROCESS)
        if only_once and kept is None:
            rules = rules.immediately()
        watching = rules.over(session.queue, kept, session.proposals, where, say)
        if only_once:
            return WARNINGS if await watching.once() else 0
        said = {"rules": sorted(rules.settings.rules), "targets": sorted(rules.settings.targets)}
        say(Happening("watching", f"watching {name} in {where}, by the rules {', '.join(said['rules'])}", said))
        await _until_stopped(watching, session, keeps_up=kept is not None)
    return 0


def _rules(arguments: argparse.Namespace) -> Rules:
    """Raises `SettingsError` and `UsageError`."""
    settings = read_settings(arguments).watch or WatchSettings()
    if arguments.dry_run:
        settings = harmless(settings)
    return Rules.check(settings, config_file(arguments), os.environ, must_post=not arguments.dry_run)


async def _until_stopped(watching: QueueWatch, session: CommandSession, *, keeps_up: bool) -> None:
    """With `keeps_up`, it sweeps and keeps the queue up meanwhile, as every process that may write.

    There must be a history of the depth, and what a guard has cancelled must not wait for a console.
    """
    queue = session.queue
    upkeep = [queue.cancellations.sweep_forever(), queue.maintenance.keep_up_forever()] if keeps_up else []
    background = [asyncio.create_task(each) for each in upkeep]
    watch, stopped = asyncio.create_task(watching.run()), asyncio.Event()
    with stopped_by_signals(stopped.set, to_the_end=True):
        ending = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait([watch, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watch, ending, *background):
                task.cancel()
            await asyncio.wait([watch, ending, *background])
        for task in (watch, *background):
            if not task.cancelled():
                task.result()


def _say(happened: Happening, *, as_json: bool) -> None:
    moment = utc(datetime.now(UTC).replace(microsecond=0))
    message: dict[str, Any] | None = happened.details.get("message")
    if as_json:
        json_line({"at": moment, "what": happened.what, "summary": happened.summary, **happened.details})
    elif message is not None:
        first, *others = text_of(message)
        line(f"{moment}  {one_line(first)}")
        for each in others:
            line(one_line(each))
    else:
        line(f"{moment}  {one_line(happened.summary)}")
    flush()


def _show(arguments: argparse.Namespace, settings: WatchSettings) -> None:
    """What a check has found to be right."""
    rules = {name: _rule_in_words(rule, settings) for name, rule in settings.rules.items()}
    if arguments.json:
        json_line({"rules": rules, "targets": {name: str(each.kind) for name, each in settings.targets.items()}})
        return
    for name, words in rules.items():
        line(one_line(f"{name}: {words}"))
    flush()


def _rule_in_words(rule: WatchRule, settings: WatchSettings) -> str:
    where = " / ".join(name for name in (rule.app, rule.function) if name is not None) or "every app"
    guard = "" if rule.guard is None else f"; its guard may {rule.guard.action}"
    targets = ", ".join(targets_of(rule.targets, settings.targets)) or "nowhere"
    return f"{threshold_in_words(rule)}, in {where}, posts to {targets}{guard}"
