"""Searching for runs page by page: what is asked for, and what a page says besides its runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.runs import NO_BOUNDS, Run, RunStatus, Scope, Window

if TYPE_CHECKING:
    from secateur.cel import Filter

MOST_READ = 200_000
"""A page ends after about so many rows that were read without being found: somebody is waiting."""


@dataclass(frozen=True, slots=True)
class RunSearch:
    """Runs of an app, or of some of its functions, in the order of their starts."""

    app_id: str
    function_ids: tuple[str, ...] = ()
    """None named: every function."""
    status: RunStatus | None = None
    """None is any."""
    window: Window = NO_BOUNDS
    filter: Filter | None = None
    """Compiled for `secateur.cel.SEARCH`."""
    limit: int = 50
    before: str | None = None
    """Where the page before ended: its `next`, or the id of its last run."""
    newest: bool = True
    """Newest first; else oldest first."""

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return tuple(Scope(self.app_id, each) for each in self.function_ids) or (Scope(self.app_id),)

    @property
    def searches(self) -> bool:
        """Whether it may have to look at many runs for one: else every run that it looks at is found."""
        return self.filter is not None or self.window != NO_BOUNDS

    @property
    def named(self) -> list[str] | None:
        """The functions as SQL takes them: null for every one."""
        return list(self.function_ids) or None


class RunPage(list[Run]):
    """The runs of one page, and how far it came. Nothing is counted beyond it."""

    def __init__(
        self, runs: Iterable[Run] = (), *, next: str | None, looked_at: int, back_to: datetime | None = None
    ) -> None:
        super().__init__(runs)
        self.next = next
        """What `before` is to be for the next page; None if there is none. A page may be empty and have a next one:
        it has then looked at as many runs as a page may."""
        self.looked_at = looked_at
        """Runs that were looked at."""
        self.back_to = back_to
        """The start of the last one; None if there was none."""
