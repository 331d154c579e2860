"""Reads a queue of others: no right but SELECT on its tables is needed, and nothing installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from secateur.cel import Filter
from secateur.cel.sql.columns import COLUMNS_OF_PARTS, Columns
from secateur.engines.base import Selection
from secateur.engines.foreign.depth import DepthReader
from secateur.engines.foreign.discovery import with_parts
from secateur.engines.foreign.evaluating import evaluate
from secateur.engines.foreign.installation import Installation, fill, require_usable
from secateur.engines.relation import STATEMENTS, Reading, directed
from secateur.engines.sampled import SampledSource, Size
from secateur.engines.searching import RunSearch
from secateur.errors import NotInstalled
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements
from secateur.runs import UNFINISHED, FunctionDepth, RunStatus, Scope

COLUMNS = (
    "run.id, run.app_id, run.function_id, run.event, run.status, run.priority, run.attempt, run.started_at, "
    "run.scheduled_for, run.claimed_at, run.finished_at, run.worker, run.error"
)

_PREDICATES = {RunStatus.FAILED: "failed", RunStatus.CANCELLED: "cancelled", RunStatus.COMPLETED: "ended"}
"""Where a status is told by another predicate than that of unfinished runs."""


class ForeignSource(SampledSource):
    """What an engine's SQL file says, as a `Source`.

    A condition whose SQL calls helper functions that this database does not have is evaluated in this process, on
    streamed rows.
    """

    columns = COLUMNS
    variables: Columns = COLUMNS_OF_PARTS
    statements: Mapping[str, str] = {**STATEMENTS, **Statements.load("secateur.engines.foreign", "foreign.sql")}

    def __init__(self, database: Database, replica: Database | None, installation: Installation) -> None:
        super().__init__(database, replica)
        require_usable(installation)
        self.name = installation.name
        self.word = installation.file.word
        self._helpers: frozenset[str] = frozenset()
        self._depth = DepthReader(database)
        self._use(installation)

    def _use(self, installation: Installation) -> None:
        kept = installation.file.statements
        self.installation = installation
        self.relation = installation.source
        self.among = {
            UNFINISHED: kept["unfinished"],
            (RunStatus.FAILED,): kept["failed"],
            (RunStatus.FAILED, RunStatus.CANCELLED): f"({kept['failed']} or {kept['cancelled']})",
        }

    def problem_of_run_id(self, run_id: str) -> str | None:
        return self.installation.file.problem_of_run_id(run_id)

    async def detect(self) -> str:
        """The version that was found. Looks whether the queue is still there, and which helpers are."""
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
        """By the last depth, and by the size of the table; what lies in several tables is not sampled by pages."""
        total = await self._depth.unfinished(self.installation, scope)
        if self.installation.has_parts or "table" not in self.installation.file.statements:
            return Size(total, 0)
        pages = await reading.connection.fetchval(self.sql("pages").replace("{table}", self.installation.sql("table")))
        return Size(total, pages)

    def sql(self, name: str, sampled: str = "") -> str:
        return fill(super().sql(name, sampled), {"one": self._one, "unfinished": self.among[UNFINISHED]})

    def search_sql(self, name: str, search: RunSearch) -> str:
        """In the order of the key, where that is the order of the starts; else by the starts."""
        kept = self.installation.file.statements
        position = "run.key" if self.installation.file.ids == "bigint" else "run.started_at, run.key"
        places = {
            "position": position,
            "page_position": position.replace("run.", "page."),
            "page": self._one.replace("run.", "page.").replace("$1", "$4"),
            "ordered": ", ".join(f"{column} {{order}}" for column in position.split(", ")),
            "with_status": "true" if search.status is None else kept[_PREDICATES.get(search.status, "unfinished")],
        }
        return directed(fill(self.sql(name), places), search)

    @property
    def _one(self) -> str:
        """The run whose id is $1."""
        file = self.installation.file
        return self.installation.sql("one") if "one" in file.statements else f"run.key = $1::text::{file.ids}"

    async def ask(
        self,
        reading: Reading,
        name: str,
        selection: Selection,
        parameters: list[object],
        *,
        only_matches: bool = False,
        sampled: str = "",
    ) -> Sequence[Mapping[str, Any]]:
        filter = selection.filter
        if filter is None or self.has_helpers(filter, only_matches=only_matches):
            return await super().ask(reading, name, selection, parameters, only_matches=only_matches, sampled=sampled)
        rows = self.sql(f"rows_of_{name}", sampled).replace("{among}", self.among[selection.statuses])
        now = selection.now or reading.as_of
        return await evaluate(name, reading.connection, rows, parameters, filter, now)

    async def found(self, reading: Reading, search: RunSearch, parameters: list[object]) -> Sequence[Mapping[str, Any]]:
        if search.filter is None or self.has_helpers(search.filter):
            return await super().found(reading, search, parameters)
        rows = self.search_sql("rows_of_runs", search)
        return await evaluate("runs", reading.connection, rows, parameters, search.filter, reading.as_of)

    def has_helpers(self, filter: Filter, *, only_matches: bool = False) -> bool:
        """Whether the database has every function that the filter's SQL calls."""
        forms = filter.over(self.variables)
        form = forms.matching if only_matches else forms.condition
        return self._helpers >= form.helpers
