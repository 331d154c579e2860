"""Fields of a run that only some queues have mean the same in counts, in Python, in a sweep and at the gate."""

from __future__ import annotations

import asyncpg
import pytest
from beds import Bed
from verdicts import verdict

from secateur.cel import CANCELLATION, ExpressionError
from secateur.cel import compile as compile_filter
from secateur.cel.authoring.completion import complete
from secateur.cel.declarations import RUN_FIELDS
from secateur.engines.base import Selection, Verdict
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.gating import GateKeeper, can_gate
from secateur.engines.foreign.installation import Installation
from secateur.engines.foreign.installing import install_queue
from secateur.engines.foreign.rules import RuleReader, rule_of
from secateur.engines.foreign.source import ForeignSource
from secateur.engines.loading import find_installation, open_engine
from secateur.engines.words import fields_of_run
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import NO_BOUNDS, Scope

pytestmark = pytest.mark.timeout(300)

SET = {
    "procrastinate": "update procrastinate_jobs set lock = '🔒' where id::text = any ($1)",
    "oban": "update oban_jobs set tags = '{urgent,\"a b\"}' where id::text = any ($1)",
    "river": "update river_job set tags = '{urgent,\"a b\"}' where id::text = any ($1)",
    "solid_queue": "update solid_queue_jobs set concurrency_key = '🔒' where id::text = any ($1)",
    "good_job": "update good_jobs set labels = '{urgent,\"a b\"}', concurrency_key = '🔒' where id::text = any ($1)",
    "pgqueuer": "update pgqueuer set dedupe_key = 'one' where id::text = any ($1)",
    "chancy": "update chancy_jobs set unique_key = 'one' where id::text = any ($1)",
    "dbos": "update dbos.workflow_status set deduplication_id = 'one' where workflow_uuid = any ($1)",
    "pg-boss": "update pgboss.job set singleton_key = 'one' where name || ':' || id = any ($1)",
    "graphile-worker": "update graphile_worker._private_jobs set key = 'one' where id::text = any ($1)",
}
"""What gives the one job the keys and tags that its own API would."""

ASKED = {
    "unique_key": "has(run.unique_key) && run.unique_key == 'one'",
    "concurrency_key": "has(run.concurrency_key) && run.concurrency_key.startsWith('🔒')",
    "tags": "has(run.tags) && 'a b' in run.tags && run.tags.exists(tag, tag == 'urgent')",
}


async def test_every_field_means_the_same_everywhere(
    bed: Bed, outside: asyncpg.Connection, empty_database_url: str
) -> None:
    ids = await bed.enqueue([{"number": 1}, {"number": 2}, {"number": 3}])
    if bed.engine == "procrastinate":
        await outside.execute("update procrastinate_jobs set queueing_lock = 'one' where id::text = any ($1)", ids[:1])
    if bed.engine in SET:
        await outside.execute(SET[bed.engine], ids[:1])
    async with Database.connect(empty_database_url) as database:
        installation = await find_installation(database, bed.engine)
        source = await open_engine(database, name=installation.name)
        assert isinstance(source, ForeignSource)
        [app_id] = {each.app_id for each in await source.depth()}
        for field in installation.file.fields:
            condition = ASKED.get(field) or await asks_for_its_queue(source, ids[0])
            matching = set(ids if condition.startswith("run.queue") else [] if field == "queue" else ids[:1])
            await is_counted_and_evaluated(source, app_id, condition, matching)
            if not installation.can_cancel:
                continue
            await obeyed(database, installation, app_id, condition, matching)
        for field in RUN_FIELDS.keys() - installation.file.fields.keys():
            with pytest.raises(ExpressionError, match=rf"{bed.engine} has no `run.{field}`: .* ha(s|ve) it"):
                await source.count(Selection(Scope(app_id), NO_BOUNDS, compile_filter(f"has(run.{field})")))


async def asks_for_its_queue(source: ForeignSource, run_id: str) -> str:
    queue = (await source.run(run_id)).fields["queue"]
    return "has(run.queue)" if queue is None else f"run.queue == {queue!r}"


async def is_counted_and_evaluated(source: ForeignSource, app_id: str, condition: str, matching: set[str]) -> None:
    compiled = compile_filter(condition, CANCELLATION.of_queue(source.words))
    selection = Selection(Scope(app_id), NO_BOUNDS, compiled)
    assert {run.id for run in await source.examples(selection, Verdict.MATCH, 10)} == matching
    count = await source.count_with_errors(selection)
    assert (count.matched, count.errors) == (len(matching), 0)
    assert (await source.count(selection)).matched == len(matching)
    assert (await source.histogram(selection, 4)) is not None
    runs = await source.examples(Selection(Scope(app_id), NO_BOUNDS), Verdict.MATCH, 10)
    assert {run.id for run in runs if compiled.matches(run, count.as_of)} == matching


async def obeyed(
    database: Database, installation: Installation, app_id: str, condition: str, matching: set[str]
) -> None:
    """The sweep finds them and, where claims are gated, the generated function and the judge by the tables do."""
    await install_queue(database, installation, author="tester")
    gated = can_gate(installation)
    if gated:
        await GateKeeper(database, installation).install("tester")
    engine = await open_engine(database, name=installation.name)
    assert isinstance(engine, ForeignSource)
    cancellations = OpenQueue.over(engine).cancellations
    wanted = CancellationRequest.parse({"app_id": app_id, "if": condition})
    made = await cancellations.commit(wanted, author="tester", source="python")
    record = await database.fetchval("select record from secateur.cancellation_documents where id = $1", made.id)
    rule = rule_of(record, installation.name)
    async with database.transaction() as connection:
        found = await RuleReader(engine, installation).matching(connection, rule, 10)
    assert set(found) == matching
    if gated:
        number = await database.fetchval(
            "select lock_number from secateur.installations where name = $1", installation.name
        )
        fields = fields_of_run(installation.file.fields)
        columns = "run.app_id, run.function_id, run.id, run.name, run.data, run.started_at, run.priority::integer"
        known = "concat(pg_current_xact_id(), ' ', gate.generation)"
        rows = await database.fetch(
            f"""select run.id,
                       {verdict(number, known, f"{columns}, {fields}")} as matched,
                       secateur_gates.judge_{number}(
                         $1 || '/' || run.app_id, run.function_id, run.id, run.event, run.started_at,
                         run.priority::integer, {fields}) as judged
                  from {engine.relation} as run
                  join secateur.gates as gate on gate.installation = $1""",
            installation.name,
        )
        assert {row["id"] for row in rows if row["matched"] == made.id} == matching
        assert {row["id"] for row in rows if row["judged"] == made.id} == matching
    await cancellations.stop(made.id, author="tester", source="python")


@pytest.mark.parametrize("typed", ["que", "queue_n", "run.q"])
def test_the_queues_own_words_lead_to_them(typed: str) -> None:
    declarations = CANCELLATION.of_queue(engine_files()["procrastinate"].words)
    [best, *_] = complete(typed, len(typed), declarations).candidates
    assert best.insert in ("run.queue", "queue")


def test_the_queues_own_words_are_mended() -> None:
    declarations = CANCELLATION.of_queue(engine_files()["procrastinate"].words)
    with pytest.raises(ExpressionError) as caught:
        compile_filter("queue_name == 'mail' && lock == 'x' && args.n == 1", declarations)
    fixes = [each.fix.text for each in caught.value.diagnostics if each.fix is not None]
    assert fixes == ["run.queue", "run.concurrency_key", "event.data"]
