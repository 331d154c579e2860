"""Counts what the filter matches, time and again, and finds examples of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from secateur.cel.authoring.explain import may_be_missed
from secateur.cel.paths import fields_read
from secateur.engines.base import Verdict
from secateur.errors import DatabaseError, RequestError, SecateurError
from secateur.looking.counter import Preview
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur.words.figures import number
from secateur.words.lines import one_line
from secateur_tui.filter.examples import Example, Examples, NearMisses, advice, nearest
from secateur_tui.filter.matches import Matches, Stage
from secateur_tui.filter.tabs import Tab, counted
from secateur_tui.frame.background import run_beside
from secateur_tui.session import Attempts, Session, pause_after, why_none

TYPING_PAUSE = 0.15
"""Seconds without a keystroke before the filter is counted."""
CHART_SECONDS = 3.0
"""The most that a histogram may take."""
ESTIMATE_AFTER = 0.1
"""Seconds that an exact count may take before an estimate is shown meanwhile."""
RECOUNT_SECONDS = 5.0
"""From one count of an unchanged filter to the next, at least."""
PAGE = 20
"""Examples of each verdict that are looked for at first, and that the end of the list adds, at least: as many as the
list has room for."""
MOST_EXAMPLES = 500
LOOKED_AT = 80
"""So many more runs are looked at for near misses."""
MOST_READ = 4
"""Fields that the expression reads, and that the examples show."""
VERDICTS = {
    Tab.MATCH: Verdict.MATCH,
    Tab.ERROR: Verdict.ERROR,
    Tab.NO_MATCH: Verdict.NO_MATCH,
    Tab.NEAR: Verdict.NO_MATCH,
}


class Counting:
    """Keeps `matches` and `examples` up to date for one request at a time.

    It counts in a worker of `matches`. A newer keystroke cancels the worker, and with it the query in the database.
    """

    def __init__(
        self,
        session: Session,
        matches: Matches,
        examples: Examples,
        *,
        found: Callable[[], None],
        refused: Callable[[RequestError], None],
    ) -> None:
        """`found` is called when there are other examples, `refused` when the request cannot be counted."""
        self._session = session
        self._matches, self._examples, self._found, self._refused = matches, examples, found, refused
        self._request: CancellationRequest | None = None
        self._in_window: int | None = None
        """Runs of scope and window, where that is known exactly."""
        self._preview: Preview | None = None
        self._pages = dict.fromkeys(Verdict, 1)
        """How many were asked for of each verdict."""
        self._near = NearMisses()
        self.seen: Count | None = None
        """The newest count of the request; None if there was none yet."""

    @property
    def tab_counts(self) -> Mapping[Tab, str]:
        """The figures of the tabs, as far as they are known."""
        if (count := self.seen) is None or count.errors is None:
            return {}
        figures = {
            Tab.MATCH: count.matched,
            Tab.ERROR: count.errors,
            Tab.NO_MATCH: max(0, (self._in_window or count.total) - count.matched - count.errors),
        }
        near = {Tab.NEAR: f"{number(self._near.found)}{'' if self._near.is_all else '+'}"}
        return near | {tab: counted(figure, exact=count.exact) for tab, figure in figures.items()}

    def _limit(self, verdict: Verdict) -> int:
        return self._pages[verdict] * max(PAGE, self._examples.size.height - 1)

    def count(self, request: CancellationRequest | None) -> None:
        """Count another request, once the typing pauses; None: what is typed means nothing."""
        self._request = request
        if request is None:
            self.invalid()
        else:
            self.outdated()
            self._start(request)

    def count_again(self) -> None:
        """Count the same request now, without waiting for the next round."""
        if self._request is not None:
            self._start(self._request)

    def stop(self) -> None:
        """Nobody looks now."""
        self._matches.workers.cancel_group(self._matches, "count")

    def _start(self, request: CancellationRequest) -> None:
        run_beside(self._matches, "count", self._follow, request)

    def outdated(self) -> None:
        """Something else was typed: dim the figures, and take the examples away."""
        self.stop()
        self.seen = self._preview = None
        self._pages = dict.fromkeys(Verdict, 1)
        self._matches.counting()
        self._examples.clear("looking…")
        self._found()

    def invalid(self) -> None:
        """What is typed means nothing."""
        self.stop()
        self.seen = None
        self._matches.invalid()
        self._examples.clear("There are examples once the filter is valid.")
        self._found()

    async def _follow(self, request: CancellationRequest) -> None:
        """Count until the task is cancelled, or the request cannot be counted."""
        await asyncio.sleep(TYPING_PAUSE)
        attempts = Attempts()
        while True:
            began = time.monotonic()
            try:
                preview = await self._count(request)
                rest = pause_after(time.monotonic() - began, RECOUNT_SECONDS)
                await self._chart(request)
                try:
                    await self._find_examples(request, preview)
                    attempts.answered()
                except DatabaseError as error:
                    # The count stands: only the examples are missing, until the next round.
                    self._examples.failed(f"! {why_none(error)}")
                    self._found()
            except RequestError as error:
                self._matches.failed(str(error))
                self._refused(error)
                return
            except SecateurError as error:
                self._matches.failed(why_none(error))
                self._examples.failed("There are examples once the runs are counted.")
                rest = attempts.failed(time.monotonic() - began)
            await asyncio.sleep(rest)

    async def _count(self, request: CancellationRequest) -> Preview:
        """The exact count, and then its errors; whoever counts again has a figure, and needs just the newer one."""
        matches, counter = self._matches, self._session.queue.reader.counter
        if matches.tally.stage is not Stage.EXACT:
            count = await self._count_first(request)
            matches.counted(count, [])
            self.seen = count
        preview = await self._session.ask(counter.preview(request))
        matches.counted(preview.count, [example.message for example in preview.error_examples])
        self.seen = preview.count
        return preview

    async def _count_first(self, request: CancellationRequest) -> Count:
        """The exact count; should it take long, an estimate is shown until it is there."""
        exact = asyncio.ensure_future(self._count_exactly(request))
        try:
            await asyncio.wait({exact}, timeout=ESTIMATE_AFTER)
            if not exact.done():
                await self._estimate(request, exact)
            return await exact
        finally:
            if not exact.done():
                exact.cancel()
                await asyncio.wait({exact})

    async def _count_exactly(self, request: CancellationRequest) -> Count:
        # The count begins in its own task: cancelled before that, nothing is left that was never awaited.
        return await self._session.ask(self._session.queue.reader.counter.count(request))

    async def _chart(self, request: CancellationRequest) -> None:
        """Show how the runs are spread over time; should that take too long, nothing."""
        reader, matches = self._session.queue.reader, self._matches
        histogram, why = None, ""
        try:
            question = reader.histogram(request, matches.chart.bars)
            histogram = await self._session.ask(question, seconds=CHART_SECONDS)
        except DatabaseError as error:
            why = f"no histogram: {one_line(str(error))}"
        matches.charted(histogram, why)
        known = histogram is not None and histogram.exact
        self._in_window = sum(bar.total for bar in histogram.bars) if known and histogram is not None else None

    async def _estimate(self, request: CancellationRequest, exact: asyncio.Future[Count]) -> None:
        """Show an estimate, unless there is none or the exact count is quicker after all."""
        guess = asyncio.ensure_future(self._session.ask(self._session.queue.reader.counter.guess(request)))
        try:
            both: set[asyncio.Future[Any]] = {guess, exact}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            with suppress(SecateurError):
                if guess.done() and (count := guess.result()) is not None and not exact.done():
                    self._matches.estimated(count)
                    self.seen = count
        finally:
            if not guess.done():
                guess.cancel()
                await asyncio.wait({guess})

    def look_further(self, tab: Tab) -> None:
        """Find more examples of a tab, as far as there are any."""
        request, preview, verdict = self._request, self._preview, VERDICTS.get(tab)
        if request is None or preview is None or verdict is None or self._limit(verdict) >= MOST_EXAMPLES:
            return
        if self._examples.amount(tab) < self._limit(verdict):
            return
        self._pages[verdict] += 1
        run_beside(self._matches, "further", self._find_more, request, preview)

    async def _find_more(self, request: CancellationRequest, preview: Preview) -> None:
        with suppress(SecateurError):
            await self._find_examples(request, preview)

    async def _find_examples(self, request: CancellationRequest, preview: Preview) -> None:
        filter_, table, count = request.compile(), self._examples, preview.count
        self._preview = preview
        errors = count.errors or 0
        wanted = {
            Verdict.MATCH: count.matched > 0,
            Verdict.NO_MATCH: filter_ is not None and count.matched + errors < count.total,
            Verdict.ERROR: errors > 0,
        }
        found: list[Example] = []
        self._near = NearMisses()
        for verdict in (verdict for verdict, is_there in wanted.items() if is_there):
            limit = self._limit(verdict)
            near = filter_ is not None and verdict is Verdict.NO_MATCH
            most = limit + LOOKED_AT if near else limit
            runs = await self._session.ask(self._session.queue.reader.counter.examples(request, verdict, most))
            if filter_ is not None and near:
                others = nearest(filter_, runs, count.as_of)
                self._near = NearMisses(
                    sum(each.tab is Tab.NEAR for each in others),
                    len(runs),
                    is_all=len(runs) < most or not may_be_missed(filter_),
                )
                for tab in (Tab.NEAR, Tab.NO_MATCH):
                    found += [each for each in others if each.tab is tab][:limit]
            else:
                found += [Example(verdict, run) for run in runs]
        read = fields_read(filter_.expression)[:MOST_READ] if filter_ is not None else []
        told = advice(found, read, preview.error_examples)
        table.show(found, read, count.as_of, told, self._near)
        self._found()
        self._matches.advise(told)
