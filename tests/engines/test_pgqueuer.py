"""What only pgqueuer has: payloads that are any bytes, rows that go when a job ends, names that can be set."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from beds.pgqueuer import PgQueuer, PgQueuerElsewhere
from pruning import Pruning, pres_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.parametrize("bed", [PgQueuer], indirect=True)]

JSON: tuple[Any, ...] = ({"a": [1, {"ü": "🌱"}]}, [], {}, "größer", 1.5, True, "back\\slash \\303 \u2028", 'a "quote"')
NO_JSON = (
    b"",
    b"\x00",
    b'{"a": "\x00"}',
    b'{"a": "\\u0000"}',
    b"\xff\xfe",
    b'{"a": "\xc3"}',
    b'{"a": "\xc0\x80"}',
    b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\xf4\x90\x80\x80"}',
    b'{"a": "\xe2\x82"}',
    b'{"a": 1',
    b"{'a': 1}",
    b"\\303",
    pickle.dumps({"a": 1}),
    json.dumps({"a": "ü"}, ensure_ascii=False).encode("latin-1"),
    json.dumps({"a": 1}).encode("utf-16"),
)


async def insert(pruning: Pruning, payload: bytes | None) -> str:
    sql = (
        "insert into pgqueuer (priority, status, entrypoint, payload, headers)"
        " values (0, 'queued', 'sync', $1, 'null') returning id::text"
    )
    run: str = await pruning.connection.fetchval(sql, payload)
    return run


async def data(pruning: Pruning) -> dict[str, Any]:
    source = pruning.installation.source.replace("{sampled}", "")
    rows = await pruning.connection.fetch(f"select run.id, run.data from {source} as run")
    return {row["id"]: None if row["data"] is None else json.loads(row["data"]) for row in rows}


async def test_a_payload_is_data_if_it_is_json(pruning: Pruning) -> None:
    sent = {}
    for each in JSON:
        for ascii in (True, False):
            sent[await insert(pruning, json.dumps(each, ensure_ascii=ascii).encode())] = each
    for payload in (None, *NO_JSON):
        sent[await insert(pruning, payload)] = None
    assert await data(pruning) == sent


async def test_any_payload_is_cancelled_and_comes_back(pruning: Pruning) -> None:
    runs = [await insert(pruning, payload) for payload in (None, *NO_JSON)]
    before = await pruning.rows()
    cancelled = await pruning.cancel(runs)
    assert await pruning.restore(pres_of(cancelled)) == dict.fromkeys(runs)
    assert await pruning.rows() == before
    cancelled = await pruning.cancel(runs)
    await pruning.delete_all()
    assert await pruning.restore(pres_of(cancelled)) == dict.fromkeys(runs)
    assert await pruning.rows() == before


async def test_its_channel_is_that_of_its_trigger(pruning: Pruning) -> None:
    connection, detect = pruning.connection, pruning.installation.file.statements["detect"]
    assert pruning.installation.places["channel"] == "'ch_pgqueuer'"
    body = await connection.fetchval("select prosrc from pg_proc where proname = 'fn_pgqueuer_changed'")
    body = body.replace("ch_pgqueuer", "our-own.channel")
    await connection.execute(
        f"create or replace function fn_pgqueuer_changed() returns trigger language plpgsql as $${body}$$"
    )
    [found] = await connection.fetch(detect)
    assert found["channel"] == "'our-own.channel'"


async def test_several_may_share_a_schema(pruning: Pruning, empty_database_url: str) -> None:
    other = PgQueuerElsewhere(empty_database_url)
    other.schema = "public"  # type: ignore[misc]
    await other.install()
    found = await pruning.connection.fetch(pruning.installation.file.statements["detect"])
    assert {(row["schema"], row["prefix"], row["channel"]) for row in found} == {
        ("public", "", "'ch_pgqueuer'"),
        ("public", "mail_", "'mail_ch_pgqueuer'"),
    }


@pytest.mark.parametrize(
    ("change", "version", "supported"),
    [
        ("alter table pgqueuer drop column slot", "older than 1.6", False),
        ("alter table pgqueuer add column shard integer", "newer than 1.6", False),
        ("alter type pgqueuer_status add value 'paused'", "newer than 1.6", False),
    ],
)
async def test_its_version_is_told_from_its_columns(
    pruning: Pruning, change: str, version: str, supported: bool
) -> None:
    await pruning.connection.execute(change)
    [found] = await pruning.connection.fetch(pruning.installation.file.statements["detect"])
    assert (found["version"], found["supported"]) == (version, supported)
