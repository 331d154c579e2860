"""An engine is upgraded to a version that secateur does not know: the records stay, and nothing is written to it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from uuid import UUID

import pytest
from beds import Bed
from beds.procrastinate import Procrastinate
from beds.river import River
from test_entrances_of_others import cli

from secateur.engines.base import Gate, Upkeep
from secateur.engines.foreign.gating import GateKeeper, GateState
from secateur.engines.foreign.installation import Installation
from secateur.engines.listing import list_queues
from secateur.engines.loading import find_installation, open_engine
from secateur.errors import DatabaseError, Unsupported
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur_tui.history.details import details
from secateur_tui.history.undoing import undo_label

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("bed", [Procrastinate, River], indirect=True),
]

UPGRADES = {
    "procrastinate": "create function procrastinate_fetch_job_v3() returns void language sql as ''",
    "river": "insert into river_migration (line, version) values ('main', 99)",
}
DOWNGRADES = {
    "procrastinate": "drop function procrastinate_fetch_job_v3()",
    "river": "delete from river_migration where line = 'main' and version = 99",
}
ACME = "event.data.vendor == 'acme'"
UNKNOWN = "can be watched and filtered, not written to: .* is not known to secateur"


async def queue_of(bed: Bed, database: Database) -> OpenQueue:
    return OpenQueue.over(await open_engine(database, name=bed.engine))


async def rows_of(bed: Bed, database: Database) -> list[str]:
    rows = await database.fetch(f"select job::text from {bed.tables[0]} as job order by 1")
    return [row["job"] for row in rows]


async def test_its_records_stay_and_it_is_not_written_to(bed: Bed, keeper: GateKeeper, database: Database) -> None:
    await bed.enqueue([{"number": n, "vendor": "acme"} for n in range(6)])
    before = await queue_of(bed, database)
    [depth] = await before.cancellations.engine.depth()
    request = CancellationRequest.parse({"app_id": depth.app_id, "if": ACME})

    async def committed(*, swept: bool = False) -> UUID:
        made = await before.cancellations.commit(request, author="tester", source="python")
        if swept:
            await before.cancellations.wait(made.id)
        return made.id

    complete, restoring = await committed(swept=True), await committed()
    await before.cancellations.undo(complete, author="tester")
    await before.cancellations.wait(complete)
    await before.cancellations.wait(restoring)
    await before.cancellations.undo(restoring, author="tester")
    complete = await committed(swept=True)
    await bed.enqueue([{"number": n, "vendor": "acme"} for n in range(6, 9)])
    active = await committed()
    await database.execute(UPGRADES[bed.engine])

    jobs = await rows_of(bed, database)
    queue = await queue_of(bed, database)
    assert not isinstance(queue.cancellations.engine, Gate)
    assert queue.cancellations.has_ledger
    assert not queue.cancellations.can_cancel
    assert {each.id for each in await queue.cancellations.list()} >= {complete, restoring, active}
    assert {each.app_id for each in await queue.cancellations.audit() if each.app_id} == {depth.app_id}
    for attempt in (
        queue.cancellations.commit(request, author="tester", source="python"),
        queue.cancellations.cancel_run("1", author="tester", source="python"),
        queue.cancellations.undo(complete, author="tester"),
    ):
        with pytest.raises(Unsupported, match=UNKNOWN):
            await attempt
    for waiting in (active, restoring):
        with pytest.raises(DatabaseError, match=UNKNOWN):
            await queue.cancellations.wait(waiting)
    await queue.cancellations.wait(complete)

    of = ("--engine", bed.engine)
    assert str(active) in {each["id"] for each in json.loads(cli(bed.url, "history", *of, "--json"))}
    assert json.loads(cli(bed.url, "audit", *of, "--json"))
    shown = cli(bed.url, "show", str(active), *of)
    assert "tester" in shown
    assert re.search(f"undo +has to wait: .*{UNKNOWN}", shown), shown
    assert re.search(UNKNOWN, json.loads(cli(bed.url, "show", str(active), *of, "--json"))["only_watched"])
    record = await queue.cancellations.get(active)
    assert re.search(f"an undo has to wait: .*{UNKNOWN}", details(record, record.created_at).plain)
    assert undo_label(record, record.created_at) == "", "the screen does not offer it"
    assert await queue.cancellations.ledger.open_cancellations() == [], "nobody sweeps what nobody may write to"
    refused = cli(bed.url, "undo", str(active), "--yes", *of, code=2)
    promised = f"not known to secateur.*; to stop matching more of them: secateur stop .*{active}"
    assert re.search(promised, refused), refused
    cli(bed.url, "stop", str(active), *of)
    assert (await queue.cancellations.get(active)).state == "stopped"
    assert await rows_of(bed, database) == jobs


async def test_an_undo_that_had_to_wait_for_a_known_version_is_not_too_late(
    bed: Bed, installed: Installation, database: Database
) -> None:
    await bed.enqueue([{"number": n, "vendor": "acme"} for n in range(6)])
    before = await rows_of(bed, database)
    queue = await queue_of(bed, database)
    [depth] = await queue.cancellations.engine.depth()
    made = await queue.cancellations.commit(
        CancellationRequest.parse({"app_id": depth.app_id, "if": ACME}), author="tester", source="python"
    )
    assert (await queue.cancellations.wait(made.id)).undo_until is not None
    await database.execute(UPGRADES[bed.engine])
    unknown = await queue_of(bed, database)
    await unknown.controls.set_retention(cancelled=timedelta(0), author="tester", source="python")
    assert isinstance(unknown.cancellations.engine, Upkeep)
    assert (await unknown.cancellations.engine.prune(100)).runs == 0
    kept = await unknown.cancellations.get(made.id)
    assert (kept.pruned, kept.undo_until) == (0, None), "there is no end before its rows may be deleted"
    await database.execute(DOWNGRADES[bed.engine])
    known = await queue_of(bed, database)
    assert (await known.cancellations.get(made.id)).only_watched is None
    await known.cancellations.undo(made.id, author="tester")
    await known.cancellations.wait(made.id)
    assert await rows_of(bed, database) == before


async def test_its_gate_is_stale_and_can_be_removed(bed: Bed, keeper: GateKeeper, database: Database) -> None:
    await database.execute(UPGRADES[bed.engine])
    of = ("--engine", bed.engine)
    assert "and the engine is" in cli(bed.url, "gate", "check", *of, code=1)
    doctor = json.loads(cli(bed.url, "doctor", "--json", code=4))["findings"]
    (found,) = [each for each in doctor if each["check"] == "engines"]
    assert found["severity"] == "error"
    assert found["what_to_do"].startswith("secateur gate ")
    assert " remove" in found["what_to_do"]
    [listed] = await list_queues(database)
    assert (listed.gate, listed.capabilities.cancel, listed.capabilities.undo) == (GateState.STALE, False, False)
    cli(bed.url, "gate", "remove", *of)
    assert not await database.fetch("select from pg_trigger where tgname like '%secateur%'")
    unknown = GateKeeper(database, await find_installation(database, bed.engine))
    assert (await unknown.check()).state is GateState.NONE
    with pytest.raises(DatabaseError, match="not known to secateur"):
        await unknown.install("tester")
