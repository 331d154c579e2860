"""`send`, `enqueue` and `export`: runs go in and come out, whole or not at all, in little memory."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from billing import ACME, CULPRIT, GLOBEX, INCOMPLETE, unfinished
from command_line import COMMAND, SECONDS, Here, environment, run, run_on_terminal, write

import secateur
from secateur.engines.native.events import JsonText, as_json
from secateur.postgres import streaming
from secateur.postgres.database import Database

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)


@pytest.fixture
def url(idle_url: str) -> str:  # `--wait` would wait for it
    return idle_url


def fill(url: str, runs: int, size: int) -> None:
    """Waiting runs of the app `big`, with events of so many characters."""

    async def enqueue() -> None:
        async with secateur.connect(url) as queue:
            await queue.enqueue_bulk("big", "f", ({"data": "x" * size} for _ in range(runs)))

    asyncio.run(enqueue())


def do(url: str, sql: str, *values: object) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql, *values)
        finally:
            await connection.close()

    return asyncio.run(ask())


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_event_starts_what_it_triggers_once_under_a_key(here: Here, url: str) -> None:
    do(url, "select secateur.register_function('mail', 'welcome', '{customer/new}', 4)")
    sent = here("send", "--name", "customer/new", "--data", '{"n": 1.50}', "--idempotency-key", "k", "--json", url=url)
    assert (sent.code, sent.err) == (0, "")
    (started,) = sent.json["runs"]
    assert (started["app_id"], started["function_id"], sent.json["cancellations"]) == ("mail", "welcome", [])
    again = here(
        "send",
        "--event",
        "-",
        "--idempotency-key",
        "k",
        "--json",
        url=url,
        stdin='{"name": "customer/new", "data": {"n": 1.50}}',
    )
    assert again.json == sent.json
    assert do(url, "select event #>> '{data,n}' from secateur.runs where app_id = 'mail'") == "1.50", (
        "as it was written"
    )
    told = here("send", "--name", "nobody/cares", url=url)
    assert told.out.splitlines() == [
        "Sent: it started 0 runs and 0 cancellations.",
        "No function has this trigger, and no cancel_on of this event matches a run.",
    ]


def test_a_run_is_enqueued_as_it_was_written(here: Here, url: str, tmp_path: Path) -> None:
    flags = ("--priority", "-3", "--scheduled-for", "+2h", "--idempotency-key", "k", "--json")
    done = here("enqueue", "mail", "letters", "--data", '{"n": 1.10, "to": "Zoë"}', *flags, url=url)
    assert (done.code, done.err) == (0, "")
    assert here("enqueue", "mail", "letters", "--data", '{"n": 1.10, "to": "Zoë"}', *flags, url=url).json == done.json
    found = here("run", done.json["id"], "--json", url=url).json
    assert (found["status"], found["priority"], found["event"]["data"]["to"]) == ("scheduled", -3, "Zoë")
    assert do(url, "select event #>> '{data,n}' from secateur.runs where app_id = 'mail'") == "1.10"
    file = write(tmp_path, "event.json", {"name": "x", "data": [1]})
    assert here("enqueue", "mail", "letters", "--event", file, url=url).out.startswith("Enqueued run ")


def test_many_lines_are_enqueued_all_or_none(here: Here, url: str) -> None:
    good = "".join(f'{{"data": {{"n": {n}.0}}}}\n\n' for n in range(3000))
    done = here("enqueue", "mail", "bulk", "--jsonl", "-", "--json", url=url, stdin=good)
    assert done.json == {"enqueued": 3000, "app_id": "mail", "function_id": "bulk"}
    bad = here("enqueue", "mail", "worse", "--jsonl", "-", url=url, stdin=good + '{"data": \n')
    assert bad.code == 2
    assert bad.err.startswith("secateur: jsonl: line 6,001 is not JSON")
    assert do(url, "select count(*) from secateur.runs where function_id = 'worse'") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send"], "there is no event: give --event FILE, or --name and --data"),
        (["send", "--data", "{}"], "name: is required"),
        (["send", "--name", "x", "--data", "{"], "--data is not JSON"),
        (["send", "--name", "x", "--data", '{"a": 1, "a": 2}'], 'the key "a" occurs twice'),
        (["send", "--event", "/nonexistent"], "cannot read /nonexistent"),
        (["send", "--event", "-", "--name", "x"], "--event is the whole event: leave out --name"),
        (["send", "--name", "function.cancelled"], "is reserved"),
        (["enqueue", "a", "b"], "there is no event"),
        (["enqueue", "a", "b", "--data", "[", "--priority", "1"], "--data is not JSON"),
        (["enqueue", "a", "b", "--data", "{}", "--priority", "9999999999"], "must be a whole number from"),
        (["enqueue", "a", "b", "--data", "{}", "--scheduled-for", "soon"], "'soon' is not a valid time"),
        (["enqueue", "a", "b", "--jsonl", "-", "--idempotency-key", "k"], "leave one out"),
        (["enqueue", "a", "b", "--jsonl", "/nonexistent"], "cannot read /nonexistent"),
        (["enqueue", "a\n", "b", "--data", "{}"], "app_id: "),
        (["export"], "no runs are selected"),
        (["export", "--app", "billing", "--if", "event."], "if (line 1"),
        (["export", "--app", "billing", "--status", "done"], "there is no `done`"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_enqueued(here: Here, url: str, arguments: list[str], said: str) -> None:
    before = asyncio.run(unfinished(url))
    done = here(*arguments, url=url)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert asyncio.run(unfinished(url)) == before


def test_read_only_sessions_enqueue_nothing(here: Here, url: str) -> None:
    for arguments in (("send", "--name", "x"), ("enqueue", "a", "b", "--data", "{}")):
        done = here(*arguments, "--read-only", url=url)
        assert (done.code, "read-only" in done.err) == (2, True)


def test_the_export_is_what_a_cancellation_would_cancel(here: Here, url: str) -> None:
    exported = here("export", *FLOOD, url=url)
    assert (exported.code, exported.err) == (0, "")
    found = lines(exported.out)
    assert len(found) == here("preview", *FLOOD, "--json", url=url).json["matched"] == ACME - 1
    assert {each["event"]["data"]["vendor_id"] for each in found} == {"acme_inc"}
    assert found[0].keys() == here("run", found[0]["id"], "--json", url=url).json.keys()
    here("cancel", *FLOOD, "--yes", "--wait", url=url)
    assert here("export", *FLOOD, url=url).out == ""
    every = lines(here("export", "--app", "billing", "--function", "vendor-syncs", "--status", "any", url=url).out)
    assert len(every) == ACME + GLOBEX + INCOMPLETE
    gone = lines(here("export", *FLOOD, "--status", "cancelled", url=url).out)
    assert {each["id"] for each in found} >= {each["id"] for each in gone}
    assert {each["status"] for each in gone} == {"cancelled"}


def test_the_export_takes_a_request_and_several_functions(here: Here, url: str, tmp_path: Path) -> None:
    body = write(
        tmp_path, "body.json", {"app_id": "billing", "function_ids": ["invoices", "vendor-syncs"], "if": CULPRIT}
    )
    assert len(lines(here("export", "--request", body, url=url).out)) == ACME - 1
    flags = ("--function", "invoices", "--function", "vendor-syncs")
    assert len({each["id"] for each in lines(here("export", "--app", "billing", *flags, url=url).out)}) == asyncio.run(
        unfinished(url)
    )


async def test_few_rows_are_in_memory_where_they_are_long(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BATCH_CHARACTERS", 1000)
    asked: list[int] = []
    async with Database.connect(embedded_url) as database, database.transaction() as connection:

        class Watched:
            async def cursor(self, sql: str) -> Any:
                cursor = await connection.cursor(sql)

                class Cursor:
                    async def fetch(self, many: int) -> Any:
                        asked.append(many)
                        return await cursor.fetch(many)

                return Cursor()

        sql = "select n, repeat('x', case when n < 100 then 10 else 900 end) as event from generate_series(0, 199) as n"
        rows = [row["n"] async for row in streaming.stream(Watched(), sql)]  # type: ignore[arg-type]
    assert rows == [*range(200)]
    assert max(asked[:6]) > 10, "short rows come many at a time"
    assert set(asked[-20:]) == {1}, "long ones do not"


def test_a_large_export_takes_little_memory(url: str) -> None:
    fill(url, 1000, 100000)
    process = subprocess.Popen(
        [*COMMAND, "export", "--app", "big"], stdout=subprocess.PIPE, env=environment(url), stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    size = most = 0
    for each in process.stdout:
        size += len(each)
        # Not what wait4 tells: that begins with the memory of the process which started it.
        most = max(most, psutil.Process(process.pid).memory_info().rss)
    assert process.wait() == 0
    assert size > 100_000_000
    assert most < 150_000_000, "what was written is 100 MB, and twice that in Python"


def test_head_ends_an_export_quietly(url: str) -> None:
    script = '"$@" | head -n 2'
    fill(url, 2000, 1000)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, "bash", *COMMAND, "export", "--app", "big"],
        capture_output=True,
        text=True,
        env=environment(url),
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert len(lines(done.stdout)) == 2
    assert (
        do(url, "select count(*) from pg_stat_activity where datname = current_database() and xact_start < now()") == 0
    )


def test_an_interrupted_export_leaves_whole_lines(url: str) -> None:
    fill(url, 5000, 1000)
    process = subprocess.Popen(
        [*COMMAND, "export", "--app", "big"],
        bufsize=0,  # communicate() would pass over what readline() has read ahead
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(url),
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode in {130, 0}
    assert err == b""
    assert len(lines((first + out).decode())) >= 1


def test_an_interrupted_enqueue_leaves_nothing(url: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "enqueue", "mail", "bulk", "--jsonl", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(url),
    )
    assert process.stdin is not None
    process.stdin.write(b'{"data": {}}\n' * 10_000)
    process.stdin.flush()
    deadline = time.monotonic() + SECONDS
    sessions = (
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'secateur'"
    )
    while not do(url, sessions):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (130, b"")
    assert do(url, "select count(*) from secateur.runs where function_id = 'bulk'") == 0


def test_a_bar_on_the_terminal_spoils_no_line(url: str) -> None:
    fill(url, 2000, 1)
    done = run_on_terminal("export", "--app", "big", url=url)
    assert done.code == 0
    assert len([line for line in done.out.splitlines() if line.startswith('{"id"') or '{"id"' in line]) == 2000


def test_text_is_kept_as_it_was_written() -> None:
    assert as_json(JsonText('{"a": 1.10}')) == '{"a": 1.10}'


def test_history_is_filtered_and_paged(here: Here, url: str) -> None:
    first = here("cancel", *FLOOD, "--yes", "--wait", "--json", url=url).json["id"]
    second = here("cancel", "--app", "billing", "--if", "false", "--yes", "--json", url=url).json["id"]
    here("stop", second, url=url)

    def listed(*flags: str) -> list[str]:
        done = here("history", "--json", *flags, url=url)
        assert done.code == 0, done
        return [each["id"] for each in done.json]

    assert listed() == [second, first]
    assert listed("--app", "billing", "--function", "vendor-syncs") == [second, first], (
        "one of the whole app reaches it"
    )
    assert listed("--app", "billing", "--function", "invoices") == [second]
    assert listed("--app", "mail") == []
    assert listed("--state", "complete") == [first]
    assert listed("--state", "complete", "--state", "stopped") == [second, first]
    assert listed("--since", "1h", "--until", "+1m") == [second, first]
    assert listed("--until", "1h") == []
    assert listed("--before", second) == [first]
    page = here("history", "--limit", "1", url=url)
    assert page.err == f"There may be more: add --before {second}\n"
    assert here("history", "--state", "stopped", "--app", "mail", url=url).out == "There is no such cancellation.\n"
    assert "needs `app_id`" in here("history", "--function", "x", url=url).err
    assert "since: must be before" in here("history", "--since", "1h", "--until", "2h", url=url).err
    assert here("history", "--before", "5", url=url).code == 2
    assert run("history", "--before", "00000000-0000-0000-0000-000000000001", url=url).code == 1
