"""`preview`, `cancel` and `stop` on a real queue."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from billing import (
    ACME,
    CANCELLATION_KEYS,
    COUNT_KEYS,
    CULPRIT,
    GLOBEX,
    INCOMPLETE,
    INVOICES,
    PREVIEW_KEYS,
    cancellations,
    end_running,
    seed,
    unfinished,
)
from command_line import COMMAND, Here, environment, run, run_on_terminal, write
from lossy_proxy import losing_one_answer

from patience import PATIENCE, wait_for
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres

EVERYTHING = ACME + GLOBEX + INCOMPLETE + INVOICES
FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


def test_preview_counts_and_changes_nothing(here: Here, url: str) -> None:
    done = here("preview", *FLOOD, "--json", url=url)
    assert (done.code, done.err) == (0, "")
    assert list(done.json) == PREVIEW_KEYS
    assert done.json["matched"] == ACME
    assert done.json["total"] == EVERYTHING - INVOICES
    assert done.json["exact"] is True
    assert done.json["by_status"] == {"queued": ACME - 1, "scheduled": 0, "running": 1}
    assert done.json["errors"] == INCOMPLETE
    assert [list(example) for example in done.json["error_examples"]] == [["run_id", "message"]] * INCOMPLETE
    assert done.json["error_examples"][0]["message"] == "no such field `event.data.vendor_id`"
    assert asyncio.run(unfinished(url)) == EVERYTHING
    people = here("preview", *FLOOD, url=url)
    assert people.out.startswith(f"{ACME} runs of the {EVERYTHING - INVOICES} unfinished of billing / vendor-syncs in ")
    assert "\x1b" not in people.out


def test_relative_and_local_times_are_the_databases(here: Here, url: str) -> None:
    def matched(*flags: str, **variables: str) -> int:
        count: int = here("preview", "--app", "billing", "--json", *flags, url=url, **variables).json["matched"]
        return count

    assert matched("--after", "-1h") == EVERYTHING - ACME
    assert matched("--before=-1h") == ACME
    assert matched("--before", "now") == EVERYTHING
    assert matched("--after", "2020-01-01 00:00", TZ="Europe/Berlin") == EVERYTHING


def test_a_misspelt_name_is_no_empty_queue(here: Here, url: str) -> None:
    app, function = here("preview", "--app", "biling", url=url), here("preview", *FLOOD[:3], "vendor-sync", url=url)
    assert (app.code, function.code) == (2, 2)
    assert "app_id: there is no app 'biling'; known apps: billing" in app.err
    assert (
        "function_id: app 'billing' has no function 'vendor-sync'; known functions: invoices, vendor-syncs"
        in function.err
    )


def test_previews_are_counted_by_the_replica_and_commits_by_the_primary(here: Here, url: str, tmp_path: Path) -> None:
    def contexts(replica: str) -> str:
        return write(tmp_path, "c.toml", f'[contexts.prod]\ndatabase = "{url}"\nreplica = "{replica}"\n')

    follows, gone = contexts(url), "postgresql://nobody@127.0.0.1:1/nothing"
    read = here("preview", *FLOOD, "--config", follows, "--context", "prod")
    assert (read.code, read.err) == (0, "")
    assert ", by the replica\n" in read.out
    assert (
        "by the replica" not in here("cancel", *FLOOD, "--yes", "--count", "--config", follows, "--context", "prod").out
    )
    failed = here("preview", *FLOOD, "--config", contexts(gone), "--context", "prod")
    assert failed.code == 0
    assert "replica  not used; the primary was counted instead: cannot reach 127.0.0.1/nothing" in failed.out


def test_cancel_and_wait(here: Here, url: str) -> None:
    asyncio.run(end_running(url))
    done = here("cancel", *FLOOD, "--yes", "--count", "--wait", "--json", "--reason", "a loop", url=url)
    assert (done.code, done.err) == (0, "")
    assert list(done.json) == CANCELLATION_KEYS
    assert list(done.json["counts"]) == COUNT_KEYS
    kept = {name: done.json[name] for name in ("state", "kind", "app_id", "function_id", "if", "standing")}
    assert kept == {
        "state": "complete",
        "kind": "bulk",
        "app_id": "billing",
        "function_id": "vendor-syncs",
        "if": CULPRIT,
        "standing": False,
    }
    assert (done.json["created_by"], done.json["source"], done.json["reason"]) == ("nadia", "cli", "a loop")
    assert done.json["started_after"] is None
    assert done.json["started_before"] == done.json["created_at"]
    counts = done.json["counts"]
    assert (counts["expected"], counts["matched"], counts["cancelled"]) == (ACME - 1, ACME - 1, ACME - 1)
    assert counts["errors"] == INCOMPLETE
    assert asyncio.run(unfinished(url)) == EVERYTHING - ACME


def test_without_waiting_it_is_in_force_and_says_how_to_follow(here: Here, url: str) -> None:
    done = here("cancel", *FLOOD, "--yes", "--count", url=url)
    assert done.code == 0
    assert "In force: no matching run can be claimed." in done.out
    assert "Any running secateur console, worker or server" in done.out
    listed = asyncio.run(cancellations(url))
    assert [each["state"] for each in listed] == ["active"]
    assert f"secateur show {listed[0]['id']}" in done.out
    assert listed[0]["counts"]["requested"] == 1
    depth = here("depth", "--json", url=url).json
    assert {each["function_id"]: each["cancelling"] for each in depth} == {"invoices": 0, "vendor-syncs": ACME}


def test_the_references_body_from_a_file_and_from_stdin(here: Here, url: str, tmp_path: Path) -> None:
    body = {
        "if": CULPRIT,
        "started_after": "2024-01-21T00:00:00Z",
        "started_before": "2024-01-22T00:00:00Z",
        "app_id": "billing",
        "function_id": "vendor-syncs",
    }
    path = write(tmp_path, "body.json", body)
    from_file = here("cancel", "--request", path, "--reason", "why", "--yes", "--json", "--wait", url=url)
    assert from_file.code == 0
    assert from_file.json["started_after"] == "2024-01-21T00:00:00Z"
    assert from_file.json["started_before"] == "2024-01-22T00:00:00Z"
    assert (from_file.json["reason"], from_file.json["counts"]["matched"]) == ("why", 0)
    from_stdin = here("cancel", "--request", "-", "--yes", "--count", "--json", url=url, stdin=json.dumps(body))
    assert from_stdin.json["counts"]["expected"] == 0
    twice = here("cancel", "--request", "-", "--reason", "b", url=url, stdin=json.dumps({**body, "reason": "a"}))
    assert twice.code == 2
    assert "leave out --reason" in twice.err


def test_a_dry_run_needs_no_consent_and_writes_nothing(here: Here, url: str) -> None:
    done = here("cancel", *FLOOD, "--dry-run", "--json", url=url)
    assert done.code == 0
    assert (list(done.json), done.json["matched"]) == (PREVIEW_KEYS, ACME)
    assert asyncio.run(cancellations(url)) == []


def test_the_same_key_commits_once(here: Here, url: str) -> None:
    first = here("cancel", *FLOOD, "--yes", "--json", "--idempotency-key", "k-1", url=url)
    again = here("cancel", *FLOOD, "--yes", "--json", "--idempotency-key", "k-1", url=url)
    assert (again.code, again.json["id"]) == (0, first.json["id"])
    other = here("cancel", "--app", "billing", "--yes", "--idempotency-key", "k-1", url=url)
    assert other.code == 2
    assert "idempotency key 'k-1' was already used for another request" in other.err
    told = here("cancel", *FLOOD, "--yes", "--idempotency-key", "k-1", url=url)
    assert "It was already committed under this idempotency key" in told.out
    assert len(asyncio.run(cancellations(url))) == 1


def test_the_key_of_one_that_was_undone_does_not_say_that_it_is_in_force(here: Here, url: str) -> None:
    first = here("cancel", *FLOOD, "--yes", "--json", "--idempotency-key", "k-1", url=url)
    assert here("undo", first.json["id"], "--yes", url=url).code == 0
    again = here("cancel", *FLOOD, "--yes", "--json", "--idempotency-key", "k-1", url=url)
    assert (again.code, again.json["id"], again.json["guarantee"]) == (1, first.json["id"], "ended")
    told = here("cancel", *FLOOD, "--yes", "--idempotency-key", "k-1", url=url)
    assert told.code == 1
    assert "has been stopped or undone since: it no longer\nmatches anything" in told.out


@pytest.fixture
def slow_url(url: str) -> str:
    """Each run takes a twentieth of a second to evaluate; only one is running."""
    asyncio.run(_evaluate_slowly(url))
    return url


async def _evaluate_slowly(url: str) -> None:
    async with Database.connect(url) as database:
        await database.execute(
            "create or replace function secateur_cel.lower_v1(given text) returns text language plpgsql"
            " as $$ begin perform pg_sleep(0.05); return given; end $$"
        )


SLOW = ("--app", "billing", "--if", "event.data.vendor_id.lowerAscii() != 'x'")
IMPATIENT = {"SECATEUR_QUERY_TIMEOUT_SECONDS": "0.5"}


def test_a_commit_waits_for_the_count_no_longer_than_the_setting_says(here: Here, slow_url: str) -> None:
    done = here("cancel", *SLOW, "--yes", "--count", url=slow_url, **IMPATIENT)
    assert done.code == 0
    assert "every matching run of billing / every function in " in done.out
    assert "Not counted: the database did not answer within 0.5 s." in done.out
    assert "In force: no matching run can be claimed." in done.out
    (cancellation,) = asyncio.run(cancellations(slow_url))
    assert (cancellation["counts"]["expected"], cancellation["counts"]["expected_exact"]) == (None, None)
    assert "expected        not counted" in here("show", cancellation["id"], url=slow_url).out
    again = here("cancel", *SLOW, "--yes", "--count", "--json", url=slow_url, **IMPATIENT)
    assert again.json["state"] == "active"
    assert "secateur: not counted: the database did not answer within 0.5 s" in again.err


def test_without_an_exact_count_the_name_confirms(slow_url: str) -> None:
    question = "Cancel whatever matches? Type billing to confirm: "
    asked = run_on_terminal("cancel", *SLOW, url=slow_url, answers=[(question, "y\n")], **IMPATIENT)
    assert asked.code == 1
    assert "Nothing was cancelled." in asked.out
    done = run_on_terminal("cancel", *SLOW, url=slow_url, answers=[(question, "billing\n")], **IMPATIENT)
    assert done.code == 0, done
    assert len(asyncio.run(cancellations(slow_url))) == 1


def test_a_count_is_not_made_where_nobody_wants_one(here: Here, slow_url: str) -> None:
    done = here("cancel", *SLOW, "--yes", "--no-count", url=slow_url)
    assert done.code == 0
    assert "Not counted: --no-count was given." in done.out
    misspelt = here("cancel", "--app", "biling", "--yes", "--no-count", url=slow_url)
    assert misspelt.code == 2
    assert "there is no app 'biling'" in misspelt.err
    for both in (("--dry-run", "--no-count"), ("--count", "--no-count", "--yes")):
        assert here("cancel", *SLOW, *both, url=slow_url).code == 2


def test_yes_commits_before_anything_is_counted(here: Here, slow_url: str) -> None:
    done = here("cancel", *SLOW, "--yes", url=slow_url)
    assert done.code == 0
    assert "This applies to every matching run of " in done.out
    assert "Not counted: --yes commits at once, unless --count is given." in done.out
    asked = here("cancel", *SLOW, "--yes", "--json", url=slow_url)
    assert (asked.code, asked.err) == (0, "")
    assert (asked.json["counts"]["expected"], asked.json["counts"]["expected_exact"]) == (None, None)


def test_yes_hides_no_warning_about_the_condition(here: Here, url: str) -> None:
    scope = ("--app", "billing", "--if", "event.data.amount / 0 > 1")
    warned = here("preview", *scope, url=url).err
    assert "secateur: warning: if (line 1, column" in warned
    for flags in (("--yes",), ("--yes", "--json")):
        done = here("cancel", *scope, *flags, url=url)
        assert (done.code, done.err) == (0, warned)


def test_a_window_in_the_future_is_refused_by_the_databases_clock(here: Here, url: str) -> None:
    done = here("cancel", "--app", "billing", "--before", "+1h", "--yes", url=url)
    assert done.code == 2
    assert "started_before: " in done.err
    assert "is in the future; the database's clock says" in done.err


def test_stop_leaves_the_rest_alone(here: Here, url: str) -> None:
    cancelled = here("cancel", *FLOOD, "--yes", "--json", url=url).json
    stopped = here("stop", cancelled["id"], "--json", url=url)
    assert (stopped.code, stopped.json["state"]) == (0, "stopped")
    assert stopped.json["counts"]["cancelled"] == 0
    again = here("stop", cancelled["id"], "--yes", url=url)
    assert again.code == 0
    assert again.out.startswith("Stopped.")
    assert asyncio.run(unfinished(url)) == EVERYTHING
    unknown = here("stop", str(uuid4()), url=url)
    assert unknown.code == 1
    assert "there is no cancellation" in unknown.err


def test_waiting_for_what_somebody_stops_fails(here: Here, url: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "cancel", *FLOOD, "--yes", "--wait", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(url),
    )
    committed = _committed(url)
    assert process.poll() is None, "the running run keeps it open"
    assert here("stop", committed, url=url).code == 0
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (1, "")
    assert json.loads(out)["state"] == "stopped"


def test_waiting_can_be_interrupted(url: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "cancel", *FLOOD, "--yes", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(url),
    )
    committed = _committed(url)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.splitlines() == [
        "secateur: stopped waiting; other secateur processes continue the work",
        f"secateur: already done: cancellation {committed} is committed: secateur show {committed}",
    ]


def _committed(url: str) -> str:
    """The only cancellation's id, once it is there and its backlog is swept."""

    def swept() -> str | None:
        match asyncio.run(cancellations(url)):
            case [one] if one["counts"]["cancelled"] == ACME - 1:
                return str(one["id"])
        return None

    committed = wait_for(swept, "the sweep of the only cancellation")
    assert committed is not None
    return committed


