"""`secateur serve` evaluates the rules to watch by, as `secateur watch` does: once for all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_client import data_of, server_process
from command_line import COMMAND, Done, Here, environment, write
from receivers import SECRET, Receiver, receiving

import secateur
from patience import PATIENCE, wait_for
from plain_table import TABLE, PlainTable
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.watch.figures import QueueLook
from secateur.watch_settings import WatchRule

RULES = """
[watch]
every_seconds = 0.1
[watch.targets.hook]
kind = "json"
url = "{hook}"
[watch.rules.old]
metric = "claimable_age"
app = "billing"
threshold = "10m"
clears_after = "0s"
"""


async def enqueue_old(url: str, function: str) -> None:
    async with secateur.connect(url) as queue:
        early = await queue.engine.clock() - timedelta(minutes=30)
        await queue.enqueue_many("billing", function, [{"data": {"card": "4111-1111"}}] * 5, started_at=[early] * 5)


async def ask(url: str, sql: str) -> Any:
    async with Database.connect(url) as database:
        return await database.fetchval(sql)


@pytest.fixture
def url(embedded_url: str) -> str:
    asyncio.run(enqueue_old(embedded_url, "syncs"))
    return embedded_url


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def config(tmp_path: Path, receiver: Receiver) -> str:
    return write(tmp_path, "config.toml", RULES.format(hook=receiver.url("hook")))


def health(address: str) -> Any:
    return data_of(httpx.get(f"{address}/healthz", timeout=PATIENCE))


def test_servers_and_a_watch_post_once_for_each_episode(url: str, receiver: Receiver, config: str) -> None:
    """One is killed in between, and another one is started instead."""
    with ExitStack() as stack:
        first, address = stack.enter_context(server_process(url, "--config", config))
        receiver.wait(1)
        wait_for(lambda: health(address)["watch"]["rules"] == [{"name": "old", "firing": 1, "problem": None}], "firing")
        told = health(address)
        assert (told["status"], told["watch"]["is_kept"], told["watch"]["targets"]) == ("ok", True, ["hook"])
        assert told["watch"]["evaluated_at"] is not None
        posted = "select count(*) from secateur.alert_messages where posted"
        wait_for(lambda: asyncio.run(ask(url, posted)) == 1, "the note that it was posted")
        first.kill()
        servers = [stack.enter_context(server_process(url, "--config", config)) for _ in range(2)]
        watch = stack.enter_context(
            subprocess.Popen([*COMMAND, "watch", "--config", config], stdout=subprocess.DEVNULL, env=environment(url))
        )
        stack.callback(watch.kill)
        asyncio.run(enqueue_old(url, "reports"))
        receiver.wait(2)
        for _, address in servers:
            wait_for(lambda at=address: health(at)["watch"]["rules"][0]["firing"] == 2, "both to fire")
        assert data_of(httpx.post(f"{address}/v1/cancellations", json={"app_id": "billing"}, timeout=PATIENCE), 201)
        receiver.wait(4)
        wait_for(lambda: asyncio.run(ask(url, "select count(*) from secateur.alert_episodes")) == 0, "the end of both")
        wait_for(lambda: asyncio.run(ask(url, posted)) == 4, "all to be noted")
        said = [_ended(process) for process, _ in servers]
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(PATIENCE) == 0
    assert sorted((each["function"], each["kind"]) for each in receiver.of("hook")) == [
        ("reports", "firing"),
        ("reports", "resolved"),
        ("syncs", "firing"),
        ("syncs", "resolved"),
    ]
    assert not any(word in err for err in said for word in (SECRET, "4111", "Traceback"))


def _ended(process: subprocess.Popen[str]) -> str:
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return err


def test_its_log_and_its_health_say_what_is_not_posted(url: str, receiver: Receiver, config: str) -> None:
    receiver.status = 500
    with server_process(url, "--config", config) as (process, address):
        wait_for(lambda: health(address)["status"] == "degraded", "two failures")
        (problem,) = health(address)["problems"]
        assert (problem["what"], problem["error"]) == ("posting to hook", "it answered 500")
        receiver.status = 200
        asyncio.run(ask(url, "update secateur.alert_messages set due_at = now() returning true"))
        wait_for(lambda: health(address)["status"] == "ok", "it to be posted")
        err = _ended(process)
    assert "billing / syncs: the oldest run has waited" in err
    assert "hook: it answered 500; it will be tried again" in err
    assert SECRET not in err


def test_it_can_be_left_off(url: str, receiver: Receiver, config: str) -> None:
    with server_process(url, "--config", config, "--no-watch") as (_, address):
        assert health(address) == {"status": "ok", "problems": []}
    assert receiver.asked == 0


def serve(here: Here, tmp_path: Path, text: str) -> Done:
    return here(
        "serve", "--port", "0", "--config", write(tmp_path, "config.toml", text), url="postgresql://127.0.0.1:1"
    )


def test_a_mistake_in_the_rules_is_said_before_anything_starts(here: Here, tmp_path: Path) -> None:
    done = serve(here, tmp_path, RULES.replace('url = "{hook}"', 'url_from = "ONCALL_WEBHOOK"'))
    assert (done.code, done.out) == (2, "")
    assert "`watch.targets.hook.url_from`: the environment variable ONCALL_WEBHOOK is not set" in done.err
    assert "to serve without evaluating the rules, use --no-watch" in done.err


def test_what_it_tells_whom(url: str, config: str, here: Here) -> None:
    """Whoever has no token is told neither rules nor targets."""
    with server_process(url, "--config", config) as (_, address):
        token = here("token", "create", "ci", "--scope", "viewer", url=url).out.split()[-1]
        header = {"Authorization": f"Bearer {token}"}
        assert "watch" in data_of(httpx.get(f"{address}/healthz", headers=header, timeout=PATIENCE))
        wait_for(lambda: "watch" not in health(address), "the first token to count")


RULE = WatchRule.model_validate({"metric": "failing_share", "threshold": 0.5})


async def test_a_rule_that_can_never_fire_says_so(empty_database_url: str) -> None:
    async with Database.connect(empty_database_url) as database:
        await database.execute(TABLE)
        await database.execute("insert into jobs (queue, kind, payload) values ('mail', 'send', '{}')")
        look = await QueueLook.at(OpenQueue.over(PlainTable(database)).reader)
        assert look.blind_spot(RULE) == (
            "never fires: failing_share needs a history of the depth, which plain does not keep"
        )
        (reading,) = await look.readings(RULE)
        assert (reading.value, reading.is_over, reading.is_clear) == (None, False, False)
        growth = WatchRule.model_validate({"metric": "growth", "threshold": 5})
        assert look.blind_spot(growth) is None
