"""A scrape of one queue: reads depth and ledger, and writes them in the format that was asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from secateur.ledger.steps import LedgerFigures
from secateur.metrics.exposition import Exposition, Family
from secateur.metrics.families import of_depth, of_ledger, of_program
from secateur.metrics.shown import MOST_FUNCTIONS, TopFunctions
from secateur.open_queue import OpenQueue
from secateur.runs import FunctionDepth

SHARE = 0.1
"""At most this part of the time is spent on the history of cancellations: a long one is read less often."""

FRESH_SECONDS = 0.5
"""Scrapers that come together get one look at the depth."""


class QueueMetrics:
    """Asked by any number of scrapers; one at a time looks at the database."""

    def __init__(self, queue: OpenQueue, *, most_functions: int = MOST_FUNCTIONS) -> None:
        self._queue = queue
        self._choice = TopFunctions(most_functions)
        self._looking = asyncio.Lock()
        self._families: list[Family] = []
        self._looked_at = self._read_at = self._took = float("-inf")
        self._figures: LedgerFigures | None = None
        self._process = ProcessCollector(registry=CollectorRegistry())
        self._exposition = Exposition()

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, for the header `Accept`. Raises the errors of the database."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= FRESH_SECONDS:
                self._families = await self._look()
                self._looked_at = time.monotonic()
        process = map(Family.of_metric, self._process.collect())
        return self._exposition.write([*self._families, *process], accept)

    async def _look(self) -> list[Family]:
        began = time.monotonic()
        depths = await self._queue.reader.depth()
        figures = await self._read_figures()
        # It takes some milliseconds of computing, in which others want to be answered.
        families = await asyncio.to_thread(self._families_of, depths, figures)
        took = Family("secateur_scrape_seconds", "How long it took to read these figures.")
        took.add((), time.monotonic() - began)
        return [*families, took]

    def _families_of(self, depths: Sequence[FunctionDepth], figures: LedgerFigures | None) -> list[Family]:
        of_cancellations = [] if figures is None else of_ledger(figures)
        return [
            *of_program(self._queue.reader.engine_name),
            *of_depth(self._choice.show(depths)),
            *of_cancellations,
        ]

    async def _read_figures(self) -> LedgerFigures | None:
        if time.monotonic() - self._read_at >= self._took / SHARE:
            began = time.monotonic()
            self._figures = await self._queue.cancellations.figures()
            self._read_at = time.monotonic()
            self._took = self._read_at - began
        return self._figures