async def _waits_for_a_lock(url: str) -> bool:
    async with Database.connect(url) as database:
        return bool(await database.fetchval("select exists (select from pg_locks where not granted)"))


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 1), ("vendor-syncs", 1)])
def test_a_terminal_is_asked(answer: str, code: int, url: str) -> None:
    question = f"Cancel {ACME} runs? [y/N] "
    done = run_on_terminal("cancel", *FLOOD, url=url, answers=[(question, f"{answer}\n")])
    assert done.code == code, done
    assert ("Nothing was cancelled." in done.out) == (code == 1)
    assert len(asyncio.run(cancellations(url))) == 1 - code


@pytest.mark.parametrize(("answer", "code"), [("vendor-syncs", 0), ("30", 0), ("y", 1)])
def test_many_runs_take_more_than_a_y(answer: str, code: int, url: str) -> None:
    question = f"Cancel {ACME} runs? Type vendor-syncs to confirm: "
    answers = [(question, f"{answer}\n")]
    done = run_on_terminal("cancel", *FLOOD, url=url, answers=answers, SECATEUR_CONFIRM_ABOVE="10")
    assert done.code == code, done
    assert len(asyncio.run(cancellations(url))) == 1 - code


@pytest.mark.parametrize(("typed", "code"), [("\x03", 130), ("\x04", 1)])
def test_leaving_the_question_cancels_nothing(typed: str, code: int, url: str) -> None:
    done = run_on_terminal("cancel", *FLOOD, url=url, answers=[("[y/N] ", typed)])
    assert done.code == code, done
    assert asyncio.run(cancellations(url)) == []


