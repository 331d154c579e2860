"""Whatever a function raises, wherever, is its run's failure, and never the worker's."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any

import pytest
from workers import error_of, in_status, working

import secateur
from secateur import ActiveRun, App, Discard, Queue, RetryAfter, RunCancelled, SyncRun
from secateur.runs import RunStatus

pytestmark = pytest.mark.one_postgres


class Panic(BaseException):
    """As PyO3 raises it where Rust panics."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise Panic


class Text(str):
    def __bool__(self) -> bool:
        raise Panic


class Unreadable(Exception):
    def __str__(self) -> str:
        return Text("a text")


class Circular(ExceptionGroup[Exception]):
    exceptions = property(lambda self: (self,))  # type: ignore[assignment]


class Busy(RetryAfter):
    """As people extend it, without the delay."""

    def __init__(self, delay: object = None) -> None:
        if delay is not None:
            self.delay = delay  # type: ignore[assignment]


def in_groups(error: Exception, depth: int) -> Exception:
    for _ in range(depth):
        error = ExceptionGroup("one", [error])
    return error


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


RAISED: list[tuple[BaseException, str]] = [
    (KeyError("amount"), "KeyError: 'amount'"),
    (ValueError("a\0b \ud800"), "ValueError: a\\x00b \\ud800"),
    (SystemExit(3), "SystemExit: 3"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (GeneratorExit("now"), "GeneratorExit: now"),
    (Panic("called `Option::unwrap()` on a `None` value"), "Panic: called `Option::unwrap()` on a `None` value"),
    (Unspeakable(), "Unspeakable: (its message cannot be shown)"),
    (asyncio.CancelledError(), "CancelledError"),
    (RunCancelled("by hand"), "RunCancelled: by hand"),
    (BaseExceptionGroup("two", [RunCancelled(), OSError()]), "BaseExceptionGroup: two (2 sub-exceptions)"),
    (in_groups(ValueError(), 5_000), "ExceptionGroup: one (1 sub-exception)"),
    (Circular("itself", [ValueError()]), "Circular: itself (1 sub-exception)"),
    (Unreadable(), "Unreadable: (its message cannot be shown)"),
    (Busy(), "Busy"),
    (Busy("soon"), "Busy: soon"),
    (Busy(timedelta.max), f"Busy: {timedelta.max}"),
]
STOPS = [(StopIteration(1), "StopIteration: 1"), (StopAsyncIteration(), "StopAsyncIteration")]
"""What a coroutine cannot raise, and a future not hold."""


async def fails_as(queue: Queue, url: str, app: App, text: str) -> None:
    """The run of `bad` fails so, and one of `good` beside it ends well, on the same worker."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.function(id="good", retries=0)
    async def good(run: ActiveRun) -> None:
        begun.set()
        await run.step("wait", go_on.wait)

    async with working(url, app):
        beside = await queue.enqueue("billing", "good", {})
        await begun.wait()
        failing = await queue.enqueue("billing", "bad", {"fail": True})
        await in_status(queue, failing, RunStatus.FAILED)
        assert await error_of(queue, failing) == text
        go_on.set()
        assert (await in_status(queue, beside, RunStatus.COMPLETED)).attempt == 1
        await in_status(queue, await queue.enqueue("billing", "good", {}), RunStatus.COMPLETED)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Half a character in a log has no way between test processes."""
    caplog.set_level(logging.CRITICAL, "secateur.worker")


@pytest.mark.parametrize(("raised", "text"), RAISED, ids=lambda one: type(one).__name__)
async def test_a_coroutine_function_raises(queue: Queue, embedded_url: str, raised: BaseException, text: str) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        raise raised

    await fails_as(queue, embedded_url, app, text)


@pytest.mark.parametrize(("raised", "text"), [*RAISED, *STOPS], ids=lambda one: type(one).__name__)
async def test_a_plain_function_raises(queue: Queue, embedded_url: str, raised: BaseException, text: str) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    def bad(run: SyncRun) -> None:
        raise raised

    await fails_as(queue, embedded_url, app, text)


def _raise(error: BaseException) -> None:
    raise error


async def _raise_later(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def _in_a_step(run: ActiveRun, error: BaseException) -> None:
    await run.step("raise", _raise, error)


async def _in_a_task(run: ActiveRun, error: BaseException) -> None:
    await asyncio.create_task(_raise_later(error))


async def _in_a_task_of_a_task(run: ActiveRun, error: BaseException) -> None:
    await asyncio.create_task(_in_a_task(run, error))


async def _gathered(run: ActiveRun, error: BaseException) -> None:
    await asyncio.gather(asyncio.sleep(0.01), _raise_later(error))


async def _in_a_forgotten_task(run: ActiveRun, error: BaseException) -> None:
    task = asyncio.create_task(_raise_later(error))
    await asyncio.wait([task])
    raise error


async def _in_a_thread(run: ActiveRun, error: BaseException) -> None:
    await asyncio.to_thread(_raise, error)


async def _when_cancelled(run: ActiveRun, error: BaseException) -> None:
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
    finally:
        raise error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Panic("x")], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "work",
    [
        *(_in_a_step, _in_a_task, _in_a_task_of_a_task, _gathered, _in_a_forgotten_task, _in_a_thread),
        _when_cancelled,
    ],
)
async def test_wherever_it_is_raised(
    queue: Queue, embedded_url: str, work: Callable[[ActiveRun, BaseException], Any], error: BaseException
) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        await work(run, error)

    await fails_as(queue, embedded_url, app, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _soon(raising: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(raising)


def _later(raising: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(0.001, raising)


def _when_done(raising: Callable[[], None]) -> None:
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda _: raising())
    future.set_result(None)


def _from_a_thread(raising: Callable[[], None]) -> None:
    asyncio.get_running_loop().run_in_executor(
        None, copy_context().run, asyncio.get_running_loop().call_soon_threadsafe, raising
    )


@pytest.mark.parametrize("schedule", [_soon, _later, _when_done, _from_a_thread])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), Panic("x")], ids=lambda one: type(one).__name__)
async def test_a_callback_does_not_end_the_worker(
    queue: Queue,
    embedded_url: str,
    schedule: Callable[[Callable[[], None]], None],
    error: BaseException,
) -> None:
    app, called, told = App("billing"), asyncio.Event(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

    def raising() -> None:
        called.set()
        raise error

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        schedule(raising)
        await called.wait()

    async with working(embedded_url, app):
        for _ in range(2):
            run = await queue.enqueue("billing", "bad", {})
            assert (await queue.wait(run)).status == RunStatus.COMPLETED
            called.clear()
    assert error in told, "the failure is reported"


async def test_a_task_group_of_a_function(queue: Queue, embedded_url: str) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise_later(KeyboardInterrupt()))
            group.create_task(asyncio.sleep(60))

    await fails_as(queue, embedded_url, app, "BaseExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)")


