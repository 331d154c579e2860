"""Cancellations that one login proposes and another one approves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from billing import ACME, CULPRIT, GLOBEX, cancellations, unfinished
from command_line import Here, write

from secateur.errors import Conflict, RequestError
from secateur.postgres.database import Database

pytestmark = pytest.mark.one_postgres

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)
PEOPLE = {"viewer_only": "secateur_viewer", "ada": "secateur_operator", "bob": "secateur_operator"}


@pytest.fixture
def url(billing_url: str) -> Iterator[str]:
    asyncio.run(execute(billing_url, *(f"create role {name} login in role {role}" for name, role in PEOPLE.items())))
    yield billing_url
    for each in PEOPLE:
        asyncio.run(execute(billing_url, f"drop owned by {each}", f"drop role {each}"))


async def execute(url: str, *statements: str) -> None:
    async with Database.connect(url) as database:
        for each in statements:
            await database.execute(each)


def login(url: str, name: str) -> str:
    return url.replace("postgres@", f"{name}@")


def proposed(here: Here, url: str, *flags: str) -> str:
    done = here("propose", *(flags or FLOOD), "--reasoning", "acme floods", "--json", url=url)
    assert (done.code, done.err) == (0, "")
    return str(done.json["id"])


def test_whoever_may_only_look_may_propose_and_not_decide(here: Here, url: str) -> None:
    before = asyncio.run(unfinished(url))
    viewer = login(url, "viewer_only")
    id = proposed(here, viewer)
    assert asyncio.run(unfinished(url)) == before
    shown = here("proposals", id, "--json", url=viewer).json
    assert (shown["state"], shown["proposed_login"], shown["reasoning"]) == ("open", "viewer_only", "acme floods")
    assert shown["seen"]["matched"] == ACME
    for command in ("approve", "reject"):
        refused = here(command, id, "--yes", url=viewer)
        assert refused.code == 1
        assert "permission denied" in refused.err
    assert asyncio.run(cancellations(url)) == []
    assert f"  {shown['proposed_at'][:19]}Z  " in here("proposals", url=viewer).out


def test_an_approved_proposal_is_one_cancellation_however_often(here: Here, url: str) -> None:
    id = proposed(here, login(url, "viewer_only"))
    first = here("approve", id, "--yes", "--json", url=login(url, "ada"))
    again = here("approve", id, "--yes", "--json", url=login(url, "ada"))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert first.json["id"] == again.json["id"]
    (committed,) = asyncio.run(cancellations(url))
    assert (committed["counts"]["expected"], committed["created_role"]) == (ACME, "ada")
    shown = here("proposals", id, "--json", url=url).json
    assert (shown["state"], shown["cancellation_ids"]) == ("committed", [committed["id"]])
    assert here("approve", id, "--yes", url=login(url, "bob")).code == 2
    assert here("reject", id, url=login(url, "ada")).code == 2
    actions = [each["action"] for each in here("audit", "--json", url=url).json]
    assert sorted(actions[:3]) == ["approve", "commit", "propose"]


def test_several_functions_are_several_cancellations(here: Here, url: str) -> None:
    flags = ("--app", "billing", "--function", "vendor-syncs", "--function", "invoices")
    id = proposed(here, login(url, "viewer_only"), *flags)
    made = here("approve", id, "--yes", "--json", url=url).json
    assert here("proposals", id, "--json", url=url).json["cancellation_ids"] == [each["id"] for each in made]


def test_a_rejected_or_expired_one_cannot_be_approved(here: Here, url: str) -> None:
    viewer, ada = login(url, "viewer_only"), login(url, "ada")
    rejected = proposed(here, viewer)
    assert here("reject", rejected, "--reason", "too wide", url=ada).code == 0
    refused = here("approve", rejected, "--yes", url=ada)
    assert (refused.code, "was rejected by" in refused.err) == (2, True)
    expired = proposed(here, viewer)
    asyncio.run(
        execute(url, "update secateur.proposals set expires_at = now() - interval '1 s' where decision is null")
    )
    refused = here("approve", expired, "--yes", url=ada)
    assert (refused.code, "has expired; propose it again" in refused.err) == (2, True)
    assert here("proposals", url=ada).out == "No proposal is open.\n"
    assert asyncio.run(cancellations(url)) == []


def test_an_odd_one_hides_no_other(here: Here, url: str) -> None:
    """Whoever may propose may also do it by hand."""
    id = proposed(here, login(url, "viewer_only"))
    odd = '{"function_ids": 5, "if": [1], "app_id": null}'
    call = f"propose_cancellation(gen_random_uuid(), 'billing', null, '{odd}', null, null, '1h', 'x', 'mcp')"
    asyncio.run(execute(login(url, "viewer_only"), f"select secateur.{call}"))
    shown = here("proposals", url=url)
    assert (shown.code, len(shown.out.splitlines()), id in shown.out) == (0, 3, True), shown.err
    other = next(each["id"] for each in here("proposals", "--json", url=url).json if each["id"] != id)
    assert here("proposals", other, url=url).code == 0
    refused = here("approve", other, "--yes", url=url)
    assert (refused.code, "if: " in refused.err) == (2, True)


class TestBudget:
    @pytest.fixture(autouse=True)
    def budget(self, here: Here, url: str) -> None:
        done = here("budget", "--app", "billing", "--runs", str(GLOBEX), "--json", url=url)
        assert done.json == [{"app_id": "billing", "runs": GLOBEX, "set_login": "postgres"}]

    def test_below_it_one_login_suffices(self, here: Here, url: str) -> None:
        flags = ("--app", "billing", "--if", "event.data.vendor_id == 'globex'")
        done = here("cancel", *flags, "--yes", url=login(url, "ada"))
        assert done.code == 0, done.err

    def test_above_it_another_login_approves(self, here: Here, url: str) -> None:
        ada, bob = login(url, "ada"), login(url, "bob")
        done = here("cancel", *FLOOD, "--yes", "--json", url=ada)
        assert done.code == 1
        assert "this would cancel more than the" in done.err
        id = done.json["id"]
        refused = here("approve", id, "--yes", url=ada)
        assert (refused.code, "another one has to approve it" in refused.err) == (2, True)
        assert asyncio.run(cancellations(url)) == []
        approved = here("approve", id, "--yes", "--json", url=bob)
        assert (approved.code, approved.err) == (0, "")
        assert approved.json["created_role"] == "bob"

    def test_its_key_opens_nothing_else(self, here: Here, url: str) -> None:
        """Neither for another request, nor for the login that proposed it."""
        ada, bob = login(url, "ada"), login(url, "bob")
        id = proposed(here, ada)
        asyncio.run(decide(bob, id))
        # By then the key is that of another proposal, too.
        for flags, who, code in ((("--app", "billing"), bob, 1), (FLOOD, ada, 2)):
            refused = here("cancel", *flags, "--yes", "--json", "--idempotency-key", f"proposal:{id}", url=who)
            assert (refused.code, "more than the" in refused.err) == (code, True), refused.err
        assert asyncio.run(cancellations(url)) == []

    def test_a_standing_one_has_no_bound(self, here: Here, url: str) -> None:
        flags = ("--app", "billing", "--if", "event.data.vendor_id == 'nobody'", "--standing", "--before", "+1h")
        assert here("cancel", *flags, "--yes", url=login(url, "ada")).code == 1

    def test_who_works_under_it_cannot_raise_it(self, here: Here, url: str) -> None:
        refused = here("budget", "--app", "billing", "--none", url=login(url, "ada"))
        assert (refused.code, "permission denied" in refused.err) == (1, True)

    def test_an_app_of_its_own_budget_ignores_that_of_all(self, here: Here, url: str) -> None:
        here("budget", "--runs", "0", url=url)
        done = here(
            "cancel", "--app", "billing", "--if", "event.data.vendor_id == 'globex'", "--yes", url=login(url, "ada")
        )
        assert done.code == 0, done.err


async def decide(url: str, id: str) -> None:
    async with Database.connect(url) as database:
        await database.execute(f"select secateur.decide_proposal('billing', '{id}', 'approved', 'bob', 'python')")


async def test_it_refuses_in_words(database: Database) -> None:
    request = json.dumps({"app_id": "billing"})
    call = "select secateur.propose_cancellation($1, $2, null, $3::jsonb, $4, $5::jsonb, $6, 'ada', 'python')"
    for values, field in (
        ((None, "billing", request, None, None, timedelta(hours=1)), "id"),
        ((uuid4(), "", request, None, None, timedelta(hours=1)), "app_id"),
        ((uuid4(), "billing", "[]", None, None, timedelta(hours=1)), "request"),
        ((uuid4(), "billing", request, "x" * 10_001, None, timedelta(hours=1)), "reasoning"),
        ((uuid4(), "billing", request, None, "3", timedelta(hours=1)), "seen"),
        ((uuid4(), "billing", request, None, None, timedelta(days=40_000)), "lifetime"),
    ):
        with pytest.raises(RequestError) as refused:
            await database.fetchval(call, *values)
        assert [problem.field for problem in refused.value.problems] == [field]


async def test_an_app_has_a_hundred_open_ones_at_most(database: Database) -> None:
    call = "select secateur.propose_cancellation(gen_random_uuid(), $1, null, '{}', null, null, '1h', 'ada', 'python')"
    for _ in range(100):
        await database.fetchval(call, "billing")
    with pytest.raises(Conflict, match="has 100 open proposals already"):
        await database.fetchval(call, "billing")
    await database.fetchval(call, "other")


def test_a_context_may_have_a_budget_of_its_own(here: Here, url: str, tmp_path: Path) -> None:
    """Whichever is smaller holds; another login approves, and a key that has proposed commits nothing later."""
    ada, bob = (
        write(tmp_path, f"{name}.toml", f'[contexts.prod]\ndatabase = "{login(url, name)}"\nbudget = {GLOBEX}\n')
        for name in ("ada", "bob")
    )
    of_ada, of_bob = ("--config", str(ada), "--context", "prod"), ("--config", str(bob), "--context", "prod")
    small = ("--app", "billing", "--if", "event.data.vendor_id == 'globex'")
    assert here("cancel", *small, "--yes", *of_ada).code == 0
    uncounted = here("cancel", *small, "--yes", "--no-count", "--json", *of_ada)
    assert (uncounted.code, "it is not counted" in uncounted.err) == (1, True)
    keyed = ("--idempotency-key", "flood", "--yes", "--json", *of_ada)
    proposed = here("cancel", *FLOOD, *keyed)
    assert (proposed.code, f"it is more than {GLOBEX} runs" in proposed.err) == (1, True)
    refused = here("approve", proposed.json["id"], "--yes", *of_ada)
    assert (refused.code, "another login has to approve it" in refused.err) == (2, True)
    assert here("approve", proposed.json["id"], "--yes", *of_bob).code == 0
    again = here("cancel", *FLOOD, *keyed)
    assert (again.code, again.json["state"]) == (1, "committed"), again.err
    assert len(asyncio.run(cancellations(url))) == 2
