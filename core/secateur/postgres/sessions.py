"""Opens sessions: each with its settings, in a UTF-8 database, and not shared with anybody.

There may be a pooler in between. In session mode it gives each of our connections its own Postgres session for as long
as the connection lasts, which is all we need. In transaction mode the session can change after every transaction:
prepared statements get lost, LISTEN hears nothing, and settings belong to somebody else. This is detected here, before
anything goes wrong, and refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg

from secateur.errors import DatabaseError, SettingsError
from secateur.postgres.addresses import Address
from secateur.postgres.codecs import set_codecs
from secateur.postgres.sqlstates import TRANSACTION_MODE

ROUNDS = 10
PROBE_SECONDS = 3.0
"""How long to wait for a second session; if none is available, the first one must be reserved for us."""

PINNED = {
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "gin_fuzzy_search_limit": "0",
}
"""Settings that change what a session computes, fixed so that a preview and a claim agree: see schema/pins.sql."""

QUICK = {"jit": "off"}
"""Compiling a plan takes seconds, on a busy machine minutes. Postgres compiles by the cost that it expects: with old
statistics, or a planner setting such as `enable_indexscan = off`, that is high even for a query of milliseconds."""

OWN_PROCESS = "select pg_backend_pid()"
SET = "select set_config(one.name, one.value, false) from unnest($1::text[], $2::text[]) as one (name, value)"


class Sessions:
    """Opens one program's sessions with one database."""

    def __init__(self, address: Address, settings: Mapping[str, str]) -> None:
        """`settings` are server settings for each session. If they include `default_transaction_read_only`, each
        session is verified to be read-only."""
        self._address = address
        self._settings = dict(settings)
        self._one_at_a_time = asyncio.Lock()
        self._is_session_mode = False

    async def open(self, _dsn: None = None, /, **more: Any) -> asyncpg.Connection:
        """A new session; called as a pool calls `asyncpg.connect`.

        Raises asyncpg's errors, and `SettingsError` or `DatabaseError` if the session is unsuitable.
        """
        connection = await self._connect(**more)
        try:
            try:
                async with asyncio.timeout(self._address.connect_timeout):
                    await self._prepare(connection)
            except TimeoutError:
                # A pooler accepts every connection, and makes its first statement wait until a session is free.
                raise asyncpg.TooManyConnectionsError("no session became free in time") from None
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _connect(self, **more: Any) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(**self._address.arguments, server_settings=self._settings, **more)
        except asyncpg.ProtocolViolationError as error:
            if "unsupported startup parameter" not in str(error):
                raise
        # PgBouncer's default. Set what it does not pass on once the session is known to be ours.
        named = {"application_name": self._settings["application_name"]}
        return await asyncpg.connect(**self._address.arguments, server_settings=named, **more)

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        encoding = connection.get_settings().server_encoding
        if encoding != "UTF8":
            raise DatabaseError(
                f"{self._address.description} is encoded in {encoding}, but secateur needs UTF8: "
                "create another database, with `create database … encoding 'UTF8' template template0`"
            )
        await set_codecs(connection)
        pinned = PINNED | QUICK
        # A pooler invents the number that is used to cancel a statement.
        if await connection.fetchval(OWN_PROCESS) != connection.get_server_pid():
            await self._require_session_mode(connection)
            pinned |= self._settings
        # In a statement, not at the session's start: a pooler may drop those, and pass on another session's settings.
        await connection.fetch(SET, list(pinned), list(pinned.values()))
        if "default_transaction_read_only" in self._settings:
            await _require_read_only(connection)

    async def _require_session_mode(self, connection: asyncpg.Connection) -> None:
        async with self._one_at_a_time:
            if self._is_session_mode:
                return
            try:
                shared = await self._is_shared(connection)
            except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
                shared = True
            if shared:
                raise SettingsError(TRANSACTION_MODE.format(database=self._address.description))
            self._is_session_mode = True

    async def _is_shared(self, connection: asyncpg.Connection) -> bool:
        """Whether this connection's session changes, or another connection gets the same one, while both are open.

        In transaction mode both are idle in between: a quiet pooler gives the second connection the session that the
        first has just returned, and a busy one has given it to somebody else before the first asks again.
        """
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                other = await self._connect()
        except (TimeoutError, OSError, asyncpg.PostgresError):
            return False  # no second session is available, so this one is reserved for us
        try:
            own, others = set(), set()
            for _ in range(ROUNDS):
                own.add(await connection.fetchval(OWN_PROCESS))
                try:
                    others.add(await other.fetchval(OWN_PROCESS, timeout=PROBE_SECONDS))
                except (TimeoutError, asyncpg.PostgresConnectionError):
                    return False
                if len(own) > 1 or len(others) > 1 or own & others:
                    return True
            return False
        finally:
            other.terminate()


async def _require_read_only(connection: asyncpg.Connection) -> None:
    """Something in between may drop the settings that a session should start with; then no write would be refused."""
    if await connection.fetchval("show default_transaction_read_only") != "on":
        raise SettingsError(
            "a read-only session is not possible here: the pooler drops default_transaction_read_only; "
            "connect to Postgres directly"
        )
