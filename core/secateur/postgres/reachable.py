"""Waiting for a Postgres that is not there yet, as after a reboot of everything."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from secateur.backoff import Backoff, persist
from secateur.errors import Unreachable
from secateur.postgres.database import Database

STARTING = Backoff(0.1, 2.0)

REMIND_SECONDS = 60.0
"""How often to say that there is still nothing."""


async def until_reachable(database: Database, say: Callable[[str], object]) -> None:
    """Returns when the database answers; until then it tells people what it waits for.

    Raises what waiting does not help against: a refused login, a database that does not exist, a certificate that is
    not trusted.
    """
    said_at: float | None = None

    def note(error: Unreachable) -> None:
        nonlocal said_at
        if isinstance(error.__cause__, ssl.SSLError):
            raise error
        if said_at is None or time.monotonic() - said_at > REMIND_SECONDS:
            say(f"{error}; waiting for it")
            said_at = time.monotonic()

    await persist(lambda: database.fetchval("select 1"), STARTING, Unreachable, note)
    if said_at is not None:
        say(f"{database.description} answers")
