"""`pause`, `resume`, `forget`, `audit` and `retention` on a real queue, and the history on terminals of any width."""

from __future__ import annotations

import asyncio

import pytest
from billing import CULPRIT
from command_line import Done, Here, run_on_terminal

from secateur.engines.native.engine import NativeEngine
from secateur.postgres.database import Database

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


def one_line(done: Done, code: int) -> str:
    """What a refusal says: one line, and nothing on stdout."""
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("secateur: ")
    assert done.err.count("\n") == 1
    return done.err


class TestPausing:
    def paused(self, here: Here, url: str) -> list[str]:
        depth = here("depth", "--json", url=url).json
        return [each["function_id"] for each in depth if each["paused"]]

    def test_a_function(self, here: Here, url: str) -> None:
        done = here("pause", "billing", "vendor-syncs", "--yes", url=url)
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines() == [
            "Paused: no run of billing / vendor-syncs is claimed. Running runs go on: 1 run.",
            "  To resume: secateur resume billing vendor-syncs",
        ]
        assert self.paused(here, url) == ["vendor-syncs"]
        assert "paused" in here("depth", url=url).out
        again = here("pause", "billing", "vendor-syncs", "--yes", url=url)
        assert again.code == 0
        resumed = here("resume", "billing", "vendor-syncs", "--yes", url=url)
        assert (resumed.code, resumed.out) == (0, "Resumed: billing / vendor-syncs is claimed again.\n")
        assert self.paused(here, url) == []

    def test_a_whole_app_is_another_pause(self, here: Here, url: str) -> None:
        done = here("pause", "billing", "--yes", "--json", url=url)
        assert [(each["function_id"], each["paused"]) for each in done.json] == [
            ("invoices", True),
            ("vendor-syncs", True),
        ]
        here("pause", "billing", "invoices", "--yes", url=url)
        not_yet = here("resume", "billing", "invoices", "--yes", url=url)
        assert "Still not claimed: all of billing is paused too: secateur resume billing" in not_yet.out
        here("pause", "billing", "invoices", "--yes", url=url)
        rest = here("resume", "billing", "--yes", url=url)
        assert "Resumed, but these were paused by themselves and still are: invoices." in rest.out
        assert self.paused(here, url) == ["invoices"]

    @pytest.mark.parametrize("command", ["pause", "resume"])
    def test_unknown_names(self, command: str, here: Here, url: str) -> None:
        told = one_line(here(command, "biling", "--yes", url=url), 1)
        assert "there is no app 'biling'; known apps: billing" in told
        told = one_line(here(command, "billing", "nope", "--yes", url=url), 1)
        assert "app 'billing' has no function 'nope'; known functions: invoices, vendor-syncs" in told
        assert "read-only" in one_line(here(command, "billing", "--yes", "--read-only", url=url), 2)

    @pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
    def test_a_terminal_is_asked(self, answer: str, code: int, here: Here, url: str) -> None:
        question = "Pause billing / vendor-syncs? [y/N] "
        done = run_on_terminal("pause", "billing", "vendor-syncs", url=url, answers=[(question, f"{answer}\n")])
        assert done.code == code, done
        assert "new runs wait too" in done.out
        assert self.paused(here, url) == ([] if code else ["vendor-syncs"])


async def _register(url: str, *functions: tuple[str, str]) -> None:
    async with Database.connect(url) as database:
        for app_id, function_id in functions:
            await database.execute("select secateur.register_function($1, $2, '{}', 4)", app_id, function_id)


