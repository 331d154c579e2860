"""One Postgres database: a pool that is opened when needed and survives restarts, and errors in words.

The sessions run at Postgres's own READ COMMITTED whatever the role's default, and keep no state: what a
statement needs is set for its transaction only, so that a connection needs no reset between two uses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg

from secateur.backoff import Backoff, persist
from secateur.errors import Unreachable
from secateur.postgres.addresses import resolve
from secateur.postgres.sessions import Sessions
from secateur.postgres.sqlstates import translate
from secateur.postgres.turnstile import Turnstile

Result = TypeVar("Result")
Connection: TypeAlias = asyncpg.Connection

ANSWER_SECONDS = 5.0
"""How much longer than the server's own limit to wait for it to say that the time is up."""
RELEASE_SECONDS = 5.0
"""How long a connection may take to come to rest after its statement was cancelled, before it is dropped."""
AT_HAND_SECONDS = 60.0
"""How long a connection goes from one use to the next without the pool, which costs as much as a short statement. Then
the pool has it for a moment, to close it if it has been idle or in use for too long."""
PING_SECONDS = 30.0
"""How long a listening connection may be silent before it is asked whether it still exists."""
RECONNECTING = Backoff(0.1, 5.0)
"""For notifications: as long as somebody listens."""


async def _nothing_to_reset(connection: object) -> None:
    """In place of the pool's own reset: saves a round trip at every release."""


