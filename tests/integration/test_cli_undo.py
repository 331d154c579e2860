"""`undo`, `cancel-run` and `restore-run` on a real queue; standing cancellations and the rate."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import pytest
from billing import ACME, CANCELLATION_KEYS, CULPRIT, GLOBEX, INCOMPLETE, INVOICES, end_running, unfinished
from command_line import Here, run_on_terminal

from secateur.postgres.database import Database

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)
NO_SUCH = str(UUID(int=1))


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


@pytest.fixture
def cancelled(here: Here, url: str) -> str:
    """The id of a cancellation that is complete; nothing of it was running."""
    asyncio.run(end_running(url))
    done = here("cancel", *FLOOD, "--yes", "--wait", "--json", url=url)
    cancellation_id: str = done.json["id"]
    return cancellation_id


async def _value(url: str, sql: str, *arguments: object) -> object:
    async with Database.connect(url) as database:
        return await database.fetchval(sql, *arguments)


def a_run(url: str, status: str) -> str:
    return str(asyncio.run(_value(url, "select id from secateur.runs where status = $1 order by id limit 1", status)))


def status_of(url: str, run: str) -> object:
    return asyncio.run(_value(url, "select status from secateur.runs where id = $1", UUID(run)))


def refuse_the_step(url: str, run: str) -> None:
    """The worker asks for its next step, is refused, and says so: the run stops."""
    step = "select secateur.begin_step(app_id, id, claim_token, 'next') from secateur.runs where id = $1"
    assert asyncio.run(_value(url, step, UUID(run))) is False


class TestUndo:
    def test_and_wait(self, here: Here, url: str, cancelled: str) -> None:
        before = asyncio.run(unfinished(url))
        done = here("undo", cancelled, "--yes", "--wait", url=url)
        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        assert lines[0].startswith("Undo the cancellation of billing / vendor-syncs, committed by nadia, 20")
        assert f"  if {CULPRIT}" in lines
        assert f"  back as before  {ACME - 1} runs that waited" in lines
        assert "  goes over       what another cancellation matches too, to that one" in lines
        assert lines[-2:] == [
            "Undone: it no longer matches anything, and its runs are coming back.",
            f"{ACME - 1} runs restored, 0 not.",
        ]
        assert asyncio.run(unfinished(url)) == before + ACME - 1
        assert ": everything that could come back is back" in here("show", cancelled, url=url).out
        assert "Already undone" in here("undo", cancelled, "--yes", url=url).out
        assert here("stop", cancelled, url=url).out.startswith("It was already undone; nothing was left to stop.")

    def test_as_json(self, here: Here, url: str, cancelled: str) -> None:
        first = here("undo", cancelled, "--yes", "--json", url=url)
        assert (first.code, first.err, list(first.json)) == (0, "", CANCELLATION_KEYS)
        assert (first.json["state"], first.json["restoring"], first.json["undone_by"]) == ("undone", True, "nadia")
        waited = here("undo", cancelled, "--yes", "--wait", "--json", url=url)
        assert list(waited.json) == [*CANCELLATION_KEYS, "unrestored"]
        assert (waited.json["restoring"], waited.json["unrestored"]) == (False, [])
        assert waited.json["counts"]["restored"] == ACME - 1

    def test_without_waiting_it_says_how_to_follow(self, here: Here, url: str, cancelled: str) -> None:
        done = here("undo", cancelled, "--yes", url=url)
        assert f"secateur show {cancelled}" in done.out
        assert f"secateur undo --yes --wait {cancelled}" in done.out
        assert max(map(len, done.out.splitlines())) <= 100

    def test_what_was_stopped_while_it_ran(self, here: Here, url: str) -> None:
        running = a_run(url, "running")
        cancellation_id = here("cancel", *FLOOD, "--yes", "--json", url=url).json["id"]
        refuse_the_step(url, running)
        told = here("undo", cancellation_id, "--yes", "--wait", url=url)
        assert "  still cancelled  1 run, stopped while running; use --requeue-stopped to queue these again" in told.out
        assert "0 runs restored, 1 not." in told.out, "nobody had swept"
        assert f"  {running}  it was stopped while it ran" in told.out
        assert status_of(url, running) == "cancelled"
        again = here("undo", cancellation_id, "--yes", "--wait", "--requeue-stopped", "--json", url=url)
        assert (again.json["counts"]["restored"], again.json["unrestored"]) == (1, [])
        assert status_of(url, running) == "queued"

    def test_what_another_one_matches_too(self, here: Here, url: str, cancelled: str) -> None:
        here("undo", cancelled, "--yes", "--wait", url=url)
        first = here("cancel", *FLOOD, "--yes", "--json", url=url).json["id"]
        second = here("cancel", *FLOOD, "--yes", "--json", url=url).json["id"]
        told = here("undo", first, "--yes", "--wait", "--json", url=url).json
        assert told["counts"]["handed_over"] == told["counts"]["cancelled"]
        assert {each["reason"] for each in told["unrestored"]} <= {f"cancellation {second} matches it too"}

    @pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
    def test_a_terminal_is_asked(self, answer: str, code: int, url: str, cancelled: str) -> None:
        done = run_on_terminal("undo", cancelled, url=url, answers=[("Undo it? [y/N] ", f"{answer}\n")])
        assert done.code == code, done
        assert ("Nothing was changed." in done.out) == (code == 1)

    def test_refused(self, here: Here, url: str, cancelled: str) -> None:
        unknown = here("undo", NO_SUCH, "--yes", url=url)
        assert (unknown.code, unknown.err) == (1, f"secateur: there is no cancellation {NO_SUCH}\n")
        reading = here("undo", cancelled, "--yes", "--read-only", url=url)
        assert (reading.code, reading.out) == (2, "")
        here("retention", "--cancelled", "0s", "--yes", url=url)
        late = here("undo", cancelled, "--yes", url=url)
        assert late.code == 2
        assert f"cancellation {cancelled} can no longer be undone: its cancelled runs were kept until " in late.err
        assert late.err.count("\n") == 1


class TestSingleRuns:
    def test_one_that_waits(self, here: Here, url: str) -> None:
        run = a_run(url, "queued")
        done = here("cancel-run", run, "--yes", "--reason", "a typo", url=url)
        assert (done.code, done.err) == (0, "")
        assert done.out == f"Cancelled: it will not start.\n  Take it back: secateur restore-run {run}\n"
        assert status_of(url, run) == "cancelled"
        twice = here("cancel-run", run, "--yes", url=url)
        assert (twice.code, twice.out) == (2, "")
        assert f"run {run} has already ended: cancelled at " in twice.err
        listed = here("history", "--json", url=url).json
        assert [(each["kind"], each["run_id"], each["reason"]) for each in listed] == [("run", run, "a typo")]
        assert f"(run {run})" in here("history", url=url).out
        assert f"run {run} of billing / " in here("show", listed[0]["id"], url=url).out
        back = here("restore-run", run, url=url)
        assert (back.code, back.out, back.err) == (0, "Restored: it waits again.\n", "")
        assert status_of(url, run) == "queued"
        again = here("restore-run", run, "--yes", url=url)
        assert (again.code, again.out, again.err) == (0, "Restored: it waits again.\n", "")
        other = a_run(url, "running")
        nothing = here("restore-run", other, url=url)
        assert (nothing.code, nothing.err) == (
            2,
            f"secateur: run {other} is running, not cancelled: there is nothing to restore\n",
        )

    def test_one_that_runs(self, here: Here, url: str) -> None:
        run = a_run(url, "running")
        done = here("cancel-run", run, "--yes", url=url)
        assert done.out.startswith("Asked to stop: it stops at its next step.")
        goes_on = here("restore-run", run, url=url)
        assert (goes_on.code, goes_on.out) == (0, "It had not stopped yet and goes on.\n")
        here("cancel-run", run, "--yes", "--json", url=url)
        refuse_the_step(url, run)
        stopped = here("restore-run", run, url=url)
        assert (stopped.code, stopped.out) == (1, "")
        assert stopped.err.startswith(f"secateur: run {run} is not back: it was stopped while it ran")
        back = here("restore-run", run, "--requeue-stopped", "--json", url=url)
        assert (back.code, back.json["unrestored"], back.json["run_id"]) == (0, [], run)
        assert status_of(url, run) == "queued"

    def test_one_of_many(self, here: Here, url: str, cancelled: str) -> None:
        run = a_run(url, "cancelled")
        done = here("restore-run", run, url=url)
        assert done.code == 2
        assert f"was cancelled with other runs by cancellation {cancelled}: undo that" in done.err

    @pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 1)])
    def test_a_terminal_is_asked(self, answer: str, code: int, url: str) -> None:
        run = a_run(url, "queued")
        done = run_on_terminal("cancel-run", run, url=url, answers=[("Cancel this run? [y/N] ", f"{answer}\n")])
        assert done.code == code, done
        assert f"run {run} of billing / " in done.out
        assert status_of(url, run) == ("queued" if code else "cancelled")

    @pytest.mark.parametrize("command", [("cancel-run", NO_SUCH, "--yes"), ("restore-run", NO_SUCH)])
    def test_unknown(self, command: tuple[str, ...], here: Here, url: str) -> None:
        done = here(*command, url=url)
        assert (done.code, done.out, done.err) == (1, "", f"secateur: there is no run {NO_SUCH}\n")


class TestStanding:
    def test_stands_until_it_is_stopped(self, here: Here, url: str) -> None:
        done = here("cancel", *FLOOD, "--standing", "--before", "+1h", "--yes", url=url)
        assert (done.code, done.err) == (0, "")
        assert "matching runs that arrive until " in done.out
        (one,) = here("history", "--json", url=url).json
        assert (one["standing"], one["state"]) == (True, "active")
        assert "  standing  " in here("history", url=url).out
        assert "state           active: runs that arrive until " in here("show", one["id"], url=url).out
        assert here("stop", one["id"], url=url).out.startswith("Stopped. ")

    def test_waiting_for_its_end(self, here: Here, url: str) -> None:
        asyncio.run(end_running(url))
        for end in ("+3s", "+9s", "+30s"):
            done = here("cancel", *FLOOD, "--standing", "--before", end, "--yes", "--wait", url=url)
            if "must be in the future" not in done.err:  # a slow machine may have taken longer to begin
                break
        assert done.code == 0
        assert "It stands until its window ends; this command waits for that." in done.out
        assert f"{ACME - 1} runs of billing / vendor-syncs cancelled" in done.out

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ((), "started_before: is required for a standing cancellation"),
            (("--before", "-1h"), "started_before: must be in the future for a standing cancellation"),
            (("--before", "+100d"), "started_before: is too far ahead; here a standing cancellation may last until "),
        ],
    )
    def test_refused(self, flags: tuple[str, ...], message: str, here: Here, url: str) -> None:
        done = here("cancel", *FLOOD, "--standing", *flags, "--yes", url=url)
        assert done.code == 2
        assert done.err.startswith(f"secateur: {message}")
        assert here("history", "--json", url=url).json == []


class TestTheRate:
    def test_sweeps_and_restores_no_faster(self, here: Here, url: str) -> None:
        asyncio.run(end_running(url))
        began = time.monotonic()
        done = here("cancel", *FLOOD, "--rate", "20", "--yes", "--wait", url=url)
        assert time.monotonic() - began > (ACME - 1) / 20 - 0.3
        assert "at most 20 rows a second are rewritten" in done.out
        (one,) = here("history", "--json", url=url).json
        assert (one["rate"], one["counts"]["cancelled"]) == (20, ACME - 1)
        assert "at most 20 rows a second" in here("show", one["id"], url=url).out
        began = time.monotonic()
        assert here("undo", one["id"], "--yes", "--wait", url=url).code == 0
        assert time.monotonic() - began > (ACME - 1) / 20 - 0.3

    @pytest.mark.parametrize("rate", ["0", "-1", "many", "1.5", "99999999999"])
    def test_refused(self, rate: str, here: Here, url: str) -> None:
        done = here("cancel", *FLOOD, f"--rate={rate}", "--yes", url=url)
        assert (done.code, done.out) == (2, "")
        assert "rate" in done.err
        assert done.err.count("\n") == 1


class TestSeveralFunctions:
    WHICH = ("--app", "billing", "--function", "vendor-syncs", "--function", "invoices")

    def test_one_cancellation_each(self, here: Here, url: str) -> None:
        asyncio.run(end_running(url))
        done = here("cancel", *self.WHICH, "--yes", "--wait", "--json", url=url)
        assert (done.code, done.err) == (0, "")
        assert [(each["function_id"], each["state"], each["counts"]["cancelled"]) for each in done.json] == [
            ("invoices", "complete", INVOICES),
            ("vendor-syncs", "complete", ACME - 1 + GLOBEX + INCOMPLETE),
        ]

    def test_told_to_people(self, here: Here, url: str) -> None:
        done = here("cancel", *self.WHICH, "--yes", url=url)
        assert done.code == 0
        assert "billing / invoices, vendor-syncs" in done.out
        listed = here("history", "--json", url=url).json
        assert [f"{each['id']}, active, {each['function_id']}" in done.out for each in listed] == [True, True]
        assert "Follow each with its ID, or stop or undo it:  secateur show ID" in done.out

    def test_all_or_nothing(self, here: Here, url: str) -> None:
        done = here("cancel", *self.WHICH, "--function", "nope", "--yes", url=url)
        assert done.code == 2
        assert "Committed:" not in done.out
        assert "function_ids: app 'billing' has no function 'nope'; known functions: invoices, vendor-syncs" in done.err
        assert here("history", "--json", url=url).json == []
