"""Pictures of the running console, for the README and the documentation.

`make screenshots` starts an embedded Postgres, seeds an incident, drives the real console through it by keys, and
writes each screen as SVG and PNG at 80×24 and 120×36. Nothing is drawn by hand.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Input

from screenshots.incident import seed
from secateur.engines.native.engine import NativeEngine
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.schema import install
from secateur_tui.app import ConsoleApp
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.queues.timeline import TimelineScreen
from secateur_tui.review.consent import SETTLE_SECONDS
from secateur_tui.review.screen import FRESH_SECONDS
from secateur_tui.runs.listing import RunsScreen
from secateur_tui.runs.single import RunScreen
from secateur_tui.session import Session
from secateur_tui.themes import DARK

HERE = Path(__file__).parent
COLOURS = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
"""The pictures are of the theme that most terminals show, whatever this one is."""
SIZES = ((80, 24), (120, 36))
FONTS = "/usr/share/fonts/truetype/dejavu"
PATIENCE_SECONDS = 60.0
LEISURE_SECONDS = 8.0
CONDITION = "event.data.vendor_id == 'acme_inc'\n&& event.data.amount > 100"
MISTAKE = "event.data.vendor_id == 'acme_inc'\n&& evnt.data.amount > 100"


class Camera:
    """Drives one console and takes pictures of it."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None], directory: Path) -> None:
        self.app, self.pilot, self.directory = app, pilot, directory
        self.frames: list[tuple[bytes, float]] = []

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the console did not get there; it shows:\n{self.text}")
            await self.pilot.pause(0.05)

    @property
    def text(self) -> str:
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    async def shows(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.text for text in texts))

    async def at_leisure(self, text: str) -> None:
        """Wait for what a larger screen would show by now, and no longer than that takes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.shows(text), LEISURE_SECONDS)
        await self.pilot.pause(0.5)

    async def type(self, text: str) -> None:
        names = {"\n": "enter", " ": "space"}
        await self.pilot.press(*(names.get(character, character) for character in text))

    async def take(self, name: str) -> None:
        """The screen as SVG and PNG."""
        await self.pilot.pause(0.3)
        width, height = self.app.size
        stem = self.directory / f"{name}-{width}x{height}"
        svg = self._svg()
        stem.with_suffix(".svg").write_text(svg, encoding="utf-8")
        stem.with_suffix(".png").write_bytes(self._png(svg))
        sys.stdout.write(f"{stem.name}\n")

    def frame(self, seconds: float) -> None:
        """The screen as the recording's next frame, shown for so long."""
        self.frames.append((self._png(self._svg()), seconds))

    def _svg(self) -> str:
        """With an opaque background, and in a font that is installed."""
        svg = self.app.export_screenshot(title="secateur")
        svg = svg.replace("<text ", '<text xml:space="preserve" ')
        svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
        return svg.replace("Fira Code", "DejaVu Sans Mono")

    def _png(self, svg: str) -> bytes:
        return bytes(resvg_py.svg_to_bytes(svg_string=svg, font_dirs=[FONTS], width=self.app.size.width * 12))

    def save_recording(self, name: str) -> None:
        """All frames as one animation that begins again; equal neighbours are one."""
        images = [Image.open(io.BytesIO(png)).convert("RGB") for png, _ in self.frames]
        palette = images[-1].quantize(128, dither=Image.Dither.NONE)
        first, *rest = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
        first.save(
            self.directory / f"{name}.gif",
            save_all=True,
            append_images=rest,
            duration=[round(seconds * 1000) for _, seconds in self.frames],
            loop=0,
            optimize=True,
        )
        sys.stdout.write(f"{name}.gif\n")


async def look_around(camera: Camera) -> None:
    """The places beside the main job."""
    press = camera.pilot.press
    await camera.shows("flood")
    await camera.at_leisure("acme_inc")
    await camera.take("queues")
    await press("t")
    await camera.until(lambda: isinstance(camera.app.screen, TimelineScreen))
    await camera.pilot.pause(1.0)
    await camera.take("times")
    await press("escape", "5")
    await camera.until(lambda: isinstance(camera.app.screen, RunsScreen))
    await camera.at_leisure("acme_inc")
    await camera.take("runs")
    await press("enter")
    await camera.until(lambda: isinstance(camera.app.screen, RunScreen))
    await camera.at_leisure("acme_inc")
    await camera.take("run")
    await press("escape", "escape", "colon")
    await camera.type("vend")
    await camera.take("palette")
    await press("escape")


