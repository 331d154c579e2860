"""Counts what the filter matches, time and again, and finds examples of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from secateur.engines.base import Verdict
from secateur.errors import RequestError, SecateurError
from secateur.ledger.cancellations import Preview
from secateur.requests import CancellationRequest
from secateur.runs import Count
from secateur_tui.filter.examples import Example, Examples, advice, fields_shown, nearest
from secateur_tui.filter.matches import Matches, Stage
from secateur_tui.session import Session

ESTIMATE_AFTER = 0.1
"""Seconds that an exact count may take before an estimate is shown meanwhile."""
RECOUNT_SECONDS = 5.0
RECOUNT_COST = 20
"""An unchanged filter is counted again after so many times the last count's own time, but not sooner."""
_LOOKED_AT = 8
"""So many times the runs that are shown are looked at for near misses."""


class Counting:
    """Keeps `matches` and `examples` up to date for one request at a time.

    `found` is called when there are other examples. A task that is cancelled cancels its query in the database.
    """

    def __init__(self, session: Session, matches: Matches, examples: Examples, found: Callable[[], None]) -> None:
        self._session = session
        self._matches, self._examples, self._found = matches, examples, found
        self.seen: Count | None = None
        """The newest count of the request; None if there was none yet."""

    def outdated(self) -> None:
        """Something else was typed: dim what is shown."""
        self._matches.counting()
        self._examples.add_class("stale")

    def invalid(self) -> None:
        """What is typed means nothing."""
        self.seen = None
        self._matches.invalid()
        self._examples.add_class("stale")

    async def follow(self, request: CancellationRequest) -> None:
        """Count until the task is cancelled. Raises `RequestError` for a request that cannot be counted."""
        while True:
            began = time.monotonic()
            try:
                preview = await self._count(request)
                took = time.monotonic() - began
                await self._find_examples(request, preview)
            except RequestError as error:
                self._matches.failed(str(error))
                raise
            except SecateurError as error:
                self._matches.failed(str(error))
                took = time.monotonic() - began
            await asyncio.sleep(max(RECOUNT_SECONDS, took * RECOUNT_COST))

    async def _count(self, request: CancellationRequest) -> Preview:
        """The exact count; should it take long, an estimate is shown until it is there. The errors follow."""
        matches, cancellations = self._matches, self._session.queue.cancellations
        exact = asyncio.ensure_future(self._session.ask(cancellations.count(request)))
        again = matches.tally.stage is Stage.EXACT
        try:
            if not again:
                await asyncio.wait({exact}, timeout=ESTIMATE_AFTER)
                if not exact.done():
                    await self._estimate(request, exact)
            count = await exact
        finally:
            if not exact.done():
                exact.cancel()
                await asyncio.wait({exact})
        if not again:
            matches.counted(count, [])
            self.seen = count
        preview = await self._session.ask(cancellations.preview(request))
        matches.counted(preview.count, [example.message for example in preview.error_examples])
        self.seen = preview.count
        return preview

    async def _estimate(self, request: CancellationRequest, exact: asyncio.Future[Count]) -> None:
        """Show an estimate, unless there is none or the exact count is quicker after all."""
        guess = asyncio.ensure_future(self._session.ask(self._session.queue.cancellations.guess(request)))
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

    async def _find_examples(self, request: CancellationRequest, preview: Preview) -> None:
        filter_, table, count = request.compile(), self._examples, preview.count
        errors = count.errors or 0
        wanted = {
            Verdict.MATCH: count.matched > 0,
            Verdict.NO_MATCH: filter_ is not None and count.matched + errors < count.total,
            Verdict.ERROR: errors > 0,
        }
        each = max(1, (table.size.height - 1) // max(1, sum(wanted.values())))
        found: list[Example] = []
        for verdict, asked in wanted.items():
            if asked:
                near = filter_ is not None and verdict is Verdict.NO_MATCH
                most = each * _LOOKED_AT if near else each
                runs = await self._session.ask(self._session.queue.cancellations.examples(request, verdict, most))
                if filter_ is not None and near:
                    found += nearest(filter_, runs, count.as_of)[:each]
                else:
                    found += [Example(verdict, run) for run in runs]
        paths = fields_shown(filter_, [example.run for example in found])
        table.show(found, paths, count.as_of)
        table.remove_class("stale")
        self._found()
        self._matches.advise(advice(found, paths, preview.error_examples))
