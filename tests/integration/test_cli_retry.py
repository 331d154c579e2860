"""`retry`, `runs`, and `show` of a run, on a real queue."""

from __future__ import annotations

import asyncio

import pytest
from billing import ACME, CULPRIT, end_running, seed
from command_line import Here

from secateur.postgres.database import Database

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)
STANDING = '{"app_id": "billing", "standing": true, "started_before": "9999-01-01T00:00:00Z"}'
FAIL = """
select secateur.fail('billing', held.id, held.claim_token, 'KeyError: vendor_id')
  from secateur.claim('billing', array['vendor-syncs'], $1, 'w', interval '1 hour') as held
"""


async def _flood(url: str) -> None:
    await seed(url)
    async with Database.connect(url) as database:
        await database.execute("update secateur.functions set max_attempts = 1")
        await database.fetch(FAIL, ACME - 1)


@pytest.fixture
def url(embedded_url: str) -> str:
    asyncio.run(_flood(embedded_url))
    return embedded_url


def test_what_has_failed_is_listed_and_shown(here: Here, url: str) -> None:
    headings, *rows = here("runs", "--app", "billing", "--limit", "3", url=url).out.splitlines()
    assert headings.split() == ["run", "function", "attempt", "ended", "error"]
    assert len(rows) == 3
    assert rows[0].endswith("KeyError: vendor_id")
    listed = here("runs", "--app", "billing", "--json", url=url).json
    assert len(listed) == ACME - 1
    more = here("runs", "--app", "billing", "--before", listed[-2]["id"], "--json", url=url).json
    assert [run["id"] for run in more] == [listed[-1]["id"]]
    shown = here("show", listed[0]["id"], url=url).out
    assert "status        failed" in shown
    assert "error         KeyError: vendor_id" in shown
    assert here("show", listed[0]["id"], "--json", url=url).json == listed[0]
    none = here("runs", "--app", "billing", "--function", "invoices", url=url)
    assert (none.code, none.out) == (0, "No run of billing / invoices is failed.\n")
    unknown = here("runs", "--app", "biling", url=url)
    assert (unknown.code, unknown.err) == (1, "secateur: there is no app 'biling'; known apps: billing\n")


def test_failed_runs_are_retried_and_the_retry_undone(here: Here, url: str) -> None:
    dry = here("retry", *FLOOD, "--dry-run", url=url)
    assert f"{ACME - 1} runs of the {ACME - 1} failed of billing / vendor-syncs" in dry.out
    done = here("retry", *FLOOD, "--yes", "--count", "--wait", "--reason", "mended", url=url)
    assert (done.code, done.err) == (0, "")
    assert "Committed: the matching runs are being queued again." in done.out
    assert done.out.splitlines()[-1] == f"{ACME - 1} runs of billing / vendor-syncs queued again."
    (retry,) = here("history", "--json", url=url).json
    assert (retry["kind"], retry["reason"], retry["counts"]["expected"]) == ("retry", "mended", ACME - 1)
    assert f"{ACME - 1} retried" in here("history", url=url).out
    assert f"queued again  {ACME - 1}\n" in here("show", retry["id"], url=url).out
    undone = here("undo", retry["id"], "--yes", "--wait", url=url)
    assert (undone.code, undone.err) == (0, "")
    assert undone.out.startswith("Undo the retry of billing / vendor-syncs")
    assert undone.out.splitlines()[-1] == f"{ACME - 1} runs as before again, 0 not."
    assert len(here("runs", "--app", "billing", "--json", url=url).json) == ACME - 1


def test_cancelled_ones_only_if_asked(here: Here, url: str) -> None:
    asyncio.run(end_running(url))
    assert here("cancel", "--app", "billing", "--yes", "--wait", url=url).code == 0
    only = here("retry", "--app", "billing", "--yes", "--wait", "--json", url=url)
    assert only.err == ""
    assert only.json["counts"]["retried"] == ACME - 1
    rest = here("retry", "--app", "billing", "--cancelled", "--yes", "--wait", "--json", url=url).json
    assert rest["with_cancelled"]
    assert rest["counts"]["retried"] > 0


def test_what_is_refused(here: Here, url: str) -> None:
    assert here("retry", *FLOOD, url=url).code == 2, "nobody can answer"
    assert here("--read-only", "retry", *FLOOD, "--yes", url=url).code == 2
    assert here("retry", *FLOOD, "--standing", "--yes", url=url).code == 2
    body = here("retry", "--request", "-", "--yes", url=url, stdin=STANDING)
    assert body.code == 2
    assert "standing: is for cancellations" in body.err
