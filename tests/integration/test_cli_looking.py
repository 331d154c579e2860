"""`install`, `depth`, `history`, `show` and `worker` on a real queue."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from billing import ACME, CANCELLATION_KEYS, CULPRIT, DEPTH_KEYS, GLOBEX, INCOMPLETE, INVOICES, cancellations
from command_line import COMMAND, Done, Here, environment, run, run_on_terminal, write

import secateur
from patience import PATIENCE
from secateur.cli.output import folded
from secateur.postgres.database import Database


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


async def _cancel(url: str) -> str:
    async with secateur.connect(url) as queue:
        body = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}
        committed = await queue.cancel(body, author="nadia", reason="line\none \x1b[31m")
        return str(committed.id)


def test_everything_fits_a_terminal_of_80_columns(here: Here, url: str) -> None:
    made = asyncio.run(_cancel(url))
    some_run = here("runs", "--app", "billing", "--status", "any", "--json", url=url).json[0]["id"]
    for arguments in (
        ["depth"],
        ["history"],
        ["runs", "--app", "billing", "--status", "any"],
        ["run", some_run],
        ["show", made],
        ["preview", "--app", "billing", "--if", "event.data.vendor_id == 'an unlikely vendor of nothing'"],
    ):
        done = run_on_terminal(*arguments, url=url, COLUMNS="80")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.out).replace("\r", "")
        assert done.code == 0
        assert [line for line in plain.split("\n") if len(line) > 80] == [], arguments


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("state  complete: every run", ["state  complete: every run"]),
        (
            "state  complete: every run is cancelled, or ended",
            ["state  complete: every run is", "       cancelled, or ended"],
        ),
        ("  a sentence that is longer than the width", ["  a sentence that is longer than", "  the width"]),
        ("url " + "x" * 40, ["url", "x" * 40]),
    ],
)
def test_long_lines_are_folded_below_their_text(text: str, lines: list[str]) -> None:
    assert folded(text, 32) == lines


def test_install_says_what_it_did(here: Here, empty_database_url: str) -> None:
    missing = here("depth", url=empty_database_url)
    assert missing.code == 1
    assert "run `secateur install`" in missing.err
    first, second = here("install", url=empty_database_url), here("install", url=empty_database_url)
    assert (first.code, second.code) == (0, 0)
    assert "ledger.sql, " in first.out
    assert "was already up to date" in second.out
    assert "There are no functions yet" in here("depth", url=empty_database_url).out
    assert here("depth", "--json", url=empty_database_url).json == []
    assert here("history", url=empty_database_url).out == "There are no cancellations yet.\n"


def test_depth(here: Here, url: str) -> None:
    depth = here("depth", "--json", url=url).json
    assert [list(each) for each in depth] == [DEPTH_KEYS] * 2
    invoices, syncs = depth
    assert (invoices["app_id"], invoices["function_id"], invoices["queued"]) == ("billing", "invoices", INVOICES)
    assert (syncs["queued"], syncs["running"]) == (ACME - 1 + GLOBEX + INCOMPLETE, 1)
    headings, *rows = here("depth", url=url).out.splitlines()
    assert headings.split() == [
        *("app", "function", "queued", "scheduled", "running", "lost", "failed", "cancelling"),
        *("oldest", "in/s", "out/s", "drains", "in"),
    ]
    assert rows[1].split()[:8] == ["billing", "vendor-syncs", "51", "0", "1", "0", "0", "0"]
    assert len({len(row) for row in rows}) == 1, "the columns are aligned"


def test_watching_writes_a_line_at_a_time_until_interrupted(url: str) -> None:
    command = [*COMMAND, "depth", "--watch", "--json"]
    variables = environment(url, SECATEUR_REFRESH_SECONDS="0.1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)
    assert process.stdout is not None
    looks = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert looks[0][0]["as_of"] < looks[1][0]["as_of"] < looks[2][0]["as_of"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "")


def test_history_and_show(here: Here, url: str) -> None:
    cancellation_id = asyncio.run(_cancel(url))
    listed, shown = here("history", "--json", url=url).json, here("show", cancellation_id, "--json", url=url).json
    known = asyncio.run(cancellations(url))
    for each in (*listed, shown, *known):
        del each["sweep"]["unswept_for"]  # it goes on between the looks
    assert listed == [shown] == known
    assert list(shown) == CANCELLATION_KEYS
    assert shown["counts"]["expected"] is None
    assert len(here("history", "--limit", "1", url=url).out.splitlines()) == 2
    people = here("show", cancellation_id, url=url)
    assert "active: the rows of its runs are being rewritten" in people.out
    assert "in force since " in people.out
    assert "line\\none \\x1b[31m" in people.out, "what came from outside neither breaks lines nor steers the terminal"
    unknown = here("show", str(uuid4()), url=url)
    assert (unknown.code, unknown.out) == (1, "")
    assert "there is no cancellation" in unknown.err


def test_flags_before_and_after_the_command_mean_the_same(here: Here, url: str, tmp_path: Path) -> None:
    config = write(tmp_path, "config.toml", f'[contexts.staging]\ndatabase = "{url}"\nread_only = true\n')
    expected = _functions(here("depth", "--json", url=url))
    assert _functions(here("--database", url, "depth", "--json")) == expected
    assert _functions(here("depth", "--json", "--database", url)) == expected
    assert _functions(here("--config", config, "depth", "--context", "staging", "--json")) == expected
    assert _functions(here("--config", config, "--read-only", "--context", "staging", "depth", "--json")) == expected
    refused = here("--config", config, "--context", "staging", "cancel", "--app", "billing", "--yes")
    assert refused.code == 2
    assert "the context 'staging' is read-only" in refused.err


def _functions(done: Done) -> list[str]:
    return [each["function_id"] for each in done.json]


def test_a_worker_performs_runs_until_told_to_stop(embedded_url: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        "shop.py",
        """