async def test_a_function_that_cancels_itself(queue: Queue, embedded_url: str) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if run.event.get("fail"):
            await asyncio.sleep(60)

    async with working(embedded_url, app):
        swallowed = await queue.enqueue("billing", "bad", {})
        await in_status(queue, swallowed, RunStatus.COMPLETED)
    await fails_as(queue, embedded_url, app, "CancelledError")


async def test_a_function_that_stops_the_event_loop(queue: Queue, embedded_url: str) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        loop = asyncio.get_running_loop()
        if run.event.get("fail"):
            loop.stop()
        # By a callback of its own, too.
        loop.call_soon(loop.stop)
        await asyncio.sleep(0.01)

    async with working(embedded_url, app):
        later = await queue.enqueue("billing", "bad", {})
        await in_status(queue, later, RunStatus.COMPLETED)
    await fails_as(queue, embedded_url, app, "RuntimeError: a function must not call stop() of its worker's event loop")


def _task_factory() -> None:
    asyncio.get_running_loop().set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))


def _default_executor() -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (_task_factory, "set_task_factory"),
        (_default_executor, "set_default_executor"),
        (lambda: asyncio.get_running_loop().shutdown_default_executor(), "shutdown_default_executor"),
        (lambda: asyncio.get_running_loop().shutdown_asyncgens(), "shutdown_asyncgens"),
    ],
)
async def test_a_function_that_changes_the_event_loop(
    queue: Queue, embedded_url: str, call: Callable[[], Any], name: str
) -> None:
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        if (made := call()) is not None:
            await made

    await fails_as(
        queue, embedded_url, app, f"RuntimeError: a function must not call {name}() of its worker's event loop"
    )