async def tour(camera: Camera) -> None:
    """The main job, end to end, with a picture of each place."""
    await look_around(camera)
    press = camera.pilot.press
    await press("p")
    await camera.shows("y pause")
    await camera.take("pause")
    await press("escape", "enter")
    await camera.shows("Matches", "tab takes it")
    await camera.take("filter-offered")
    await camera.type(MISTAKE)
    await camera.shows("did you mean")
    await camera.take("filter-mistake")
    editor = camera.app.screen.query_one(ExpressionEditor)
    editor.text = CONDITION
    editor.move_cursor(editor.document.end)
    await camera.until(lambda: "exact" in camera.text and re.search(r"✗ [\d,]+", camera.text))
    await camera.take("filter")
    await press("f2")
    await camera.shows("Why: run")
    await camera.take("explain")
    await press("escape")
    await camera.type("\n&& event.data.")
    await press("ctrl+@")
    await camera.shows("· 100 %")
    await camera.take("filter-completion")
    await press("escape")
    editor.text = CONDITION
    await camera.until(lambda: "exact" in camera.text and re.search(r"✗ [\d,]+", camera.text))
    await press("f9")
    await camera.until(lambda: isinstance(camera.app.focused, Input))
    await camera.type("acme retry storm, INC-4211")
    await press("enter")
    await camera.type("vendor-s")
    await camera.take("review")
    await camera.type("yncs")
    await press("enter")
    # A press counts once the button has settled and enter was let go.
    await asyncio.sleep(SETTLE_SECONDS + FRESH_SECONDS + 0.2)
    await press("enter")
    await camera.until(lambda: isinstance(camera.app.screen, HistoryScreen))
    await camera.shows("sweeping ━━")
    await camera.take("history")
    await press("U")
    await camera.shows("y undo")
    await camera.take("undo")
    await press("y")
    await camera.shows("↺ restoring ━")
    await camera.take("history-restoring")


async def story(camera: Camera) -> None:
    """The five minutes that matter, as a recording: from the flood to its guaranteed cancellation."""
    press = camera.pilot.press
    await camera.shows("flood")
    await camera.at_leisure("acme_inc")
    camera.frame(2.5)
    await press("enter")
    await camera.shows("tab takes it")
    camera.frame(3.0)
    await press("tab")
    await camera.shows("exact")
    await camera.pilot.pause(1.0)
    camera.frame(3.0)
    await press("f9")
    await camera.until(lambda: isinstance(camera.app.focused, Input))
    await camera.pilot.pause(1.0)
    camera.frame(3.0)
    for typed in ("acme retry storm", "\n"):
        await camera.type(typed)
        camera.frame(1.0)
    for letter in "vendor-syncs":
        await camera.type(letter)
        camera.frame(0.12)
    await press("enter")
    await asyncio.sleep(SETTLE_SECONDS + FRESH_SECONDS + 0.2)
    camera.frame(1.5)
    await press("enter")
    await camera.until(lambda: isinstance(camera.app.screen, HistoryScreen) and "✓" in camera.text)
    for _ in range(6):
        camera.frame(0.7)
        await camera.pilot.pause(0.7)
    camera.frame(3.0)
    camera.save_recording("story")


async def photograph(size: tuple[int, int], directory: Path, what: Callable[[Camera], Awaitable[None]]) -> None:
    with EmbeddedPostgres(settings={"fsync": "off"}) as postgres:
        async with Database.connect(postgres.url) as database:
            await install(database)
            await seed(database)
            database.description = "pg-3/queue"
            session = Session(
                database=database,
                queue=OpenQueue.over(NativeEngine(database), batch=2_000),
                author="nadia",
                context="prod",
            )
            app = ConsoleApp(session, theme=DARK.name)
            async with app.run_test(size=size) as pilot:
                await what(Camera(app, pilot, directory))


def main() -> None:
    os.environ.update(COLOURS)
    os.environ.pop("NO_COLOR", None)
    for size in SIZES:
        asyncio.run(photograph(size, HERE, tour))
    asyncio.run(photograph(SIZES[0], HERE, story))


if __name__ == "__main__":
    main()
