"""Every two operations that could get between each other, paused between every two statements of either."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from arena import points
from scene import Stage

FUNCTIONS = {
    "claim": "claim_batch",
    "commit": "commit_cancellation",
    "overlap": "commit_cancellation",
    "stop": "stop_cancellation",
    "sweep": "sweep_cancellation",
    "begin_step": "begin_step",
    "complete": "complete",
    "fail": "fail",
    "enqueue_many": "enqueue_many",
    "release": "release",
}

BEFORE_A_COMMIT = [("claim", "commit"), ("begin_step", "commit"), ("enqueue_many", "commit"), ("complete", "commit")]
BEFORE_A_COMMIT += [("fail", "commit"), ("release", "commit"), ("commit", "commit"), ("commit", "overlap")]
AFTER_A_COMMIT = [("claim", "stop"), ("sweep", "claim"), ("sweep", "stop"), ("begin_step", "stop"), ("release", "stop")]
AFTER_A_COMMIT += [("sweep", "complete"), ("sweep", "fail"), ("sweep", "begin_step"), ("sweep", "sweep")]
AFTER_A_COMMIT += [
    ("claim", "claim"),
    ("fail", "stop"),
    ("enqueue_many", "sweep"),
    ("overlap", "stop"),
    ("overlap", "sweep"),
]
AFTER_A_COMMIT += [("overlap", "begin_step"), ("overlap", "complete"), ("overlap", "fail")]

MEETINGS = [
    pytest.param(committed, paused, point, other, id=f"{paused} at {point}, {other}")
    for committed, pairs in ((False, BEFORE_A_COMMIT), (True, AFTER_A_COMMIT))
    for pair in pairs
    for paused, other in dict.fromkeys([pair, pair[::-1]])
    for point in points(FUNCTIONS[paused])
    if not (committed and point == "not cancelled")  # the held run is asked to stop: it is not let so far
]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(arena_url: str) -> AsyncIterator[Stage]:
    stage = Stage(arena_url)
    yield stage
    stage.close()


@pytest.mark.parametrize(("committed", "paused", "point", "other"), MEETINGS)
async def test_holds_however_two_meet(stage: Stage, committed: bool, paused: str, point: str, other: str) -> None:
    async with stage.scene(committed=committed) as here:
        await here.meet(paused, FUNCTIONS[paused], point, other)
        await here.verify()
        await here.settle()
        await here.verify()
