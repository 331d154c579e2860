"""One queue of another engine, as it was found in a database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from secateur.engines.foreign.file import EngineFile
from secateur.engines.foreign.json_text import as_jsonb
from secateur.errors import UsageError
from secateur.postgres.statements import fill

_UNUSABLE = frozenset("'\\{}/$\0")
_JSON = re.compile(r"\{json ([^{}]+)\}")

NO_RUNS = """(select null::text as key, '' as id, '' as app_id, '' as function_id, '' as name, null::jsonb as data,
  null::jsonb as event, '' as status, '' as state, 0 as priority, 0 as attempt, null::timestamptz as started_at,
  null::timestamptz as scheduled_for, null::timestamptz as claimed_at, null::timestamptz as finished_at,
  '' as worker, '' as error where false)"""
"""The source of an installation whose queues have not been made yet."""


WRITES = frozenset({"lock", "cancel", "restore", "claim_order"})
"""The statements without which nothing can be cancelled."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a queue is, and of which version."""

    file: EngineFile
    schema: str
    prefix: str
    """What its tables' names begin with, where its users choose that."""
    version: str
    supported: bool
    """False for an unknown newer version: it can be looked at, and is never written to."""
    server: int = 0
    """The number of the version of Postgres, such as 150018."""
    hidden: Sequence[str] = ()
    """Tables whose rows row level security may keep from this role."""
    places: Mapping[str, str] = field(default_factory=dict)
    """What stands in its statements in places of these names: SQL that depends on the version."""
    parts: Sequence[Mapping[str, str]] = ()
    """Where each of its queues has tables of its own: what stands in the statements for each of them."""
    unread: Sequence[str] = ()
    """The queues whose tables may not be read."""

    @property
    def name(self) -> str:
        """The engine's name if it is in its usual place, else with schema and prefix: `oban:jobs`, `chancy:jobs.x_`.

        No two have the same: where a prefix may follow, a schema with a dot is quoted, as `chancy:"a.b"`.
        """
        usual = self.prefix == self.file.prefix
        if self.schema == self.file.home and usual:
            return self.file.engine
        schema = self.schema
        if self.file.has_prefixes and {".", '"'} & set(schema):
            schema = quoted(schema)
        return f"{self.file.engine}:{schema}" + ("" if usual else f".{self.prefix}")

    @property
    def is_usable(self) -> bool:
        """Whether its names can stand in the statements, in literals as well."""
        return not _UNUSABLE & set(self.schema + self.prefix)

    @property
    def can_cancel(self) -> bool:
        """Whether its file and its version allow to cancel in it."""
        return self.supported and not self.hidden and self.file.statements.keys() >= WRITES

    @property
    def unknown(self) -> str | None:
        """That its version is not known, and which are; None for one that is."""
        return None if self.supported else f"{self.version} is not known to secateur, which tried {self.file.tried}"

    @property
    def why_not(self) -> str | None:
        """Why nothing can be cancelled in it, in a sentence; None where it can."""
        if self.can_cancel:
            return None
        why = self.unknown or "secateur cannot cancel in this kind of queue yet"
        if self.hidden and self.supported:
            why = "row level security hides rows of it from this role"
        return f"{self.name} can be watched and filtered, not written to: {why}"

    @property
    def has_parts(self) -> bool:
        return "parts" in self.file.statements

    def sql(self, name: str, part: Mapping[str, str] | None = None) -> str:
        """The statement of that name over its tables. Raises `KeyError` where the engine has none."""
        names = {"s": quoted(self.schema), "schema": f"'{self.schema}'", "prefix": self.prefix}
        return self._with_json(fill(fill(self.file.statements[name], self.places), {**names, **(part or {})}))

    def each(self, name: str) -> list[str]:
        """The statement of that name, once for each part."""
        return [self.sql(name, part) for part in self.parts] if self.has_parts else [self.sql(name)]

    @property
    def source(self) -> str:
        """All of its runs, as SQL that may stand after FROM. `{sampled}` is left in it."""
        sources = self.each("source")
        return "(" + "\nunion all\n".join(sources) + "\n)" if sources else NO_RUNS

    def _with_json(self, sql: str) -> str:
        """With an expression for each `{json TEXT}`: null where the text is no JSON. It never raises."""
        return _JSON.sub(lambda found: as_jsonb(found[1], self.server), sql)


def quoted(name: str) -> str:
    """As an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def require_usable(installation: Installation) -> None:
    """Raises `UsageError` for names that no statement can be made with."""
    if not installation.is_usable:
        raise UsageError(
            f"{installation.name}: names with single quotes, backslashes, slashes, dollars or braces cannot be used"
        )
