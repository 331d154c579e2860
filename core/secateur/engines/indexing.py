"""secateur's own indexes on what filters read: what they are over, which there are, and making and dropping them.

An index is over one field of the event (`secateur.cel.sql.probing`) of the unfinished runs of each app. Counts add the
field's test to their condition as soon as it is there: see `RelationSource.with_indexes`. It belongs to the owner of
the queue's table, who alone can make it, and is recognised by its name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from secateur.cel.sql.probing import Indexed, Probe
from secateur.engines.relation import RelationSource
from secateur.errors import Conflict, LockUnavailable, NotFound, PermissionDenied, Unsupported
from secateur.instants import read_instant
from secateur.postgres.database import Connection, Database
from secateur.postgres.statements import Statements, fill
from secateur.runs import UNFINISHED

SQL = Statements.load("secateur.engines", "indexing.sql")

LOCK_SECONDS = 10.0
"""An index that is made concurrently waits so long for each transaction that is older."""

ATTEMPTS = 3

_STRING = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")
_ABOUT = re.compile(r"secateur: (?P<field>.*); made at (?P<made>[0-9TZ:-]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FilterIndex:
    """An index that secateur made."""

    schema: str
    name: str
    table: str
    field: str | None
    """What it is over, as an expression names it; None if its comment was lost."""
    bytes: int
    scans: int
    """How often Postgres has read it, since its statistics began."""
    is_valid: bool
    is_being_built: bool
    made_at: datetime | None

    @property
    def qualified(self) -> str:
        return f"{_name(self.schema)}.{_name(self.name)}"


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """An index that could be made."""

    field: str
    name: str
    table: str
    """As a statement names it."""
    columns: str
    """What it is over, and of which rows, in the table's own words."""

    @property
    def ddl(self) -> str:
        return f"create index concurrently {self.name} on {self.table} {self.columns}"


async def planned(source: RelationSource, connection: Connection, probe: Probe) -> IndexPlan:
    """Raises `Unsupported` where the runs are not the rows of one table."""
    expression, parameters = probe.expression.bind(1, None)
    places = {"expression": expression, "among": source.among[UNFINISHED], "runs": source.relation}
    rows = await connection.fetchval(fill(SQL["over"], places), *parameters)
    plan = (json.loads(rows) if isinstance(rows, str) else rows)[0]["Plan"]
    if "Relation Name" not in plan:
        raise Unsupported(
            f"the runs of {source.name} are in several tables or partitions: an index cannot be made on all of them "
            "concurrently; make one on each"
        )
    own, app, among = (_without(plan["Alias"], each) for each in plan["Output"])
    entry = f"({own})" + (' collate "C"' if probe.kind is Indexed.TEXT else "")
    columns = f"({entry})" if app.startswith("'") else f"(({app}), {entry})"  # one queue may be one app
    table = f"{_name(plan['Schema'])}.{_name(plan['Relation Name'])}"
    return IndexPlan(probe.field, probe.index_of(source.name), table, f"{columns} where {among}")


def _without(alias: str, sql: str) -> str:
    """The SQL of one table's columns, without the table's name before each."""
    parts = _STRING.split(sql)
    before = re.compile(rf"\b{re.escape(alias)}\.")
    return "".join(part if number % 2 else before.sub("", part) for number, part in enumerate(parts))


def _name(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


class FilterIndexes:
    """Those of one database, whatever the queue. Raises errors of `secateur.errors`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[FilterIndex]:
        """Sorted by schema and name. No rights are needed to see them."""
        found = []
        for row in await self._database.fetch(SQL["indexes_of_filters"], repeatable=True):
            about = _ABOUT.fullmatch(row["about"])
            found.append(
                FilterIndex(
                    **{key: value for key, value in row.items() if key != "about"},
                    field=about["field"] if about else None,
                    made_at=read_instant(about["made"]) if about else None,
                )
            )
        return found

    async def create(self, plan: IndexPlan) -> FilterIndex:
        """Make it while the queue goes on, and have the planner's statistics taken of it.

        What an attempt that failed left behind is dropped first. Returns the one that is there if it is valid.

        Raises `PermissionDenied` unless the table is this role's own, `Conflict` while somebody else makes the same
        index, `LockUnavailable` when transactions that are older do not end, and `ReadOnly`.
        """
        await self._require_owner(plan)
        for attempt in range(ATTEMPTS):
            there = await self._find(plan.name)
            if there is not None and there.is_being_built:
                raise Conflict(f"{there.qualified} is being made right now; `secateur advise` lists it when it is done")
            if there is not None and there.is_valid:
                return there
            try:
                if there is not None:
                    await self._alone(f"drop index concurrently if exists {there.qualified}")
                await self._alone(plan.ddl)
                break
            except LockUnavailable as error:
                if attempt + 1 == ATTEMPTS:
                    raise LockUnavailable(
                        f"{plan.name} was not made: in each of {ATTEMPTS} attempts, older transactions went on for "
                        f"more than {LOCK_SECONDS:.0f} s; `secateur doctor` names them. The next one drops what is left"
                    ) from error
        made = await self.named(plan.name)
        await self._database.execute(
            await self._database.fetchval(SQL["made"], made.qualified, f"secateur: {plan.field}")
        )
        await self._database.execute(f"analyze {plan.table}")
        return await self.named(plan.name)

    async def drop(self, name: str) -> FilterIndex:
        """Drop it while the queue goes on. Raises `NotFound` for what is none of secateur's, and as `create` does."""
        found = await self.named(name)
        await self._require_owner(found)
        await self._alone(f"drop index concurrently if exists {found.qualified}")
        return found

    async def named(self, name: str) -> FilterIndex:
        """Raises `NotFound`."""
        if (found := await self._find(name)) is None:
            raise NotFound(f"there is no index {name!r} of secateur's; `secateur advise --list` lists them")
        return found

    async def _find(self, name: str) -> FilterIndex | None:
        return next((each for each in await self.all() if each.name == name), None)

    async def _require_owner(self, of: IndexPlan | FilterIndex) -> None:
        row = await self._database.fetchrow(SQL["owner"], of.table)
        if row is not None and not row["may"]:
            what = f", or have it execute: {of.ddl}" if isinstance(of, IndexPlan) else ""
            raise PermissionDenied(
                f"only the owner of {of.table} can make and drop its indexes, and {row['role']} is not: connect as"
                f" {row['owner']}{what}"
            )

    async def _alone(self, statement: str) -> None:
        await self._database.execute_alone(statement, lock_timeout=LOCK_SECONDS)