async def test_a_function_cannot_cancel_the_tasks_of_its_worker_or_of_other_runs(
    queue: Queue, embedded_url: str
) -> None:
    app, of_the_test, refused = App("billing"), asyncio.all_tasks(), list[str]()

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        if "fail" not in run.event:
            return
        own = asyncio.create_task(asyncio.sleep(60))
        await run.step("a step", asyncio.sleep, 0)  # what asks the queue for several runs is nobody's
        for task in asyncio.all_tasks() - of_the_test - {asyncio.current_task()}:
            try:
                task.cancel()
            except RuntimeError as error:
                refused.append(str(error))
        await asyncio.wait([own])
        assert own.cancelled(), "it may cancel what it has begun itself"
        raise ValueError("it was refused")

    await fails_as(queue, embedded_url, app, "ValueError: it was refused")
    assert "a function must not cancel the tasks of its worker" in refused
    assert any("a function must not cancel the tasks of billing / good" in each for each in refused)


async def test_tasks_that_outlive_their_run_can_be_cancelled_by_another(queue: Queue, embedded_url: str) -> None:
    """As when one run begins what several share, such as a client with a task of its own, and a later one closes it."""
    app, shared = App("billing"), list[asyncio.Task[None]]()

    @app.function(id="sharing")
    async def sharing(run: ActiveRun) -> None:
        if not shared:
            shared.append(asyncio.create_task(asyncio.sleep(600)))
            return
        shared[0].cancel()
        await asyncio.wait(shared)

    async with working(embedded_url, app):
        for _ in range(2):
            await in_status(queue, await queue.enqueue("billing", "sharing", {}), RunStatus.COMPLETED)
    assert shared[0].cancelled()


@pytest.mark.parametrize("name", ["id", "app_id", "function_id", "event", "attempt", "started_at", "must_stop"])
async def test_a_function_may_change_what_it_was_given(queue: Queue, embedded_url: str, name: str) -> None:
    """It has its own object: what the worker tells the queue does not depend on it."""
    app = App("billing")

    @app.function(id="bad", retries=0)
    async def bad(run: ActiveRun) -> None:
        failing = "fail" in run.event
        setattr(run, name, "another")
        if failing:
            raise ValueError("as it should")

    async with working(embedded_url, app):
        run = await queue.enqueue("billing", "bad", {})
        await in_status(queue, run, RunStatus.COMPLETED)
    await fails_as(queue, embedded_url, app, "ValueError: as it should")


async def test_a_delay_that_is_set_later_holds(queue: Queue, embedded_url: str) -> None:
    app = App("billing")

    @app.function(id="bad", retries=1)
    async def bad(run: ActiveRun) -> None:
        raise in_groups(Busy(run.event["delay"]), 2_000)

    async with working(embedded_url, app):
        run = await queue.enqueue("billing", "bad", {"delay": 3600})
        waiting = await in_status(queue, run, RunStatus.SCHEDULED)
        assert waiting.scheduled_for is not None
        assert waiting.started_at is not None
        assert waiting.scheduled_for - waiting.started_at > timedelta(minutes=59)