def test_json_implies_no_consent_on_a_terminal_either(url: str) -> None:
    done = run_on_terminal("cancel", *FLOOD, "--json", url=url, answers=[("[y/N] ", "n\n")])
    assert done.code == 1
    assert asyncio.run(cancellations(url)) == []


def test_without_a_condition_there_is_a_warning(url: str) -> None:
    done = run_on_terminal("cancel", "--app", "billing", url=url, answers=[("[y/N] ", "n\n")])
    assert "No condition" in done.out
    assert "vendor-syncs" in done.out
    assert "invoices" in done.out


@contextmanager
def _held(url: str, lock: str) -> Iterator[None]:
    """Somebody keeps a transaction open in which they took the lock."""
    release, held = threading.Event(), threading.Event()

    async def hold() -> None:
        async with Database.connect(url) as database, database.transaction() as connection:
            await connection.execute(lock)
            held.set()
            await asyncio.to_thread(release.wait, 60)

    holder = threading.Thread(target=lambda: asyncio.run(hold()))
    holder.start()
    assert held.wait(PATIENCE)
    try:
        yield
    finally:
        release.set()
        holder.join()


def test_a_lock_that_is_not_to_be_had_leaves_it_pending(here: Here, url: str) -> None:
    """It is durable, and says whom it waits for and what can be done. So are a stop and an undo."""
    with _held(url, "select secateur.share_app('billing')"):
        done = here("cancel", *FLOOD, "--yes", url=url)
        (committed,) = asyncio.run(cancellations(url))
        (holder,) = committed["blocked_by"]
        shown = here("show", committed["id"], url=url)
        stopped = here("stop", committed["id"], url=url)
        undone = here("undo", committed["id"], "--yes", url=url)
        both = here("show", committed["id"], url=url)
    assert done.code == 0
    assert "Committed, but not yet in force." in done.out
    assert done.err.startswith(f"Pending: an open transaction of process {holder} is in the way.")
    assert f"select pg_terminate_backend({holder})" in done.err
    assert f"pending: waiting for process {holder}" in shown.out
    for ended, end in ((stopped, "stop"), (undone, "undo"), (both, "undo")):
        assert ended.code == 0
        told = f"The {end} is not yet in force: an open transaction of process {holder} is in the way;\n"
        assert told in ended.out
        assert f"it may still cancel runs; whatever begins from now on obeys the {end}.\n" in ended.out
        assert f"select pg_terminate_backend({holder})" in ended.out
    assert stopped.out.startswith("Stopped. ")
    assert "Its runs come back then." in undone.out
    waited = here("undo", committed["id"], "--yes", "--wait", url=url)
    assert (waited.code, waited.err) == (0, "")


