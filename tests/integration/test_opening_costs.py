"""What it takes to open a queue, in statements: over a slow link each of them is felt, and a console waits for all."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from secateur.engines.foreign import discovery
from secateur.engines.foreign.discovery import installations
from secateur.engines.foreign.file import engine_files
from secateur.engines.loading import open_engine
from secateur.postgres.database import Database
from secateur.postgres.sessions import OWN_PROCESS, SET


async def test_a_queue_is_opened_by_four_statements(embedded_url: str, statements: list[str]) -> None:
    async with Database.connect(embedded_url) as database:
        assert (await open_engine(database)).name == "native"
    asked = [query for query in statements if query not in (OWN_PROCESS, SET)]
    # Whether the schema is there, safe and of this program; and which queues of others are there.
    assert len(asked) == 4


async def test_a_kind_of_queue_that_cannot_be_looked_for_hides_no_other(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = engine_files()["river"]
    detect = "select 'public' as schema, '' as prefix, '1' as version, true as supported"
    found = replace(file, statements={**file.statements, "detect": detect})
    broken = replace(file, engine="broken", statements={**file.statements, "detect": "select 1 / 0"})
    monkeypatch.setattr(discovery, "engine_files", lambda: {"broken": broken, "river": found})
    async with Database.connect(embedded_url) as database:
        with caplog.at_level(logging.WARNING):
            assert [each.name for each in await installations(database)] == ["river"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["looking for queues of broken failed"]
