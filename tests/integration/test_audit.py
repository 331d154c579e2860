"""The audit: nobody changes it, and an entry is there if and only if what it says was committed."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from roles import FLOOD, LOGINS, events, refused, url_of

import secateur
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install

pytestmark = pytest.mark.one_postgres

SERVER_SETTINGS = {"fsync": "off", "synchronous_commit": "off"}

CHANGES = (
    "insert into secateur.audit (action) values ('stop')",
    "update secateur.audit set author = 'somebody else'",
    "delete from secateur.audit",
    "truncate secateur.audit",
    "truncate secateur.audit cascade",
    "drop table secateur.audit",
    "alter table secateur.audit add x int",
    "create rule forget as on insert to secateur.audit do instead nothing",
    "create trigger forget before insert on secateur.audit execute function suppress_redundant_updates_trigger()",
    "select secateur.record_audit('stop', null, null, null, 'ann', 'cli', '{}')",
)


TRIED_ELSEWHERE = {"propose", "approve", "reject", "budget", "create_token", "revoke_token", "request"}
"""test_proposals.py, test_api_tokens.py."""


async def test_nobody_changes_it(owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]) -> None:
    before = await owner.fetch("select * from secateur.audit")
    for connection in logins.values():
        for change in CHANGES:
            await refused(connection, change)
    assert await owner.fetch("select * from secateur.audit") == before


async def test_each_action_has_an_entry_in_its_own_transaction(
    owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]
) -> None:
    """Rolled back: neither is there. Committed: both are, with one transaction id."""
    operator = logins["secateur_operator"]
    await owner.execute("select secateur.enqueue('billing', 'sync', '{}')")
    await owner.execute("select secateur.enqueue('billing', 'mail', '{}')")
    await owner.execute("select secateur.register_function('billing', 'gone', '{}', 4)")
    run_id = await owner.fetchval("select id from secateur.runs where function_id = 'mail'")
    id, single = uuid4(), uuid4()
    commit = (
        "select secateur.commit_cancellation($1, 'billing', 'sync', null, null, null, false, null, '{}', 1,"
        " '{\"app_id\": \"billing\"}', null, null, 'cli', 'ann', 1, null)"
    )
    steps: list[tuple[str, str, tuple[object, ...]]] = [
        ("pause", "select secateur.pause('billing', 'sync', 'ann', 'cli')", ()),
        ("resume", "select secateur.resume('billing', 'sync', 'ann', 'cli')", ()),
        ("forget", "select secateur.forget('billing', 'gone', 'ann', 'cli')", ()),
        ("retention", "select secateur.set_retention('1 day', null, null, 'ann', 'cli')", ()),
        ("commit", commit, (id,)),
        ("stop", "select secateur.stop_cancellation('billing', $1, 'ann', 'cli')", (id,)),
        ("undo", "select secateur.undo_cancellation('billing', $1, 'ann', 'cli')", (id,)),
        ("restore", "select secateur.restore_cancellation('billing', $1)", (id,)),
        ("commit", "select secateur.cancel_run($1, 'billing', $2, null, null, 'cli', 'ann')", (single, run_id)),
    ]
    for action, statement, arguments in steps:
        known = await owner.fetchval("select count(*) from secateur.audit")
        transaction = operator.transaction()
        await transaction.start()
        await operator.fetch(statement, *arguments)
        assert await operator.fetchval("select count(*) from secateur.audit") == known + 1, action
        await transaction.rollback()
        assert await owner.fetchval("select count(*) from secateur.audit") == known, action
        async with operator.transaction():
            await operator.fetch(statement, *arguments)
            xid = await operator.fetchval("select pg_current_xact_id()")
        entry = await owner.fetchrow("select * from secateur.audit order by id desc limit 1")
        assert (entry["action"], entry["xid"]) == (action, xid)
        assert (entry["role"], entry["author"]) == (LOGINS["secateur_operator"], "ann")
        assert entry["source"] == (None if action == "restore" else "cli")
    actions = await owner.fetch("select distinct action from secateur.audit order by 1")
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (`\w+`[^|]*)\|", page.partition("## What is audited")[2].partition("\n## ")[0], re.MULTILINE
    )
    documented = {action for row in rows for action in re.findall(r"`(\w+)`", row)}
    assert documented == {row["action"] for row in actions} | TRIED_ELSEWHERE


async def test_what_did_nothing_has_none(owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]) -> None:
    operator = logins["secateur_operator"]
    await owner.execute("select secateur.enqueue('billing', 'sync', '{}')")
    await operator.execute("select secateur.pause('billing', null, 'ann', 'cli')")
    known = await owner.fetchval("select count(*) from secateur.audit")
    await operator.execute("select secateur.pause('billing', null, 'bob', 'cli')")
    await operator.execute("select secateur.set_retention('7 days', null, null, 'bob', 'cli')")
    with pytest.raises(asyncpg.PostgresError, match="there is no cancellation"):
        await operator.execute("select secateur.stop_cancellation('billing', gen_random_uuid(), 'bob', 'cli')")
    assert await owner.fetchval("select count(*) from secateur.audit") == known


async def test_it_says_who_from_where_and_how_many(owner: asyncpg.Connection, database_url: str) -> None:
    url = url_of("secateur_operator", database_url)
    async with secateur.connect(database_url) as queue:
        await queue.enqueue_many("billing", "sync", events("acme", "acme", "globex"))
    async with secateur.connect(url, application_name="runbook 7") as queue:
        cancelled = await queue.cancel(FLOOD, author="ann", expected=(await queue.preview(FLOOD)).count, wait=True)
        await queue.undo(cancelled.id, author="bob", wait=True)
    entries = await owner.fetch("select * from secateur.audit where action <> 'install' order by id")
    assert [entry["action"] for entry in entries] == ["commit", "undo", "restore"]
    for entry in entries:
        assert (entry["role"], entry["application_name"]) == (LOGINS["secateur_operator"], "runbook 7")
        assert (entry["app_id"], entry["function_id"]) == ("billing", "sync")
        assert entry["cancellation_id"] == cancelled.id
    assert [entry["author"] for entry in entries] == ["ann", "bob", "bob"]
    details = [json.loads(entry["details"]) for entry in entries]
    assert details[0]["request"] == FLOOD
    assert (details[0]["expected"], details[0]["expected_exact"], details[0]["guarantee"]) == (2, True, "in_force")
    assert (details[1]["cancelled"], details[1]["restored"]) == (2, 0)
    assert (details[2]["cancelled"], details[2]["restored"]) == (2, 2)


async def test_a_given_author_does_not_hide_the_role_nor_does_set_role(
    owner: asyncpg.Connection, logins: dict[str, asyncpg.Connection]
) -> None:
    operator = logins["secateur_operator"]
    await owner.execute("select secateur.enqueue('billing', 'sync', '{}')")
    await operator.execute("set role secateur_operator")
    await operator.execute("select secateur.pause('billing', null, 'the owner', 'tui')")
    entry = await owner.fetchrow("select * from secateur.audit order by id desc limit 1")
    assert (entry["author"], entry["role"]) == ("the owner", LOGINS["secateur_operator"])


def test_the_audit_knows_the_address() -> None:
    """Of a local connection there is none."""
    with EmbeddedPostgres(tcp=True, settings=SERVER_SETTINGS) as postgres:
        addresses = asyncio.run(pause_twice(postgres))
    assert addresses == ["127.0.0.1", None]


async def pause_twice(postgres: EmbeddedPostgres) -> list[str | None]:
    """Once over TCP, once through the socket; the addresses that the audit has."""
    over_tcp = postgres.url
    address = urlsplit(over_tcp)
    through_socket = (
        f"postgresql://postgres:{address.password}@/postgres?host={postgres.socket_directory}&port={address.port}"
    )
    async with Database.connect(over_tcp) as database:
        await install(database)
    for url, function in ((over_tcp, "sync"), (through_socket, "mail")):
        async with secateur.connect(url) as queue:
            await queue.enqueue("billing", function, {})
            await queue.pause("billing", function)
    async with Database.connect(over_tcp) as database:
        rows = await database.fetch(
            "select host(address) as host from secateur.audit where action = 'pause' order by id"
        )
    return [row["host"] for row in rows]
