"""What the command `secateur` starts: the entry point `secateur.console`."""

from __future__ import annotations

from secateur.cli import opening
from secateur_tui.app import run_console
from secateur_tui.contexts import ConfiguredContexts, session_of
from secateur_tui.terminal import check_terminal

__all__ = ["check_terminal", "run"]


async def run(opened: opening.CommandSession) -> int:
    """Show the console on an open queue until the user leaves it; returns the exit code."""
    contexts = ConfiguredContexts(opened.place)
    try:
        return await run_console(session_of(opened), theme=opened.place.settings.theme, contexts=contexts)
    finally:
        await contexts.close_all()
