"""A database that is not in UTF8 is refused, in words, by whatever begins there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from command_line import run

import secateur
from secateur.errors import DatabaseError

NAME = "of_another_encoding"


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def elsewhere(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[tuple[str, str]]:
    """The encoding, and the URL of a database that has it."""
    create = f"create database {NAME} encoding '{request.param}' template template0 lc_collate 'C' lc_ctype 'C'"
    asyncio.run(execute(postgres_url, create))
    yield request.param, postgres_url.replace("/postgres?", f"/{NAME}?")
    asyncio.run(execute(postgres_url, f"drop database {NAME} with (force)"))


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def test_every_program_refuses_it(elsewhere: tuple[str, str]) -> None:
    encoding, url = elsewhere
    for command in (("install",), ("install", "--check"), ("depth",), ("serve", "--port", "0")):
        done = run(*command, url=url)
        assert done.code == 1
        assert done.err.startswith(f"secateur: local/{NAME} is encoded in {encoding}, but secateur needs UTF8"), command
        assert "create database … encoding 'UTF8' template template0" in done.err


async def test_and_so_does_the_client(elsewhere: tuple[str, str]) -> None:
    encoding, url = elsewhere
    async with secateur.connect(url) as queue:
        with pytest.raises(DatabaseError, match=f"is encoded in {encoding}"):
            await queue.enqueue("billing", "sync", {})
