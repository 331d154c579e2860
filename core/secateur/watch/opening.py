"""From the configuration to a watch over an open queue, alike for `secateur watch` and `secateur serve`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from secateur.cel import ExpressionError
from secateur.cel import compile as compile_source
from secateur.errors import SettingsError, UsageError
from secateur.ledger.proposals import Proposals
from secateur.open_queue import OpenQueue
from secateur.watch.answers import Answers
from secateur.watch.fields import Field, read_fields
from secateur.watch.figures import QueueLook
from secateur.watch.guards import Guards
from secateur.watch.keeping import InDatabase, InProcess
from secateur.watch.outbox import Say
from secateur.watch.posting import Poster
from secateur.watch.watching import QueueWatch
from secateur.watch_settings import WatchSettings

IN_PROCESS = (
    "secateur: what fires is remembered in this process only: after a restart, or by a second watch, it is posted "
    "again, and guards do nothing. To keep it in the database, the login needs the role secateur_operator, and the "
    "database secateur's schema"
)


@dataclass(frozen=True, slots=True)
class Rules:
    """A configuration in which nothing is wrong that can be told without a database."""

    settings: WatchSettings
    allowed: frozenset[Field]
    poster: Poster

    @classmethod
    def check(
        cls, settings: WatchSettings, where: object, environment: Mapping[str, str], *, must_post: bool = True
    ) -> Self:
        """`where` names the configuration. Raises `SettingsError` with all that is wrong beyond what `load_settings`
        finds; `UsageError` if there is nothing to watch by, or nowhere to post."""
        if not settings.rules:
            raise UsageError(
                f"there is no rule to watch by: add [watch.rules.NAME] to {where}; docs/watching.md has examples"
            )
        if not settings.targets and must_post:
            raise UsageError(
                f"there is nowhere to post: add [watch.targets.NAME] to {where} (`secateur watch --dry-run` needs none)"
            )
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
            poster = Poster(settings.targets, environment)
        except SettingsError as error:
            problems.append(f"{where}: {error}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(settings, allowed, poster)

    def immediately(self) -> Self:
        """The same, which fire at the first look: for whoever looks only once and remembers nothing."""
        return replace(self, settings=immediately(self.settings))

    def over(
        self, queue: OpenQueue, kept: InDatabase | None, proposals: Proposals, description: str, say: Say
    ) -> QueueWatch:
        """A watch of that queue, which this process remembers if it is not `kept`."""
        return QueueWatch(
            self.settings,
            kept or InProcess(),
            Answers(queue.reader, queue.cancellations, self.allowed, self.settings.link, description),
            None if kept is None else Guards(kept, queue.cancellations, proposals),
            self.poster,
            lambda: QueueLook.at(queue.reader),
            say,
        )


def immediately(settings: WatchSettings) -> WatchSettings:
    rules = {name: rule.model_copy(update={"for_": timedelta(0)}) for name, rule in settings.rules.items()}
    return settings.model_copy(update={"rules": rules})


def harmless(settings: WatchSettings) -> WatchSettings:
    """The same without targets and guards."""
    rules = {name: rule.model_copy(update={"guard": None, "targets": None}) for name, rule in settings.rules.items()}
    return settings.model_copy(update={"rules": rules, "targets": {}})


def _problem_of(source: str) -> str | None:
    try:
        compile_source(source)
    except ExpressionError as error:
        first = error.problems[0]
        place = f" (line {first.line}, column {first.column})" if first.line else ""
        return f"is not an expression that can be used{place}: {first.message}"
    return None
