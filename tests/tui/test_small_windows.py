"""Windows that are too small, and the keys that every terminal program is expected to know."""

from __future__ import annotations

from console_driver import Start

from secateur_tui.frame.help import HelpScreen
from secateur_tui.queues.screen import QueuesScreen


async def test_a_window_that_is_too_small_says_so_and_takes_no_keys(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        for width, height in ((59, 24), (80, 14), (40, 10), (20, 5)):
            await console.pilot.resize_terminal(width, height)
            await console.shows(f"too small: {width}x{height}", "60x15 at least", "ctrl+q leaves")
            assert "vendor-syncs" not in console.text
            console.burst("p", "y", "enter", "colon")
            await console.pilot.pause()
            assert isinstance(console.app.screen, QueuesScreen)
        await console.pilot.resize_terminal(60, 15)
        await console.shows("vendor-syncs", "? help")
        assert "too small" not in console.text
        await console.press("question_mark")
        await console.pilot.resize_terminal(30, 10)
        await console.shows("too small: 30x10")
        await console.pilot.resize_terminal(80, 24)
        await console.shows("you are here")
        assert isinstance(console.app.screen, HelpScreen)
        await console.pilot.resize_terminal(30, 10)
        console.burst("ctrl+q")
        await console.until(lambda: console.app._exit)


async def test_ctrl_c_says_what_leaves(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.shows("flood")
        await console.press("ctrl+c")
        await console.shows("ctrl+q leaves secateur")
