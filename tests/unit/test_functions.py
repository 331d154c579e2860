"""What could not work is refused when it is declared; and functions can be tried without a queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from secateur import ActiveRun, App, Discard, RetryAfter, RunCancelled, SyncRun, Worker
from secateur.engines.native.functions import Function
from secateur.engines.native.steps import Steps
from secateur.errors import UsageError


async def _nothing(run: ActiveRun) -> None:
    pass


class Called:
    async def __call__(self, run: ActiveRun) -> None:
        pass


class TestDeclarations:
    """What could not work is refused when it is declared."""

    def test_a_function_is_left_as_it_is(self) -> None:
        app = App("billing")
        assert app.function(id="invoices", triggers=["a", "b"], retries=0, concurrency=5)(_nothing) is _nothing
        assert app.functions["invoices"] == Function("billing", "invoices", _nothing, ("a", "b"), 1, 5, ())

    def test_coroutine_functions_and_plain_ones(self) -> None:
        def plain(run: SyncRun) -> None:
            pass

        app = App("billing")
        for number, work in enumerate((_nothing, partial(_nothing), Called(), Called().__call__)):
            app.function(id=f"asynchronous {number}")(work)
            assert app.functions[f"asynchronous {number}"].is_async
        app.function(id="plain")(plain)
        app.function(id="partial")(partial(plain))
        assert not app.functions["plain"].is_async
        assert not app.functions["partial"].is_async

    def test_what_would_never_run(self) -> None:
        def generator(run: SyncRun) -> Iterator[int]:
            yield 1

        async def asynchronous(run: ActiveRun) -> AsyncIterator[int]:
            yield 1

        for work in (generator, asynchronous):
            with pytest.raises(UsageError, match=r"billing / invoices: .* is a generator, which would never run"):
                App("billing").function(id="invoices")(work)
        with pytest.raises(UsageError, match="billing / invoices: 7 is not a function"):
            App("billing").function(id="invoices")(7)  # type: ignore[type-var]

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"id": ""}, "no id"),
            ({"id": "known"}, "declared twice"),
            ({"id": "x", "retries": -1}, "retries"),
            ({"id": "x", "concurrency": 0}, "concurrency"),
            ({"id": "x", "timeout": timedelta(0)}, "timeout must be a timedelta above zero"),
            ({"id": "x", "timeout": 30}, "timeout must be a timedelta .*, not 30"),
            ({"id": "x", "triggers": "vendor/sync"}, r"as in triggers=\['vendor/sync'\]"),
        ],
    )
    def test_wrong_declarations(self, options: dict[str, Any], why: str) -> None:
        app = App("billing")
        app.function(id="known")(_nothing)
        with pytest.raises(UsageError, match=why):
            app.function(**options)(_nothing)

    def test_wrong_workers(self) -> None:
        app = App("billing")
        with pytest.raises(UsageError, match="has no functions"):
            Worker(None, apps=[app])
        app.function(id="invoices")(_nothing)
        for apps, options, why in (
            ([], {}, "at least one app"),
            ([app, app], {}, "listed twice"),
            ([app], {"concurrency": 0}, "a worker's concurrency must be from 1 to 10000, not 0"),
            ([app], {"concurrency": 2**31}, "concurrency"),
            ([app], {"concurrency": 1.5}, "concurrency"),
            ([app], {"lease": timedelta(0)}, "lease"),
            ([app], {"lease": timedelta(days=30)}, "lease must be from .* to 1 day"),
            ([app], {"grace": timedelta(seconds=-1)}, "grace"),
            ([app], {"connections": 1}, "connections must be from 2"),
            ([app], {"name": "a\nb"}, "name must have 1 to 200 printable characters"),
        ):
            with pytest.raises(UsageError, match=why):
                Worker(None, apps=apps, **options)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="an app needs an id"):
            App("")


def test_steps_of_a_plain_function_without_a_queue() -> None:
    run = SyncRun(id=UUID(int=1), app_id="billing", function_id="invoices", event={})
    assert run.step("add", lambda a, b: (a, b), 1, b=2) == [1, 2]  # type: ignore[comparison-overlap]
    assert run.step("add", str, 3) == "3"
    with pytest.raises(UsageError, match=r"step 'wait' of billing .* is async"):
        run.step("wait", asyncio.sleep, 1)


def test_steps_that_finished_earlier_are_not_taken_again() -> None:
    class Kept(Steps):
        async def begin(self, name: str) -> bool:
            return name != "forbidden"

    run = SyncRun(id=UUID(int=1), app_id="billing", function_id="invoices", event={}, steps=Kept())
    run.steps.finished = {"fetch": "7"}
    assert run.step("fetch", lambda: 8) == 7
    with pytest.raises(RunCancelled, match="must stop before its step 'forbidden'"):
        run.step("forbidden", lambda: 8)


def test_errors_that_say_what_to_do() -> None:
    assert str(Discard("no such vendor")) == "no such vendor"
    assert RetryAfter(1.5).delay == timedelta(seconds=1.5)
    assert RetryAfter(timedelta(days=366), "next year").args == ("next year",)
    for wrong in (-1, float("nan"), float("inf"), "soon", timedelta(days=367), 10**400):
        with pytest.raises(UsageError, match="RetryAfter"):
            RetryAfter(wrong)  # type: ignore[arg-type]
