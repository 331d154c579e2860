"""What the rules of `secateur watch` find in a real queue with a history, and several watches at once."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from receivers import Receiver, receiving

import secateur
from secateur.cli.arguments import parse
from secateur.engines.native.engine import NativeEngine
from secateur.ledger.proposals import Proposals
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.runs import Scope
from secateur.watch.answers import Answers
from secateur.watch.figures import QueueLook, RuleReading, request_of
from secateur.watch.guards import Guards
from secateur.watch.keeping import InDatabase
from secateur.watch.posting import Poster
from secateur.watch.watching import MOST_FIRING, Happening, QueueWatch
from secateur.watch_settings import WatchRule, WatchSettings

SYNC = Scope("billing", "sync")


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[secateur.Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


async def keep(queue: secateur.Queue, ago: timedelta) -> None:
    """A sample of the depth, as if that long ago."""
    await queue.database.execute("select secateur.compact_depth('billing')")
    await queue.database.execute("select secateur.sample_depth('billing', clock_timestamp() - $1::interval)", ago)


async def fill(queue: secateur.Queue, runs: int, vendor: str = "acme") -> None:
    await queue.enqueue_many("billing", "sync", [{"data": {"vendor_id": vendor}}] * runs)


async def end(queue: secateur.Queue, runs: int, how: str) -> None:
    claimed = await queue.database.fetch("select * from secateur.claim('billing', null, $1, 'w', '1 hour')", runs)
    for run in claimed:
        call = "fail($1, $2, $3, 'no', discard => true)" if how == "fail" else "complete($1, $2, $3)"
        await queue.database.execute(f"select secateur.{call}", "billing", run["id"], run["claim_token"])


async def reading(queue: secateur.Queue, **rule: Any) -> RuleReading:
    look = await QueueLook.at(OpenQueue.over(queue.engine).reader)
    (found,) = await look.readings(WatchRule.model_validate({"app": "billing", **rule}))
    assert found.scope == SYNC
    return found


async def test_the_failing_share_is_of_what_ended_lately(queue: secateur.Queue) -> None:
    await fill(queue, 40)
    await end(queue, 10, "fail")
    await keep(queue, timedelta(minutes=20))
    rule = {"metric": "failing_share", "threshold": 0.25, "at_least": 8}
    assert (await reading(queue, **rule)).value is None  # there is nothing to compare with
    await keep(queue, timedelta(minutes=14))
    await end(queue, 6, "complete")
    await end(queue, 2, "fail")
    await keep(queue, timedelta(seconds=0))
    found = await reading(queue, **rule)
    assert (found.value, found.is_over, found.is_clear) == (0.25, True, False)
    assert not (await reading(queue, **rule | {"at_least": 9})).is_over
    found = await reading(queue, **rule | {"threshold": 0.6})
    assert (found.is_over, found.is_clear) == (False, True)


async def test_what_grows_and_what_matches_arrives(queue: secateur.Queue) -> None:
    await fill(queue, 5)
    for minutes in range(60, 2, -4):
        await keep(queue, timedelta(minutes=minutes))
    await fill(queue, 200, "globex")
    for seconds in (100, 80, 60, 40, 20, 0):
        await keep(queue, timedelta(seconds=seconds))
    found = await reading(queue, metric="growth", threshold=150)
    assert (found.value, found.is_over, found.is_clear) == (205.0, True, False)
    found = await reading(queue, metric="growth", threshold=300, clears_below=10)
    assert (found.is_over, found.is_clear) == (False, False)
    match = {"metric": "match_rate", "function": "sync", "threshold": 5, "if": "event.data.vendor_id == 'globex'"}
    found = await reading(queue, **match)
    assert found.is_over
    found = await reading(queue, **match | {"if": "event.data.vendor_id == 'nobody'"})
    assert (found.value, found.is_over, found.is_clear) == (0.0, False, True)


async def test_a_paused_function_is_not_too_old(queue: secateur.Queue) -> None:
    await fill(queue, 1)
    await queue.database.execute("update secateur.runs set started_at = started_at - interval '1 hour'")
    assert (await reading(queue, metric="claimable_age", threshold="10m")).is_over
    await queue.database.execute("select secateur.pause('billing', 'sync', 'ada', 'cli')")
    assert (await reading(queue, metric="claimable_age", threshold="10m")).is_clear


class Watches:
    """Several watches of one database, each with sessions of its own."""

    def __init__(self, receiver: Receiver) -> None:
        self.settings = WatchSettings.model_validate(
            {
                "targets": {"hook": {"kind": "json", "url": receiver.url("hook")}},
                "rules": {"old": {"metric": "claimable_age", "threshold": "10m", "clears_after": "0s"}},
            }
        )
        self.said: list[Happening] = []

    def over(self, database: Database, looked: Callable[[], Awaitable[None]] | None = None) -> QueueWatch:
        """`looked` happens between its look at the queue and what follows from it."""
        queue = OpenQueue.over(NativeEngine(database))
        keeping = InDatabase(database, "native")

        async def look() -> QueueLook:
            found = await QueueLook.at(queue.reader)
            if looked is not None:
                await looked()
            return found

        return QueueWatch(
            self.settings,
            keeping,
            Answers(queue.reader, queue.cancellations, frozenset(), None, "here"),
            Guards(keeping, queue.cancellations, Proposals(database, queue.cancellations)),
            Poster(self.settings.targets, {}),
            look,
            self.said.append,
        )


async def test_of_several_at_once_one_posts(queue: secateur.Queue, embedded_url: str) -> None:
    functions = [f"f{number}" for number in range(MOST_FIRING + 5)]
    for function in functions:
        await queue.enqueue_many("billing", function, [{"data": {}}])
    await queue.database.execute("update secateur.runs set started_at = started_at - interval '1 hour'")
    async with AsyncExitStack() as stack:
        receiver = stack.enter_context(receiving())
        watches = Watches(receiver)
        several = [
            watches.over(await stack.enter_async_context(Database.connect(embedded_url, max_size=3))) for _ in range(3)
        ]
        await asyncio.gather(*(each.once() for each in several))
        await several[0].once()
        told = [each["function"] for each in receiver.of("hook")]
        assert len(told) == len(set(told))
        assert MOST_FIRING <= len(told) <= len(functions)
        assert "untold" in {each.what for each in watches.said}
        await queue.database.execute("delete from secateur.runs")
        await queue.database.execute("truncate secateur.depth_deltas; truncate secateur.depth_totals")
        await asyncio.gather(*(each.once() for each in several))
        await several[0].once()
    kinds = [each["kind"] for each in receiver.of("hook")]
    assert kinds.count("resolved") == kinds.count("firing") == len(told)


async def test_what_another_has_ended_meanwhile_is_not_begun_again(queue: secateur.Queue, embedded_url: str) -> None:
    await fill(queue, 1)
    await queue.database.execute("update secateur.runs set started_at = started_at - interval '1 hour'")
    with receiving() as receiver:
        async with Database.connect(embedded_url, max_size=3) as database:
            watches = Watches(receiver)
            quick = watches.over(queue.database)

            async def the_end() -> None:
                await queue.database.execute("update secateur.runs set started_at = clock_timestamp()")
                assert not await quick.once()

            assert await quick.once()
            assert not await watches.over(database, the_end).once()
        assert [each["kind"] for each in receiver.of("hook")] == ["firing", "resolved"]


@pytest.mark.parametrize("name", ["it's", 'a"b', "$(rm -rf /)", "--yes", "a b", "`x`", "é\u2028", "!!"])
def test_the_command_is_read_back_whatever_the_names_are(name: str) -> None:
    request = request_of(Scope(name, name), f"event.data.x == {name!r}" if name.isascii() else "true", reason="alert x")
    if any(not character.isprintable() for character in name):
        assert request.command_line().startswith("secateur cancel --app $'")
        return
    parsed = parse(shlex.split(request.command_line())[1:])
    assert (parsed.app, parsed.function, parsed.if_) == (name, [name], request.if_)