async def test_a_plain_function_that_returns_a_coroutine_says_so(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    app.function(id="bad", retries=0)(lambda run: asyncio.sleep(0))  # type: ignore[misc]
    await fails_as(
        queue,
        embedded_url,
        app,
        "TypeError: test_a_plain_function_that_returns_a_coroutine_says_so.<locals>.<lambda>"
        " returned coroutine: declare it with `async def`",
    )


async def test_an_event_that_python_cannot_hold_fails_its_run_alone(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    seen: list[int] = []

    @app.function(id="invoices")
    async def invoices(run: ActiveRun) -> None:
        seen.append(run.event["n"])
        assert run.event is run.event, "decoded once"

    @app.function(id="reminders")
    async def reminders(run: ActiveRun) -> None:
        """It does not read its event."""

    odd = """select secateur.enqueue_many('billing', $1, array[
        '{"n": 1}', ('{"n": 1' || repeat('0', 5000) || '}')::jsonb, '{"n": 1e400}', '{"n": 2}'])"""
    ids = [row[0] for row in await queue.database.fetch(odd, "invoices")]
    unread = [row[0] for row in await queue.database.fetch(odd, "reminders")]
    async with working(embedded_url, app):
        for id in unread:
            await in_status(queue, id, RunStatus.COMPLETED)
        await in_status(queue, ids[1], RunStatus.FAILED)
        for id in (ids[0], ids[2], ids[3]):
            await in_status(queue, id, RunStatus.COMPLETED)
    assert sorted(seen) == [1, 2, 10**400]
    error = await error_of(queue, ids[1])
    assert error.startswith("Discard: its event cannot be read: the number 1000")
    assert (await queue.engine.run(ids[1])).attempt == 1, "which no repetition helps against"


async def test_times_that_python_cannot_hold_end_no_worker(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    started: list[object] = []

    @app.function(id="invoices")
    async def invoices(run: ActiveRun) -> None:
        started.append(run.started_at)

    ids = await queue.enqueue_many("billing", "invoices", [{}, {}, {}])
    for name in await queue.database.fetch(
        "select conname from pg_constraint where conrelid = 'secateur.runs'::regclass and contype = 'c'"
    ):
        await queue.database.execute(f'alter table secateur.runs drop constraint "{name[0]}"')
    await queue.database.execute("drop trigger if exists refuse_odd_times on secateur.runs")
    await queue.database.execute(
        "update secateur.runs set started_at = '10000-01-01', scheduled_for = '0044-03-15 BC' where id = $1", ids[0]
    )
    await queue.database.execute(
        "update secateur.runs set scheduled_for = 'infinity', status = 'scheduled' where id = $1", ids[1]
    )
    async with working(embedded_url, app):
        for id in (ids[0], ids[2]):
            await in_status(queue, id, RunStatus.COMPLETED)
        await in_status(queue, await queue.enqueue("billing", "invoices", {}), RunStatus.COMPLETED)
    assert len(started) == 3


class TestWhatToDo:
    async def test_discard(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")

        @app.function(id="alone", retries=5)
        async def alone(run: ActiveRun) -> None:
            raise Discard("there is no such vendor")

        @app.function(id="together", retries=5)
        async def together(run: ActiveRun) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_raise_later(Discard("there is no such vendor")))

        @app.function(id="plain", retries=5)
        def plain(run: SyncRun) -> None:
            raise Discard("there is no such vendor")

        async with working(embedded_url, app):
            for function in ("alone", "together", "plain"):
                run_id = await queue.enqueue("billing", function, {})
                assert (await in_status(queue, run_id, RunStatus.FAILED)).attempt == 1
        assert await error_of(queue, run_id) == "Discard: there is no such vendor"

    async def test_retry_after(self, queue: Queue, embedded_url: str) -> None:
        app = App("billing")

        @app.function(id="invoices", retries=1)
        async def invoices(run: ActiveRun) -> None:
            if run.event["delay"] or run.attempt == 1:
                raise RetryAfter(run.event["delay"], "the bank is closed")

        async with working(embedded_url, app):
            later = await queue.enqueue("billing", "invoices", {"delay": 3600})
            at_once = await queue.enqueue("billing", "invoices", {"delay": 0})
            assert (await in_status(queue, at_once, RunStatus.COMPLETED)).attempt == 2
            waiting = await in_status(queue, later, RunStatus.SCHEDULED)
            now = await queue.engine.clock()
            assert waiting.scheduled_for is not None
            assert timedelta(minutes=58) < waiting.scheduled_for - now <= timedelta(hours=1)
            assert await error_of(queue, later) == "RetryAfter: the bank is closed"
            await queue.database.execute("update secateur.runs set scheduled_for = now() where id = $1", later)
            await in_status(queue, later, RunStatus.FAILED)


async def test_plain_functions_run_in_threads_within_the_workers_concurrency(queue: Queue, embedded_url: str) -> None:
    app = App("billing")
    lock = threading.Lock()
    running: set[int] = set()
    peak = 0
    both = threading.Barrier(2)

    @app.function(id="invoices")
    def invoices(run: SyncRun) -> None:
        nonlocal peak
        with lock:
            running.add(threading.get_ident())
            peak = max(peak, len(running))
        if run.step("fetch", lambda: run.event["n"]) < 2:
            both.wait(30)  # there are two at once
        run.step("store", time.sleep, 0.001)
        with lock:
            running.discard(threading.get_ident())

    ids = await queue.enqueue_many("billing", "invoices", [{"n": n} for n in range(20)])
    async with working(embedded_url, app, concurrency=2):
        for id in ids:
            await in_status(queue, id, RunStatus.COMPLETED)
    assert peak == 2
    assert threading.get_ident() not in running
    kept = await queue.database.fetchval("select count(*) from secateur.steps")
    assert kept == 40
