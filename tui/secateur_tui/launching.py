"""What the command `secateur` starts: the entry point `secateur.console`."""

from __future__ import annotations

from secateur.cli import opening
from secateur_tui.app import run_console
from secateur_tui.session import Session
from secateur_tui.terminal import check_terminal

__all__ = ["check_terminal", "run"]


async def run(opened: opening.CommandSession) -> int:
    """Show the console on an open queue until the user leaves it; returns the exit code."""
    settings, target = opened.place.settings, opened.place.target
    session = Session(
        database=opened.database,
        queue=opened.queue,
        author=settings.author_name,
        read_only=target.read_only,
        context=target.context,
        production=target.production,
        zone=settings.zone,
        refresh_seconds=settings.refresh_seconds,
        query_timeout_seconds=settings.query_timeout_seconds,
        confirm_above=settings.confirm_above,
    )
    return await run_console(session, theme=settings.theme)
