"""Claims that pause in the gate while somebody commits or stops, and faults that are built into it on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import pytest
from beds import Bed
from beds.procrastinate import Procrastinate

from patience import eventually
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.loading import find_installation, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.requests import CancellationRequest

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("bed", [Procrastinate], indirect=True)]

CLAIM = "select id from procrastinate_fetch_job_v2(null, null)"
PAUSE = 20_261_127
POINTS = ("first", "passed", "enter", "entered", "take")
"""Of the trigger's function."""


@dataclass(slots=True)
class Scene:
    """A gated queue, and two connections of workers."""

    bed: Bed
    database: Database
    queue: OpenQueue
    number: int
    claimer: asyncpg.Connection
    holder: asyncpg.Connection

    async def enqueue(self, *vendors: str) -> None:
        await self.bed.enqueue([{"number": n, "vendor": vendor} for n, vendor in enumerate(vendors)])

    async def commit(self, vendor: str = "acme", more: str = "") -> Cancellation:
        wanted = CancellationRequest.parse({"app_id": "default", "if": f"event.data.vendor == '{vendor}'{more}"})
        return await self.queue.cancellations.commit(wanted, author="tester", source="python")

    async def stop(self, cancellation: Cancellation) -> None:
        await self.queue.cancellations.stop(cancellation.id, author="tester")

    async def claim(self) -> int | None:
        id: int | None = await self.claimer.fetchval(CLAIM)
        return id

    async def statuses(self) -> list[str]:
        rows = await self.database.fetch("select status::text from procrastinate_jobs order by id")
        return [row[0] for row in rows]

    async def change(self, function: str, old: str, new: str) -> None:
        """Replace a text that is in the function once. `N` is the gate's number."""
        function, old, new = (text.replace("_N", f"_{self.number}") for text in (function, old, new))
        text = await self.database.fetchval("select pg_get_functiondef($1::text::regproc)", function)
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {function}"
        await self.database.execute(text.replace(old, new))

    @asynccontextmanager
    async def paused_at(self, point: str) -> AsyncIterator[asyncio.Task[int | None]]:
        """A claim that waits there until the end of the block."""
        await self.change(
            "secateur_gates.gate_N", f"-- point: {point}\n", f"perform pg_advisory_xact_lock_shared({PAUSE});\n"
        )
        await self.holder.execute(f"select pg_advisory_lock({PAUSE})")
        claiming = asyncio.create_task(self.claim())
        await eventually(self._waits, f"the claim to come to {point}")
        try:
            yield claiming
        finally:
            await self.holder.execute("select pg_advisory_unlock_all()")
            await asyncio.wait([claiming])

    async def _waits(self) -> bool:
        return bool(
            await self.database.fetchval(
                "select exists (select from pg_locks where locktype = 'advisory' and pid = $1 and not granted)",
                self.claimer.get_server_pid(),
            )
        )


@pytest.fixture
async def scene(bed: Bed, keeper: GateKeeper, database: Database, empty_database_url: str) -> AsyncIterator[Scene]:
    queue = OpenQueue.over(await open_engine(database, name="procrastinate"), batch=1)
    number = await database.fetchval("select lock_number from secateur.gates")
    connections = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    yield Scene(bed, database, queue, number, *connections)
    for connection in connections:
        connection.terminate()


async def a_claim_enters_after_the_commit(scene: Scene) -> None:
    await scene.enqueue("acme")
    async with scene.paused_at("first") as claiming:
        assert (await scene.commit()).guarantee == "in_force"
    assert claiming.result() is None
    assert await scene.statuses() == ["cancelled"]


async def a_claim_has_entered_before_the_commit(scene: Scene) -> None:
    await it_has_entered(scene, "passed")


async def a_claim_looks_again_before_the_commit(scene: Scene) -> None:
    """What is active already may match the job, so that the claim goes on to the slower steps."""
    await it_has_entered(scene, "enter", more=" && event.data.number > 100")


async def a_claim_has_looked_again_before_the_commit(scene: Scene) -> None:
    await it_has_entered(scene, "entered", more=" && event.data.number > 100")


