"""Every two operations that could get between each other, paused between every two statements of either."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import combinations_with_replacement, product
from typing import Any

import pytest
import pytest_asyncio
from arena import functions, points, protocol
from scene import Stage

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "claim": ("complete_and_claim", "hold_back"),
    "turn": ("complete_and_claim",),
    "claim_few": ("complete_and_claim", "take_ahead"),
    "claim_nothing": ("complete_and_claim", "mark_idle"),
    "begin_step": ("begin_step",),
    "complete": ("complete_runs",),
    "fail": ("fail",),
    "release": ("release",),
    "interrupt": ("interrupt",),
    "complete_late": ("complete_runs",),
    "claim_by_list": ("search_due", "complete_and_claim"),
    "enqueue_many": ("enter_runs", "wake"),
    "enqueue_bulk": ("enqueue_bulk",),
    "commit": ("commit_draft", "request_running"),
    "overlap": ("commit_draft",),
    "confirm": ("confirm_cancellation", "put_in_force", "request_running"),
    "stop": ("stop_cancellation", "lock_ending"),
    "stop_older": ("stop_cancellation",),
    "stop_newer": ("stop_cancellation",),
    "undo": ("undo_cancellation", "lock_ending"),
    "undo_older": ("undo_cancellation",),
    "undo_newer": ("undo_cancellation",),
    "undo_again": ("undo_cancellation",),
    "cancel_waiting": ("cancel_run",),
    "cancel_running": ("cancel_run", "request_running"),
    "pause": ("pause",),
    "resume": ("resume",),
    "limit": ("limit_function",),
    "sweep": ("sweep_batch", "walk_backlog"),
    "sweep_older": ("sweep_batch", "walk_backlog"),
    "sweep_newer": ("sweep_batch", "walk_backlog"),
    "restore": ("restore_cancellation", "restore_batch"),
    "prune": ("prune", "prune_cancelled"),
}
"""Whose points each operation comes by."""

ONLY = {
    "claim_by_list": {"surveyed", "searching", "searched", "marked", "granted", "returned"},
    "turn": {"locked", "ended ones completed", "surveyed", "returned"},
    "claim_few": {"looked ahead", "granted what was ahead"},
    "claim_nothing": {"nothing found", "before the mark", "marked idle"},
    "undo_again": {"undone"},
    "undo_newer": {"before the lock", "undone"},
    "undo_older": {"before the lock", "undone"},
    "stop_newer": {"before the lock", "stopped"},
    "stop_older": {"before the lock", "stopped"},
    "sweep_older": {"in force", "batch evaluated", "batch cancelled"},
}
"""Variants of another operation pause only where they differ from it."""

NOTHING_TO_PRUNE = {"record locked", "runs locked", "runs deleted"}
PASSED_BY: dict[tuple[str, str], set[str]] = {
    # Its queue is not empty: claim_nothing comes there. It takes all at once: claim_few looks ahead. Nothing has ended:
    # see turn.
    ("any", "claim"): {"nothing found", "marked idle", "looked ahead", "ended ones completed"},
    # The held run was asked to stop.
    ("committed", "begin_step"): {"not cancelled"},
    ("committed", "fail"): {"not cancelled"},
    ("overlapping", "begin_step"): {"not cancelled"},
    ("overlapping", "fail"): {"not cancelled"},
    ("pending", "begin_step"): {"not cancelled"},
    ("pending", "fail"): {"not cancelled"},
    # It is asked to stop, whoever owns it.
    ("any", "cancel_running"): {"owner known"},
    # It has ended.
    ("ended", "begin_step"): {"run locked", "not cancelled"},
    ("undone", "cancel_waiting"): {"recorded", "owner known", "cancelled"},
    # No cancellation has ended whose runs might go.
    ("before", "prune"): NOTHING_TO_PRUNE,
    ("committed", "prune"): NOTHING_TO_PRUNE,
    ("undone", "prune"): NOTHING_TO_PRUNE,
    # It is only tried to be put in force.
    ("pending", "sweep"): {
        *("in force", "in the gate", "pass begun", "batch read", "batch evaluated", "owners known", "batch cancelled"),
        "decided ones cancelled",
    },
    # It is known by its key.
    ("pending", "commit"): {"before the record", "recorded", "running runs known", "running runs asked to stop"},
}
"""Where an operation does not come by in that situation, and why."""

ELSEWHERE = {
    "compact_depth": "decides nothing: tests/integration/test_depth.py has its races",
    "check_depth": "decides nothing: tests/integration/test_depth.py has its races",
    "sample_depth": "decides nothing: tests/integration/test_depth_history.py has its races",
    "may_match": "looks whether a commit is worth while, which is then one",
    "cancel_by_event": "is commits, one after the other",
    "send_to": "is a commit, then enqueues",
    "share_app": "has one for what becomes of an app that is new: test_an_app_that_appears_is_not_elsewhere",
    "enqueue_once": "is an enqueue, after its key: tests/integration/test_keys.py has its races",
    "holds_key": "cancels as a claim does: tests/integration/test_keys.py has its races",
    "reclaim_keys": "comes by where runs have keys: tests/integration/test_keys.py has its races",
    "reclaim_key": "as reclaim_keys",
    "commit_retries": "promises nothing of claims: tests/integration/test_retries.py has its races",
    "retry_batch": "meets a commit and a sweep in test_mutants.py",
    "settle_ending": "comes by after a stop or undo beside somebody who stays open: test_endings.py",
    "unretry": "takes back what nobody has claimed: tests/integration/test_retries.py has its races",
    "decide_slowly": "writes down what is true whoever finds it out: what a claim makes of it is in test_mutants.py",
    "finish_steps": "keeps a result and decides nothing: whether the run goes on is the next begin_step's to say",
}
"""Functions with points that no operation here comes by."""

CORE = ("claim", "begin_step", "overlap", "stop", "undo", "sweep", "enqueue_many", "prune")


def stops(situation: str, operation: str) -> list[tuple[str, str]]:
    """Where an operation can be paused, as function and point; the last is before its transaction's end."""
    found = [(function, point) for function in FUNCTIONS[operation] for point in points(function)[:-1]]
    passed_by = PASSED_BY.get(("any", operation), set()) | PASSED_BY.get((situation, operation), set())
    return [
        (function, point)
        for function, point in [*found, (FUNCTIONS[operation][0], "returned")]
        if point in ONLY.get(operation, {point}) - passed_by
    ]


