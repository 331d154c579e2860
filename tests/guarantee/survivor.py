"""A process that outlives its Postgres, as `python survivor.py ROLE URL LOG SEED`: it goes on once there is one again.

LOG gets a JSON object a line: what the process is about to ask for, and what it was told. A claim is only as good as
this log says: nothing here is read back from the database. It runs until SIGTERM, after which it ends its round.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import IO, Any
from uuid import UUID, uuid4

import asyncpg

from secateur import ActiveRun, App
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.worker import Worker
from secateur.errors import LockUnavailable, Unreachable
from secateur.ledger.cancellations import Cancellations
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

RAW, SERVED = "raw", "served"
"""Two apps: bare statements work on the one, secateur's own worker on the other."""
FUNCTIONS = ("sync", "mail")
VENDORS = 30
BACKLOG = 200
LEASES = ("700 ms", "2 s", "1 minute")

LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError)
LOST += (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError)
COMPLETE = "select claim_token from secateur.complete_runs($1, $2::uuid[], $3::uuid[]) as ended where ended.done"


class Log:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, **entry: Any) -> None:
        self._file.write(json.dumps(entry, default=str) + "\n")
        self._file.flush()


class Raw:
    """A role of bare statements: each round on whatever connection there is."""

    def __init__(self, url: str, log: Log, chance: random.Random) -> None:
        self.url, self.log, self.chance = url, log, chance

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                connection = await asyncpg.connect(self.url, timeout=5)
            except LOST:
                await asyncio.sleep(0.05)
                continue
            try:
                while not stop.is_set():
                    await self.round(connection)
            except LOST:
                pass
            finally:
                connection.terminate()

    async def round(self, connection: asyncpg.Connection) -> None:
        raise NotImplementedError


class Producer(Raw):
    async def round(self, connection: asyncpg.Connection) -> None:
        chance = self.chance
        waiting = await connection.fetchval(
            "select count(*) from secateur.runs where status in ('queued', 'scheduled')"
        )
        if waiting >= 2 * BACKLOG:
            await asyncio.sleep(0.02)
            return
        batch = str(uuid4())
        events = [
            json.dumps({"name": "fault", "data": {"vendor_id": f"v{chance.randrange(VENDORS)}", "batch": batch}})
            for _ in range(chance.choice([1, 7, 20]))
        ]
        rows = await connection.fetch(
            "select * from secateur.enqueue_many($1, $2, $3::jsonb[], priorities => $4::int[])",
            *(chance.choice([RAW, SERVED]), chance.choice(FUNCTIONS), events, [chance.randrange(3) for _ in events]),
        )
        self.log.write(kind="enqueued", batch=batch, ids=[row[0] for row in rows])


class Claimer(Raw):
    """Claims and ends runs; what it could not say it says again later, under the same token."""

    def __init__(self, url: str, log: Log, chance: random.Random) -> None:
        super().__init__(url, log, chance)
        self._unsaid: list[tuple[UUID, UUID]] = []

    async def round(self, connection: asyncpg.Connection) -> None:
        if self._unsaid:
            await self._complete(connection)
        claimed = await connection.fetch(
            "select id, claim_token from secateur.claim($1, null, $2, 'raw', $3::text::interval)",
            *(RAW, self.chance.choice([1, 5, 20]), self.chance.choice(LEASES)),
        )
        if not claimed:
            await asyncio.sleep(0.005)
            return
        runs = [(row["id"], row["claim_token"]) for row in claimed]
        self.log.write(kind="claimed", tokens=[token for _, token in runs])
        way = self.chance.random()
        if way < 0.1:
            self.log.write(kind="gives back", tokens=[token for _, token in runs])
            await connection.fetchval("select secateur.release($1, $2::uuid[], $3::uuid[])", RAW, *_columns(runs))
        elif way < 0.3:
            self.log.write(kind="gives back", tokens=[token for _, token in runs])
            for id, token in runs:
                await connection.fetchval("select secateur.fail($1, $2, $3, 'bad luck')", RAW, id, token)
        elif way < 0.32:
            await asyncio.sleep(1)  # like one that hangs: its short leases end
        else:
            for id, token in runs:
                if await connection.fetchval("select secateur.begin_step($1, $2, $3, 'only')", RAW, id, token):
                    self._unsaid.append((id, token))
            await self._complete(connection)

    async def _complete(self, connection: asyncpg.Connection) -> None:
        done = await connection.fetch(COMPLETE, RAW, *_columns(self._unsaid))
        self.log.write(kind="completed", tokens=[row["claim_token"] for row in done])
        self._unsaid.clear()


