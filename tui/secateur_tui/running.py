"""Runs the console in this terminal.

await run_console(Session(database=database, queue=OpenQueue.over(engine), author="nadia"))
"""

from __future__ import annotations

from collections.abc import Sequence

from textual.theme import Theme

from secateur.errors import UsageError
from secateur_tui.app import ConsoleApp
from secateur_tui.session import Contexts, Session
from secateur_tui.terminal import accept_every_byte, can_encode, check_terminal, outlive_the_terminal
from secateur_tui.themes import THEMES


async def run_console(
    session: Session,
    *,
    theme: str | None = None,
    themes: Sequence[Theme] = THEMES,
    contexts: Contexts | None = None,
    ascii_only: bool = False,
    mouse: bool = True,
) -> int:
    """Show the console until the user leaves it; returns the exit code.

    Raises `UsageError` if there is no suitable terminal, or no such theme.
    """
    check_terminal()
    names = [each.name for each in themes]
    if theme is not None and theme not in names:
        raise UsageError(f"there is no theme {theme!r}; choose from {', '.join(names)}")
    app = ConsoleApp(session, theme=theme, themes=themes, contexts=contexts, ascii_only=ascii_only or not can_encode())
    accept_every_byte()
    outlive_the_terminal()
    await app.run_async(mouse=mouse)
    return app.return_code or 0