def pairs(some: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    return list(product(some, others))


def every_two(operations: Iterable[str]) -> list[tuple[str, str]]:
    return list(combinations_with_replacement(operations, 2))


EVERYWHERE = {
    "before": pairs(["commit"], ["claim", "begin_step", "enqueue_many", "enqueue_bulk"]),
    "committed": [("claim", "stop"), ("sweep", "claim"), ("sweep", "stop")],
    "undone": [("restore", "overlap")],
}
"""Looked at on every server; the others, where Postgres's version can make even less of a difference, on one."""

ALSO = {
    "before": [
        *pairs(
            ["commit"],
            ["commit", "overlap", "complete", "complete_late", "fail", "release", "interrupt", "pause", "prune"],
        ),
        *pairs(["commit", "claim"], ["cancel_waiting", "cancel_running"]),
        *pairs(["cancel_waiting"], ["cancel_waiting", "stop_older", "sweep_older"]),
        *pairs(["cancel_running"], ["begin_step", "complete", "fail", "release", "interrupt", "cancel_running"]),
        *pairs(["claim"], ["pause", "resume", "limit", "complete_late"]),
        *pairs(["turn"], ["commit", "claim", "limit", "complete", "turn"]),
        *pairs(["claim_by_list"], ["commit", "enqueue_many", "pause", "limit", "claim_by_list", "release"]),
        *pairs(["limit"], ["complete", "begin_step"]),
    ],
    "committed": [
        *every_two(CORE),
        *pairs(["sweep", "stop", "undo", "overlap"], ["complete", "complete_late", "fail", "release", "interrupt"]),
        *pairs(["claim_few"], ["stop", "undo", "overlap", "sweep"]),
        *pairs(["turn"], ["overlap", "sweep", "undo"]),
        *pairs(["claim_by_list"], ["stop", "overlap", "sweep"]),
        *pairs(["claim_nothing"], ["overlap", "stop", "sweep", "enqueue_many"]),
        *pairs(["enqueue_bulk"], ["claim", "overlap", "sweep", "enqueue_bulk"]),
        *pairs(["sweep"], ["stop_older", "undo_older", "sweep_older"]),
        *pairs(["cancel_waiting"], ["stop", "undo", "sweep"]),
    ],
    "overlapping": [
        *pairs(["sweep_newer"], ["stop", "undo", "sweep", "begin_step", "fail"]),
        *pairs(["stop_newer"], ["sweep", "stop", "begin_step"]),
    ],
    "pending": pairs(["confirm"], ["claim", "begin_step", "stop", "undo", "sweep", "commit", "confirm", "fail"]),
    "ended": [*every_two(("undo", "prune")), *pairs(["undo"], ["claim", "begin_step", "enqueue_many", "overlap"])],
    "undone": [
        *pairs(
            ["restore"], ["restore", "claim", "begin_step", "enqueue_many", "undo_again", "prune", "cancel_waiting"]
        ),
        *pairs(["restore"], ["claim_by_list"]),
        *pairs(["restore"], ["stop_newer", "undo_newer", "sweep_newer", "complete", "fail"]),
    ],
    "undone late": pairs(["restore"], ["prune", "undo_newer"]),
}


def meetings(situations: dict[str, list[tuple[str, str]]]) -> list[Any]:
    return [
        pytest.param(situation, paused, function, point, other, id=f"{situation}: {paused} at {point}, {other}")
        for situation, met in situations.items()
        for one, two in dict.fromkeys(met)
        if situations is EVERYWHERE or (one, two) not in EVERYWHERE.get(situation, [])
        for paused, other in dict.fromkeys([(one, two), (two, one)])
        for function, point in stops(situation, paused)
    ]


together = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(arena_url: str) -> AsyncIterator[Stage]:
    stage = Stage(arena_url)
    yield stage
    stage.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded_stage(embedded_arena_url: str) -> AsyncIterator[Stage]:
    stage = Stage(embedded_arena_url)
    yield stage
    stage.close()


async def hold(stage: Stage, situation: str, paused: str, function: str, point: str, other: str) -> None:
    async with stage.scene(situation) as here:
        await here.meet(paused, function, point, other)
        await here.verify()
        await here.settle()
        await here.verify()


@together
@pytest.mark.parametrize(("situation", "paused", "function", "point", "other"), meetings(EVERYWHERE))
async def test_holds_however_two_meet(
    stage: Stage, situation: str, paused: str, function: str, point: str, other: str
) -> None:
    await hold(stage, situation, paused, function, point, other)


@together
@pytest.mark.parametrize(("situation", "paused", "function", "point", "other"), meetings(ALSO))
async def test_and_however_others_do(
    embedded_stage: Stage, situation: str, paused: str, function: str, point: str, other: str
) -> None:
    await hold(embedded_stage, situation, paused, function, point, other)


@together
async def test_an_app_that_appears_is_not_elsewhere(stage: Stage) -> None:
    """It is registered just after a claim of it found no such app."""
    async with stage.scene() as here:
        operator = await here.connect()
        async with here.paused("claim_unknown", "share_app", "no such app"):
            await operator.fetchval("select secateur.ensure_function($1, 'sync')", f"{here.app}-new")


def test_no_point_is_left_out() -> None:
    """A new one needs an operation that comes there, or a word on why none has to."""
    paused_at = {(param.values[2], param.values[3]) for param in meetings(EVERYWHERE) + meetings(ALSO)}
    known = {(name, point) for name in functions(protocol()) if name not in ELSEWHERE for point in points(name)[:-1]}
    assert known <= paused_at, f"nothing is paused at {known - paused_at}"
