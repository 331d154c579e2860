"""Filters as they are typed, and the last one of each scope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.runs import Functions, Run, RunStatus, Scope, Window
from secateur_tui.expressions import Kept

if TYPE_CHECKING:
    from secateur.records import Cancellation
    from secateur.requests import CancellationRequest


@dataclass(slots=True)
class Draft:
    """A filter as it was typed."""

    scope: Scope | Functions
    if_: str = ""
    started_after: str = ""
    started_before: str = ""
    retry: bool = False
    """It selects failed runs, to queue them again."""
    with_cancelled: bool = False
    """For a retry: include cancelled runs."""
    standing: bool = False
    """Whether runs that arrive before a future `started_before` are to be cancelled as well."""

    @classmethod
    def of_record(cls, record: Cancellation) -> Draft:
        """The filter of an earlier cancellation or retry."""
        return cls(
            record.scope,
            record.if_ or "",
            record.started_after.isoformat() if record.started_after else "",
            # An end that was left open stays open: the record's own end is the time of its commit.
            str(record.request.get("started_before") or ""),
            retry=record.is_retry,
            with_cancelled=record.with_cancelled,
        )

    @classmethod
    def of_kept(cls, kept: Kept) -> Draft:
        """A saved filter, or one that was used before."""
        return cls(kept.scope, kept.if_, kept.started_after, kept.started_before)

    @classmethod
    def to_retry(cls, run: Run) -> Draft:
        """The filter of just this run, to queue it again."""
        return cls(
            run.scope,
            f"run.id == '{run.id}'",
            retry=True,
            with_cancelled=run.status is RunStatus.CANCELLED,
        )

    def kept(self) -> Kept:
        """What is kept of it, under the first of several functions; a name makes it a saved filter."""
        scope = self.scope.each[0]
        return Kept(scope.app_id, scope.function_id, self.if_.strip(), self.started_after, self.started_before)

    def request(self, window: Window) -> CancellationRequest:
        """The request, with the times as `window` has them. Raises `RequestError`."""
        from secateur.requests import CancellationRequest, RetryRequest

        body = {
            "app_id": self.scope.app_id,
            "function_id": self.scope.names[0] if len(self.scope.names) == 1 else None,
            "function_ids": list(self.scope.names) if len(self.scope.names) > 1 else None,
            "if": self.if_ if self.if_.strip() else None,
            "started_after": window.started_after,
            "started_before": window.started_before,
            "standing": self.standing or None,
            "with_cancelled": self.with_cancelled or None,
        }
        kind = RetryRequest if self.retry else CancellationRequest
        return kind.parse({field: value for field, value in body.items() if value is not None})


class Drafts:
    """The last draft of each scope, one to cancel and one to retry, so that leaving a filter loses nothing."""

    def __init__(self) -> None:
        self._drafts: dict[tuple[Scope | Functions, bool], Draft] = {}

    @property
    def newest(self) -> Draft | None:
        """The one that was opened last; None before there is one."""
        return next(reversed(self._drafts.values()), None)

    def of(self, scope: Scope | Functions, *, retry: bool) -> Draft:
        """The draft as the user left it, or an empty one."""
        return self._drafts.get((scope, retry)) or Draft(scope, retry=retry)

    def opened(self, draft: Draft) -> None:
        """It takes the place of the one before, and is the newest."""
        self._drafts.pop((draft.scope, draft.retry), None)
        self._drafts[draft.scope, draft.retry] = draft

    def committed(self, scope: Scope | Functions) -> None:
        """What was meant once: reopened, a standing filter must not be one key from being committed again."""
        for draft in self._drafts.values():
            if draft.scope == scope:
                draft.standing = False
