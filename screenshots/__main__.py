"""Pictures of the running console, for the README and the documentation.

`make screenshots` starts an embedded Postgres, seeds an incident, drives the real console through it by keys, and
writes each screen as SVG and PNG at 80×24 and 120×36. Nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.widgets import Input

from screenshots import others
from screenshots.camera import Camera, console
from screenshots.incident import going_on, seed
from secateur.engines.native.engine import NativeEngine
from secateur.ledger.proposals import Proposals
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.postgres.embedded import EmbeddedPostgres
from secateur.requests import CancellationRequest
from secateur.schema import install
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.queues.timeline import TimelineScreen
from secateur_tui.review.consent import SETTLE_SECONDS
from secateur_tui.review.pressing import FRESH_SECONDS
from secateur_tui.runs.listing import RunsScreen
from secateur_tui.runs.single import RunScreen

HERE = Path(__file__).parent
COLOURS = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
"""The pictures are of the theme that most terminals show, whatever this one is."""
SIZES = ((80, 24), (120, 36))
SUBJECTS = ("tour", "story", "others")
CONDITION = "event.data.vendor_id == 'acme_inc'\n&& event.data.amount > 100"
PROPOSED = {"app_id": "billing", "function_id": "vendor-syncs", "if": "event.data.vendor_id == 'globex'"}
REASONING = "globex revoked its key at 02:10: each of its runs fails three times before it gives up"
MISTAKE = "event.data.vendor_id == 'acme_inc'\n&& evnt.data.amount > 100"


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
    await press("s", "o")
    await camera.shows("queued", "oldest first")
    await camera.at_leisure("acme_inc")
    await camera.take("runs")
    await press("enter")
    await camera.until(lambda: isinstance(camera.app.screen, RunScreen))
    await camera.at_leisure("acme_inc")
    await camera.take("run")
    await press("escape", "escape", "colon")
    await camera.type("vend")
    await camera.take("palette")
    await press("escape", "ctrl+o")
    await camera.shows("pg-staging")
    await camera.take("contexts")
    await press("escape", "question_mark")
    await camera.shows("you are here")
    await camera.take("help")
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
    await decide(camera)


async def decide(camera: Camera) -> None:
    """What somebody without the right to commit proposed, reviewed by somebody who has it."""
    queue = camera.app.session.queue
    await Proposals(camera.app.session.database, queue.cancellations).propose(
        CancellationRequest.parse(PROPOSED), author="triage", source="mcp", reasoning=REASONING
    )
    await camera.until(lambda: camera.app.proposals)
    await camera.pilot.press("colon")
    await camera.type("proposal")
    await camera.pilot.press("enter")
    await camera.shows("proposed by", "keep going")
    await camera.take("proposal")


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
            async with going_on(database):
                await console(database, OpenQueue.over(NativeEngine(database), batch=2_000), size, directory, what)


def main() -> None:
    """Those of the subjects that are named, or all."""
    parser = argparse.ArgumentParser(prog="make screenshots ARGS=", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; all by default")
    wanted = parser.parse_args().subjects or SUBJECTS
    os.environ.update(COLOURS)
    os.environ.pop("NO_COLOR", None)
    if "tour" in wanted:
        for size in SIZES:
            asyncio.run(photograph(size, HERE, tour))
    if "story" in wanted:
        asyncio.run(photograph(SIZES[0], HERE, story))
    if "others" in wanted:
        photograph_others()


def photograph_others() -> None:
    missing = {bed.engine: bed.missing for bed in others.TOGETHER if bed.missing is not None}
    for size in SIZES:
        for bed in others.ALONE:
            if bed.engine not in missing:
                asyncio.run(others.alone(size, HERE, bed))
        if not missing:
            asyncio.run(others.together(size, HERE))
    for engine, reason in missing.items():
        sys.stderr.write(f"no pictures with {engine}: {reason}\n")


if __name__ == "__main__":
    main()
