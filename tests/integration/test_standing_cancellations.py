"""Cancellations whose window is still open: what arrives until its end is cancelled too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

import secateur
from patience import eventually
from secateur.engines.native.client import Queue
from secateur.errors import RequestError
from secateur.records import Cancellation

pytestmark = pytest.mark.one_postgres

CLAIM = "select id from secateur.claim('billing', null, 50, 'w', interval '1 hour')"


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as queue:
        await enqueue(queue, 3)
        yield queue


async def enqueue(queue: Queue, count: int, vendor: str = "acme") -> None:
    await queue.enqueue_many("billing", "sync", [{"data": {"vendor": vendor}}] * count)


async def stand(queue: Queue, seconds: float, **more: object) -> Cancellation:
    until = await queue.engine.clock() + timedelta(seconds=seconds)
    return await queue.cancel(
        {
            "app_id": "billing",
            "if": "event.data.vendor == 'acme'",
            "standing": True,
            "started_before": until.isoformat(),
        }
        | more
    )


async def waiting(queue: Queue) -> int:
    count: int = await queue.database.fetchval("select count(*) from secateur.runs where status = 'queued'")
    return count


async def test_arrivals_until_the_end(queue: Queue) -> None:
    committed = await stand(queue, 3600)
    assert committed.standing
    step = await queue.engine.ledger.sweep("billing", committed.id, 100)
    assert step.cancelled == 3
    await enqueue(queue, 2)
    await enqueue(queue, 1, "globex")
    assert len(await queue.database.fetch(CLAIM)) == 1
    assert (await queue.cancellations.get(committed.id)).cancelled == 5
    await enqueue(queue, 4)
    # The next pass is not due before the window ends.
    step = await queue.engine.ledger.sweep("billing", committed.id, 100)
    assert (step.state, step.cancelled, step.idle) == ("active", 0, True)
    assert step.wait is not None
    assert 0 < step.wait <= 3600
    await queue.database.execute("update secateur.cancellations set started_before = clock_timestamp()")
    done = await queue.cancellations.wait(committed.id)
    assert (done.state, done.cancelled) == ("complete", 9)
    assert done.completed_at is not None
    assert done.completed_at > done.started_before
    await enqueue(queue, 1)
    assert len(await queue.database.fetch(CLAIM)) == 1


@pytest.mark.parametrize(("more", "factor"), [(4, 1), (0, 10)])
async def test_what_arrives_again_is_soon_swept_again(queue: Queue, more: int, factor: int) -> None:
    """Otherwise a long pass, as the first one is, would leave a flood in the depth for ten times as long."""
    committed = await stand(queue, 3600)
    sweep = queue.engine.ledger.sweep
    assert (await sweep("billing", committed.id, 100)).cancelled == 3
    await enqueue(queue, more)
    await enqueue(queue, 2, "globex")
    # The next pass began two minutes ago.
    await queue.database.execute("update secateur.sweeps set next_at = null")
    await sweep("billing", committed.id, 1)
    await queue.database.execute("update secateur.sweeps set pass_at = clock_timestamp() - interval '2 min'")
    while (step := await sweep("billing", committed.id, 100)).wait is None:
        pass
    assert 120 * factor - 5 < step.wait < 120 * factor + 60


async def test_it_waits_for_producers_that_began_before_its_end(queue: Queue) -> None:
    committed = await stand(queue, 0.5)
    async with queue.database.transaction() as producer:
        await producer.execute("""select secateur.enqueue('billing', 'sync', '{"data": {"vendor": "acme"}}')""")
        over = "select clock_timestamp() > started_before from secateur.cancellations"
        await eventually(lambda: queue.database.fetchval(over), "the end of the window")
        for _ in range(3):
            step = await queue.engine.ledger.sweep("billing", committed.id, 100)
        assert (step.state, step.idle) == ("active", True)
    assert (await queue.cancellations.wait(committed.id)).cancelled == 4
    assert await waiting(queue) == 0


async def test_stopped_it_stands_no_longer(queue: Queue) -> None:
    committed = await stand(queue, 60)
    await queue.stop(committed.id)
    await enqueue(queue, 1)
    assert len(await queue.database.fetch(CLAIM)) == 4
    undone = await queue.undo(committed.id, wait=True)
    assert (undone.state, undone.restored) == ("undone", 0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"started_before": None}, "is required for a standing cancellation"),
        ({"started_before": "2020-01-01T00:00:00Z"}, "must be in the future for a standing cancellation"),
        ({"started_before": "2999-01-01T00:00:00Z"}, "is too far ahead; here a standing cancellation may last until"),
        ({"standing": False, "started_before": "2999-01-01T00:00:00Z"}, "or ask for a standing cancellation|future"),
    ],
)
async def test_refused(queue: Queue, more: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        await stand(queue, 60, **more)
    assert {problem.field for problem in refused.value.problems} == {"started_before"}


async def test_the_command_line_says_it(queue: Queue) -> None:
    committed = await stand(queue, 60, rate=500)
    request = secateur.CancellationRequest.parse(committed.request)
    assert request.command_line().endswith(f"--before {_utc(committed.started_before)} --rate 500 --standing")
    assert (committed.rate, request.rate, request.standing) == (500, 500, True)


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
