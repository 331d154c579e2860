"""What the command `secateur` starts: the entry point `secateur.console`."""

from __future__ import annotations

from secateur.cli import opening
from secateur_tui import keymap
from secateur_tui.own_keys import with_own_keys
from secateur_tui.terminal import check_terminal

__all__ = ["check_terminal", "frame", "run"]


async def run(opened: opening.CommandSession) -> int:
    """Show the console on an open queue until the user leaves it; returns the exit code."""
    settings = opened.place.settings
    if settings.keys:
        keymap.use(with_own_keys(settings.keys))

    # Only now: the bindings of the screens are made when they are imported.
    from secateur_tui.contexts import ConfiguredContexts, name_place, session_of
    from secateur_tui.running import run_console
    from secateur_tui.themes import themes_of

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
