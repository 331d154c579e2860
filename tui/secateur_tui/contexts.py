"""The configuration's databases, opened one after the other for one console."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from secateur.cli.opening import CommandSession, Place, open_session
from secateur.errors import SecateurError
from secateur.postgres.addresses import resolve
from secateur.words.shell import move_to
from secateur_tui import expressions
from secateur_tui.session import Session


class ConfiguredContexts:
    """Opens the contexts of the settings with which the console was started."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._opened: dict[str | None, AsyncExitStack] = {}

    @property
    def known(self) -> Mapping[str, str]:
        return {name: self._describe(name) for name in sorted(self._place.settings.contexts)}

    def _describe(self, name: str) -> str:
        context = self._place.settings.contexts[name]
        try:
            where = resolve(context.database).description
        except SecateurError as error:
            where = str(error)
        marks = [
            word for word, holds in (("production", context.production), ("read-only", context.read_only)) if holds
        ]
        return " · ".join([*marks, where])

    async def open(self, name: str) -> Session:
        place = self._place.elsewhere(name)
        async with AsyncExitStack() as opening:
            opened = await opening.enter_async_context(
                open_session(place, statement_timeout=place.settings.query_timeout_seconds)
            )
            self._opened[name] = opening.pop_all()
        name_place(place)
        return session_of(opened)

    async def close(self, session: Session) -> None:
        """What the console was started with is closed by whoever started it."""
        opened = self._opened.pop(session.context, None)
        if opened is not None:
            await opened.aclose()

    async def close_all(self) -> None:
        for opened in [*self._opened.values()]:
            await opened.aclose()
        self._opened.clear()


def name_place(place: Place) -> None:
    """What the console copies and advises is for this database from now on, however it was found."""
    if place.target.context in place.settings.contexts:
        move_to(context=place.target.context)
    elif place.target.url is not None:
        move_to(database=place.target.url)


def session_of(opened: CommandSession) -> Session:
    """What the screens share, from an open queue and the settings."""
    settings, target = opened.place.settings, opened.place.target
    return Session(
        database=opened.database,
        queue=opened.queue,
        author=settings.author_name,
        read_only=target.read_only,
        context=target.context,
        production=target.production,
        budget=target.budget,
        zone=settings.zone,
        refresh_seconds=settings.refresh_seconds,
        query_timeout_seconds=settings.query_timeout_seconds,
        expressions=expressions.of_user(target.context or opened.database.description),
        # In production, every cancellation is confirmed by typing.
        confirm_above=0 if target.production else settings.confirm_above,
    )
