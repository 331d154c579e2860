"""One plain frame of the console's first screen, for a chat, a log, or `watch`."""

from __future__ import annotations

from textual.geometry import Size

from secateur_tui.app import ConsoleApp
from secateur_tui.session import Session


async def frame_of(session: Session, size: Size) -> str:
    """Queues as it is shown on a terminal of this size, without colours; nothing is swept or written.

    Raises the `SecateurError` with which the database refused to answer.
    """
    app = ConsoleApp(session, looks_only=True)
    async with app.run_test(size=(size.width, size.height)) as pilot:
        while app.feed.as_of is None and app.feed.problem is None:
            await pilot.pause(0.02)
        if app.feed.problem is not None:
            raise app.feed.problem
        await pilot.pause(0.1)
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips[:-1])
