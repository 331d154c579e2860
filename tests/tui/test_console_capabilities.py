"""The console has only what its queue's engine is capable of, and says what else will happen."""

from __future__ import annotations

from datetime import UTC

from console_driver import Console
from standing_incident import CULPRIT

from plain_table import TABLE, PlainTable
from secateur.engines.base import Source
from secateur.engines.native.source import NativeSource
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur_tui.app import ConsoleApp
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.session import Session

CULPRIT_OF_JOBS = "event.data.customer == 'acme'"


class Ungated(NativeSource, Cancelling):
    """The native queue, as an engine would see it whose workers look at no cancellation."""

    @property
    def ledger(self) -> Ledger:
        return Ledger(self._database)


def console_over(engine: Source, database: Database) -> ConsoleApp:
    queue = OpenQueue.over(engine)
    session = Session(database=database, queue=queue, author="nadia", zone=UTC, refresh_seconds=0.2)
    return ConsoleApp(session)


async def test_a_queue_that_can_only_be_read(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        app = console_over(PlainTable(database), database)
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            console = Console(app, pilot, database)
            await console.shows("The database has no functions yet", "plain")
            assert "secateur.enqueue" not in console.text
            await database.execute(
                "insert into jobs (queue, kind, payload) select 'mail', 'send',"
                " jsonb_build_object('customer', 'acme') from generate_series(1, 30)"
            )
            await console.shows("send", "30")
            for key in (" p pause", " H history", "retry"):
                assert key not in console.text, key
            await console.press("p", "H")
            await console.filter_for("send", CULPRIT_OF_JOBS)
            await console.shows("30")
            assert "review & cancel" not in console.text
            await console.press("f9")
            assert "Review" not in console.text


async def test_the_queues_own_word_is_mended(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        await database.execute(
            "insert into jobs (queue, kind, payload) select 'mail', 'send',"
            " jsonb_build_object('customer', 'acme') from generate_series(1, 30)"
        )
        app = console_over(PlainTable(database), database)
        async with app.run_test(size=(120, 30), notifications=True) as pilot:
            console = Console(app, pilot, database)
            await console.shows("send", "30")
            await console.filter_for("send", "payload.customer == 'acme'")
            await console.shows("no variable `payload`", "write `event.data`")
            await console.press("f3")
            assert console.app.screen.query_one(ExpressionEditor).text == CULPRIT_OF_JOBS
            await console.shows("✓ valid")


async def test_a_queue_whose_workers_look_at_no_cancellation(incident_url: str) -> None:
    async with Database.connect(incident_url) as database:
        app = console_over(Ungated(database), database)
        async with app.run_test(size=(120, 36), notifications=True) as pilot:
            console = Console(app, pilot, database)
            await console.until(lambda: app.feed.as_of is not None)
            await console.filter_for("vendor-syncs", CULPRIT)
            await console.shows("exact")
            await console.press("f9")
            await console.shows("cancelled by a sweep", "to their end", "may still start")
