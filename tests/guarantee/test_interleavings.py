"""Every two operations that could get between each other, paused between every two statements of either."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from arena import Mutation, points
from scene import Stage

FUNCTIONS = {
    "claim": "claim_batch",
    "commit": "commit_cancellations",
    "overlap": "commit_cancellations",
    "stop": "stop_cancellation",
    "sweep": "sweep_cancellation",
    "begin_step": "begin_step",
    "complete": "complete_runs",
    "fail": "fail",
    "enqueue_many": "enqueue_many",
    "release": "release",
}

BEFORE_A_COMMIT = [("claim", "commit"), ("begin_step", "commit"), ("enqueue_many", "commit")]
BEFORE_A_COMMIT += [("complete", "commit"), ("fail", "commit")]
AFTER_A_COMMIT = [("claim", "stop"), ("sweep", "claim"), ("sweep", "stop")]
"""Looked at on every server; the others, where Postgres's version can make even less of a difference, on one."""

ALSO_BEFORE = [("release", "commit"), ("commit", "commit"), ("commit", "overlap")]
ALSO_AFTER = [("begin_step", "stop"), ("release", "stop"), ("fail", "stop"), ("claim", "claim"), ("sweep", "sweep")]
ALSO_AFTER += [("sweep", other) for other in ("complete", "fail", "begin_step", "enqueue_many")]
ALSO_AFTER += [("overlap", other) for other in ("stop", "sweep", "begin_step", "complete", "fail")]


def meetings(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(committed, paused, point, other, id=f"{paused} at {point}, {other}")
        for committed, pairs in ((False, before), (True, after))
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded_stage(mutant_url: Callable[[list[Mutation]], str]) -> AsyncIterator[Stage]:
    stage = Stage(mutant_url([]))
    yield stage
    stage.close()


async def hold(stage: Stage, committed: bool, paused: str, point: str, other: str) -> None:
    async with stage.scene(committed=committed) as here:
        await here.meet(paused, FUNCTIONS[paused], point, other)
        await here.verify()
        await here.settle()
        await here.verify()


@pytest.mark.parametrize(("committed", "paused", "point", "other"), meetings(BEFORE_A_COMMIT, AFTER_A_COMMIT))
async def test_holds_however_two_meet(stage: Stage, committed: bool, paused: str, point: str, other: str) -> None:
    await hold(stage, committed, paused, point, other)


@pytest.mark.parametrize(("committed", "paused", "point", "other"), meetings(ALSO_BEFORE, ALSO_AFTER))
async def test_and_however_others_do(
    embedded_stage: Stage, committed: bool, paused: str, point: str, other: str
) -> None:
    await hold(embedded_stage, committed, paused, point, other)
