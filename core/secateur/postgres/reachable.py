"""Waiting for a Postgres that is not there yet, as after a reboot of everything."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable

from secateur.errors import Unreachable
from secateur.postgres.database import Database

LONGEST_PAUSE = 2.0
"""Seconds between two attempts."""

REMIND_SECONDS = 60.0
"""How often to say that there is still nothing."""


async def until_reachable(database: Database, say: Callable[[str], object]) -> None:
    """Returns when the database answers; until then it tells people what it waits for.

    Raises what waiting does not help against: a refused login, a database that does not exist, a certificate that is
    not trusted.
    """
    pause, said_at = 0.1, None
    while True:
        try:
            await database.fetchval("select 1")
        except Unreachable as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise
            if said_at is None or time.monotonic() - said_at > REMIND_SECONDS:
                say(f"{error}; waiting for it")
                said_at = time.monotonic()
        else:
            if said_at is not None:
                say(f"{database.description} answers")
            return
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the attempts
        pause = min(pause * 2, LONGEST_PAUSE)
