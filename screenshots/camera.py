"""A camera: drives one console by keys, and keeps what it shows."""

from __future__ import annotations

import asyncio
import html
import io
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

from secateur.checked_settings import Context
from secateur.cli.opening import Place
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.settings import Settings
from secateur_tui.app import ConsoleApp
from secateur_tui.contexts import ConfiguredContexts
from secateur_tui.session import Session
from secateur_tui.themes import DARK

FONTS = "/usr/share/fonts/truetype/dejavu"
PATIENCE_SECONDS = 180.0
LEISURE_SECONDS = 30.0
CONTEXTS = {
    "prod": {"database": "postgresql://pg-3/queue", "production": True},
    "staging": {"database": "postgresql://pg-staging/queue"},
    "reporting": {"database": "postgresql://pg-9/queue", "read_only": True},
}
"""What the configuration would name; none but the first is gone to."""


_DOTTED_TEXT = re.compile(
    r'(<text [^>]*?)x="([\d.]+)"([^>]*?)textLength="([\d.]+)"([^>]*>)([^<]*[\u2800-\u28ff][^<]*)</text>'
)
_LIKE = re.compile("[\u2801-\u28ff]+|[^\u2801-\u28ff]+")


def _in_cells(found: re.Match[str]) -> str:
    """Braille has another width than the font's other characters, so each stretch of either gets its own place."""
    begin, x, between, length, end, text = found.groups()
    text = html.unescape(text)
    cell = float(length) / len(text)
    return "".join(
        f'{begin}x="{float(x) + part.start() * cell:.1f}"{between}textLength="{len(part[0]) * cell:.1f}"{end}'
        f"{html.escape(part[0])}</text>"
        for part in _LIKE.finditer(text)
        if part[0].strip()
    )


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
        await self.app.type_ahead.done()  # on a busy machine the last letters would be missing

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
        svg = _DOTTED_TEXT.sub(_in_cells, svg)
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


async def console(
    database: Database,
    queue: OpenQueue,
    size: tuple[int, int],
    directory: Path,
    what: Callable[[Camera], Awaitable[None]],
) -> None:
    """Start a console of that size over the queue, and take what is wanted of it."""
    session = Session(database=database, queue=queue, author="nadia", context="prod")
    settings = Settings(contexts={name: Context.model_validate(each) for name, each in CONTEXTS.items()})
    contexts = ConfiguredContexts(Place(settings, settings.target(context="prod")))
    app = ConsoleApp(session, theme=DARK.name, contexts=contexts)
    async with app.run_test(size=size) as pilot:
        await what(Camera(app, pilot, directory))
