"""The operations that meet in a scene: each is a call of the queue's functions, in a transaction of the caller's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from uuid import UUID, uuid4

import asyncpg

from secateur.cel import compile as compile_source

_numbers = count(1)

COMMIT = """
select id from secateur.commit_cancellation(
  $1, $2, $3, $4, $5, $6, false, $7, $8::jsonb, 1, $9::jsonb, $10, null, 'python', 'tester', null, null)
"""

RETRY = {"parameters": {}, "compiler": 1, "request": {}, "source": "python", "created_by": "tester"}
"""The draft of one, without the app."""

compile_filter = cache(compile_source)


def event(vendor: str) -> str:
    return json.dumps({"name": "vendor/sync", "data": {"vendor_id": vendor}})


async def commit(
    connection: asyncpg.Connection,
    app: str,
    vendor: str | None,
    *,
    id: UUID | None = None,
    function: str | None = None,
    after: object = None,
    before: object = None,
    key: str | None = None,
    standing: bool = False,
) -> UUID:
    source = f"event.data.vendor_id == '{vendor}'" if vendor else None
    condition, parameters = compile_filter(source).condition.stored() if source else (None, {})
    request = json.dumps({"app_id": app, "function_id": function, "if": source})
    return await connection.fetchval(
        COMMIT.replace("$6, false,", f"$6, {str(standing).lower()},"),
        *(id or uuid4(), app, function, source, after, before, condition, json.dumps(parameters), request, key),
    )


@dataclass
class Cast:
    """One app, and who and what is in it. `acme` in the function `sync` is what the cancellation means."""

    app: str = field(default_factory=lambda: f"app-{next(_numbers)}")
    cancellation: UUID = field(default_factory=uuid4)
    older: UUID | None = None
    """Committed before; means `initech`, all over the app."""
    retrying: UUID | None = None
    """A retry, where there is one."""
    newer: UUID | None = None
    """Where there is one: means some of the cancellation's runs, and more."""
    middle: object = None
    """A time before which some of the runs were enqueued, and after which the others."""
    held: dict[str, asyncpg.Record] = field(default_factory=dict)
    """The running run of each vendor whose lease goes on."""
    lapsed: dict[str, asyncpg.Record] = field(default_factory=dict)
    """The running run of each vendor whose lease has ended."""
    waiting: UUID | None = None
    """A queued run of `acme`."""
    answer: list[asyncpg.Record] = field(default_factory=list)
    """What the last claim of `empty` returned."""

    async def enqueue(
        self, connection: asyncpg.Connection, function: str, vendors: Sequence[str], delay: str | None = None
    ) -> list[UUID]:
        rows = await connection.fetch(
            "select secateur.enqueue_many($1, $2, $3::jsonb[], array_fill(clock_timestamp() + $4::text::interval,"
            " array[cardinality($3)]))",
            *(self.app, function, [event(vendor) for vendor in vendors], delay),
        )
        return [row[0] for row in rows]

    # Workers.

    async def claim(self, connection: asyncpg.Connection) -> list[asyncpg.Record]:
        return await self._claim(connection, None, 50)

    async def turn(self, connection: asyncpg.Connection) -> list[asyncpg.Record]:
        """Complete the held run, and claim all that waits."""
        run = self.held["acme"]
        return await connection.fetch(
            "select * from secateur.complete_and_claim("
            "$1, array[$2::uuid], array[$3::uuid], null, 50, 'turn', '1 hour')",
            *(self.app, run["id"], run["claim_token"]),
        )

    async def claim_by_list(self, connection: asyncpg.Connection) -> None:
        """Naming so many functions that it looks only into those on the list, after comparing that with the queue."""
        await self._claim(connection, ["sync", "other", "empty", *(f"nobody-{n}" for n in range(20))], 50)

    async def claim_few(self, connection: asyncpg.Connection) -> None:
        """So few that it meets matches before it has enough, and looks ahead of them."""
        await self._claim(connection, ["sync"], 2)

    async def claim_nothing(self, connection: asyncpg.Connection) -> None:
        """Of a function without runs."""
        self.answer = await self._claim(connection, ["empty"], 50)

    async def claim_unknown(self, connection: asyncpg.Connection) -> None:
        """Of an app that there is not."""
        claimed = await connection.fetch(
            "select from secateur.claim($1, null, 1, 'early', '1 hour')", f"{self.app}-new"
        )
        assert not claimed

    async def _claim(
        self, connection: asyncpg.Connection, functions: list[str] | None, most: int
    ) -> list[asyncpg.Record]:
        return await connection.fetch(
            "select * from secateur.claim_batch($1, $2, $3, 'meeting', '1 hour')", self.app, functions, most
        )

    async def begin_step(self, connection: asyncpg.Connection) -> bool:
        return await self._of_held(connection, "begin_step($1, $2, $3, 'next')")

    async def complete(self, connection: asyncpg.Connection) -> bool:
        return await self._of_held(connection, "complete($1, $2, $3)")

    async def complete_late(self, connection: asyncpg.Connection) -> bool:
        """Its lease has ended and it is in the queue again, where nobody has begun it."""
        run = self.lapsed["acme"]
        await connection.execute("select secateur.recover_expired($1)", self.app)
        return await connection.fetchval(
            "select secateur.complete($1, $2, $3)", self.app, run["id"], run["claim_token"]
        )

    async def fail(self, connection: asyncpg.Connection) -> str:
        return await self._of_held(connection, "fail($1, $2, $3, 'no luck')")

    async def release(self, connection: asyncpg.Connection) -> int:
        return await self._of_held(connection, "release($1, array[$2::uuid], array[$3::uuid])")

    async def interrupt(self, connection: asyncpg.Connection) -> str:
        return await self._of_held(connection, "interrupt($1, $2, $3, 'the worker stops')")

    async def _of_held(self, connection: asyncpg.Connection, call: str) -> object:
        run = self.held["acme"]
        return await connection.fetchval(f"select secateur.{call}", self.app, run["id"], run["claim_token"])

    # Producers.

    async def enqueue_many(self, connection: asyncpg.Connection) -> None:
        await self.enqueue(connection, "sync", ["acme", "globex"])

    async def enqueue_unheard(self, connection: asyncpg.Connection) -> None:
        """In the function that is empty otherwise."""
        await self.enqueue(connection, "empty", ["globex"])

    async def enqueue_bulk(self, connection: asyncpg.Connection) -> None:
        await connection.execute("select secateur.begin_bulk()")
        await connection.copy_records_to_table(
            "secateur_bulk",
            schema_name="pg_temp",
            columns=["event"],
            records=[(event(vendor),) for vendor in ("acme", "globex")],
        )
        await connection.execute("select secateur.enqueue_bulk($1, 'sync')", self.app)

    # Operators.

    async def commit(self, connection: asyncpg.Connection) -> None:
        """Repeated under the same key, as after a lost connection."""
        await commit(connection, self.app, "acme", id=self.cancellation, function="sync", key=str(self.cancellation))

    async def overlap(self, connection: asyncpg.Connection) -> UUID:
        """Commit another cancellation, which means the same runs and more."""
        return await commit(connection, self.app, "acme")

    async def confirm(self, connection: asyncpg.Connection) -> bool:
        return await connection.fetchval("select secateur.confirm_cancellation($1, $2)", self.app, self.cancellation)

    async def commit_retry(self, connection: asyncpg.Connection) -> UUID:
        """Of every failed run of `sync`."""
        return await connection.fetchval(
            "select id from secateur.commit_retries(array[gen_random_uuid()], array['sync'], $1)",
            json.dumps(RETRY | {"app_id": self.app}),
        )

    async def retry(self, connection: asyncpg.Connection) -> None:
        """A batch of the retry."""
        await connection.fetch("select secateur.sweep_cancellation($1, $2)", self.app, self.retrying)

    async def stop(self, connection: asyncpg.Connection) -> None:
        await self._stop(connection, self.cancellation)

    async def stop_older(self, connection: asyncpg.Connection) -> None:
        await self._stop(connection, self.older)

    async def stop_newer(self, connection: asyncpg.Connection) -> None:
        await self._stop(connection, self.newer)

    async def _stop(self, connection: asyncpg.Connection, id: UUID | None) -> None:
        await connection.fetchval("select secateur.stop_cancellation($1, $2, 'tester')", self.app, id)

    async def undo(self, connection: asyncpg.Connection) -> None:
        await self._undo(connection, self.cancellation, False)

    async def undo_older(self, connection: asyncpg.Connection) -> None:
        await self._undo(connection, self.older, False)

    async def undo_newer(self, connection: asyncpg.Connection) -> None:
        await self._undo(connection, self.newer, False)

    async def undo_again(self, connection: asyncpg.Connection) -> None:
        """Now also the runs that were stopped while they ran."""
        await self._undo(connection, self.cancellation, True)

    async def _undo(self, connection: asyncpg.Connection, id: UUID | None, requeue_stopped: bool) -> None:
        await _unless_refused(
            connection,
            "SC409",
            "select secateur.undo_cancellation($1, $2, 'tester', 'python', $3)",
            *(self.app, id, requeue_stopped),
        )

    async def cancel_waiting(self, connection: asyncpg.Connection) -> None:
        await self._cancel_run(connection, self.waiting)

    async def cancel_running(self, connection: asyncpg.Connection) -> None:
        await self._cancel_run(connection, self.held["acme"]["id"])

    async def _cancel_run(self, connection: asyncpg.Connection, run: UUID | None) -> None:
        await _unless_refused(
            connection,
            "SC409",
            "select secateur.cancel_run($1, $2, $3, $4, null, 'python', 'tester')",
            *(uuid4(), self.app, run, str(uuid4())),
        )

    async def pause(self, connection: asyncpg.Connection) -> None:
        await connection.fetchval("select secateur.pause($1, 'sync', 'tester', 'python')", self.app)

    async def resume(self, connection: asyncpg.Connection) -> None:
        for function in ("sync", None):
            await connection.fetchval("select secateur.resume($1, $2, 'tester', 'python')", self.app, function)

    async def limit(self, connection: asyncpg.Connection) -> None:
        """From now on one run of `sync` at a time."""
        await connection.fetchval("select secateur.register_function($1, 'sync', '{}', 4, 1)", self.app)

    # Sweepers.

    async def sweep(self, connection: asyncpg.Connection) -> asyncpg.Record:
        return await self.step("sweep", connection, self.cancellation)

    async def sweep_older(self, connection: asyncpg.Connection) -> asyncpg.Record:
        return await self.step("sweep", connection, self.older)

    async def sweep_newer(self, connection: asyncpg.Connection) -> asyncpg.Record:
        return await self.step("sweep", connection, self.newer)

    async def restore(self, connection: asyncpg.Connection) -> asyncpg.Record:
        return await self.step("restore", connection, self.cancellation)

    async def step(
        self, name: str, connection: asyncpg.Connection, id: UUID | None, batch: int = 100
    ) -> asyncpg.Record:
        return await connection.fetchrow(f"select * from secateur.{name}_cancellation($1, $2, $3)", self.app, id, batch)

    async def prune(self, connection: asyncpg.Connection) -> None:
        """When nothing is kept any more."""
        await connection.execute("update secateur.retention set finished = '0', cancelled = '0'")
        await connection.fetch("select * from secateur.prune($1, 100000)", self.app)


async def _unless_refused(connection: asyncpg.Connection, state: str, sql: str, *args: object) -> None:
    """The call, which may raise that error, and then has changed nothing."""
    try:
        async with connection.transaction():
            await connection.fetchval(sql, *args)
    except asyncpg.PostgresError as error:
        if error.sqlstate != state:
            raise
