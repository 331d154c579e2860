"""Another engine's queue for which secateur was installed: its runs can be cancelled and restored."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

from secateur.engines.base import DepthCheck, Gate, Pruned, Retention, Stopping, Upkeep
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.ledger import ForeignLedger
from secateur.engines.foreign.source import ForeignSource
from secateur.errors import ReadOnly
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.postgres.database import Database
from secateur.runs import UNFINISHED, FunctionDepth, Run


class ForeignEngine(ForeignSource, Cancelling, Upkeep):
    """Made by `foreign_engine`."""

    def __init__(self, database: Database, replica: Database | None, installation: Installation) -> None:
        super().__init__(database, replica, installation)
        self._ledger = ForeignLedger(database, self)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    async def depth(self) -> list[FunctionDepth]:
        depths = await super().depth()
        rows = await self._database.fetch(self.sql("cancelling"), self.name)
        cancelling = {(row["app_id"].removeprefix(f"{self.name}/"), row["function_id"]): row["runs"] for row in rows}
        return [
            replace(
                each, cancelling=min(cancelling.get((each.app_id, each.function_id), 0), each.backlog + each.running)
            )
            for each in depths
        ]

    async def run(self, run_id: str) -> Run:
        run = await super().run(run_id)
        if run.status in UNFINISHED:
            return run
        owner = await self._ledger.taken_by(run_id)
        return run if owner is None else replace(run, cancellation_id=str(owner))

    async def compact_depth(self, every: timedelta, batch: int) -> int:
        """Does nothing: there is no history of the depth here."""
        return 0

    async def check_depth(self, every: timedelta) -> DepthCheck | None:
        return None

    async def prune(self, batch: int) -> Pruned:
        """Deletes the rows kept for an undo that can no longer be undone. The engine deletes its own.

        Nothing while an undo is refused since the version is unknown: the rows wait as well.
        """
        self._refuse_if_read_only()
        if self.only_watched is not None:
            return Pruned(0, more=False)
        pruned: int = await self._database.fetchval(self.sql("prune"), self.name, batch)
        return Pruned(pruned, more=pruned >= batch)

    async def retention(self) -> Retention:
        row = await self._database.fetchrow(self.sql("retention"))
        assert row is not None  # noqa: S101 - the table always has its row
        return Retention(**row)

    async def set_retention(
        self,
        *,
        finished: timedelta | None = None,
        cancelled: timedelta | None = None,
        standing: timedelta | None = None,
        author: str,
        source: str,
    ) -> Retention:
        self._refuse_if_read_only()
        row = await self._database.fetchrow(self.sql("set_retention"), finished, cancelled, standing, author, source)
        assert row is not None  # noqa: S101 - the function always returns a row
        return Retention(**row)

    def _refuse_if_read_only(self) -> None:
        if self._database.read_only:
            raise ReadOnly("this session is read-only: nothing was changed")


class _Stopped(ForeignEngine, Stopping):
    """An engine whose running runs can be asked to stop."""

    @property
    def stops_at(self) -> str:  # type: ignore[override]
        return str(self.installation.file.stops)


class _Gated(ForeignEngine, Gate):
    """An engine whose claims obey cancellations."""

    gate: ClassVar[str] = "trigger"
    starves: ClassVar[bool] = True


class _GatedAndStopped(_Gated, _Stopped):
    """An engine that can do both."""


def foreign_engine(
    database: Database, replica: Database | None, installation: Installation, *, gated: bool = False
) -> ForeignEngine:
    """`gated` says that the queue has a gate, and that it holds."""
    stopped = installation.file.stops is not None
    kind = {(False, False): ForeignEngine, (False, True): _Stopped, (True, False): _Gated}.get(
        (gated, stopped), _GatedAndStopped
    )
    return kind(database, replica, installation)