class Operator:
    """Cancels, and sometimes stops or undoes it; asks again under the same key when an answer is lost."""

    def __init__(self, url: str, log: Log, chance: random.Random) -> None:
        self.url, self.log, self.chance = url, log, chance

    async def run(self, stop: asyncio.Event) -> None:
        async with Database.connect(self.url) as database:
            cancellations = Cancellations(NativeEngine(database))
            while not stop.is_set():
                await self._commit(cancellations)
                await asyncio.sleep(self.chance.uniform(0.05, 0.3))

    async def _commit(self, cancellations: Cancellations) -> None:
        chance, key = self.chance, str(uuid4())
        body = {"app_id": chance.choice([RAW, SERVED]), "if": f"event.data.vendor_id == 'v{chance.randrange(VENDORS)}'"}
        if chance.random() < 0.5:
            body["function_id"] = chance.choice(FUNCTIONS)
        request = CancellationRequest.parse(body)
        self.log.write(kind="asks", key=key)
        committed = await _insist(
            lambda: cancellations.commit(request, author="survivor", source="python", idempotency_key=key)
        )
        self.log.write(kind="committed", key=key, id=committed.id)
        end = chance.choice([None] * 7 + [cancellations.stop, cancellations.undo, cancellations.undo])
        if end is not None:
            await asyncio.sleep(chance.uniform(0, 0.3))
            await _insist(lambda: end(committed.id, author="survivor"))


class Sweeper:
    def __init__(self, url: str, log: Log, chance: random.Random) -> None:
        self.url = url

    async def run(self, stop: asyncio.Event) -> None:
        async with Database.connect(self.url) as database:
            sweeping = asyncio.create_task(Cancellations(NativeEngine(database), batch=100).sweep_forever())
            await stop.wait()
            sweeping.cancel()


class Server:
    """secateur's own worker; it logs each step that it was allowed to begin."""

    def __init__(self, url: str, log: Log, chance: random.Random) -> None:
        self.url, self.log, self.chance = url, log, chance

    async def run(self, stop: asyncio.Event) -> None:
        app = App(SERVED)
        for name in FUNCTIONS:
            app.function(id=name)(self._work)
        worker = Worker(self.url, apps=[app], lease=timedelta(seconds=2), grace=timedelta(seconds=5))
        task = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await task

    async def _work(self, run: ActiveRun) -> None:
        async def work() -> None:
            self.log.write(kind="began", run=run.id, attempt=run.attempt)
            await asyncio.sleep(self.chance.choice([0, 0, 0.01, 0.1]))

        await run.step("only", work)


ROLES = {"producer": Producer, "claimer": Claimer, "operator": Operator, "sweeper": Sweeper, "server": Server}


async def _insist(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer."""
    while True:
        try:
            return await ask()
        except (Unreachable, LockUnavailable):
            await asyncio.sleep(0.05)


def _columns(runs: list[tuple[UUID, UUID]]) -> tuple[list[UUID], list[UUID]]:
    return [id for id, _ in runs], [token for _, token in runs]


async def main(role: str, url: str, log: Log, seed: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await ROLES[role](url, log, random.Random(seed)).run(stop)


if __name__ == "__main__":
    with open(sys.argv[3], "a", encoding="utf-8") as file:
        asyncio.run(main(sys.argv[1], sys.argv[2], Log(file), sys.argv[4]))
