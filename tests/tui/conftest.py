"""A console over a real database, driven by keys, and its screen as text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC
from typing import Any

import pytest
from console_driver import NARROW, WIDE, Console, Start
from pseudo_terminal import Terminal
from standing_incident import seed
from textual.css.stylesheet import Stylesheet
from textual.theme import Theme

from patience import PATIENCE
from secateur.engines.native.engine import NativeEngine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur_tui.app import ConsoleApp
from secateur_tui.filter import counting
from secateur_tui.session import Contexts, Session
from secateur_tui.themes import THEMES
from servers import YOUNG_SECONDS, Server, with_schema


@pytest.fixture(scope="session", autouse=True)
def _styles_parsed_once() -> Iterator[None]:
    """The consoles of all tests share what their style sheets say, which takes long to parse."""
    parse, parsed = Stylesheet._parse_rules, dict[Any, Any]()

    def parse_once(self: Stylesheet, *given: Any, **named: Any) -> Any:
        key = (tuple(self._variables.items()), given, tuple(named.items()))
        if key not in parsed:
            parsed[key] = parse(self, *given, **named)
        return parsed[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Stylesheet, "_parse_rules", parse_once)
        yield


@pytest.fixture(params=[NARROW, WIDE], ids=["80x24", "120x36"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def incident_url(postgres_servers: Callable[[str], Server]) -> Iterator[str]:
    """A database in the middle of an incident: `billing / vendor-syncs` is flooded."""
    yield from postgres_servers("embedded").borrow(with_schema, _in_an_incident, youth=YOUNG_SECONDS)


async def _in_an_incident(url: str) -> None:
    async with Database.connect(url) as database:
        await seed(database)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a console over a database: `async with start(url) as console: …`."""
    monkeypatch.setattr(counting, "CHART_SECONDS", PATIENCE)

    @asynccontextmanager
    async def console(
        url: str,
        *,
        size: tuple[int, int] = NARROW,
        read_only: bool = False,
        replica: str | None = None,
        contexts: Contexts | None = None,
        theme: str | None = None,
        themes: Sequence[Theme] = THEMES,
        looks: int = 2,
        **options: Any,
    ) -> AsyncIterator[Console]:
        """`looks` is how often it has looked at the depth before the test begins."""
        settings: dict[str, Any] = {
            "author": "nadia",
            "context": "prod",
            "production": False,
            "zone": UTC,
            "refresh_seconds": 0.5,
            "confirm_above": 100,
            "query_timeout_seconds": PATIENCE,
        }
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database.connect(url, read_only=read_only))
            database.description = "pg-3/queue"
            copy = None
            if replica is not None:
                copy = await stack.enter_async_context(Database.connect(replica, read_only=True))
            engine = NativeEngine(database, copy)
            session = Session(
                database=database,
                queue=OpenQueue.over(engine, read_only=read_only),
                read_only=read_only,
                **{**settings, **options},
            )
            app = ConsoleApp(session, theme=theme, themes=themes, contexts=contexts)
            async with app.run_test(size=size, notifications=True) as pilot:
                console = Console(app, pilot, database)
                await console.until(lambda: app.looks >= looks or app.feed.problem is not None)
                yield console

    return console


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()