async def it_has_entered(scene: Scene, point: str, more: str | None = None) -> None:
    """The commit is pending until that claim has ended. It may know of it nevertheless, by what it reads afterwards.

    `more`: a cancellation is active that asks for this as well.
    """
    await scene.enqueue("acme", "acme")
    if more is not None:
        await scene.commit(more=more)
    async with scene.paused_at(point) as claiming:
        cancellation = await scene.commit()
        assert cancellation.is_pending
    assert (await scene.statuses())[0] == ("doing" if claiming.result() else "cancelled")
    assert (await scene.queue.cancellations.wait(cancellation.id, until_idle=True)).guarantee == "in_force"
    assert await scene.claim() is None


async def a_stop_waits_for_what_the_gate_takes(scene: Scene) -> None:
    await scene.enqueue("acme", "acme")
    cancellation = await scene.commit()
    async with scene.paused_at("take") as claiming:
        stopping = asyncio.create_task(scene.stop(cancellation))
        await eventually(lambda: waits_for_the_gate(scene), "the stop to wait")
        assert not stopping.done()
    await stopping
    assert claiming.result() is None
    assert (await scene.queue.cancellations.get(cancellation.id)).cancelled == 1
    assert await scene.claim() == 2


async def an_undo_goes_through_beside_an_open_claim(scene: Scene) -> None:
    """Others claim what it had matched, and what the open claim takes for it comes back, too."""
    await scene.enqueue("acme", "acme")
    cancellation = await scene.commit()
    async with scene.paused_at("take") as claiming:
        undone = await scene.queue.cancellations.undo(cancellation.id, author="tester", source="python")
        assert undone.is_pending
        assert (await scene.queue.cancellations.wait(cancellation.id, until_idle=True)).is_pending
        assert await scene.holder.fetchval(CLAIM) == 2
    assert claiming.result() is None
    done = await scene.queue.cancellations.wait(cancellation.id)
    assert (done.guarantee, done.cancelled, done.restored) == ("ended", 1, 1)
    assert await scene.statuses() == ["todo", "doing"]


async def waits_for_the_gate(scene: Scene) -> bool:
    lock = f"secateur_locks.app_{scene.number}"
    waits = "select exists (select from pg_locks where relation = $1::text::regclass and not granted)"
    return bool(await scene.database.fetchval(waits, lock))


async def a_session_has_an_older_function(scene: Scene) -> None:
    """As where its catalog lags behind."""
    await scene.enqueue("acme", "acme")
    await scene.commit("globex")
    older = [await source(scene, name) for name in ("passes", "test")]
    await scene.commit()
    await define(scene, *older)
    assert [await scene.claim(), await scene.claim()] == [None, None]
    assert await scene.statuses() == ["cancelled", "cancelled"]


async def a_session_has_one_older_function(scene: Scene) -> None:
    """The one that evaluates conditions, for a job that an older cancellation may match as well as a newer one."""
    await scene.enqueue("acme")
    await scene.commit("globex")
    older = await source(scene, "test")
    await scene.commit()
    await define(scene, await source(scene, "passes"), older)
    assert await scene.claim() is None
    assert await scene.statuses() == ["cancelled"]


async def a_session_has_an_older_sieve(scene: Scene) -> None:
    """The function that tells what no condition may match."""
    await scene.enqueue("acme")
    await scene.commit("globex", " || event.data.vendor > 'x'")
    older = await source(scene, "screen")
    await scene.commit("globex", " || event.data.vendor < 'b'")
    await define(scene, await source(scene, "passes"), screen=older)
    assert await scene.claim() is None
    assert await scene.statuses() == ["cancelled"]


async def source(scene: Scene, function: str) -> str:
    text: str = await scene.database.fetchval(
        f"select prosrc from pg_proc where oid = 'secateur_gates.{function}_{scene.number}'::regproc"
    )
    return text


async def define(scene: Scene, passes: str, test: str | None = None, screen: str | None = None) -> None:
    quick = passes.removeprefix("select ")
    await scene.database.execute("select secateur.define_match($1, $2, $3, $4)", scene.number, quick, test, screen)


async def a_function_raises(scene: Scene) -> None:
    await scene.enqueue("acme")
    await scene.commit()
    await define(scene, "false", "begin raise exception 'no'; end")
    assert await scene.claim() is None


async def a_claim_has_an_older_snapshot(scene: Scene) -> None:
    await scene.enqueue("acme")
    async with scene.claimer.transaction(isolation="repeatable_read"):
        await scene.claimer.fetch("select pg_current_snapshot(), count(*) from pg_class")
        await scene.commit()
        assert await scene.claim() is None
    assert await scene.statuses() == ["todo"]
    assert await scene.claim() is None
    assert await scene.statuses() == ["cancelled"]


