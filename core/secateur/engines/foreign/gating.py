"""The gate of another engine's queue: a trigger on its table. It keeps workers from claiming matching jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from secateur.backoff import Backoff, persist
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.installing import installed_queues
from secateur.engines.words import fields_of_run
from secateur.errors import DatabaseError, LockUnavailable, NotFound, PermissionDenied, Unsupported
from secateur.postgres.database import Database
from secateur.postgres.statements import Statements, fill

PIECES = frozenset({"gate_table", "gate_on", "gate_when"})
"""The statements of an engine that can be gated. The optional ones are in docs/engines.md."""

TRYING = Backoff(0.3, 1.0, attempts=12)
"""For a lock on the engine's table: each try waits a fifth of a second, so that claims do not queue up behind it."""

_SQL = Statements.load("secateur.engines.foreign", "gate.sql")
_RECORDS = Statements.load("secateur.engines.foreign", "gate_records.sql")


class GateState(StrEnum):
    NONE = "none"
    ON = "on"
    STALE = "stale"
    """The engine has changed since the gate was made, or its trigger is gone: nothing is promised."""


@dataclass(frozen=True, slots=True)
class GateCheck:
    """What a look at a gate found."""

    state: GateState
    problems: tuple[str, ...] = ()
    failures: int = 0
    """Claims that it let through because something failed."""
    last_error: str | None = None


def can_gate(installation: Installation) -> bool:
    """Whether a gate can be made for this queue."""
    return installation.supported and may_have_gate(installation)


def may_have_gate(installation: Installation) -> bool:
    """Whether claims of this kind of queue can be gated: one of an unknown version may have its gate from before."""
    return installation.file.statements.keys() >= PIECES


