"""The console cancels and undoes in a queue of others, and says that this is no guarantee yet."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest
from console_driver import Console
from textual.widgets import Input

from patience import eventually
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation, open_engine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur_tui.app import ConsoleApp
from secateur_tui.session import Session

pytestmark = pytest.mark.one_postgres

ACME = "event.data.vendor == 'acme'"


@pytest.mark.timeout(300)
async def test_commit_history_and_undo(empty_database_url: str) -> None:
    procrastinate = pytest.importorskip("procrastinate")
    connector = procrastinate.PsycopgConnector(conninfo=empty_database_url)
    async with procrastinate.App(connector=connector).open_async() as app:
        await app.schema_manager.apply_schema_async()
        deferrer = app.configure_task("sync", queue="default")
        await deferrer.batch_defer_async(*({"vendor": "acme" if n % 3 == 0 else "globex"} for n in range(30)))
    async with Database.connect(empty_database_url) as database:
        await install_queue(database, await find_installation(database, "procrastinate"))
        before = await jobs(database)
        queue = OpenQueue.over(await open_engine(database, name="procrastinate"))
        session = Session(database=database, queue=queue, author="nadia", zone=UTC, refresh_seconds=0.2)
        console_app = ConsoleApp(session)
        async with console_app.run_test(size=(120, 36), notifications=True) as pilot:
            console = Console(console_app, pilot, database)
            await console.shows("sync", "30")
            await console.filter_for("sync", ACME)
            await console.press("f9")
            await console.until(lambda: isinstance(console.app.focused, Input))
            # Until it is counted, enter in the reason leads to a word that must be typed, not to the button.
            await console.shows("No gate: what the sweep has not reached may still start", "[ Cancel 10 runs ]")
            await console.shows("/s still match")
            await console.type("INC-4211")
            await console.press("enter")
            await console.settled()
            await console.press("enter")
            await cancelled(console, 10)
            await console.press("H")
            await console.shows("✓ complete", "swept at")
            await console.press("U")
            await console.shows("10 runs that waited go back to what they were", "y undo")
            await console.press("y")
            await console.shows("↺ undone", "10 came back as they were")
            await cancelled(console, 0)
        assert await jobs(database) == before


async def cancelled(console: Console, many: int) -> None:
    async def reached() -> bool:
        found = "select count(*) from procrastinate_jobs where status = 'cancelled'"
        return await console.database.fetchval(found) == many

    await eventually(reached, f"{many} to be cancelled")


async def jobs(database: Database) -> list[Any]:
    rows = await database.fetch("select to_jsonb(job) as job from procrastinate_jobs as job order by id")
    return [json.loads(row["job"]) for row in rows]