async def a_transaction_claims_commits_and_claims(scene: Scene) -> None:
    """As in an engine that claims several jobs at once, whose trigger relies on what was read of the first one."""
    installation = await find_installation(scene.database, "procrastinate")
    several = replace(installation, file=replace(installation.file, claims=None))
    await GateKeeper(scene.database, several).install("tester")
    await scene.enqueue("globex", "acme")
    await scene.stop(await scene.commit())
    async with scene.database.transaction() as connection:
        assert await connection.fetchval(CLAIM) == 1
        await connection.execute("update secateur.cancellations set state = 'active', stopped_at = null")
        await connection.execute("select secateur.compile_gate('procrastinate')")
        assert await connection.fetchval(CLAIM) is None


async def a_stop_is_obeyed(scene: Scene) -> None:
    await scene.enqueue("acme")
    await scene.stop(await scene.commit())
    assert await scene.claim() == 1


async def all_is_written_down(scene: Scene) -> None:
    """What the gate takes and what the sweep takes, which comes in batches of one."""
    await scene.enqueue("acme", "globex", "acme", "acme")
    cancellation = await scene.commit()
    assert await scene.claim() is None
    done = await scene.queue.cancellations.wait(cancellation.id)
    assert await scene.statuses() == ["cancelled", "todo", "cancelled", "cancelled"]
    assert (done.state, done.cancelled) == ("complete", 3)
    assert await scene.database.fetchval("select count(*) from secateur.preimages where outcome is null") == 3


async def a_running_job_ends_by_itself(scene: Scene) -> None:
    await scene.enqueue("acme")
    assert await scene.claim() == 1
    cancellation = await scene.commit()
    await scene.queue.cancellations.wait(cancellation.id, until_idle=True)
    await scene.database.execute("select procrastinate_finish_job_v1(1, 'succeeded', false)")
    done = await scene.queue.cancellations.wait(cancellation.id)
    assert (done.state, done.cancelled, done.finished_first) == ("complete", 0, 1)


async def a_gate_goes_while_a_commit_waits(scene: Scene) -> None:
    """The removal holds the lock when the commit looks for the gate."""
    await scene.enqueue("acme")
    async with scene.claimer.transaction():
        await scene.claimer.execute("select secateur.unguard('procrastinate', null)")
        cancellation = await scene.commit()
        assert cancellation.is_pending
        await scene.claimer.execute("drop trigger aaa_secateur_gate on procrastinate_jobs")
    assert (await scene.queue.cancellations.wait(cancellation.id, until_idle=True)).guarantee == "swept"


async def conditions_take_long(scene: Scene) -> None:
    """On all but the first job, which matches. (A later one has a few milliseconds, too few on a busy machine.)"""
    slow = {"t": list(range(3000)), "l": list(range(10_000, 20_000))}
    await scene.bed.enqueue([{"t": [1], "l": [1]}, slow, slow])
    condition = "event.data.t.exists(a, event.data.l.exists(b, a == b))"
    wanted = CancellationRequest.parse({"app_id": "default", "if": condition})
    made = await scene.queue.cancellations.commit(wanted, author="tester", source="python")
    claim = "update procrastinate_jobs set status = 'doing' where status = 'todo' returning id"
    assert await scene.claimer.fetch(claim, timeout=5) == []
    assert await scene.statuses() == ["cancelled", "todo", "todo"]
    assert (await scene.queue.cancellations.get(made.id)).undecided == 2
    await scene.database.execute("update secateur.slow_jobs set verdict = job_id = '3'")
    assert [row["id"] for row in await scene.claimer.fetch(claim, timeout=5)] == [2]
    assert await scene.statuses() == ["cancelled", "doing", "cancelled"]