def test_interrupting_the_commit_tells_how_to_find_out(url: str) -> None:
    with _held(url, "lock table secateur.sweeps in share row exclusive mode"):
        process = subprocess.Popen(
            [*COMMAND, "cancel", *FLOOD, "--yes", "--idempotency-key", "k-1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(url),
        )
        assert process.stdout is not None
        while "Committing under the idempotency key k-1." not in process.stdout.readline():
            assert process.poll() is None
        wait_for(lambda: asyncio.run(_waits_for_a_lock(url)), "the commit to wait for the lock")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.startswith("secateur: interrupted: it is unknown whether the cancellation is in force; repeat it")
    assert err.endswith(" --idempotency-key k-1 --yes\n")


def test_a_commit_whose_answer_is_lost_is_made_once(url: str) -> None:
    with losing_one_answer(url) as lossy:
        done = run("cancel", *FLOOD, "--yes", "--json", url=lossy)
    assert done.code == 0
    assert "trying again with the same idempotency key" in done.err
    (committed,) = asyncio.run(cancellations(url))
    assert committed["id"] == done.json["id"]


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as server:
        assert run("install", url=server.url).code == 0
        asyncio.run(seed(server.url))
        yield server


def test_a_lost_answer_is_told_with_the_way_to_find_out(own_server: EmbeddedPostgres) -> None:
    """The server dies while the question stands on the screen, so that the commit has nobody to answer it."""

    class Kill(str):
        def encode(self, *_: object) -> bytes:
            own_server.kill()
            return b"y\n"

    done = run_on_terminal("cancel", *FLOOD, "--after", "-3h", url=own_server.url, answers=[("[y/N] ", Kill())])
    assert done.code == 1
    assert "trying again with the same idempotency key" in done.out
    told = " ".join(done.out.split())
    assert "it is unknown whether the cancellation is in force; repeat it with the same key" in told
    (command,) = [line for line in done.out.splitlines() if line.startswith("secateur cancel --app billing")]
    assert "--after 20" in command, "the instant, not the relative time"
    assert "--idempotency-key " in command
    assert command.endswith(" --yes"), "a command that is broken into lines cannot be copied"


def test_a_reader_that_left_hides_nothing(url: str) -> None:
    command = f"{' '.join(COMMAND)} cancel --app billing --yes --json --no-count"
    told = subprocess.run(
        ["bash", "-c", f"{command} | head -0; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=environment(url),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    (committed,) = asyncio.run(cancellations(url))
    assert told.returncode == 74, told
    assert f"done, but the output was lost: cancellation {committed['id']} is committed" in told.stderr
    assert "Traceback" not in told.stderr
