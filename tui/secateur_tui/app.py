"""The console: which screen leads where."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.screen import ModalScreen
from textual.theme import Theme

from secateur.errors import SecateurError
from secateur.looking.aftermath import STANDING_FOR, again, also_arriving
from secateur.runs import Functions, RunStatus, Scope
from secateur.words.lines import one_line
from secateur_tui import places
from secateur_tui.drafts import Draft
from secateur_tui.expressions import Kept
from secateur_tui.frame.aftermath_line import AlsoWanted
from secateur_tui.frame.place import Dialog, PlaceScreen
from secateur_tui.frame.question import Choice, Question, QuestionScreen
from secateur_tui.keymap import allowed, bindings_of
from secateur_tui.live import FOLLOWING, LiveApp
from secateur_tui.queues.screen import QueuesScreen
from secateur_tui.review.committing import Committing
from secateur_tui.session import Contexts, Feed, Session
from secateur_tui.themes import THEMES

if TYPE_CHECKING:
    from secateur.ledger.proposals import ProposedCancellation
    from secateur.records import Cancellation
    from secateur.requests import CancellationRequest
    from secateur.runs import Count
    from secateur_tui.filter.screen import FilterScreen
    from secateur_tui.frame.palette import Entry
    from secateur_tui.history.screen import HistoryScreen
    from secateur_tui.queues.timeline import TimelineScreen
    from secateur_tui.review.screen import ReviewScreen
    from secateur_tui.runs.listing import RunsScreen
    from secateur_tui.runs.single import RunScreen

_OF_ONE_SESSION = (*FOLLOWING, "taking-back", "also")
"""The groups of workers that end with their session."""


class ConsoleApp(LiveApp):
    """Decides which screen leads where.

    This module imports only Queues (see `places`), so it handles the messages of the other places by name.
    """

    CSS_PATH = "app.tcss"
    TITLE = "secateur"
    BINDINGS = bindings_of("console")

    def __init__(
        self,
        session: Session,
        *,
        theme: str | None = None,
        themes: Sequence[Theme] = THEMES,
        contexts: Contexts | None = None,
        ascii_only: bool = False,
        looks_only: bool = False,
    ) -> None:
        super().__init__(session, theme=theme, themes=themes, ascii_only=ascii_only)
        self._looks_only = looks_only
        """Whether it leaves the background work, such as sweeps, to other processes."""
        self._contexts = contexts
        self._committing = Committing(self._committed, self._refused)

    @on(events.Mount)
    async def _show_first(self) -> None:
        await self._begin()
        loop = asyncio.get_running_loop()
        for name in ("SIGHUP", "SIGTERM"):
            if number := getattr(signal, name, None):
                with suppress(NotImplementedError, ValueError, RuntimeError):
                    loop.add_signal_handler(number, self._hang_up)

    async def _begin(self) -> None:
        """Show the session's queues, read-only if the session may not write."""
        await self.follow(takes_part=not self._looks_only)
        self.push_screen(QueuesScreen(self.session))
        self.go_on()

    @on(QueuesScreen.DepthChanged)
    def _look_again(self) -> None:
        self.follow_depth()

    @on(QueuesScreen.FilterWanted)
    def _open_filter(self, message: QueuesScreen.FilterWanted) -> None:
        if message.if_:
            self._show_filter(Draft(message.scope, message.if_))
        else:
            self._filter(message.scope, retry=message.retry, stands_out=message.stands_out)

    @on(QueuesScreen.TimesWanted)
    def _show_times(self, message: QueuesScreen.TimesWanted) -> None:
        self.push_screen(places.times_of(self.session, message.scope))

    def on_timeline_screen_filter_wanted(self, message: TimelineScreen.FilterWanted) -> None:
        self._filter(message.scope, retry=False)

    @on(QueuesScreen.FailedWanted)
    def _list_failed(self, message: QueuesScreen.FailedWanted) -> None:
        self._show_runs(message.scope, RunStatus.FAILED)

    def on_runs_screen_retry_wanted(self, message: RunsScreen.RetryWanted) -> None:
        self._filter(message.scope, retry=True)

    def on_runs_screen_run_wanted(self, message: RunsScreen.RunWanted) -> None:
        self.show_run(message.run_id, message.among)

    def on_filter_screen_run_wanted(self, message: FilterScreen.RunWanted) -> None:
        self.show_run(message.run_id, message.among)

    def show_run(self, run_id: str, among: tuple[str, ...] = ()) -> None:
        """Show one run; next and previous go through the runs in `among`."""
        self.push_screen(places.run_of(self.session, run_id, self.feed, among))

    def on_run_screen_retry_wanted(self, message: RunScreen.RetryWanted) -> None:
        self._show_filter(Draft.to_retry(message.run))

    def on_run_screen_filter_wanted(self, message: RunScreen.FilterWanted) -> None:
        self._add_to_filter(message)

    @work(exclusive=True, group="also")
    async def _add_to_filter(self, wanted: RunScreen.FilterWanted) -> None:
        """Add the condition to the filter of the run's function as the user left it; for a failed run, to its retry."""
        from secateur.cel.authoring.picking import narrowed

        run, shape = wanted.run, None
        scope = run.scope
        retry = run.status is RunStatus.FAILED and self.session.queue.cancellations.can_retry
        if wanted.exclude:
            with suppress(SecateurError):
                shape = await self.session.ask(self.session.queue.reader.shape(scope))
        draft = self.session.drafts.of(scope, retry=retry)
        try:
            draft.if_ = narrowed(draft.if_, wanted.path, wanted.value, exclude=wanted.exclude, shape=shape)
        except ValueError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self._back_to_queues()
        self._show_filter(draft)

    def on_run_screen_cancellation_wanted(self, message: RunScreen.CancellationWanted) -> None:
        self._open_history([message.cancellation])

    def _filter(self, scope: Scope | Functions, *, retry: bool, stands_out: bool = False) -> None:
        """The filter of this scope as the user left it, or a new one."""
        self._show_filter(self.session.drafts.of(scope, retry=retry), stands_out=stands_out)

    def on_history_screen_filter_wanted(self, message: HistoryScreen.FilterWanted) -> None:
        self._back_to_queues()
        self._show_filter(Draft.of_record(message.cancellation))

    def _filter_kept(self, kept: Kept) -> None:
        """A saved or an earlier filter, with its own scope."""
        self._back_to_queues()
        self._show_filter(Draft.of_kept(kept))

    def _show_filter(self, draft: Draft, *, stands_out: bool = False) -> None:
        self.session.drafts.opened(draft)
        self.push_screen(places.filter_of(self.session, draft, self.feed, stands_out=stands_out))

    @on(PlaceScreen.BackWanted)
    def _back(self) -> None:
        if len(self.screen_stack) > 2:
            self.pop_screen()

    def on_filter_screen_review_wanted(self, message: FilterScreen.ReviewWanted) -> None:
        if not self.session.read_only and self._is_at("filter"):
            self._review(message.request, message.seen)

    def _review(
        self, request: CancellationRequest, seen: Count | None, proposal: ProposedCancellation | None = None
    ) -> None:
        self.push_screen(places.review_of(self.session, request, seen, self.feed, proposal))

    @on(AlsoWanted)
    def _also_wanted(self, message: AlsoWanted) -> None:
        self._review_also(message.cancellations)

    @work(exclusive=True, group="also")
    async def _review_also(self, cancellations: Sequence[Cancellation]) -> None:
        """Review the same cancellation for runs that still arrive."""
        longest = STANDING_FOR
        with suppress(SecateurError):
            longest = (await self.session.ask(self.session.queue.controls.retention())).standing
        try:
            now = self.feed.now()
            request = also_arriving(again(cancellations, now), now, longest)
        except SecateurError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        if not self.session.read_only and not isinstance(self.screen, ModalScreen):
            self._review(request, None)

    def on_review_screen_left(self, message: ReviewScreen.Left) -> None:
        if self._under_review is not None:
            self.pop_screen()
        if message.unknown:
            self._open_history()

    def on_review_screen_commit_wanted(self, message: ReviewScreen.CommitWanted) -> None:
        self._committing.start(self.session, message)

    def _committed(self, cancellations: Sequence[Cancellation]) -> None:
        self.session.journal.committed(tuple(each.id for each in cancellations))
        self.follow_aftermath()
        if (review := self._under_review) is None:
            self._show_committed(cancellations)
        elif any(each.is_pending for each in cancellations):
            review.pending(cancellations)
        else:
            review.committed(cancellations)
            review.call_after_refresh(self._show_committed, cancellations)

    def _refused(self, error: SecateurError) -> None:
        if (review := self._under_review) is not None:
            review.refused(error)

    @property
    def _under_review(self) -> ReviewScreen | None:
        """The review that is shown, if any."""
        return places.as_review(self.screen)

    def _is_at(self, place: str) -> bool:
        return isinstance(self.screen, PlaceScreen) and self.screen.place == place

    def on_review_screen_committed(self, message: ReviewScreen.Committed) -> None:
        self._show_committed(message.cancellations)

    def _show_committed(self, cancellations: Sequence[Cancellation]) -> None:
        self._back_to_queues()
        scopes = {each.scope for each in cancellations}
        self.session.drafts.committed(Functions.of(cancellations[0].app_id, [n for each in scopes for n in each.names]))
        self._open_history(cancellations)

    def _back_to_queues(self) -> None:
        while len(self.screen_stack) > 2:
            self.pop_screen()

    def _open_history(self, committed: Sequence[Cancellation] = ()) -> None:
        self.push_screen(places.history_of(self.session, self.feed, committed))

    def _hang_up(self) -> None:
        """The terminal is gone: finish a commit in progress, then leave."""
        self.run_worker(self.leave(), group="leave", exclusive=True)

    async def leave(self) -> None:
        await self._committing.finish()
        self.exit()

    def action_queues(self) -> None:
        self._back_to_queues()

    def action_filter(self) -> None:
        """The filter of the row or, elsewhere, the last open one."""
        if isinstance(self.screen, QueuesScreen):
            self.screen.action_open_filter()
        elif (draft := self.session.drafts.newest) is not None:
            self._back_to_queues()
            self._show_filter(draft)

    def action_runs(self) -> None:
        """The runs of the row or, elsewhere, of the scope that is shown."""
        if (scope := self._scope_shown) is not None:
            self._show_runs(scope)

    def _show_runs(self, scope: Scope | Functions, status: RunStatus | None = None) -> None:
        self.push_screen(places.runs_of(self.session, scope, self.feed, status))

    @property
    def _scope_shown(self) -> Scope | Functions | None:
        """The scope of the row in Queues or of the filter; else that of the last open filter; else any function."""
        screen = self.screen
        if isinstance(screen, QueuesScreen) and screen.chosen is not None:
            return screen.chosen
        if (draft := self.session.drafts.newest) is not None:
            return draft.scope
        return Scope(self.feed.depths[0].app_id) if self.feed.depths else None

    def action_history(self) -> None:
        if not self._is_at("history"):
            self._open_history()

    @work(exclusive=True, group="taking-back")
    async def action_undo(self) -> None:
        from secateur_tui.history.taking_back import TakingBack

        await self._take_back(TakingBack(self.session, self._ask, lambda: self.feed).undo())

    @work(exclusive=True, group="taking-back")
    async def action_redo(self) -> None:
        from secateur_tui.history.taking_back import TakingBack

        await self._take_back(TakingBack(self.session, self._ask, lambda: self.feed).redo())

    async def _take_back(self, change: Awaitable[str | None]) -> None:
        try:
            told = await change
        except SecateurError as error:
            self.notify(f"Nothing was changed: {error}", severity="error", markup=False)
            return
        if told is not None:
            self.notify(told, markup=False)
            self.follow_aftermath()

    async def _ask(self, question: Question) -> Choice:
        return await self.push_screen_wait(QuestionScreen(self.session, question))

    def on_history_screen_took_back(self, message: HistoryScreen.TookBack) -> None:
        self.session.journal.took_back((message.cancellation_id,))
        self.follow_aftermath()

    def action_help(self) -> None:
        here = self.screen.place if isinstance(self.screen, PlaceScreen | Dialog) else ""
        self.push_screen(places.help_of(self.session, here))

    def action_palette(self) -> None:
        self._offer(self.offers, "Go to or do", "a command, a function, …")

    def action_contexts(self) -> None:
        if entries := self._other_contexts:
            self._offer(entries, f"From {self.session.context or self.session.where} to another database", "its name")
        else:
            self.notify("The configuration has no other context to go to.", markup=False)

    def _offer(self, entries: list[Entry], title: str, wanted: str) -> None:
        if not isinstance(self.screen, ModalScreen):
            self.push_screen(places.palette_of(self.session, entries, title, wanted), self._chosen)

    async def _chosen(self, entry: Entry | None) -> None:
        if entry is not None:
            outcome = entry.choose()
            if isawaitable(outcome):
                await outcome

    @work(exclusive=True, group="context")
    async def _switch_to(self, name: str) -> None:
        """Show another context's queues. If it cannot be opened, nothing changes."""
        if self._contexts is None or self._committing.is_under_way:
            return
        self.notify(f"connecting to {name} …", timeout=2, markup=False)
        try:
            session = await self._contexts.open(name)
        except SecateurError as error:
            self.notify(f"{name}: {one_line(str(error))}", severity="error", timeout=10, markup=False)
            return
        before = self.session
        for group in _OF_ONE_SESSION:
            self.workers.cancel_group(self, group)
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        self.session, self.feed = session, Feed()
        await self._begin()
        await self._contexts.close(before)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key does not lead to the place that is already shown."""
        if action in ("queues", "filter", "runs", "history") and self._is_at(action):
            return False
        if action in ("filter", "runs") and not self._has_filter:
            return False
        if action == "history" and not self.session.queue.cancellations.has_ledger:
            return False
        return allowed("console", action, read_only=self.session.read_only)

    @property
    def _has_filter(self) -> bool:
        return self.session.drafts.newest is not None or bool(self.feed.depths)

    @property
    def offers(self) -> list[Entry]:
        """What the palette offers here."""
        from secateur_tui.frame import offers

        return [
            *offers.commands(self, self.screen, read_only=self.session.read_only),
            *offers.proposals(() if self.session.read_only else self.proposals, self._review),
            *offers.functions(self.feed.depths, partial(self._filter, retry=False)),
            *offers.expressions(self.session.expressions.kept, (), self._filter_kept),
            *self._other_contexts,
            *offers.themes(self._fitting, self.theme, partial(setattr, self, "theme")),
        ]

    @property
    def _other_contexts(self) -> list[Entry]:
        from secateur_tui.frame import offers

        known = self._contexts.known if self._contexts is not None else {}
        return [*offers.contexts(known, self.session.context, self._switch_to)]
