"""`watch`: evaluates the rules of the configuration, and posts when one fires."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from secateur.cel import ExpressionError
from secateur.cel import compile as compile_source
from secateur.cli.exits import WARNINGS
from secateur.cli.opening import CommandSession, config_file, find_place, open_session, read_settings
from secateur.cli.output import flush, json_line, line, noted
from secateur.errors import SettingsError, UsageError
from secateur.instants import utc
from secateur.signals import stopped_by_signals
from secateur.watch.answers import Answers, text_of, threshold_in_words
from secateur.watch.fields import Field, read_fields
from secateur.watch.figures import QueueLook
from secateur.watch.guards import Guards
from secateur.watch.keeping import InDatabase, InProcess, Keeping, targets_of
from secateur.watch.posting import Poster
from secateur.watch.watching import Happening, QueueWatch, immediately
from secateur.watch_settings import WatchRule, WatchSettings
from secateur.words.lines import one_line
from secateur.words.shell import work_at

IN_PROCESS = (
    "secateur: what fires is remembered in this process only: after a restart, or by a second watch, it is posted "
    "again, and guards do nothing. To keep it in the database, the login needs the role secateur_operator, and the "
    "database secateur's schema"
)


async def watch(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments).watch
    allowed, poster = _checked(arguments, settings)
    if arguments.check:
        _show(arguments, settings)
        return 0
    place = find_place(arguments)
    # The commands in messages are for other machines, which do not have this one's files.
    work_at(database=arguments.database, context=place.target.context, engine=place.target.engine)
    say = partial(_say, as_json=arguments.json)
    timeout = place.settings.query_timeout_seconds
    async with open_session(
        place, statement_timeout=timeout, wait=not (arguments.once or arguments.dry_run)
    ) as session:
        keeping = await _keeping(arguments, session)
        if arguments.dry_run or (arguments.once and not keeping.lasts):
            settings = immediately(settings)
        if arguments.dry_run:
            settings = _harmless(settings)
        watching = _watch(session, settings, keeping, allowed, poster, say)
        if arguments.once or arguments.dry_run:
            return WARNINGS if await watching.once() else 0
        where = f"{session.queue.reader.engine_name} in {session.database.description}"
        said = {"rules": sorted(settings.rules), "targets": sorted(settings.targets)}
        say(Happening("watching", f"watching {where}, by the rules {', '.join(said['rules'])}", said))
        await _until_stopped(watching, session, keeps_up=keeping.lasts)
    return 0


def _checked(arguments: argparse.Namespace, settings: WatchSettings) -> tuple[frozenset[Field], Poster]:
    """Raises `SettingsError` with all that is wrong beyond what `load_settings` finds; `UsageError` without rules."""
    where = config_file(arguments)
    if not settings.rules:
        raise UsageError(
            f"there is no rule to watch by: add [watch.rules.NAME] to {where}; docs/watching.md has examples"
        )
    if not settings.targets and not arguments.dry_run:
        raise UsageError(f"there is nowhere to post: add [watch.targets.NAME] to {where}, or use --dry-run")
    problems = []
    for name, rule in settings.rules.items():
        for key, source in (("if", rule.if_), ("guard.if", None if rule.guard is None else rule.guard.if_)):
            if source is not None and (problem := _problem_of(source)) is not None:
                problems.append(f"{where}: `watch.rules.{name}.{key}` {problem}")
    try:
        allowed = read_fields(settings.allowed_fields)
    except SettingsError as error:
        problems += [f"{where}: {said}" for said in str(error).splitlines()]
    try:
        poster = Poster({} if arguments.dry_run else settings.targets, os.environ)
    except SettingsError as error:
        problems.append(f"{where}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return allowed, poster


def _problem_of(source: str) -> str | None:
    try:
        compile_source(source)
    except ExpressionError as error:
        first = error.problems[0]
        place = f" (line {first.line}, column {first.column})" if first.line else ""
        return f"is no expression that can be used{place}: {first.message}"
    return None


async def _keeping(arguments: argparse.Namespace, session: CommandSession) -> Keeping:
    if arguments.dry_run:
        return InProcess()
    if await InDatabase.is_possible(session.database):
        return InDatabase(session.database, session.queue.reader.engine_name)
    noted(IN_PROCESS)
    return InProcess()


def _watch(
    session: CommandSession,
    settings: WatchSettings,
    keeping: Keeping,
    allowed: frozenset[Field],
    poster: Poster,
    say: Callable[[Happening], object],
) -> QueueWatch:
    queue = session.queue
    return QueueWatch(
        settings,
        keeping,
        Answers(queue.reader, queue.cancellations, allowed, settings.link, session.database.description),
        Guards(keeping, queue.cancellations, session.proposals),
        poster,
        lambda: QueueLook.at(queue.reader),
        say,
    )


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


def _harmless(settings: WatchSettings) -> WatchSettings:
    """The same without targets and guards."""
    rules = {name: rule.model_copy(update={"guard": None, "targets": None}) for name, rule in settings.rules.items()}
    return settings.model_copy(update={"rules": rules, "targets": {}})


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
