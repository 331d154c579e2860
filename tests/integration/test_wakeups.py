"""When workers look for runs: told by the transaction that queues one, and by themselves where nothing is heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pytest
from workers import eventually, in_status, working

import secateur
from secateur import ActiveRun, App, Queue, Worker
from secateur.engines.native.claims import Batch, Claim
from secateur.engines.native.wakeups import LONGEST_POLL, LONGEST_SLEEP, LONGEST_WAIT, SHORTEST_WAIT, Intake
from secateur.runs import RunStatus

AGES = 600.0
"""Seconds; longer than any of these tests would wait."""

WAITED = """
select extract(epoch from claimed_at - coalesce(scheduled_for, started_at))::float8 from secateur.runs where id = $1
"""
"""How long the run waited for its claim, by the database's clock."""


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


def an_app(*functions: str) -> App:
    app = App("billing")

    async def nothing(run: ActiveRun) -> None:
        if run.event:
            raise OSError("the bank is closed")

    for function in functions or ("invoices",):
        app.function(id=function, retries=1)(nothing)
    return app


@pytest.fixture(autouse=True)
def _sleep_for_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hears notifications looks again only after minutes: what it does meanwhile, it was told to do."""
    monkeypatch.setattr("secateur.engines.native.worker.LONGEST_SLEEP", AGES)


async def asleep(worker: Worker) -> None:
    """Until the worker has looked in vain, hears notifications, and would not look again for minutes by itself."""

    async def sleeps() -> bool:
        for intake in worker._intakes:
            intake.pause = AGES
        assert worker._ear is not None
        return worker._ear.hears and all(intake.due > time.monotonic() + AGES / 2 for intake in worker._intakes)

    await eventually(sleeps)


async def looking(worker: Worker) -> None:
    """Until the worker has looked in vain so often that it looks as seldom as one does that hears nothing."""

    async def looks() -> bool:
        return all(intake.pause >= LONGEST_POLL for intake in worker._intakes)

    await eventually(looks)
    assert worker._ear is not None
    assert not worker._ear.hears


async def waited(queue: Queue, function: str = "invoices", **more: object) -> float:
    run_id = await queue.enqueue("billing", function, {}, **more)  # type: ignore[arg-type]
    await in_status(queue, run_id, RunStatus.COMPLETED)
    seconds: float = await queue.database.fetchval(WAITED, run_id)
    return seconds


async def test_an_idle_worker_is_woken(database_url: str) -> None:
    async with secateur.connect(database_url) as queue, working(database_url, an_app()) as worker:
        await asleep(worker)
        for _ in range(5):
            await waited(queue)
        await asleep(worker)
        await waited(queue)


async def test_a_transaction_that_saw_busy_workers_is_waited_for(queue: Queue, embedded_url: str) -> None:
    """It queues a run while they are busy, so it notifies nobody; it ends after they have found nothing."""
    async with working(embedded_url, an_app()) as worker:
        [intake] = worker._intakes
        await asleep(worker)
        await queue.database.execute("update secateur.idle set idle = false")
        async with queue.database.transaction() as connection:
            late = await connection.fetchval("select secateur.enqueue('billing', 'invoices', '{}')")
            worker._wake(None)

            async def waits() -> bool:
                return intake.wait >= LONGEST_WAIT

            await eventually(waits)
        await in_status(queue, late, RunStatus.COMPLETED)
        await asleep(worker)


async def test_a_bulk_is_heard_of_when_it_is_there(queue: Queue, embedded_url: str) -> None:
    def slowly() -> Iterator[object]:
        for _ in range(3000):
            time.sleep(0.0002)
            yield {}

    async with working(embedded_url, an_app(), concurrency=100) as worker:
        await asleep(worker)
        await queue.enqueue_bulk("billing", "invoices", slowly())
        drained = "select not exists (select from secateur.runs where finished_at is null)"
        await eventually(lambda: queue.database.fetchval(drained))


async def test_a_run_is_begun_when_it_becomes_due(queue: Queue, embedded_url: str) -> None:
    async with working(embedded_url, an_app()) as worker:
        await asleep(worker)
        soon = await queue.engine.clock() + timedelta(seconds=1.5)
        assert await waited(queue, scheduled_for=soon) > -0.01
        await asleep(worker)
        run_id = await queue.enqueue("billing", "invoices", {"fail": True})
        await in_status(queue, run_id, RunStatus.FAILED)  # after a pause of about a second


async def test_what_was_queued_while_nobody_listened_is_found_at_once(queue: Queue, embedded_url: str) -> None:
    async with working(embedded_url, an_app()) as worker:
        await asleep(worker)
        # The notification is lost together with the connection.
        listening = "select pid from pg_stat_activity where query like 'LISTEN%' and pid <> pg_backend_pid()"
        await queue.database.execute(f"select pg_terminate_backend(pid) from ({listening}) as one")
        await waited(queue)
        await asleep(worker)
        await waited(queue)


async def test_workers_of_other_functions_do_not_keep_each_other_awake(queue: Queue, embedded_url: str) -> None:
    """Each of two workers is told of what is queued for the other; looking in vain, it looks ever less often."""
    async with (
        working(embedded_url, an_app("invoices")) as one,
        working(embedded_url, an_app("mail"), name="two") as two,
    ):
        await asleep(one)
        await asleep(two)
        looks: list[float] = []
        [intake] = two._intakes
        for _ in range(30):
            await waited(queue, "invoices")
            looks.append(intake.looked)
        await waited(queue, "mail")
    assert len(set(looks)) < 20


class Pooler:
    """A port in front of a Postgres socket that delivers no notification, as a transaction pooler does."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._database, self._user = parts.path.lstrip("/"), parts.username
        self.swallowed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            yield f"postgresql://{self._user}@127.0.0.1:{port}/{self._database}?sslmode=disable"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._socket)
        back = asyncio.create_task(self._bring_back(from_server, writer))
        try:
            while data := await reader.read(65536):
                to_server.write(data)
        except ConnectionError:
            pass
        finally:
            back.cancel()
            to_server.close()
            writer.close()

    async def _bring_back(self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await from_server.readexactly(5)
                body = await from_server.readexactly(int.from_bytes(head[1:]) - 4)
            except asyncio.IncompleteReadError:
                writer.close()
                return
            if head[:1] == b"A":  # NotificationResponse
                self.swallowed += 1
            else:
                writer.write(head + body)


async def test_where_notifications_do_not_get_through_it_looks_often(queue: Queue, embedded_url: str) -> None:
    pooler = Pooler(embedded_url)
    async with pooler.open() as url, working(url, an_app()) as worker:
        await looking(worker)
        for _ in range(3):
            await waited(queue)
        await looking(worker)
        await waited(queue)
    assert pooler.swallowed > 0


class TestIntake:
    def test_looks_again_at_once_while_there_is_more_and_then_ever_later(self) -> None:
        intake = Intake("billing", {})
        pauses = []
        for _ in range(12):
            intake.brought(Batch([]), longest=LONGEST_SLEEP)
            pauses.append(intake.due - intake.looked)
        assert pauses[0] <= 0.05
        assert 0.8 * LONGEST_SLEEP <= pauses[-1] <= LONGEST_SLEEP
        intake.brought(Batch([], more=True), longest=LONGEST_SLEEP)
        assert intake.due == intake.looked

    def test_looks_again_at_once_until_nothing_is_there(self) -> None:
        intake = Intake("billing", {}, pause=LONGEST_SLEEP)
        intake.brought(Batch([cast("Claim", None)]), longest=LONGEST_SLEEP)
        assert intake.due == intake.looked
        intake.brought(Batch([cast("Claim", None)], drained=True), longest=LONGEST_SLEEP)
        assert intake.due > intake.looked

    def test_does_not_rest_while_its_looks_find_something_now_and_then(self) -> None:
        """A look may take a run before its own notification is heard, which is then in vain."""
        intake = Intake("billing", {})
        for batch in (Batch([]), Batch([]), Batch([cast("Claim", None)], drained=True)) * 5:
            intake.wake()
            assert intake.due <= intake.looked
            intake.looking()
            intake.brought(batch, longest=LONGEST_SLEEP)

    def test_looks_again_soon_while_somebody_may_queue_something(self) -> None:
        intake = Intake("billing", {}, pause=LONGEST_SLEEP)
        pauses = []
        for _ in range(12):
            intake.brought(Batch([], unsure=True, due_in=3600), longest=LONGEST_SLEEP)
            pauses.append(intake.due - intake.looked)
        assert pauses[0] == pytest.approx(SHORTEST_WAIT)
        assert pauses == sorted(pauses)
        assert pauses[-1] == pytest.approx(LONGEST_WAIT)
        intake.brought(Batch([]), longest=LONGEST_SLEEP)
        assert intake.due - intake.looked > LONGEST_WAIT

    def test_sleeps_until_the_next_run_becomes_due_at_most(self) -> None:
        intake = Intake("billing", {}, pause=LONGEST_SLEEP)
        for due_in, pause in ((1.0, 1.0), (-5.0, 0.05)):
            intake.brought(Batch([], due_in=due_in), longest=LONGEST_SLEEP)
            assert intake.due - intake.looked == pytest.approx(pause)
        intake.brought(Batch([], due_in=3600), longest=LONGEST_SLEEP)
        assert intake.due - intake.looked <= LONGEST_SLEEP

    def test_listens_less_often_when_others_are_always_quicker(self) -> None:
        intake = Intake("billing", {})
        rests = []
        for _ in range(10):
            intake.wake()
            intake.looking()
            intake.brought(Batch([]), longest=LONGEST_SLEEP)
            intake.wake()
            rests.append(intake.due - intake.looked)
        assert rests == sorted(rests)
        assert rests[-1] == pytest.approx(LONGEST_POLL)
        for batch in (Batch([], more=True), Batch([])):
            intake.looking()
            intake.brought(batch, longest=LONGEST_SLEEP)
        intake.wake()
        assert intake.due == intake.looked

    def test_a_notification_during_a_look_brings_about_another_one(self) -> None:
        intake = Intake("billing", {}, pause=LONGEST_SLEEP)
        intake.looking()
        intake.wake()
        intake.brought(Batch([]), longest=LONGEST_SLEEP)
        assert intake.due == intake.looked
        intake.looking()
        intake.brought(Batch([]), longest=LONGEST_SLEEP)
        assert intake.due > intake.looked + 1

    @pytest.mark.parametrize("meanwhile", [True, False])
    def test_room_of_a_limited_function_is_looked_for_without_a_rest(self, meanwhile: bool) -> None:
        intake = Intake("billing", {})
        for _ in range(10):
            intake.wake()
            intake.looking()
            if meanwhile:
                intake.make_room()
            intake.brought(Batch([]), longest=LONGEST_SLEEP)
            if not meanwhile:
                assert intake.due > intake.looked
                intake.make_room()
            assert intake.due == intake.looked