class TestForgetting:
    @pytest.fixture(autouse=True)
    def others(self, url: str) -> None:
        asyncio.run(_register(url, ("billing", "old"), ("gone", "a"), ("gone", "b")))

    def known(self, here: Here, url: str) -> list[str]:
        return [each["function_id"] for each in here("depth", "--json", url=url).json]

    def test_a_function(self, here: Here, url: str) -> None:
        done = here("forget", "billing", "old", "--yes", url=url)
        assert (done.code, done.out, done.err) == (0, "Forgotten: billing / old.\n", "")
        assert self.known(here, url) == ["invoices", "vendor-syncs", "a", "b"]
        assert " old " not in here("depth", url=url).out
        again = here("forget", "billing", "old", "--yes", url=url)
        assert (again.code, again.out) == (0, "Nothing to forget: billing / old was forgotten before.\n")
        assert here("forget", "billing", "old", "--yes", "--json", url=url).json == []
        (entry, *_) = here("audit", "--json", url=url).json
        assert (entry["action"], entry["function_id"], entry["author"]) == ("forget", "old", "nadia")
        assert "forget   billing / old" in here("audit", url=url).out

    def test_an_app(self, here: Here, url: str) -> None:
        done = here("forget", "gone", "--yes", url=url)
        assert (done.code, done.out) == (0, "Forgotten: gone / every function: a, b.\n")
        assert self.known(here, url) == ["invoices", "old", "vendor-syncs"]

    def test_as_json(self, here: Here, url: str) -> None:
        assert here("forget", "gone", "--yes", "--json", url=url).json == [
            {"app_id": "gone", "function_id": "a"},
            {"app_id": "gone", "function_id": "b"},
        ]

    def test_what_waits_or_is_not_there(self, here: Here, url: str) -> None:
        told = one_line(here("forget", "billing", "vendor-syncs", "--yes", url=url), 2)
        assert "billing / vendor-syncs cannot be forgotten yet: vendor-syncs has 51 queued runs" in told
        assert "vendor-syncs has 1 running run" in told
        assert "cancel them" in told
        assert "there is no app 'biling'; known apps:" in one_line(here("forget", "biling", "--yes", url=url), 1)
        assert "has no function 'nope'" in one_line(here("forget", "billing", "nope", "--yes", url=url), 1)
        assert "read-only" in one_line(here("forget", "gone", "--yes", "--read-only", url=url), 2)

    @pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
    def test_a_terminal_is_asked(self, answer: str, code: int, here: Here, url: str) -> None:
        answers = [("Forget billing / old? [y/N] ", f"{answer}\n")]
        done = run_on_terminal("forget", "billing", "old", url=url, answers=answers)
        assert done.code == code, done
        assert "Its history stays." in done.out
        assert ("old" in self.known(here, url)) == bool(code)


class TestTheAudit:
    def test_who_did_what(self, here: Here, url: str) -> None:
        here("pause", "billing", "--yes", url=url)
        here("cancel", *FLOOD, "--yes", url=url)
        entries = here("audit", "--json", url=url).json
        assert list(entries[0]) == [
            *("id", "at", "action", "app_id", "function_id", "cancellation_id", "author", "role"),
            *("address", "application_name", "source", "details"),
        ]
        assert [(each["action"], each["author"], each["source"]) for each in entries[:2]] == [
            ("commit", "nadia", "cli"),
            ("pause", "nadia", "cli"),
        ]
        people = here("audit", url=url).out.splitlines()
        assert people[0].split() == ["at", "action", "of", "by", "role", "source", "details"]
        assert "pause    billing / every function  nadia" in people[2]
        assert len(here("audit", "--limit", "1", url=url).out.splitlines()) == 2

    def test_of_one_app(self, here: Here, url: str) -> None:
        here("pause", "billing", "--yes", url=url)
        assert [each["action"] for each in here("audit", "--app", "billing", "--json", url=url).json] == ["pause"]
        assert here("audit", "--app", "crm", url=url).out == "There is no audit entry for app crm.\n"

    def test_an_install_has_its_author(self, here: Here, empty_database_url: str) -> None:
        here("install", url=empty_database_url)
        (entry,) = here("audit", "--json", url=empty_database_url).json
        assert (entry["action"], entry["author"]) == ("install", "nadia")
        here("install", url=empty_database_url)
        assert len(here("audit", "--json", url=empty_database_url).json) == 1, "nothing was done"

    def test_a_terminal_of_80_columns(self, here: Here, url: str) -> None:
        here("cancel", *FLOOD, "--reason", "a very long reason " * 5, "--yes", url=url)
        lines = on_terminal("audit", url=url, columns=80)
        assert max(map(len, lines)) <= 80
        assert "commit" in lines[1]


