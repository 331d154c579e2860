"""The command line and the HTTP API within the test's own process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from api_client import running_api
from billing import end_running, seed
from command_line import Done, Here, environment

from secateur.cli import main
from secateur.database import Database


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command in this process, which is quicker, where the process itself makes no difference."""

    def run_here(*arguments: str, url: str | None = None, stdin: str = "", **variables: str) -> Done:
        with monkeypatch.context() as patch:
            for name in os.environ:
                patch.delenv(name)
            for name, value in environment(url, **variables).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            try:
                code = main(arguments)
            except SystemExit as left:
                code = int(left.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run_here


@pytest.fixture
async def flooded(embedded_url: str) -> AsyncIterator[Database]:
    """The queue of `billing`, of which nothing runs."""
    await seed(embedded_url)
    await end_running(embedded_url)
    async with Database.connect(embedded_url) as database:
        yield database


@pytest.fixture
async def client(flooded: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API of `flooded`."""
    async with running_api(flooded) as client:
        yield client
