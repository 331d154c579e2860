"""Reads another engine's queue. This needs only SELECT on its tables, and no install."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from secateur.cel.sql.columns import COLUMNS_OF_PARTS, Columns
from secateur.engines.arriving import ARRIVING, SampledArrivals, SampleQuestion
from secateur.engines.base import Selection
from secateur.engines.foreign.depth import DepthReader
from secateur.engines.foreign.discovery import with_parts
from secateur.engines.foreign.evaluating import answer, is_true, judged
from secateur.engines.foreign.installation import Installation, require_usable
from secateur.engines.populations import Arrivals, Population, Tally
from secateur.engines.readings import Reading, scoped
from secateur.engines.relation import STATEMENTS
from secateur.engines.sampled import Size
from secateur.engines.searching import MOST_READ, RunSearch
from secateur.errors import NotInstalled
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, Count, FunctionDepth, RunStatus, Scope
from secateur.words.shell import command_line

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.cel.sql.probing import Probe
    from secateur.cel.words import QueueWords

COLUMNS = (
    "run.id, run.app_id, run.function_id, run.event, run.status, run.priority, run.attempt, run.started_at, "
    "run.scheduled_for, run.claimed_at, run.finished_at, run.worker, run.error"
)

_PREDICATES = {RunStatus.FAILED: "failed", RunStatus.CANCELLED: "cancelled", RunStatus.COMPLETED: "ended"}
"""Where a status is told by another predicate than that of unfinished runs."""

_LAST = re.compile(r"\$\d+")
"""The parameter of a clause that draws a part of the runs."""

_COUNTS = ("count", "verdicts")
"""The statements whose progress is shown."""

NEWEST = 100_000
"""Runs among which those of a small scope are looked for."""


class ForeignSource(SampledArrivals):
    """A `Source` that is made of an engine's SQL file.

    A condition whose SQL calls helper functions that this database does not have is evaluated in this process, on
    streamed rows.
    """

    evaluated: int | None
    """See `Evaluating`."""
    variables: Columns = COLUMNS_OF_PARTS
    statements: Mapping[str, str] = {
        **STATEMENTS,
        **ARRIVING,
        **Statements.load("secateur.engines.foreign", "foreign.sql"),
    }

    def __init__(self, database: Database, replica: Database | None, installation: Installation) -> None:
        super().__init__(database, replica)
        require_usable(installation)
        self.name = installation.name
        self.only_watched = installation.why_not
        if installation.can_cancel:
            self.to_cancel = command_line("install", flags=[("--engine", installation.name)])
        self._helpers: frozenset[str] = frozenset()
        self.evaluated = None
        self._depth = DepthReader(database)
        self._use(installation)

    def _use(self, installation: Installation) -> None:
        kept = installation.file.statements
        self.installation = installation
        self._source = installation.source
        self.relation = self._source.replace("{sampled}", "")
        self.columns = ", ".join([COLUMNS, *installation.file.more_columns])
        self.place = "run.place" if " as place" in self._source and not installation.has_parts else None
        self.among = {
            UNFINISHED: kept["unfinished"],
            (RunStatus.FAILED,): kept["failed"],
            (RunStatus.FAILED, RunStatus.CANCELLED): f"({kept['failed']} or {kept['cancelled']})",
        }

    @property
    def unseen(self) -> tuple[str, ...]:
        """What this role cannot see of the queue, and what to do about it."""
        tables = ", ".join(self.installation.hidden)
        hidden = f"row level security may hide rows of {tables} from this role: let their owner create a policy for it"
        unread = f"no right to read {', '.join(self.installation.unread)}: grant SELECT on their tables"
        return (hidden,) * bool(tables) + (unread,) * bool(self.installation.unread)

    @property
    def words(self) -> QueueWords:
        return self.installation.file.words

    def problem_of_run_id(self, run_id: str) -> str | None:
        return self.installation.file.problem_of_run_id(run_id)

    async def detect(self) -> str:
        """The version. Looks whether the queue is still there, and which helpers the database has."""
        file, here = self.installation.file, self.installation
        rows = await self._database.fetch(file.statements["detect"], repeatable=True)
        if not any((row["schema"], row["prefix"]) == (here.schema, here.prefix) for row in rows):
            raise NotInstalled(f"{self._database.description} no longer has the queue {self.name}")
        self._helpers = frozenset(row["name"] for row in await self._database.fetch(self.statements["helpers"]))
        return here.version

    async def depth(self) -> list[FunctionDepth]:
        self._use(await with_parts(self._database, self.installation))
        return await self._depth.read(self.installation)

    async def size(self, reading: Reading, scope: Scope) -> Size:
        """From the last depth and the size of the table. A queue of several tables is not sampled by pages."""
        return Size(await self._depth.unfinished(self.installation, scope), await self.pages(reading))

    async def pages(self, reading: Reading) -> int:
        if self.place is None:
            return 0
        sql = self.sql("pages").replace("{table}", self.installation.sql("table"))
        found: int = await reading.connection.fetchval(sql)
        return found

    async def of_few(self, reading: Reading, question: SampleQuestion, limit: int) -> tuple[object, ...]:
        return self.statement("arrivals_of_few", question, limit, NEWEST)

    async def arrivals(self, population: Population, limit: int) -> Arrivals:
        filter = population.filter
        if filter is None or self.has_helpers(filter, only_matches=population.matching):
            return await super().arrivals(population, limit)
        found = await super().arrivals(replace(population, filter=None), limit)
        sample = tuple(each for each in found.sample if is_true(filter, each, population) is population.matching)
        share = len(sample) / max(1, len(found.sample))
        return Arrivals(sample, round(found.total * share), round(found.unfinished * share))

    async def tally(self, population: Population, filters: Sequence[Filter], limit: int) -> Tally:
        asked = [*filters, *([population.filter] if population.filter is not None else [])]
        if all(self.has_helpers(each, only_matches=True) for each in asked):
            return await super().tally(population, filters, limit)
        sample = (await self.arrivals(population, limit)).sample
        return Tally(len(sample), tuple(sum(is_true(one, each, population) for each in sample) for one in filters))

    def sql(self, name: str, sampled: str = "") -> str:
        newest = ", ".join(f"{column} desc" for column in self.position)
        return super().sql(name, sampled).replace("{newest}", newest)

    def drawn(self, sampled: str) -> str:
        return f"{self._source.replace('{sampled}', sampled)} as run"

    @property
    def one(self) -> str:
        file = self.installation.file
        return self.installation.sql("one") if "one" in file.statements else f"run.key = $1::text::{file.ids}"

    @property
    def position(self) -> tuple[str, ...]:
        """By key where keys are in the order of the starts, else by start."""
        return ("run.key",) if self.installation.file.ids == "bigint" else ("run.started_at", "run.key")

    def with_status(self, status: RunStatus) -> str:
        return self.installation.file.statements[_PREDICATES.get(status, "unfinished")]

    async def ask(
        self,
        reading: Reading,
        name: str,
        selection: Selection,
        parameters: list[object],
        *,
        only_matches: bool = False,
        sampled: str = "",
        also: Sequence[Probe] = (),
    ) -> Sequence[Mapping[str, Any]]:
        filter = selection.filter
        if filter is None or self.has_helpers(filter, only_matches=only_matches):
            return await super().ask(
                reading, name, selection, parameters, only_matches=only_matches, sampled=sampled, also=also
            )
        own = f"rows_of_{name}"
        # Beside scope and window, the rows depend on nothing but the part that is drawn, which is the last parameter.
        sql = self.sql(own if own in self.statements else "rows", _LAST.sub("$5", sampled))
        sql = sql.replace("{among}", self.among[selection.statuses])
        given = [*scoped(selection), *(parameters[-1:] if sampled else ())]
        rows = judged(reading.connection, sql, given, filter, selection.now or reading.as_of, self._told(name))
        try:
            return await answer(name, rows, parameters)
        finally:
            self.evaluated = None

    async def streamed(self, reading: Reading, selection: Selection) -> AsyncIterator[Mapping[str, Any]]:
        filter = selection.filter
        if filter is None or self.has_helpers(filter, only_matches=True):
            async for row in super().streamed(reading, selection):
                yield row
            return
        sql = self.sql("rows").replace("{among}", self.with_statuses(selection.statuses))
        rows = judged(reading.connection, sql, scoped(selection), filter, selection.now or reading.as_of)
        async for row, verdict in rows:
            if verdict:
                yield row

    def _told(self, name: str) -> Callable[[int], None]:
        return self._evaluating if name in _COUNTS else lambda _: None

    def _evaluating(self, many: int) -> None:
        self.evaluated = many

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        count = await super().count(selection, on_primary=on_primary)
        return replace(count, evaluated_here=self._evaluates(selection, only_matches=True))

    async def count_with_errors(self, selection: Selection, *, on_primary: bool = False) -> Count:
        count = await super().count_with_errors(selection, on_primary=on_primary)
        return replace(count, evaluated_here=self._evaluates(selection))

    async def estimate(self, selection: Selection) -> Count | None:
        count = await super().estimate(selection)
        return None if count is None else replace(count, evaluated_here=self._evaluates(selection))

    def _evaluates(self, selection: Selection, *, only_matches: bool = False) -> bool:
        filter = selection.filter
        return filter is not None and not self.has_helpers(filter, only_matches=only_matches)

    async def found(self, reading: Reading, search: RunSearch, parameters: list[object]) -> Sequence[Mapping[str, Any]]:
        if search.filter is None or self.has_helpers(search.filter):
            return await super().found(reading, search, parameters)
        sql = self.search_sql("runs", search).replace("{condition}", "true")
        # As many as may be looked at: which of them match is not known yet.
        given = [*parameters[:-1], MOST_READ]
        rows = judged(reading.connection, sql, given, search.filter, reading.as_of)
        return await answer("runs", rows, parameters)

    def has_helpers(self, filter: Filter, *, only_matches: bool = False) -> bool:
        """Whether the database has every function that the filter's SQL calls."""
        forms = self.forms(filter)
        form = forms.matching if only_matches else forms.condition
        return self._helpers >= form.helpers