class TestRetention:
    def test_shows_and_changes(self, here: Here, url: str) -> None:
        assert here("retention", url=url).out.splitlines() == [
            "finished   7d: how long completed and failed runs are kept",
            "cancelled  30d: how long after its end a cancellation can be undone",
            "standing   7d: how far ahead a standing cancellation may end",
        ]
        changed = here("retention", "--finished", "36h", "--cancelled", "2w", "--yes", "--json", url=url)
        assert changed.json == {"finished": 36 * 3600, "cancelled": 14 * 86400, "standing": 7 * 86400}
        assert "finished   36h: " in here("retention", url=url).out
        (entry, *_) = here("audit", "--json", url=url).json
        assert (entry["action"], entry["author"], set(entry["details"])) == ("retention", "nadia", {"before", "after"})

    def test_shorter_takes_consent_and_longer_does_not(self, here: Here, url: str) -> None:
        told = one_line(here("retention", "--cancelled", "1d", url=url), 2)
        assert "there is no terminal to ask for confirmation: add --yes to shorten it" in told
        assert here("retention", "--cancelled", "60d", "--standing", "1d", url=url).code == 0
        command = ("retention", "--cancelled", "1d", "--finished", "8d")
        no = run_on_terminal(*command, url=url, answers=[("Change it? [y/N] ", "n\n")])
        assert (no.code, "Nothing was changed." in no.out) == (1, True)
        assert "cancelled: 1d instead of 60d. Cancellations that ended longer ago can no longer be undone" in no.out
        assert "finished: " not in no.out
        yes = run_on_terminal(*command, url=url, answers=[("Change it? [y/N] ", "y\n")])
        assert yes.code == 0
        assert "cancelled  1d: " in here("retention", url=url).out

    def test_refused(self, here: Here, url: str) -> None:
        assert "read-only" in one_line(here("retention", "--finished", "1d", "--read-only", url=url), 2)
        assert here("retention", "--read-only", url=url).code == 0
        for name in ("finished", "cancelled", "standing"):
            told = one_line(here("retention", f"--{name}", "999999w", url=url), 2)
            assert told == f"secateur: {name}: must be at most 100 years\n"
        here("retention", "--finished", "36525d", url=url)
        asyncio.run(prune(url))


async def prune(url: str) -> None:
    """With the longest retention there is; more would leave what Postgres can count."""
    async with Database.connect(url) as database:
        assert (await NativeEngine(database).prune(10)).runs == 0


def on_terminal(*arguments: str, url: str, columns: int) -> list[str]:
    done = run_on_terminal(*arguments, url=url, COLUMNS=str(columns), NO_COLOR="1")
    assert done.code == 0, done
    return done.out.splitlines()


class TestTheHistoryOnATerminal:
    def test_80_columns(self, here: Here, url: str) -> None:
        here("cancel", *FLOOD, "--yes", url=url)
        here("cancel", "--app", "billing", "--yes", url=url)
        headings, *lines = on_terminal("history", url=url, columns=80)
        ids = [each["id"] for each in here("history", "--json", url=url).json]
        assert headings.split() == ["id", "state", "committed", "cancelled"]
        assert len(lines) == 4
        assert max(map(len, [headings, *lines])) <= 80
        assert [line.split()[0] for line in lines[::2]] == ids
        assert lines[1] == "  billing / every function, by nadia: (every run)"
        assert lines[3] == f"  billing / vendor-syncs, by nadia: {CULPRIT}"

    def test_a_wide_one_and_a_pipe_have_a_line_each(self, here: Here, url: str) -> None:
        here("cancel", *FLOOD, "--yes", url=url)
        wide, piped = on_terminal("history", url=url, columns=200), here("history", url=url).out.splitlines()
        assert wide == piped
        assert wide[0].split() == ["id", "state", "committed", "cancelled", "by", "runs", "of", "if"]
        assert len(wide) == 2

    @pytest.mark.parametrize("columns", [40, 60, 79, 81, 120])
    def test_any_width(self, columns: int, here: Here, url: str) -> None:
        long = " || ".join([CULPRIT] * 10)
        here("cancel", *FLOOD[:4], "--if", long, "--yes", url=url)
        lines = on_terminal("history", url=url, columns=columns)
        if columns >= 80:
            assert max(map(len, lines)) <= columns
        assert any("billing / vendor-syncs" in line for line in lines)
