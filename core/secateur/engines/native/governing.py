"""Pauses functions and apps of secateur's own queue, and forgets those that no longer exist."""

from __future__ import annotations

import json

from secateur.engines.base import Forgetting, Pausing
from secateur.engines.native.writing import Writing
from secateur.postgres.statements import Statements
from secateur.runs import Paused, Scope

_SQL = Statements.load("secateur.engines.native", "governing.sql")


class NativeGoverning(Writing, Pausing, Forgetting):
    """Sets flags on the app or function, which claims check."""

    async def pause(self, scope: Scope, author: str, source: str) -> Paused:
        self._refuse_if_read_only()
        said = await self._database.fetchval(_SQL["pause"], scope.app_id, scope.function_id, author, source)
        return Paused(**json.loads(said))

    async def resume(self, scope: Scope, author: str, source: str) -> None:
        self._refuse_if_read_only()
        await self._database.execute(_SQL["resume"], scope.app_id, scope.function_id, author, source)

    async def forget(self, scope: Scope, author: str, source: str) -> list[str]:
        self._refuse_if_read_only()
        return list(await self._database.fetchval(_SQL["forget"], scope.app_id, scope.function_id, author, source))
