"""secateur's own queue and three others in one database: watched, filtered, cancelled and undone in each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from beds.pgqueuer import PgQueuer
from beds.procrastinate import Procrastinate
from beds.river import River

from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, find_queues, open_engine
from secateur.errors import Conflict
from secateur.looking.listing import read_search
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.requests import CancellationRequest
from secateur.runs import FunctionDepth
from servers import YOUNG_SECONDS, Server, with_schema

BEDS = (Procrastinate, River, PgQueuer)
QUEUES = ("procrastinate", "river", "pgqueuer")
ACME = "event.data.vendor == 'acme'"
PAYLOADS = [{"number": n, "vendor": "acme" if n % 3 == 0 else "globex"} for n in range(30)]
WHO: dict[str, Any] = {"author": "nadia", "source": "python"}

pytestmark = [
    pytest.mark.timeout(300),
    *(pytest.mark.skipif(bed.missing is not None, reason=str(bed.missing)) for bed in BEDS),
]


@pytest.fixture
def url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """A database with three queues of 30 jobs each, for which secateur is installed; its own has no function yet."""
    yield from postgres_servers("embedded").borrow(with_schema, _three_queues, youth=YOUNG_SECONDS)


async def _three_queues(url: str) -> None:
    async with Database.connect(url) as database:
        for bed in BEDS:
            made = bed(url)
            await made.install()
            await made.enqueue(PAYLOADS)
            await install_queue(database, await find_installation(database, bed.engine))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with Database.connect(url) as database:
        yield database


@pytest.fixture
async def queue(database: Database) -> OpenQueue:
    """With runs in secateur's own queue too."""
    await database.execute(
        "select secateur.enqueue('billing', 'sync', event) from unnest($1::jsonb[]) as event",
        [f'{{"name": "sync", "data": {{"vendor": "{each["vendor"]}"}}}}' for each in PAYLOADS],
    )
    return OpenQueue.over(await open_engine(database), batch=4)


async def of_app(queue: OpenQueue, app_id: str) -> FunctionDepth:
    [found] = [each for each in await queue.reader.depth() if each.app_id == app_id]
    return found


async def test_each_is_watched_filtered_cancelled_and_undone(queue: OpenQueue) -> None:
    apps = {each.app_id for each in await queue.reader.depth()}
    assert len(apps) == 4
    assert {app.partition("/")[0] for app in apps} == {"billing", *QUEUES}
    made: dict[str, Cancellation] = {}
    for app in sorted(apps):
        request = CancellationRequest.parse({"app_id": app, "if": ACME})
        seen = await queue.reader.counter.preview(request)
        assert (seen.count.matched, seen.count.total) == (10, 30), app
        made[app] = await queue.cancellations.commit(request, **WHO, expected=seen.count)
        assert made[app].guarantee == ("in_force" if app == "billing" else "swept")
    for app, each in made.items():
        over = await queue.cancellations.wait(each.id)
        assert (over.app_id, over.state, over.cancelled) == (app, "complete", 10)
        count = await queue.reader.counter.count(CancellationRequest.parse({"app_id": app}))
        assert (count.matched, count.by_status["queued"]) == (20, 20), app
    listed = await queue.cancellations.list()
    assert [each.app_id for each in listed] == sorted(apps, reverse=True)
    assert {each.app_id for each in await queue.cancellations.audit() if each.action == "commit"} == apps
    for app, each in made.items():
        undone = await queue.cancellations.undo(each.id, author="nadia")
        assert (undone.app_id, undone.state) == (app, "undone")
        assert (await queue.cancellations.wait(each.id)).restored == 10
        count = await queue.reader.counter.count(CancellationRequest.parse({"app_id": app, "if": ACME}))
        assert (count.matched, count.total) == (10, 30), app


async def test_single_runs_and_stops_are_of_their_queue(queue: OpenQueue) -> None:
    for app in sorted({each.app_id for each in await queue.reader.depth()}):
        [run] = await queue.reader.runs(read_search(app, None, status="queued", limit=1))
        single = await queue.cancellations.cancel_run(run.id, **WHO)
        assert (single.app_id, single.run_id) == (app, run.id)
        with pytest.raises(Conflict):
            await queue.cancellations.cancel_run(run.id, **WHO)
        assert (await queue.cancellations.restore_run(run.id, **WHO)).restored == 1
        assert (await queue.reader.run(run.id)).status == "queued"
        until = (await queue.reader.clock() + timedelta(hours=1)).isoformat()
        standing = {"app_id": app, "if": ACME, "started_before": until, "standing": True}
        kept = await queue.cancellations.commit(CancellationRequest.parse(standing), **WHO)
        stopped = await queue.cancellations.stop(kept.id, author="nadia")
        assert (stopped.app_id, stopped.state) == (app, "stopped")


async def test_a_record_is_swept_in_its_queue_though_another_has_an_app_of_that_name(
    queue: OpenQueue, database: Database
) -> None:
    """Also after the app that it names is no more in secateur's own queue."""
    app = next(each.app_id for each in await queue.reader.depth() if each.app_id.startswith("river/"))
    bare = app.removeprefix("river/")
    await database.execute('select secateur.enqueue($1, \'sync\', \'{"data": {"vendor": "acme"}}\')', bare)
    made = await queue.cancellations.commit(CancellationRequest.parse({"app_id": bare, "if": ACME}), **WHO)
    await database.execute("delete from secateur.runs where app_id = $1", bare)
    again = OpenQueue.over(await open_engine(database))
    assert (await again.cancellations.wait(made.id)).app_id == bare
    assert (await of_app(again, app)).queued == 30


async def test_an_own_queue_that_nobody_uses_is_left_out(database: Database) -> None:
    """It is there only because its tables were installed with the ledger. It comes with its first function."""
    assert [each.name for each in await find_queues(database)] == ["pgqueuer", "procrastinate", "river"]
    assert (await open_engine(database)).name == "pgqueuer + procrastinate + river"
    assert (await open_engine(database, name="native")).name == "native"
    await database.execute("select secateur.enqueue('billing', 'sync', '{}')")
    assert (await open_engine(database)).name == "native + pgqueuer + procrastinate + river"
    assert [each.name for each in await find_queues(database)] == ["native", "pgqueuer", "procrastinate", "river"]


async def test_the_names_of_the_only_queue_stay_bare(embedded_url: str) -> None:
    bed = Procrastinate(embedded_url)
    await bed.install()
    await bed.enqueue(PAYLOADS)
    async with Database.connect(embedded_url) as database:
        await install_queue(database, await find_installation(database, "procrastinate"))
        engine = await open_engine(database)
        assert engine.name == "procrastinate"
        [depth] = await engine.depth()
        assert (depth.app_id, depth.queued) == ("default", 30)


async def test_each_app_has_the_word_of_its_queue(queue: OpenQueue) -> None:
    await queue.reader.depth()
    words = {
        each.app_id.partition("/")[0]: queue.reader.words_of(each.app_id).data for each in await queue.reader.depth()
    }
    assert words == {"billing": None, "procrastinate": "args", "river": "args", "pgqueuer": "payload"}
