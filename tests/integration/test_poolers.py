"""Behind a pooler: in session mode all is well, in transaction mode every program refuses to begin, and says why."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from command_line import run
from poolers import PGBOUNCER, Mode, pgbouncer, pooling

import secateur
from secateur import ActiveRun, App
from secateur.errors import ReadOnly, SettingsError
from secateur.postgres.database import Database

Pool = Callable[..., AbstractContextManager[str]]

REASON = "is behind a pooler in transaction or statement mode"


@pytest.fixture(params=["stand-in", "PgBouncer"])
def pooled(request: pytest.FixtureRequest, embedded_url: str) -> Iterator[Pool]:
    """Takes the mode, and how many connections to the server there may be."""
    if request.param == "PgBouncer" and PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    # Where another user can read it, as tests' own directories may not be.
    with TemporaryDirectory(prefix="pgbouncer-") as directory:

        def open_pool(mode: Mode, size: int, *lines: str) -> AbstractContextManager[str]:
            if request.param == "stand-in":
                return pooling(embedded_url, mode, size)
            return pgbouncer(embedded_url, Path(directory), mode, size, *lines)

        yield open_pool


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize("cache", ["", "&statement_cache_size=0"])
async def test_changing_sessions_are_refused(pooled: Pool, mode: Mode, size: int, cache: str) -> None:
    with pooled(mode, size) as url:
        for read_only in (False, True):
            async with Database.connect(url + cache, read_only=read_only) as database:
                for _ in range(2):
                    with pytest.raises(SettingsError, match=REASON):
                        await database.fetchval("select 1")
                with pytest.raises(SettingsError, match=REASON):
                    await anext(database.listen("channel"))


async def test_changing_sessions_are_refused_while_others_use_them(pooled: Pool, embedded_url: str) -> None:
    with pooled("transaction", 5) as url:
        busy = [asyncio.create_task(keep_busy(url)) for _ in range(4)]
        try:
            for _ in range(5):
                async with Database.connect(url) as database:
                    with pytest.raises(SettingsError, match=REASON):
                        await database.fetchval("select 1")
        finally:
            for task in busy:
                task.cancel()
            await asyncio.wait(busy)
    async with Database.connect(embedded_url) as database:
        assert await database.fetchval("show default_transaction_read_only") == "off", (
            "nobody else's session was changed"
        )


async def keep_busy(url: str) -> None:
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        while True:
            await connection.execute("select pg_sleep(0.002)")
    finally:
        connection.terminate()


def test_every_program_says_so(pooled: Pool, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(
        "import secateur\napp = secateur.App('billing')\n@app.function(id='sync')\nasync def sync(run): pass\n"
    )
    with pooled("transaction", 3) as url:
        for command in (
            ("install",),
            ("install", "--check"),
            ("depth",),
            ("history",),
            ("serve", "--port", "0"),
            ("worker", "jobs:app"),
            ("cancel", "--app", "billing", "--yes"),
        ):
            done = run(*command, url=url, PYTHONPATH=str(tmp_path))
            assert done.code == 2, command
            assert re.match(rf"secateur: 127\.0\.0\.1/\S+ {REASON}", done.err), command
            assert done.out == ""


async def test_session_mode_is_as_good_as_none(pooled: Pool, embedded_url: str) -> None:
    """As the pooler comes, without a setting of its own for us."""
    with pooled("session", 10) as url:
        async with secateur.connect(url) as queue:
            await queue.enqueue("billing", "sync", {"n": 1})
            assert (await queue.cancel({"app_id": "billing"}, wait=True)).cancelled == 1
            shown = {
                name: await queue.database.fetchval(f"show {name}") for name in ("timezone", "transaction_isolation")
            }
            assert shown == {"timezone": "UTC", "transaction_isolation": "read committed"}
        async with Database.connect(url, read_only=True, statement_timeout=7) as database:
            assert await database.fetchval("show statement_timeout") == "7s"
            with pytest.raises(ReadOnly):
                await database.execute("create table mine ()")
            payloads = database.listen("channel")
            assert await anext(payloads) == ""
            async with Database.connect(embedded_url) as direct:
                await direct.execute("select pg_notify('channel', 'news')")
            assert await asyncio.wait_for(anext(payloads), 20) == "news"
            await payloads.aclose()
        async with Database.connect(url) as database:
            assert await database.fetchval("show default_transaction_read_only") == "off"


async def test_one_session_is_enough_for_a_command(pooled: Pool) -> None:
    with pooled("session", 1) as url:
        async with Database.connect(url, max_size=1) as database:
            assert await database.fetchval("select 1") == 1


@pytest.mark.parametrize("size", [20, 4])
async def test_a_worker_in_session_mode(pooled: Pool, size: int) -> None:
    """Also with fewer sessions than it would take: it shares what there are."""
    app, done = App("billing"), []

    @app.function(id="sync")
    async def sync(run: ActiveRun) -> None:
        done.append(await run.step("look", lambda: number(run)))

    with pooled("session", size) as url:
        url += "&connect_timeout=2"
        async with secateur.connect(url) as queue:
            await queue.enqueue_many("billing", "sync", [{"n": n} for n in range(50)])
        worker = secateur.Worker(url, apps=[app])
        working = asyncio.create_task(worker.run())
        async with asyncio.timeout(60):
            while len(done) < 50:
                assert not working.done(), working.result()
                await asyncio.sleep(0.02)
        worker.stop()
        await working
    assert sorted(done) == list(range(50))


async def number(run: ActiveRun) -> int:
    n: int = run.event["n"]
    return n
