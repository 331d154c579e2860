"""Several queues in one database: seen as one, each by its name where that is needed, and told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from beds.absurd import Absurd
from beds.procrastinate import Procrastinate, ProcrastinateElsewhere
from beds.river import River

from secateur.cel import compile as compile_filter
from secateur.engines.listing import list_queues
from secateur.engines.loading import find_queues, open_engine
from secateur.errors import NotFound, NotInstalled, RequestError, Unsupported, UsageError
from secateur.looking.listing import read_search
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.requests import CancellationRequest
from secateur.runs import Scope

BEDS = (Procrastinate, ProcrastinateElsewhere, River)
ACME = "event.data.vendor == 'acme'"

pytestmark = [
    pytest.mark.timeout(300),
    *(pytest.mark.skipif(bed.missing is not None, reason=str(bed.missing)) for bed in BEDS),
]


@pytest.fixture
async def full(embedded_url: str) -> AsyncIterator[Database]:
    """secateur's own queue and three others. `mail` is an app of two of them, `default` of one."""
    payloads = [{"number": n, "vendor": "acme" if n % 3 == 0 else "globex"} for n in range(30)]
    for place, (bed, queue) in enumerate(zip(BEDS, ("default", "mail", "mail"), strict=True)):
        made = bed(embedded_url)
        await made.install()
        await made.enqueue(payloads[: 30 - place], queue=queue)
    async with Database.connect(embedded_url) as database:
        await database.execute(
            "select secateur.enqueue('billing', 'sync', jsonb_build_object('data', jsonb_build_object("
            "'vendor', 'acme'))) from generate_series(1, 5)"
        )
        yield database


