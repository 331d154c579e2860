"""Reading a queue whose runs are one relation.

An engine that reads in this way says where its runs are: a table, a view, or a sub-select over its own tables, with
canonical columns. `id`, `app_id`, `function_id`, `event` (jsonb), `status` and `started_at` must be there; `priority`,
`attempt`, `fields` (jsonb) and the other fields of `Run` may be. The compiled conditions are over this relation, by the
name `run`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from secateur.cel.values import decode_json
from secateur.engines.base import RATE_SECONDS, Selection, Source, Verdict
from secateur.engines.readings import Reading, counted, directed, scoped
from secateur.engines.rows import run_of
from secateur.engines.searching import MOST_READ, RunPage, RunSearch
from secateur.engines.unknown import no_such
from secateur.engines.words import require_fields, words_of_queue
from secateur.errors import DatabaseError, NotFound, NotInstalled, Problem, QueryTimeout, RequestError
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements, fill
from secateur.runs import UNFINISHED, Bar, Count, CountedBy, Histogram, Run, RunStatus, Scope

if TYPE_CHECKING:
    from secateur.cel import Filter
    from secateur.cel.filters import SqlForms
    from secateur.cel.sql.columns import Columns
    from secateur.cel.sql.probing import Probe
    from secateur.cel.words import QueueWords

REPLICA_REST_SECONDS = 15.0
"""After a failure the replica is left alone for so long."""

STATEMENTS: Mapping[str, str] = Statements.load("secateur.engines", "relation.sql")

_VERDICTS = {Verdict.MATCH: True, Verdict.NO_MATCH: False, Verdict.ERROR: None}

AMONG: Mapping[tuple[RunStatus, ...], str] = {
    UNFINISHED: "run.status in ('queued', 'scheduled', 'running')",
    (RunStatus.FAILED,): "run.status = 'failed'",
    (RunStatus.FAILED, RunStatus.CANCELLED): "(run.status = 'failed' or run.status = 'cancelled')",
}

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class RelationSource(Source):
    """What reads many runs is asked of the `replica`, if there is one: a streaming copy, in a read-only session.

    What is left to the engine: `name`, `detect`, `depth`, and `problem_of_run_id`.
    """

    first_run: str | None = None
    relation: str
    """The runs, as SQL that may stand after FROM."""
    columns: str = "run.*"
    """What to select of them."""
    place: str | None = "run.ctid"
    """Where a run is in the table; None where the runs are not those of one table."""
    statements: Mapping[str, str] = STATEMENTS
    """Those of relation.sql, and the engine's own of the same names in their place."""
    among: Mapping[tuple[RunStatus, ...], str] = AMONG
    """The statuses that a selection can mean, in the words of the index that has the runs with these."""

    def __init__(self, database: Database, replica: Database | None = None) -> None:
        self._database = database
        self._replica = replica
        self._replica_tried = float("-inf")

    @property
    def database(self) -> Database:
        """The primary."""
        return self._database

    @property
    def words(self) -> QueueWords:
        return words_of_queue(self.name)

    @property
    def variables(self) -> Columns:
        """What conditions read of the relation. `COLUMNS_OF_PARTS` where `event` is built of `name` and `data`."""
        from secateur.cel.sql.columns import COLUMNS  # whoever looks at the depth needs nothing of the language

        return COLUMNS

    def forms(self, filter: Filter) -> SqlForms:
        """Raises `ExpressionError` if it reads a field of a run that this queue does not have."""
        require_fields(filter, self.words)
        return filter.over(self.variables)

    def sql(self, name: str, sampled: str = "") -> str:
        """The statement over the engine's relation; `sampled` is what `{drawn}` draws of it."""
        places = {
            "drawn": self.drawn(sampled),
            "runs": self.relation,
            "columns": self.columns,
            "one": self.one,
            "unfinished": self.among[UNFINISHED],
        }
        return fill(self.statements[name], places)

    def drawn(self, sampled: str) -> str:
        """The runs, or the part that the clause `sampled` draws of them, called `run`: `{drawn}` in a statement."""
        return f"{self.relation} as run {sampled}".rstrip()

    async def clock(self) -> datetime:
        moment: datetime = await self._database.fetchval(self.sql("clock"))
        return moment

    async def estimate(self, selection: Selection) -> Count | None:
        return None

    async def sample_events(self, scope: Scope, limit: int) -> list[Any]:
        async def ask(reading: Reading) -> list[Any]:
            rows = await reading.connection.fetch(self.sql("sample_events"), scope.app_id, scope.function_id, limit)
            return [decode_json(row["event"]) for row in rows if row["event"] is not None]

        return await self.read(ask)

    async def run(self, run_id: str) -> Run:
        self.require_run_id("run_id", run_id)
        row = await self._database.fetchrow(self.sql("run"), run_id)
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return run_of(row)

    async def runs(self, search: RunSearch) -> RunPage:
        for scope in search.scopes:
            await self.require_known(scope)
        if search.before is not None:
            self.require_run_id("before", search.before)
        return await self.read(lambda reading: self.page(reading, search), on_primary=search.filter is None)

    async def page(self, reading: Reading, search: RunSearch) -> RunPage:
        """One page, in the order of the runs' starts: all that is looked at, in one statement."""
        most = MOST_READ if search.searches else search.limit
        given = (search.app_id, search.named, search.status, search.before, most)
        window = (search.window.started_after, search.window.started_before)
        rows = await self.found(reading, search, [*given, *window, search.limit])
        found = [run_of(row) for row in rows]
        if len(found) == search.limit:
            return RunPage(found, next=found[-1].id, looked_at=rows[-1]["nth"], back_to=found[-1].started_at)
        end = await reading.connection.fetchrow(self.search_sql("runs_reached", search), *given)
        goes_on = end["looked"] == most
        return RunPage(found, next=end["id"] if goes_on else None, looked_at=end["looked"], back_to=end["started_at"])

    async def found(self, reading: Reading, search: RunSearch, parameters: list[object]) -> Sequence[Mapping[str, Any]]:
        """The rows of the statement `runs`."""
        sql, parameters = self.search_condition("runs", search, reading.as_of, parameters)
        rows: Sequence[Mapping[str, Any]] = await reading.connection.fetch(sql, *parameters)
        return rows

    @property
    def one(self) -> str:
        """What is true of the run whose id is $1."""
        return "run.id::text = $1"

    @property
    def position(self) -> tuple[str, ...]:
        """The columns by which a list is ordered: in the order of the starts."""
        return "run.started_at", "run.id::text"

    def with_status(self, status: RunStatus) -> str:
        """What is true of the runs with that status, and maybe of others, in words that an index serves."""
        return "true"

    def search_sql(self, name: str, search: RunSearch) -> str:
        """The statement in the order and the direction of the search."""
        position = ", ".join(self.position)
        places = {
            "position": position,
            "page_position": position.replace("run.", "page."),
            "page": self.one.replace("run.", "page.").replace("$1", "$4"),
            "ordered": ", ".join(f"{column} {{order}}" for column in self.position),
            "with_status": "true" if search.status is None else self.with_status(search.status),
        }
        return directed(fill(self.sql(name), places), search)

    def search_condition(
        self, name: str, search: RunSearch, as_of: datetime, parameters: list[object]
    ) -> tuple[str, list[object]]:
        """The statement in the direction of the search, with its condition in its place, and all parameters."""
        sql = self.search_sql(name, search)
        if search.filter is None:
            return sql.replace("{condition}", "true"), parameters
        condition, more = self.forms(search.filter).matching.bind(len(parameters) + 1, as_of)
        return sql.replace("{condition}", f"({condition})"), [*parameters, *more]

    def require_run_id(self, field: str, run_id: str) -> None:
        """Raises `RequestError` for what cannot be one."""
        if (problem := self.problem_of_run_id(run_id)) is not None:
            raise RequestError([Problem(field, problem)])

    async def require_known(self, scope: Scope) -> None:
        """Raises `NotFound` for an app or function that is not known."""
        if not await self._database.fetchval(self.sql("is_known"), scope.app_id, scope.function_id):
            raise no_such(scope, await self.depth())

    async def count(self, selection: Selection, *, on_primary: bool = False) -> Count:
        scope = scoped(selection)

        async def ask(reading: Reading) -> Count:
            total = await self.total(reading, selection)
            served = await self.with_indexes(reading, selection)
            rows = await self.ask(reading, "count", selection, scope, only_matches=True, also=served)
            return counted(rows, reading, selection, exact=True, total=total, errors=None if selection.filter else 0)

        return await self.read(ask, on_primary=on_primary)

    async def count_with_errors(self, selection: Selection, *, on_primary: bool = False) -> Count:
        if selection.filter is None:
            return await self.count(selection, on_primary=on_primary)

        async def ask(reading: Reading) -> Count:
            total = await self.total(reading, selection)
            rows = await self.ask(reading, "verdicts", selection, scoped(selection))
            errors = sum(row["errors"] for row in rows)
            return counted(rows, reading, selection, exact=True, total=total, errors=errors)

        return await self.read(ask, on_primary=on_primary)

    async def total(self, reading: Reading, selection: Selection) -> int:
        """The scope's runs with these statuses, whatever the window."""
        sql = self.sql("total").replace("{among}", self.among[selection.statuses])
        many: int = await reading.connection.fetchval(sql, *scoped(selection)[:2])
        return many

    async def examples(self, selection: Selection, verdict: Verdict, limit: int) -> list[Run]:
        async def ask(reading: Reading) -> list[Run]:
            wanted = [*scoped(selection), _VERDICTS[verdict], limit]
            return [run_of(row) for row in await self.ask(reading, "examples", selection, wanted)]

        return await self.read(ask)

    async def histogram(self, selection: Selection, bars: int) -> Histogram | None:
        return await self.read(lambda reading: self.charted(reading, selection, bars))

    async def charted(
        self, reading: Reading, selection: Selection, bars: int, percent: float = 100.0
    ) -> Histogram | None:
        """The histogram of all runs, or of so many per cent of them."""
        wanted = [*scoped(selection), bars, percent]
        sampled = "" if percent == 100.0 else "tablesample system ($6::float8)"
        rows = await self.ask(reading, "histogram", selection, wanted, sampled=sampled)
        if not rows:
            return None
        found = {row["part"]: row for row in rows}
        scale = 100.0 / percent
        return Histogram(
            rows[0]["first"],
            rows[0]["last"],
            tuple(
                Bar(*(round(found[part][each] * scale) for each in ("total", "matched", "errors")))
                if part in found
                else Bar(0, 0, 0)
                for part in range(1, bars + 1)
            ),
            exact=percent == 100.0,
        )

    async def arrival_rate(self, selection: Selection) -> float:
        if selection.statuses is not UNFINISHED:
            return 0.0

        async def ask(reading: Reading) -> float:
            (row,) = await self.ask(reading, "arrivals", selection, scoped(selection), only_matches=True)
            return int(row["arrived"]) / RATE_SECONDS

        return await self.read(ask, on_primary=True)

    async def read(self, ask: Callable[[Reading], Awaitable[Result]], *, on_primary: bool = False) -> Result:
        """The answer of the replica, if there is one; where it fails, the primary's."""
        failed: str | None = None
        if self._replica is not None and not on_primary:
            if time.monotonic() < self._replica_tried + REPLICA_REST_SECONDS:
                failed = "it could not be read recently"
            else:
                try:
                    return await self._ask(self._replica, "replayed", CountedBy.REPLICA, None, ask)
                except QueryTimeout:
                    raise
                except (DatabaseError, NotInstalled) as error:
                    logger.warning("the replica cannot be read; reading the primary instead: %s", error)
                    self._replica_tried = time.monotonic()
                    failed = str(error)
        return await self._ask(self._database, "clock", CountedBy.PRIMARY, failed, ask)

    async def _ask(
        self,
        database: Database,
        clock: str,
        source: CountedBy,
        replica_failed: str | None,
        ask: Callable[[Reading], Awaitable[Result]],
    ) -> Result:
        async with self.reading(database, clock, source, replica_failed) as reading:
            return await ask(reading)

    @asynccontextmanager
    async def reading(
        self, database: Database, clock: str, source: CountedBy, replica_failed: str | None
    ) -> AsyncIterator[Reading]:
        """Plans for the values at hand: a plan for any scope would ignore the indexes of this one.

        All that is asked is of one snapshot: runs that arrive meanwhile must not count for one figure only.
        """
        async with database.transaction(one_snapshot=True) as connection:
            as_of = await connection.fetchval(self.sql(clock))
            await connection.execute(self.sql("plan_for_values"))
            yield Reading(connection, as_of, source, replica_failed)

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
        """The rows of the statement, with the generated condition in its place.

        `only_matches` where nothing but true matters, so that the cheaper form does. `sampled` is as for `sql`; `also`
        are tests that stand beside the condition, because an index serves them.
        """
        sql, parameters = self.asked(reading, name, selection, parameters, only_matches, sampled, also)
        rows: Sequence[Mapping[str, Any]] = await reading.connection.fetch(sql, *parameters)
        return rows

    def asked(
        self,
        reading: Reading,
        name: str,
        selection: Selection,
        parameters: list[object],
        only_matches: bool,
        sampled: str,
        also: Sequence[Probe],
    ) -> tuple[str, list[object]]:
        """The statement that `ask` sends, and its parameters."""
        sql = self.sql(name, sampled)
        for probe in also:
            test, more = probe.test.bind(len(parameters) + 1, None)
            sql, parameters = sql.replace("{condition}", f"{{condition}} and {test}"), [*parameters, *more]
        return self.bound(sql, reading, selection, parameters, only_matches=only_matches)

    async def with_indexes(self, reading: Reading, selection: Selection) -> list[Probe]:
        """The tests of the filter that an index of secateur's own serves; see `secateur.engines.indexing`."""
        probes = self.probes(selection)
        if not probes:
            return []
        names = {probe.index_of(self.name): probe for probe in probes}
        rows = await reading.connection.fetch(self.sql("indexes_there"), [*names])
        return [names[row["name"]] for row in rows]

    def probes(self, selection: Selection) -> tuple[Probe, ...]:
        """What indexes could look up of the filter, where an index has the runs with these statuses."""
        if selection.filter is None or selection.statuses is not UNFINISHED:
            return ()
        from secateur.cel.sql.probing import probes_of

        return probes_of(selection.filter.folded, self.variables)

    def bound(
        self, sql: str, reading: Reading, selection: Selection, parameters: list[object], *, only_matches: bool
    ) -> tuple[str, list[object]]:
        """The statement with the statuses and the condition in their places, and all parameters."""
        sql = sql.replace("{among}", self.with_statuses(selection.statuses))
        condition = "true"
        if selection.filter is not None:
            forms = self.forms(selection.filter)
            form = forms.matching if only_matches else forms.condition
            condition, more = form.bind(len(parameters) + 1, selection.now or reading.as_of)
            parameters = [*parameters, *more]
        return sql.replace("{condition}", f"({condition})"), parameters

    def with_statuses(self, statuses: tuple[RunStatus, ...]) -> str:
        """What is true of the runs with one of these statuses, and of no others."""
        if statuses in self.among:
            return self.among[statuses]
        if set(statuses) == set(RunStatus):
            return "true"
        return " or ".join(f"({self.with_status(each)} and run.status = '{each}')" for each in statuses).join("()")
