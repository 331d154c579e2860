"""The places beside Queues. Each is imported when it is first opened: nobody waits for it before the first figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.screen import Screen

    from secateur.ledger.proposals import ProposedCancellation
    from secateur.records import Cancellation
    from secateur.requests import CancellationRequest
    from secateur.runs import Count, Functions, RunStatus, Scope
    from secateur_tui.drafts import Draft
    from secateur_tui.filter.screen import FilterScreen
    from secateur_tui.frame.help import HelpScreen
    from secateur_tui.frame.palette import Entry, PaletteScreen
    from secateur_tui.history.screen import HistoryScreen
    from secateur_tui.queues.timeline import TimelineScreen
    from secateur_tui.review.screen import ReviewScreen
    from secateur_tui.runs.listing import RunsScreen
    from secateur_tui.runs.single import RunScreen
    from secateur_tui.session import Feed, Session


def times_of(session: Session, scope: Scope) -> TimelineScreen:
    """The time view of one queue."""
    from secateur_tui.queues.timeline import TimelineScreen

    return TimelineScreen(session, scope)


def filter_of(session: Session, draft: Draft, feed: Feed, *, stands_out: bool = False) -> FilterScreen:
    from secateur_tui.filter.screen import FilterScreen

    return FilterScreen(session, draft, feed, stands_out=stands_out)


def review_of(
    session: Session,
    request: CancellationRequest,
    seen: Count | None,
    feed: Feed,
    proposal: ProposedCancellation | None,
) -> ReviewScreen:
    from secateur_tui.review.screen import ReviewScreen

    return ReviewScreen(session, request, seen, feed, proposal)


def as_review(screen: Screen[Any]) -> ReviewScreen | None:
    """The screen if it is a review."""
    from secateur_tui.review.screen import ReviewScreen

    return screen if isinstance(screen, ReviewScreen) else None


def history_of(session: Session, feed: Feed, committed: Sequence[Cancellation] = ()) -> HistoryScreen:
    from secateur_tui.history.screen import HistoryScreen

    return HistoryScreen(session, feed, committed)


def runs_of(session: Session, scope: Scope | Functions, feed: Feed, status: RunStatus | None) -> RunsScreen:
    from secateur_tui.runs.listing import RunsScreen

    return RunsScreen(session, scope, feed, status)


def run_of(session: Session, run_id: str, feed: Feed, among: tuple[str, ...]) -> RunScreen:
    from secateur_tui.runs.single import RunScreen

    return RunScreen(session, run_id, feed, among)


def help_of(session: Session, place: str) -> HelpScreen:
    from secateur_tui.frame.help import HelpScreen

    return HelpScreen(session, place)


def palette_of(session: Session, entries: list[Entry], title: str, wanted: str) -> PaletteScreen:
    from secateur_tui.frame.palette import PaletteScreen

    return PaletteScreen(session, entries, title, wanted)
