"""Whatever the sessions of an engine's workers have set, its gate judges their claims by the same conditions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from beds import Bed, every_bed

from dangerous_settings import DANGEROUS
from patience import eventually
from secateur.engines.foreign.engine import ForeignEngine
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.gating import PIECES, GateKeeper
from secateur.engines.foreign.installation import Installation
from secateur.engines.loading import open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest

pytestmark = pytest.mark.timeout(300)

SETTINGS = DANGEROUS | {
    "row_security": "off",
    "lock_timeout": "10ms",
    "plpgsql.extra_errors": "all",
    "check_function_bodies": "off",
    "jit": "on",
    "jit_above_cost": "0",
    "backslash_quote": "off",
    "quote_all_identifiers": "on",
}

UNREADABLE = {"chancy": {"datestyle"}}
"""With these the engine's own driver does not work."""

CONDITIONS = (
    "event.data.vendor.startsWith('ac')",
    "event.data.vendor.matches('^\\\\w+[._]inc$')",
    "double(event.data.amount) * 3.0 > 0.3",
    "string(double(event.data.amount) * 3.0) == '0.30000000000000004'",
    "timestamp(event.data.at).getHours() == 23",
    "timestamp(event.data.at) < timestamp('2024-03-02T00:00:00Z')",
    "event.data.vendor == 'o\\'neil\\\\'",
    "event.data.missing == null",
    "event.data.items.exists(i, i.sku == 'a' && i.n > 1)",
    "duration(event.data.wait) > duration('90m')",
    "run.started_at < timestamp('2100-01-01T00:00:00Z') && event.data.only == 'started_at'",
)
PAYLOADS: tuple[dict[str, Any], ...] = (
    {"vendor": "acme_inc"},
    {"vendor": "b.inc"},
    {"amount": 0.1},
    {"at": "2024-03-01T23:30:00.25Z"},
    {"vendor": "o'neil\\"},
    {"missing": None},
    {"items": [{"sku": "a", "n": 2}]},
    {"wait": "1h30m0.5s"},
    {"only": "started_at"},
)
"""What the conditions match, each at least one of them."""


@pytest.fixture(autouse=True)
def _gated(request: pytest.FixtureRequest) -> None:
    kind: type[Bed] = request.node.callspec.params["bed"]
    if not engine_files()[kind.engine].statements.keys() >= PIECES:
        pytest.skip(f"claims of {kind.engine} cannot be gated")
    if kind is not next(each for each in every_bed() if each.engine == kind.engine):
        pytest.skip("one installation of each engine is enough")


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
async def test_no_setting_of_a_worker_changes_what_its_gate_takes(
    bed: Bed,
    installed: Installation,
    keeper: GateKeeper,
    database: Database,
    outside: asyncpg.Connection,
    together: bool,
) -> None:
    """Together they are judged by one expression or by the values that all require; one by one, each in its own way."""
    engine = await open_engine(database, name=installed.name)
    assert isinstance(engine, ForeignEngine)
    queue = OpenQueue.over(engine)
    await bed.enqueue([{**data, "number": number} for number, data in enumerate(PAYLOADS, 1)])
    await bed.enqueue([{"number": number, "vendor": "globex", "amount": 0.05} for number in range(100, 104)])
    [app] = {each.app_id for each in await engine.depth()}
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    sources = [" || ".join(f"({each})" for each in CONDITIONS)] if together else CONDITIONS
    for source in sources:
        wanted = {"app_id": app, "if": source, "standing": True, "started_before": tomorrow}
        committed = await queue.cancellations.commit(
            CancellationRequest.parse(wanted), author="tester", source="python"
        )
        assert committed.guarantee == "in_force"
    name = await outside.fetchval("select quote_ident(current_database())")
    for setting, value in SETTINGS.items():
        if setting in UNREADABLE.get(bed.engine, ()):
            continue
        await outside.execute(f"alter database {name} set {setting} = '{value}'")
    async with bed.worker(concurrency=2):

        async def others_ran() -> bool:
            return bool(
                await outside.fetchval("select count(*) >= 4 from bed_ran where what = 'end' and number >= 100")
            )

        await eventually(others_ran, "the other jobs to run")

        async def all_met() -> bool:
            return bool(await outside.fetchval("select count(*) = $1 from secateur.preimages", len(PAYLOADS)))

        await eventually(all_met, "the gate to meet each of them")
    ran = {row["number"] for row in await outside.fetch("select number from bed_ran where what = 'start'")}
    assert ran == set(range(100, 104))
    assert await outside.fetch("select * from secateur.gate_failures") == []