class GateKeeper:
    """Makes, looks at and removes the gate of one installation."""

    def __init__(self, database: Database, installation: Installation) -> None:
        self._database = database
        self._installation = installation

    def script(self, lock_number: int) -> list[str]:
        """The statements that make the gate, in their order, without the rights of the roles that claim."""
        names = ("newest", "enter", "generation", "judge", "keep", "note", "left", *self._hooks)
        return [self._filled(name, lock_number) for name in names]

    def trigger(self, lock_number: int) -> list[str]:
        """The statements that have to be executed by the owner of the engine's table."""
        made = [
            self._filled(name, lock_number, hook=hook) for hook in self._hooks for name in ("drop_trigger", "trigger")
        ]
        return [self._filled("patience", lock_number), *made]

    @property
    def _hooks(self) -> tuple[str, ...]:
        """Its triggers, by the names of their functions."""
        return ("gate", "gate_also") if "gate_also_on" in self._installation.file.statements else ("gate",)

    async def install(self, author: str | None) -> GateCheck:
        """Make the gate, or make it anew. From then on commits promise that no matching job is claimed. Repeatable.

        Raises `Unsupported`, `NotFound` where nothing was installed for the queue, `PermissionDenied` where the role
        does not own secateur's schema and the engine's table, and `LockUnavailable` if somebody holds that table.
        """
        self._require_able()
        number = await self._number()
        async with self._denied():
            async with self._database.transaction() as connection:
                await connection.execute(_RECORDS["note_gate"], *self._known, number)
                for statement in self.script(number):
                    await connection.execute(statement)
                guarded = await connection.fetchval(self._filled("guarded", number))
                owner = await connection.fetchval(_SQL["owner"], guarded)
                await connection.execute(self._filled("give", number, role=owner))
                await connection.execute(_RECORDS["compile_gate"], self._installation.name)
            await persist(lambda: self._guard(number, author), TRYING, LockUnavailable)
        return await self.check()

    async def _guard(self, number: int, author: str | None) -> None:
        """Creating the trigger waits for every open claim: afterwards there is none that did not meet it."""
        async with self._database.transaction() as connection:
            for statement in self.trigger(number):
                await connection.execute(statement)
            guarded = await connection.fetchval(self._filled("guarded", number))
            await connection.execute(_RECORDS["guard"], self._installation.name, guarded, author)

    async def printed(self, *, remove: bool = False) -> list[str]:
        """The statements, for somebody else to execute: each part in one transaction. Changes nothing."""
        if remove:
            return ["begin", *await self._removal(None), "commit"]
        number = await self._number()
        self._require_able()
        name, version = map(literal, self._known)
        note = _RECORDS["note_gate"].replace("$1", name).replace("$2", version).replace("$3", str(number))
        guarded = self._filled("guarded", number)
        owner = await self._database.fetchval(_SQL["owner"], await self._database.fetchval(guarded))
        return [
            "begin",
            note,
            *self.script(number),
            self._filled("give", number, role=owner),
            f"select secateur.compile_gate({name})",
            "commit",
            "begin",
            *self.trigger(number),
            f"select secateur.guard({name}, ({guarded}), null)",
            "commit",
        ]

    async def remove(self, author: str | None) -> None:
        """Remove the gate. Active cancellations are only swept from then on. Repeatable; raises as `install`.

        It also removes one of which secateur has no record any more, since somebody has dropped its schema.
        """

        async def remove() -> None:
            async with self._database.transaction() as connection:
                for statement in await self._removal(author):
                    await connection.execute(statement)

        async with self._denied():
            await persist(remove, TRYING, LockUnavailable)

    async def _removal(self, author: str | None) -> list[str]:
        numbers = set(await self._numbers_in_use())
        unguard = []
        if self._installation.name in await installed_queues(self._database):
            numbers.add(await self._number())
            said = "null" if author is None else literal(author)
            unguard = [f"select secateur.unguard({literal(self._installation.name)}, {said})"]
        dropped = [self._filled("drop_trigger", 0, hook=hook) for hook in self._hooks]
        forgotten = [self._filled("drop", number) for number in sorted(numbers)]
        return [self._filled("patience", 0), *unguard, *dropped, *forgotten]

    async def _numbers_in_use(self) -> list[int]:
        """Of the functions that triggers of gates on the engine's tables call, whoever made them."""
        if not may_have_gate(self._installation):
            return []
        tables = [self._installation.sql(f"{hook}_table") for hook in self._hooks]
        return [row["number"] for row in await self._database.fetch(_SQL["numbers"], tables)]

    async def check(self) -> GateCheck:
        """Whether the gate is there, and as it should be. Changes nothing."""
        known = self._installation.name in await installed_queues(self._database)
        row = await self._database.fetchrow(_RECORDS["gate"], self._installation.name) if known else None
        if row is None and await self._numbers_in_use():
            return GateCheck(GateState.STALE, ("its trigger is there, and secateur has no record of it: remove it",))
        if row is None or not may_have_gate(self._installation):
            return GateCheck(GateState.NONE)
        problems = list(await self._problems(row))
        state = GateState.STALE if problems else GateState.ON
        return GateCheck(state, tuple(problems), row["failures"], row["last_error"])

    async def _problems(self, row: Mapping[str, Any]) -> list[str]:
        number, version = row["lock_number"], self._installation.version
        guarded = await self._database.fetchval(self._filled("guarded", number))
        problems: list[str] = []
        for hook in self._hooks:
            table = await self._database.fetchval(self._filled("guarded", number, hook=hook))
            found = await self._database.fetchrow(self._filled("state", number, hook=hook), table)
            if found is None:
                problems.append("its trigger is not on the engine's table")
            elif hook == "gate" and row["guarded"] != guarded:
                problems.append("the engine's table is another one since")
            elif not found["ours"]:
                problems.append("the trigger calls another function")
            elif found["enabled"] not in ("O", "A"):
                problems.append("its trigger is disabled")
            elif not found["owned"]:
                problems.append("the engine's table belongs to another role since")
            elif row["version"] == version and found["body"] != self._filled(hook, number).split("$body$")[1]:
                problems.append("it was made by another version of secateur: install it again")
        if row["failures"]:
            problems.append(
                f"it let claims through, at least {row['failures']}; the last error was: {row['last_error']}"
            )
        if row["version"] != version:
            problems.append(f"it was made for {row['version']}, and the engine is {version} now")
        return problems

    async def _number(self) -> int:
        number: int | None = await self._database.fetchval(_RECORDS["lock_number"], self._installation.name)
        if number is None:
            raise NotFound(f"nothing was installed for the queue {self._installation.name}: install it first")
        return number

    @property
    def _known(self) -> tuple[str, str]:
        return self._installation.name, self._installation.version

    def _require_able(self) -> None:
        if can_gate(self._installation):
            return
        if self._installation.unknown is not None:
            raise DatabaseError(f"{self._installation.name}: {self._installation.unknown}")
        raise Unsupported(f"claims of {self._installation.file.engine} cannot be gated")

    def _filled(self, name: str, number: int, *, role: str = "", hook: str = "gate") -> str:
        here = self._installation
        wake = (
            f"execute {literal(here.sql('wake'))} using array[gated_job.app_id];"
            if "wake" in here.file.statements
            else ""
        )
        table = here.sql(f"{hook}_table")
        several = len(self._hooks) > 1
        places = {
            "n": str(number),
            "name": literal(here.name),
            "app": literal(f"{here.name}/"),
            "claimed": self._claimed,
            "fields": fields_of_run(here.file.fields),
            "on": here.sql(f"{hook}_on"),
            "when": self._when(number, hook),
            "hook": hook,
            "keeps": here.sql("gate_also_keeps") if several else "",
            "mark": f"perform set_config('secateur_gates.took_{number}', 'yes', true);" if several else "",
            "table": table,
            "guarded": literal(table),
            "cancel": literal(here.sql("cancel")),
            "wake": wake,
            "role": role,
        }
        if name == "gate":
            with_fields = fill(_SQL["match"], places)
            match = fill(_SQL["match"], {**places, "fields": "null::jsonb"})
            # For a claim of one job, what the transaction remembers costs more than it saves.
            remembers = self._claims_several
            remember, idle = (f"{fill(_SQL[part], places)};" if remembers else "" for part in ("remember", "idle"))
            known = f"current_setting('secateur_gates.entered_{number}', true)" if remembers else "null"
            places |= {"remember": remember, "idle": idle, "known": known, "quick": ""}
            if "gate_columns" in here.file.statements:
                places["columns"] = here.sql("gate_columns")
                match = fill(_SQL["match_by_columns"], places)
                places["quick"] = f"{fill(_SQL['quick' if remembers else 'quick_one'], places)};"
            places |= {"match": match, "match_with_fields": with_fields}
        return fill(_SQL[name], places)

    def _when(self, number: int, hook: str) -> str:
        """When the trigger fires."""
        claims = self._installation.sql(f"{hook}_when")
        if hook != "gate" or not self._claims_several:
            return claims
        return f"({claims}) and {fill(_SQL['unless_idle'], {'n': str(number)})}"

    @property
    def _claims_several(self) -> bool:
        """Whether a claim may be of several jobs. For one, Postgres would read the longer condition in vain."""
        return self._installation.file.claims != "one"

    @property
    def _claimed(self) -> str:
        """The run that is being claimed, as a relation: the source over the trigger's row instead of the table."""
        here = self._installation
        table = f"{here.sql('gate_table')} as job {{sampled}}"
        if here.source.count(table) != 1:
            raise DatabaseError(f"the source of {here.file.engine} is not over {table}")
        return here.source.replace(table, "(select (old).*) as job").replace("job.ctid", "null::tid")

    @asynccontextmanager
    async def _denied(self) -> AsyncIterator[None]:
        try:
            yield
        except PermissionDenied as error:
            raise PermissionDenied(
                f"a gate needs the owner of the schema secateur and of {self._installation.sql('gate_table')} "
                f"(`--sql` prints it for them): {error}"
            ) from error


def literal(text: str) -> str:
    """As a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
