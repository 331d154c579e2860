"""Repeated failures of a process's background work, logged when they begin and when they are over, not each time."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from secateur.errors import Unreachable

SAID_AFTER = 2
"""Failures in a row before one is logged: a single failure is normal, as when Postgres restarts, and is retried."""

REMIND_SECONDS = 60.0
"""Until the first reminder that it still fails; each next one takes twice as long."""

_DATABASE = ""
"""The subject of all that fails because there is no connection: the first that does speaks for the others."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps failing. `since` is by this machine's clock, because the database may be away."""

    what: str
    error: str
    since: datetime
    failures: int


class Troubles:
    """The troubles of one process. Each is logged when it is certain, at widening intervals, and when it is over."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._failing: dict[str, Trouble] = {}
        self._said: dict[str, tuple[float, float]] = {}
        """When each subject was logged last, by the monotonic clock, and the seconds until it is logged again."""

    def __iter__(self) -> Iterator[Trouble]:
        return (trouble for trouble in list(self._failing.values()) if trouble.failures >= SAID_AFTER)

    def failed(self, what: str, error: object) -> None:
        before = self._failing.get(what)
        since, failures = (before.since, before.failures + 1) if before else (datetime.now(UTC), 1)
        self._failing[what] = Trouble(what, str(error), since, failures)
        subject = _DATABASE if isinstance(error, Unreachable) else what
        level = logging.WARNING if failures >= SAID_AFTER and self._is_news(subject) else logging.DEBUG
        self._logger.log(level, "%s failed, and will be retried: %s", what, error)

    def _is_news(self, subject: str) -> bool:
        now = time.monotonic()
        at, pause = self._said.get(subject, (float("-inf"), REMIND_SECONDS / 2))
        if now - at < pause:
            return False
        self._said[subject] = (now, 2 * pause)
        return True

    def went_well(self, what: str) -> None:
        self._end(what, "works again")

    def keep_only(self, whats: Collection[str]) -> None:
        """Forget the others, which are no longer tried."""
        for what in self._failing.keys() - set(whats):
            self._end(what, "has nothing left to do")

    def _end(self, what: str, how: str) -> None:
        trouble = self._failing.pop(what, None)
        if trouble is None:
            return
        said = [self._said.pop(subject, None) for subject in (what, _DATABASE)]
        if any(said):
            since = trouble.since.isoformat(timespec="seconds")
            self._logger.warning("%s %s, after %d failures since %s", what, how, trouble.failures, since)