class Database:
    """Made by `connect`. Every method raises the errors of `secateur.errors` for what goes wrong out there.

    `timeout` is in seconds and kept by the server (`statement_timeout`), after which nothing has changed.
    Cancelling the task that waits for a statement cancels the statement in the server.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        sessions: Sessions,
        description: str,
        read_only: bool,
        statement_timeout: float | None,
    ) -> None:
        self._pool = pool
        self._statement_timeout = statement_timeout
        self._sessions = sessions
        self._turnstile = Turnstile(pool.get_max_size())
        self._closing: asyncio.Future[None] | None = None
        self._at_hand: Any = None
        """The favourite, while nobody uses it. For the pool it is in use."""
        self._favourite: Any = None
        """The one connection that calls which follow each other get, so that it has their plans."""
        self._timer: asyncio.TimerHandle | None = None
        self._handing_back: asyncio.Future[None] | None = None
        self.read_only = read_only
        self.description = description
        """`host/database`, without a password."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str | None,
        *,
        read_only: bool = False,
        application_name: str = "secateur",
        max_size: int = 5,
        statement_timeout: float | None = None,
    ) -> AsyncIterator[Database]:
        """A pool of up to `max_size` connections, none opened yet; `url` None means libpq's environment.

        `read_only` makes every session one that Postgres lets write nothing, or raises `SettingsError` when it is
        first used. `statement_timeout` (seconds) holds where no `timeout` is given.
        """
        address = resolve(url)
        settings = {"application_name": application_name}
        settings["default_transaction_isolation"] = "read committed"
        if read_only:
            settings["default_transaction_read_only"] = "on"
        if statement_timeout is not None:
            settings["statement_timeout"] = _milliseconds(statement_timeout)
        sessions = Sessions(address, settings)
        pool = asyncpg.create_pool(
            connect=sessions.open,
            min_size=0,
            max_size=max_size,
            reset=_nothing_to_reset,
        )
        await pool
        database = cls(pool, sessions, address.description, read_only, statement_timeout)
        try:
            yield database
        finally:
            await database._close()

    @property
    def refusals(self) -> int:
        """How often the server has refused a connection, since there were too many."""
        return self._turnstile.refusals

    async def fetch(
        self, sql: str, *args: object, timeout: float | None = None, repeatable: bool = False
    ) -> list[asyncpg.Record]:
        """All rows. If `repeatable`, the statement may be sent a second time when the connection breaks:
        it changes nothing. In a read-only session it always may."""
        return await self._run(lambda connection: connection.fetch(sql, *args), timeout, repeatable)

    async def fetchrow(
        self, sql: str, *args: object, timeout: float | None = None, repeatable: bool = False
    ) -> asyncpg.Record | None:
        return await self._run(lambda connection: connection.fetchrow(sql, *args), timeout, repeatable)

    async def fetchval(self, sql: str, *args: object, timeout: float | None = None, repeatable: bool = False) -> Any:
        return await self._run(lambda connection: connection.fetchval(sql, *args), timeout, repeatable)

    async def execute(self, sql: str, *args: object, timeout: float | None = None) -> str:
        """The command's tag, such as `INSERT 0 1`."""
        return await self._run(lambda connection: connection.execute(sql, *args), timeout, False)

    async def execute_alone(self, sql: str, *, lock_timeout: float) -> None:
        """For a statement that must not be in a transaction, such as CREATE INDEX CONCURRENTLY, and may take hours.

        It waits for each lock `lock_timeout` seconds at most, and then raises `LockUnavailable`.
        """
        limits = {"lock_timeout": _milliseconds(lock_timeout), "statement_timeout": "0"}
        with self._in_words():
            async with self._connection() as connection:
                before = {name: await connection.fetchval("select current_setting($1)", name) for name in limits}
                try:
                    for name, value in limits.items():
                        await connection.execute("select set_config($1, $2, false)", name, value)
                    await connection.execute(sql)
                finally:
                    if not connection.is_closed():
                        for name, value in before.items():
                            await connection.execute("select set_config($1, $2, false)", name, value)

    @asynccontextmanager
    async def transaction(
        self, *, timeout: float | None = None, one_snapshot: bool = False
    ) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction, committed on leaving the block and rolled back on any exception.

        With `one_snapshot` it is REPEATABLE READ, for reading only: every statement sees what the first one saw.
        """
        with self._in_words(timeout):
            async with self._transaction(
                timeout, "repeatable_read" if one_snapshot else "read_committed"
            ) as connection:
                yield connection

    async def listen(self, channel: str) -> AsyncGenerator[str, None]:
        """Payloads of NOTIFY on `channel`; see `listen_to`."""
        async with aclosing(self.listen_to(channel)) as notifications:
            async for _, payload in notifications:
                yield payload

    async def listen_to(self, *channels: str) -> AsyncGenerator[tuple[str, str], None]:
        """Channel and payload of NOTIFY, on a connection of its own that is made again when it breaks.

        Two empty texts come first, and after every reconnection: what was notified before is lost, so look.
        """

        async def connect() -> Any:
            with self._in_words():
                return await self._sessions.open()

        while True:
            connection = await persist(connect, RECONNECTING, Unreachable)
            try:
                async for notification in _notifications(connection, channels):
                    yield notification
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                if not isinstance(translate(error, self.description), Unreachable):
                    raise
            finally:
                connection.terminate()

    async def _run(
        self, operation: Callable[[Any], Awaitable[Result]], timeout: float | None, repeatable: bool
    ) -> Result:
        repeatable = repeatable or self.read_only
        while True:
            try:
                with self._in_words(timeout):
                    return await self._run_once(operation, timeout)
            except Unreachable:
                if not repeatable:
                    raise
                repeatable = False

    async def _run_once(self, operation: Callable[[Any], Awaitable[Result]], timeout: float | None) -> Result:
        if timeout is None:
            async with self._connection() as connection:
                return await operation(connection)
        async with asyncio.timeout(timeout + ANSWER_SECONDS), self._transaction(timeout) as connection:
            return await operation(connection)

    @asynccontextmanager
    async def _transaction(self, timeout: float | None, isolation: str = "read_committed") -> AsyncIterator[Any]:
        async with self._connection() as connection, connection.transaction(isolation=isolation):
            if timeout is not None:
                await connection.execute("select set_config('statement_timeout', $1, true)", _milliseconds(timeout))
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        connection, at_rest = await self._acquire(), False
        try:
            yield connection
            at_rest = True
        except asyncio.CancelledError:
            ending = asyncio.ensure_future(_come_to_rest(connection))
            # However often the task is cancelled meanwhile: nobody else may get the connection before it is over.
            while not ending.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({ending})
            raise
        finally:
            await self._release(connection, at_rest)

    async def _release(self, connection: Any, at_rest: bool) -> None:
        """`at_rest`: no statement is under way, as there may be after an exception."""
        try:
            if not (at_rest and self._keep_at_hand(connection)):
                with suppress(TimeoutError):  # the pool has dropped the connection
                    await self._pool.release(connection, timeout=RELEASE_SECONDS)
        finally:
            self._turnstile.leave()

    def _keep_at_hand(self, connection: Any) -> bool:
        if connection is not self._favourite and self._favourite is not None and _is_open(self._favourite):
            return False
        if not _is_open(connection) or self._turnstile.room < self._turnstile.ceiling:
            return False
        self._at_hand = self._favourite = connection
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AT_HAND_SECONDS, self._hand_back)
        return True

    def _take_at_hand(self) -> Any:
        connection, self._at_hand = self._at_hand, None
        return connection

    def _hand_back(self) -> None:
        self._timer = None
        self._handing_back = asyncio.ensure_future(self._to_the_pool(self._take_at_hand()))

    async def _to_the_pool(self, connection: Any) -> None:
        if connection is not None:
            self._favourite = None
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(connection, timeout=RELEASE_SECONDS)

    async def _acquire(self) -> Any:
        """An open connection, or a new one; where the server takes no more, the next one that somebody gives back."""
        while True:
            await self._turnstile.enter()
            try:
                if (connection := self._take_at_hand()) is not None:
                    if _is_open(connection):
                        return connection
                    await self._to_the_pool(connection)
                if (connection := await self._acquire_once()) is not None:
                    self._turnstile.fits(self._pool.get_size())
                    return connection
            except BaseException:
                self._turnstile.leave()
                raise
            self._turnstile.leave()

    async def _acquire_once(self) -> Any:
        """None if the server takes no more connections, and others of the pool are in use."""
        try:
            return await self._pool.acquire()
        except asyncpg.TooManyConnectionsError:
            if self._pool.get_size() == 0 and self._turnstile.inside == 1:
                raise
        self._turnstile.refused(self._pool.get_size())
        return await self._acquire_open() if self._pool.get_idle_size() else None

    async def _acquire_open(self) -> Any:
        """The pool gives out what was used last, though its connection may have broken since and others be open: so ask
        for all that are not in use, and give back what is too many."""
        number = self._pool.get_max_size() - self._turnstile.inside + 1
        asked = [asyncio.ensure_future(self._pool.acquire()) for _ in range(number)]
        given: list[Any] = []
        try:
            await asyncio.wait(asked)
        finally:
            for one in asked:
                one.cancel()
                if one.done() and not one.cancelled() and one.exception() is None:
                    given.append(one.result())
            for connection in given[1:]:
                await self._pool.release(connection)
        return given[0] if given else None

    def give_way(self) -> None:
        """Close a connection, since the server takes no more and another part of this process has none."""
        if self._pool.get_size() > 1:
            self._turnstile.refused(self._pool.get_size() - 1)
            self._closing = asyncio.ensure_future(self._close_one())

    async def _close_one(self) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with self._connection() as connection:
                await connection.close()

    async def _close(self) -> None:
        """In good order if that goes fast; a statement still running is cancelled by the server later."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._to_the_pool(self._take_at_hand())
                await self._pool.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self._pool.terminate()

    @contextmanager
    def _in_words(self, timeout: float | None = None) -> Iterator[None]:
        limit = self._statement_timeout if timeout is None else timeout
        began = time.monotonic()
        try:
            yield
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # Our clock starts before the server's: a statement that timed out has always passed its limit here.
            in_time = None if limit is None else time.monotonic() - began < limit
            known = translate(error, self.description, in_time=in_time)
            if known is None:
                raise
            raise known from error