def cli(url: str, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "secateur.cli", *arguments, "--database", url, *(["--json"] if code == 0 else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


OTHERS = ["procrastinate", f"procrastinate:{ProcrastinateElsewhere.schema}", "river"]


async def test_each_is_found(full: Database) -> None:
    assert [each.name for each in await find_queues(full)] == ["native", *OTHERS]


async def test_without_a_name_they_are_one(full: Database) -> None:
    engine = await open_engine(full)
    queue = OpenQueue.over(engine)
    depths = {(each.app_id, each.function_id): each.queued for each in await queue.reader.depth()}
    assert depths == {
        ("billing", "sync"): 5,
        ("procrastinate/default", "sync"): 30,
        (f"{OTHERS[1]}/mail", "sync"): 29,
        ("river/mail", "sync"): 28,
    }
    for app, matched in (("billing", 5), ("procrastinate/default", 10), (f"{OTHERS[1]}/mail", 10), ("river/mail", 10)):
        request = CancellationRequest.parse({"app_id": app, "if": ACME})
        preview = await queue.reader.counter.preview(request)
        assert (preview.count.matched, preview.count.errors) == (matched, 0), app
        page = await queue.reader.runs(read_search(app, None, status="queued", limit=2))
        assert {run.app_id for run in page} == {app}
        assert page.next is not None
        following = await queue.reader.runs(read_search(app, None, status="queued", limit=2, before=page.next))
        assert not {run.id for run in page} & {run.id for run in following}
        run = await queue.reader.run(page[0].id)
        assert (run.id, run.app_id) == (page[0].id, app)
        assert (await queue.reader.shape(Scope(app))).fields
        histogram = await queue.reader.histogram(request, 10)
        streamed = [run async for run in queue.reader.stream(request)]
        assert (len(streamed), {run.app_id for run in streamed}) == (matched, {app})
        assert await queue.reader.run(streamed[0].id)
        assert histogram is not None
        assert sum(bar.matched for bar in histogram.bars) == matched


@pytest.mark.parametrize("helpers", [True, False])
async def test_what_arrives_is_summed_up(full: Database, helpers: bool) -> None:
    """Without helper functions too: then conditions are evaluated in this process."""
    if not helpers:
        await full.execute("drop schema secateur_cel cascade; drop schema secateur cascade")
    for app in ("procrastinate/default", "river/mail"):
        engine = await open_engine(full)
        reader = OpenQueue.over(engine).reader
        found = await reader.suggest(Scope(app))
        assert {value.value for field in found.fields for value in field.values} >= {"acme", "globex"}
        radius = await reader.blast_radius(Scope(app), compile_filter("event.data.number.matches('^1') || " + ACME))
        assert radius.fields


async def test_a_bare_name_means_the_only_one(full: Database) -> None:
    queue = OpenQueue.over(await open_engine(full))
    count = await queue.reader.counter.count(CancellationRequest.parse({"app_id": "default", "if": ACME}))
    assert count.matched == 10
    with pytest.raises(RequestError, match="several queues have an app 'mail': say which"):
        await queue.reader.counter.count(CancellationRequest.parse({"app_id": "mail"}))
    with pytest.raises(RequestError, match="no app 'nothing'"):
        await queue.reader.counter.count(CancellationRequest.parse({"app_id": "nothing"}))


async def test_what_one_of_them_cannot_is_refused_in_words(full: Database) -> None:
    queue = OpenQueue.over(await open_engine(full))
    with pytest.raises(Unsupported, match="'river', which cannot pause"):
        await queue.controls.pause(Scope("river/mail"), "tester", "python")
    await queue.controls.pause(Scope("billing"), "tester", "python")
    (billing, *others) = await queue.reader.depth()
    assert billing.paused
    assert not any(each.paused for each in others)


async def test_ids_that_cannot_be_are_told_from_those_that_are_not(full: Database) -> None:
    queue = OpenQueue.over(await open_engine(full))
    with pytest.raises(RequestError, match="must be procrastinate/ID or"):
        await queue.reader.run("17")
    with pytest.raises(RequestError, match="must be a whole number"):
        await queue.reader.run("river/x")
    with pytest.raises(NotFound, match="there is no run river/999"):
        await queue.reader.run("river/999")


async def test_each_can_be_chosen(full: Database) -> None:
    for name in ("native", *OTHERS):
        assert (await open_engine(full, name=name)).name == name
    assert (await open_engine(full, name="river")).name == "river"
    with pytest.raises(UsageError, match="there is no engine 'sidekiq'"):
        await open_engine(full, name="sidekiq")
    with pytest.raises(NotInstalled, match="has no queue of river:elsewhere"):
        await open_engine(full, name="river:elsewhere")


def test_the_command_line_sees_them_all(full: Database, embedded_url: str) -> None:
    listed = {each["name"]: each for each in cli(embedded_url, "engines")}
    assert list(listed) == ["native", *OTHERS]
    assert {name: each["backlog"] for name, each in listed.items()} == dict(
        zip(("native", *OTHERS), (5, 30, 29, 28), strict=True)
    )
    assert listed["native"]["capabilities"]["gate"]
    assert all(listed[name]["capabilities"]["filter"] for name in OTHERS)
    assert not listed["river"]["capabilities"]["gate"]
    assert listed["river"]["missing"]
    assert {each["app_id"] for each in cli(embedded_url, "depth")} == {
        *("billing", "procrastinate/default", f"{OTHERS[1]}/mail", "river/mail")
    }
    assert cli(embedded_url, "preview", "--app", "river/mail", "--if", ACME)["matched"] == 10
    assert cli(embedded_url, "preview", "--engine", "river", "--app", "mail", "--if", ACME)["matched"] == 10
    assert "several queues have an app 'mail'" in cli(embedded_url, "preview", "--app", "mail", code=2)
    assert "known engines:" in cli(embedded_url, "depth", "--engine", "sidekiq", code=2)


@pytest.mark.skipif(Absurd.missing is not None, reason=str(Absurd.missing))
async def test_one_that_may_not_be_read_hides_no_other_of_its_kind(embedded_url: str) -> None:
    """The queues of this kind are in a table of their own, which takes a right to read."""
    async with Database.connect(embedded_url) as database:
        await Absurd(embedded_url).install()
        await database.execute("alter schema absurd rename to locked_away")
        await Absurd(embedded_url).install()
        role = f"narrow_{uuid4().hex}"
        await database.execute(f"create role {role} login")
        try:
            await database.execute(f"grant usage on schema absurd to {role}")
            await database.execute(f"grant select on all tables in schema absurd to {role}")
            async with Database.connect(embedded_url.replace("//postgres", f"//{role}", 1)) as narrow:
                found = {each.name: each for each in await list_queues(narrow)}
        finally:
            await database.execute(f"drop owned by {role}; drop role {role}")
    assert found["absurd"].backlog == 0
    locked = found["absurd:locked_away"]
    assert (locked.backlog, locked.capabilities.watch) == (None, False)
    assert any("permission denied" in each for each in locked.missing)
