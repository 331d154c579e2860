"""What the command `secateur` starts: the entry point `secateur.console`."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING

from secateur.collector import collector_at_rest
from secateur_tui.terminal import check_terminal

if TYPE_CHECKING:
    from secateur.cli import opening
    from secateur.settings import Settings

__all__ = ["check_terminal", "frame", "load", "run"]


def load(settings: Settings) -> None:
    """Import the first screen and what it needs, with the keys of the settings."""
    with collector_at_rest():
        from secateur_tui import keymap

        if settings.keys:
            from secateur_tui.own_keys import with_own_keys

            keymap.use(with_own_keys(settings.keys))
        # Only now: the bindings of the screens are made when they are imported.
        for module in ("secateur_tui.contexts", "secateur_tui.running"):
            import_module(module)
    # What is there by now stays: nobody looks through it again while keys wait.
    gc.freeze()


async def run(opened: opening.CommandSession) -> int:
    """Show the console on an open queue until the user leaves it; returns the exit code."""
    from secateur_tui.contexts import ConfiguredContexts, name_place, session_of
    from secateur_tui.running import run_console
    from secateur_tui.themes import themes_of

    settings = opened.place.settings
    name_place(opened.place)
    contexts = ConfiguredContexts(opened.place)
    try:
        return await run_console(
            session_of(opened),
            theme=settings.theme,
            themes=themes_of(settings.themes),
            contexts=contexts,
            ascii_only=settings.ascii,
        )
    finally:
        await contexts.close_all()


async def frame(opened: opening.CommandSession, width: int, height: int) -> str:
    """The first screen as plain text of this size, or of the least that shows it."""
    from textual.geometry import Size

    from secateur_tui.contexts import session_of
    from secateur_tui.frame.ascii_only import in_ascii
    from secateur_tui.frame.terminal_app import LEAST
    from secateur_tui.once import frame_of

    size = Size(max(width, LEAST.width), max(height, LEAST.height))
    shown = await frame_of(session_of(opened), size)
    return in_ascii(shown) if opened.place.settings.ascii else shown
