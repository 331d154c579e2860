"""How the depth of secateur's own queue was: reads the samples that `compact_depth` keeps."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any, TypeAlias

from secateur.engines.base import Remembering
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import Scope
from secateur.samples import Backlogs, Mark, Sample, SampleGap, SampleSteps, SampleTimes

WHOLE_APP = ""
"""The name under which a sample has the app as a whole."""

LONGEST_SILENCE = timedelta(seconds=30)
"""Samples are ten seconds apart, more where the database is slow; from here on it is a gap."""

MOST_MARKS = 200

_SQL = Statements.load("secateur.engines.native", "history.sql")


class NativeHistory(Remembering):
    """Finds each sample with one descent of an index: some milliseconds for some hundred, however old they are."""

    _database: Database

    async def samples(self, scope: Scope, steps: Sequence[SampleSteps]) -> list[Sample]:
        name = WHOLE_APP if scope.function_id is None else scope.function_id
        rows = await self._database.fetch(_SQL["samples"], scope.app_id, name, *_columns(steps))
        figures = operator.itemgetter(*_FIGURES)
        return _complete((row["at"], figures(row) if row["listed"] else None, row["cut"]) for row in rows)

    async def samples_of_functions(
        self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None = None
    ) -> dict[Scope, list[Sample]]:
        return {
            Scope(app_id, function_id): samples
            for app_id, rows in (await self._rows_by_app(steps, app_ids)).items()
            for function_id, samples in _by_function(rows).items()
        }

    async def backlogs_of_functions(
        self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None = None
    ) -> dict[Scope, Backlogs]:
        return {
            Scope(app_id, function_id): backlogs
            for app_id, rows in (await self._rows_by_app(steps, app_ids)).items()
            for function_id, backlogs in _backlogs(rows).items()
        }

    async def _rows_by_app(self, steps: Sequence[SampleSteps], app_ids: Sequence[str] | None) -> dict[str, list[Any]]:
        of_apps: dict[str, list[Any]] = {}
        for row in await self._database.fetch(_SQL["samples_of_functions"], *_columns(steps), app_ids):
            of_apps.setdefault(row["app_id"], []).append(row)
        return of_apps

    async def gaps(self, app_id: str, since: datetime, until: datetime) -> list[SampleGap]:
        rows = await self._database.fetch(_SQL["gaps"], app_id, since, until, LONGEST_SILENCE)
        return [SampleGap(**row) for row in rows]

    async def marks(self, scope: Scope, since: datetime, until: datetime) -> list[Mark]:
        rows = await self._database.fetch(_SQL["marks"], scope.app_id, scope.function_id, since, until, MOST_MARKS)
        return [Mark(**row) for row in reversed(rows)]


def _columns(steps: Sequence[SampleSteps]) -> tuple[list[datetime], list[datetime], list[timedelta]]:
    return [one.since for one in steps], [one.until for one in steps], [one.length for one in steps]


_FIGURES = ("queued", "scheduled", "running", "failed", "cancelling", "entered", "drained")

Figures: TypeAlias = tuple[int, int, int, int, int | None, int, int]
"""The figures of one sample, in the order of `_FIGURES`."""


def _by_function(rows: Sequence[Any]) -> dict[str, list[Sample]]:
    """The samples of each function, from the rows of one app. They are in the order of their times."""
    listed: list[dict[str, Figures]] = []
    for row in rows:
        names = row["function_ids"] or ()
        columns = (row[figure] or repeat(None) for figure in _FIGURES)
        listed.append(dict(zip(names, zip(*columns, strict=False), strict=False)))
    functions = sorted({name for each in listed for name in each} - {WHOLE_APP})
    return {
        name: _complete((row["at"], each.get(name), row["cut"]) for row, each in zip(rows, listed, strict=True))
        for name in functions
    }


def _complete(moments: Iterable[tuple[datetime, Figures | None, bool]]) -> list[Sample]:
    """The samples of one function: where it was not listed, it was empty, and all else is as it was before.

    Left out are moments at which it may have been one of the functions that a sample had no room for. As long as its
    counters are not known, they are taken to be what they are at first, less the runs that are there then.
    """
    known = [(at, figures) for at, figures, cut in moments if figures is not None or not cut]
    failed = cancelling = None
    entered = drained = 0
    for _, figures in known:
        if figures is not None:
            queued, scheduled, running, _, _, entered, drained = figures
            entered = max(0, entered - queued - scheduled - running)
            break
    samples: list[Sample] = []
    for at, figures in known:
        queued = scheduled = running = 0
        if figures is not None:
            queued, scheduled, running, failed, estimated, entered, drained = figures
            cancelling = cancelling if estimated is None else estimated
        elif cancelling is not None:
            cancelling = 0
        samples.append(Sample(at, queued, scheduled, running, failed, cancelling, entered, drained))
    return samples


def _backlogs(rows: Sequence[Any]) -> dict[str, Backlogs]:
    """The same in columns, by the rules of `_complete`."""
    everywhere = SampleTimes([row["at"] for row in rows])
    places = [
        dict(zip(names, range(len(names)), strict=True)) for row in rows for names in (row["function_ids"] or (),)
    ]
    backlogs = [list(map(operator.add, row["queued"] or (), row["scheduled"] or ())) for row in rows]
    entered, drained = ([row[figure] for row in rows] for figure in ("entered", "drained"))
    found: dict[str, Backlogs] = {}
    for name in sorted(set().union(*places) - {WHOLE_APP}):
        here = [each.get(name) for each in places]
        if None in here:
            found[name] = _completed(rows, backlogs, here)
        else:
            columns = (
                [values[place] for values, place in zip(column, here, strict=True)]
                for column in (backlogs, entered, drained)
            )
            found[name] = Backlogs(everywhere, *columns)
    return found


def _completed(rows: Sequence[Any], backlogs: Sequence[Sequence[int]], places: Sequence[int | None]) -> Backlogs:
    """Of a function that is not in every sample."""
    at: list[datetime] = []
    known: list[int] = []
    counters: list[tuple[int, int]] = []
    last: tuple[int, int] | None = None
    for row, there, place in zip(rows, backlogs, places, strict=True):
        if place is None and row["cut"]:
            continue
        backlog = 0 if place is None else there[place]
        if place is not None:
            if last is None:
                before = max(0, row["entered"][place] - backlog - row["running"][place])
                counters = [(before, row["drained"][place])] * len(known)
            last = row["entered"][place], row["drained"][place]
        at.append(row["at"])
        known.append(backlog)
        if last is not None:
            counters.append(last)
    entered, drained = zip(*counters, strict=True)
    return Backlogs(SampleTimes(at), known, entered, drained)