Scenario = Callable[[Scene], Awaitable[None]]
Fault = tuple[str, str, str, str, Scenario]
FAULTS: list[Fault] = [
    (
        "the gate takes no lock",
        "secateur_gates.enter_N",
        "lock table only secateur_locks.app_N in row share mode;",
        "",
        a_claim_has_entered_before_the_commit,
    ),
    (
        "a claim does not see that its snapshot is older",
        "secateur_gates.enter_N",
        "if not pg_visible_in_snapshot",
        "if false and not pg_visible_in_snapshot",
        a_claim_has_an_older_snapshot,
    ),
    (
        "a change does not write its number",
        "secateur.compile_gate",
        "perform setval(",
        "perform concat(",
        a_claim_has_an_older_snapshot,
    ),
    (
        "a change leaves what its own transaction has read",
        "secateur.compile_gate",
        "'secateur_gates.idle_%s'",
        "'secateur_gates.idel_%s'",
        a_transaction_claims_commits_and_claims,
    ),
    (
        "the function does not know of which change it is",
        "secateur.make_match",
        "'case when %s then false",
        "'case when known is null and %s then false",
        a_session_has_an_older_function,
    ),
    (
        "the function that evaluates conditions does not know of which change it is",
        "secateur.make_match",
        "'  if %s then'",
        "'  if known is null and %s then'",
        a_session_has_one_older_function,
    ),
    (
        "the sieve does not know of which change it is",
        "secateur.match_screen",
        "coalesce(%s, false);', is_other,",
        "coalesce(%s, false);', 'false',",
        a_session_has_an_older_sieve,
    ),
    (
        "a fault of the function lets the job through",
        "secateur_gates.gate_N",
        "gate_step := 3; -- what",
        "return NEW; -- what",
        a_function_raises,
    ),
    (
        "a commit does not tell the gate",
        "secateur.compile_gate",
        "where known.installation = compile_gate.installation\n  returning",
        "where false returning",
        a_claim_enters_after_the_commit,
    ),
    (
        "a stop does not tell the gate",
        "secateur.withdraw",
        "perform secateur.compile_gate(home);",
        "",
        a_stop_is_obeyed,
    ),
    (
        "what the gate takes is not written down",
        "secateur_gates.gate_N",
        "perform secateur_gates.keep_N(",
        "perform concat(",
        all_is_written_down,
    ),
    (
        "what is cancelled is not counted",
        "secateur.take_jobs",
        "count(*) filter (where not given.was_running and coalesce(given.was_open, true))",
        "0",
        all_is_written_down,
    ),
    (
        "how a running job ended is forgotten",
        "secateur.settle_jobs",
        "count(*) filter (where settled.outcome = 'finished_first')",
        "0",
        a_running_job_ends_by_itself,
    ),
    (
        "a commit relies on a gate that went",
        "secateur.put_in_force",
        "rule.gated and secateur.obeys(rule.app_id)",
        "rule.gated",
        a_gate_goes_while_a_commit_waits,
    ),
    (
        "conditions may take as long as they need",
        "secateur.make_match",
        "(date_part('epoch', clock_timestamp()) + 0.25)::text",
        "'infinity'",
        conditions_take_long,
    ),
    (
        "what is undecided gets through",
        "secateur_gates.gate_N",
        "return null; -- undecided",
        "return NEW; -- undecided",
        conditions_take_long,
    ),
    (
        "what is undecided is not written down",
        "secateur.judge_job",
        "insert into secateur.slow_jobs (app_id, cancellation_id, job_id) values (rule.app_id, rule.id, judge_job.id)",
        "insert into secateur.slow_jobs select one.* from secateur.slow_jobs as one where false",
        conditions_take_long,
    ),
    (
        "a verdict is not looked up",
        "secateur.judge_job",
        "if known.verdict then",
        "if false then",
        conditions_take_long,
    ),
]
SCENARIOS: list[Scenario] = [
    a_claim_enters_after_the_commit,
    a_claim_has_entered_before_the_commit,
    a_claim_looks_again_before_the_commit,
    a_claim_has_looked_again_before_the_commit,
    a_stop_waits_for_what_the_gate_takes,
    an_undo_goes_through_beside_an_open_claim,
    *dict.fromkeys(fault[-1] for fault in FAULTS),
]


@pytest.mark.parametrize("scenario", dict.fromkeys(SCENARIOS), ids=lambda scenario: scenario.__name__)
async def test_a_scenario(scene: Scene, scenario: Scenario) -> None:
    await scenario(scene)


@pytest.mark.one_postgres
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
async def test_a_fault_is_noticed(scene: Scene, fault: Fault) -> None:
    _, function, old, new, scenario = fault
    await scene.change(function, old, new)
    with pytest.raises((AssertionError, TimeoutError)):
        async with asyncio.timeout(30):
            await scenario(scene)


async def test_every_point_is_paused_at(scene: Scene) -> None:
    text = await scene.database.fetchval(f"select pg_get_functiondef('secateur_gates.gate_{scene.number}'::regproc)")
    assert tuple(line.split(": ")[1] for line in text.splitlines() if "-- point: " in line) == POINTS