import secateur
app = secateur.App("shop")

@app.function(id="greet", triggers=["shop/greet"])
async def greet(run):
    print("hello", run.event["data"], flush=True)
""",
    )
    process = subprocess.Popen(
        [*COMMAND, "worker", "shop:app", "--database", embedded_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    asyncio.run(_enqueue(embedded_url))
    assert process.stdout is not None
    assert process.stdout.readline() == "hello world\n"
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "works on shop" in err
    assert run("worker", "shop:app", "--read-only", url=embedded_url).code == 2


async def _enqueue(url: str) -> None:
    async with secateur.connect(url) as queue:
        await queue.enqueue("shop", "greet", {"name": "shop/greet", "data": "world"})


def test_one_plain_frame_of_the_console(here: Here, url: str) -> None:
    done = here("--once", url=url, COLUMNS="90", LINES="20")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert any("vendor-syncs" in line and "51" in line for line in lines)
    assert "\x1b" not in done.out
    assert max(map(len, lines)) <= 90
    assert len(lines) <= 20
    assert here("--once", url=url, SECATEUR_ASCII="true").out.isascii()
    gone = here("--once", url="postgresql://nobody@127.0.0.1:1/none")
    assert gone.code == 1
    assert "cannot reach 127.0.0.1/none" in gone.err


def test_a_host_that_does_not_answer_is_named_while_one_waits(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://nobody@127.0.0.1:{deaf.getsockname()[1]}/none"
        ours, theirs = pty.openpty()
        with subprocess.Popen([*COMMAND, "--database", url], stdin=theirs, stdout=theirs, stderr=theirs) as waiting:
            told = b""
            while b"connecting to 127.0.0.1" not in told:
                told += os.read(ours, 4096)
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(PATIENCE) == 130
        os.close(ours)
        os.close(theirs)


def test_a_headless_demo_announces_its_database_and_cleans_up(here: Here) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--headless", "--runs", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    announced = json.loads(process.stdout.readline())
    assert list(announced) == ["database"]
    assert here("depth", "--json", url=announced["database"]).code == 0
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert here("depth", url=announced["database"]).code == 1


def test_a_headless_demo_ends_with_its_postgres() -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--headless", "--runs", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["database"]
    directory = asyncio.run(data_directory(url))
    os.kill(int((directory / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "secateur: the demo's Postgres has ended (exited: " in err
    assert "Traceback" not in err


async def data_directory(url: str) -> Path:
    async with Database.connect(url) as database:
        return Path(await database.fetchval("show data_directory"))


def test_how_deep_the_queues_were(here: Here, url: str) -> None:
    empty = here("depth", "--history", url=url)
    assert "Nothing has waited or run in that time" in empty.out
    asyncio.run(flood_of_the_last_minutes(url))
    _, row = here("depth", "--history", "2h", url=url).out.splitlines()[:2]
    assert row.split()[:2] == ["billing", "vendor-syncs"]
    assert row.split()[2].startswith("·")
    assert "█" in row
    out = here("depth", "--history", "2h", "--app", "billing", "--function", "vendor-syncs", url=url).out
    title, depth, *_ = out.splitlines()
    assert title.startswith("billing / vendor-syncs, ")
    assert "; growing since " in title
    assert depth.endswith("30 to 3,030")
    assert "no worker, server or console was running" in out
    assert len(out.splitlines()[-20:][0].split()) == 8
    series = here("depth", "--history", "--app", "billing", "--json", url=url).json
    assert (series["app_id"], series["function_id"], len(series["points"])) == ("billing", None, 900)
    shown = here("depth", "--json", url=url).json
    assert [each["growing_since"] is not None for each in shown] == [False, True]
    assert "growing since" in here("depth", url=url).out.splitlines()[0]
    plain = run("depth", "--history", "2h", url=url, PYTHONIOENCODING="ascii").out
    assert plain.splitlines()[1].split()[2].startswith("?")
    assert plain.isascii()


def test_what_the_depth_cannot_be_asked_for(here: Here, url: str) -> None:
    for flags, message in (
        (("--function", "invoices"), "--function needs --app"),
        (("--watch", "--history"), "give one of them"),
        (("--history", "3h"), "choose from 15m, 2h, 48h"),
    ):
        refused = here("depth", *flags, url=url)
        assert refused.code == 2
        assert message in refused.err
    for flags in ((), ("--history",)):
        missing = here("depth", *flags, "--app", "nobody", url=url)
        assert missing.code != 0
        assert "there is no app 'nobody'" in missing.err
    (only,) = here("depth", "--app", "billing", "--function", "invoices", "--json", url=url).json
    assert only["function_id"] == "invoices"


async def flood_of_the_last_minutes(url: str) -> None:
    """Samples of half an hour, the last ten minutes of them a flood; and its runs."""
    async with secateur.connect(url) as queue:
        await queue.enqueue_many("billing", "vendor-syncs", [{}] * 3000)
        await queue.database.execute("select secateur.compact_depth('billing')")
        await queue.database.execute("""
            insert into secateur.depth_samples
              (app_id, coarse, at, function_ids, queued, scheduled, running, failed, entered, drained, cancelling)
            select 'billing', true, now() - interval '10 s' * n, array['', 'vendor-syncs'], array[depth, depth],
                   '{0,0}', '{0,0}', '{0,0}', array[depth, depth], '{0,0}', '{0,0}'
              from (select n, 30 + greatest(0, 60 - n) * 50 as depth from generate_series(0, 180) as n) as one
        """)