async def _come_to_rest(connection: Any) -> None:
    """End the transaction in which a cancelled statement may have left the session without the driver's knowledge: it
    began or ended one, or was only prepared, which opens one until the next statement ends."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        async with asyncio.timeout(RELEASE_SECONDS):
            with suppress(asyncpg.PostgresError):  # a transaction that has failed answers nothing else
                await connection.execute("select")  # waits until the cancelled statement is over
            if connection.is_in_transaction():
                await connection.execute("rollback")


def _is_open(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it broke, and the pool has taken it back
        return False


async def _notifications(connection: Any, channels: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
    """Ends when the connection does."""
    arrived: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
    connection.add_termination_listener(lambda _: arrived.put_nowait(None))
    async with asyncio.timeout(ANSWER_SECONDS):
        for channel in channels:
            await connection.add_listener(channel, lambda *heard: arrived.put_nowait((heard[2], heard[3])))
    yield "", ""
    while True:
        try:
            async with asyncio.timeout(PING_SECONDS):
                notification = await arrived.get()
        except TimeoutError:
            await connection.fetchval("select 1", timeout=ANSWER_SECONDS)
            continue
        if notification is None:
            return
        yield notification


def _milliseconds(seconds: float) -> str:
    """As a server setting; never 0, which would mean no limit."""
    return str(max(1, round(seconds * 1000)))
