"""What nobody should send, at every entrance alike: Python, HTTP and the command line refuse it in the same words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from command_line import Here

import secateur
from secateur import App, CancelOn, Queue
from secateur.errors import RequestError, SecateurError, UsageError

LONG = "x" * 201
NASTY = "\x1b[2J"
TURNED = "safe\u202egpj.exe"
HALF = "\ud800"
HUGE = "x" * 3_000_000

EXTREMES: tuple[object, ...] = (
    *(None, "", " ", LONG, HUGE, NASTY, TURNED, HALF, "a\0b", "a\nb", 0, -1, 2**31, 2**63, 2**64, 10**400, 1.5, True),
    *(float("nan"), float("inf"), b"x", [], [None], {}, {"a": 1}, object(), timedelta.max, timedelta.min),
)


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        await queue.enqueue("billing", "sync", {"name": "vendor/sync", "data": {}})
        yield queue


def problems(error: SecateurError) -> dict[str, str]:
    assert isinstance(error, RequestError)
    return {problem.field: problem.message for problem in error.problems}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("app_id", LONG, "is longer than 200 characters"),
        ("app_id", "", "must not be empty"),
        ("app_id", 5, "must be a string"),
        ("app_id", "a\0b", "contains U+0000, which Postgres cannot store"),
        ("app_id", HALF, "is not valid Unicode text"),
        ("app_id", NASTY, "must not contain control characters, line breaks or changes of the writing direction"),
        ("function_id", LONG, "is longer than 200 characters"),
        ("function_id", TURNED, "must not contain control characters, line breaks or changes of the writing direction"),
        ("priority", 2**31, "must be a whole number from -2147483648 to 2147483647"),
        ("priority", 1.5, "must be a whole number from -2147483648 to 2147483647"),
        ("priority", None, "must be a whole number from -2147483648 to 2147483647"),
        ("scheduled_for", "2024-01-01", "must be an aware datetime, as in datetime.now(UTC)"),
        ("started_at", 5, "must be an aware datetime, as in datetime.now(UTC)"),
        ("idempotency_key", "", "must have 1 to 500 characters"),
        ("idempotency_key", "x" * 501, "must have 1 to 500 characters"),
        (
            "idempotency_key",
            "a\nb",
            "must not contain control characters, line breaks or changes of the writing direction",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_enqueue(queue: Queue, field: str, value: Any, message: str) -> None:
    arguments = {"app_id": "billing", "function_id": "sync", "event": {}} | {field: value}
    with pytest.raises(RequestError) as refused:
        await queue.enqueue(**arguments)
    assert problems(refused.value) == {field: message}
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 1


@pytest.mark.parametrize("value", ["text", b"bytes", bytearray(b"x"), memoryview(b"x"), {"name": "x"}, None, 5])
async def test_what_is_one_thing_is_not_many_events(queue: Queue, value: Any) -> None:
    """A character, a byte or a key is no event, although each of these could be iterated."""
    for method, wanted in ((queue.enqueue_many, "a list of events"), (queue.enqueue_bulk, "an iterable of events")):
        with pytest.raises(RequestError) as refused:
            await method("billing", "sync", value)
        assert problems(refused.value) == {"events": f"must be {wanted}"}
    assert await queue.database.fetchval("select count(*) from secateur.runs") == 1


SYNC = {"app_id": "billing", "function_id": "sync"}
BILLING = {"app_id": "billing", "function_id": None}


def calls(queue: Queue) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each method that takes something, with what it takes otherwise."""
    run = cancellation = "00000000-0000-0000-0000-000000000001"
    request = {"app_id": "billing"}
    committed = {"request": request, "reason": None, "idempotency_key": None, "author": None, "expected": None}
    return {
        "enqueue": (
            queue.enqueue,
            SYNC | {"event": {}, "scheduled_for": None, "priority": 0, "started_at": None, "idempotency_key": None},
        ),
        "enqueue_many": (
            queue.enqueue_many,
            SYNC | {"events": [{}], "scheduled_for": None, "priorities": None, "started_at": None},
        ),
        "enqueue_bulk": (
            queue.enqueue_bulk,
            SYNC | {"events": [{}], "scheduled_for": None, "priority": 0},
        ),
        "send": (queue.send, {"event": {"name": "x"}, "idempotency_key": None}),
        "preview": (queue.preview, {"request": request}),
        "cancel": (queue.cancel, committed),
        "cancel_all": (queue.cancel_all, committed),
        "retry": (queue.retry, committed),
        "preview_retry": (queue.preview_retry, {"request": request}),
        "depth_history": (queue.depth_history, BILLING | {"range": "15m"}),
        "cancel_run": (queue.cancel_run, {"run_id": run, "reason": None, "author": None}),
        "restore_run": (queue.restore_run, {"run_id": run, "author": None}),
        "stop": (queue.stop, {"cancellation_id": cancellation, "author": None}),
        "undo": (queue.undo, {"cancellation_id": cancellation, "author": None}),
        "forget": (queue.forget, {"app_id": "billing", "function_id": None, "author": None}),
        "pause": (queue.pause, {"app_id": "billing", "function_id": None, "author": None}),
        "resume": (queue.resume, {"app_id": "billing", "function_id": None, "author": None}),
        "history": (queue.history, {"limit": 1, "before": None}),
        "show": (queue.show, {"cancellation_id": cancellation}),
        "unrestored": (queue.unrestored, {"cancellation_id": cancellation, "limit": 1}),
        "audit": (queue.audit, {"limit": 1, "before": None}),
        "set_retention": (queue.set_retention, {"finished": None, "cancelled": None, "standing": None, "author": None}),
        "runs": (
            queue.runs,
            BILLING | {"status": "failed", "if_": None, "since": None, "until": None, "limit": 1, "before": None},
        ),
        "get": (queue.get, {"run_id": run}),
        "why": (queue.why, {"run_id": run}),
    }


async def test_no_argument_of_python_is_anything_but_taken_or_refused(queue: Queue) -> None:
    for name, (method, usual) in calls(queue).items():
        for field in usual:
            for value in EXTREMES:
                try:
                    await method(**usual | {field: value})
                except SecateurError:
                    pass
                except Exception as error:
                    pytest.fail(f"{name}({field}={value!r:.60}) raised {type(error).__name__}: {error!s:.200}")


async def test_no_field_of_a_request_is_anything_but_taken_or_refused(queue: Queue) -> None:
    usual = {"app_id": "billing"}
    fields = (
        "app_id",
        "function_id",
        "function_ids",
        "if",
        "started_after",
        "started_before",
        "standing",
        "rate",
        "reason",
    )
    for field in (*fields, "if_", "other", ""):
        for value in EXTREMES:
            try:
                await queue.preview(usual | {field: value})
            except SecateurError:
                pass
            except Exception as error:
                pytest.fail(f"{field}={value!r:.60} raised {type(error).__name__}: {error!s:.200}")


@pytest.mark.parametrize(
    "declare",
    [
        lambda app: app.function(id=LONG),
        lambda app: app.function(id=NASTY),
        lambda app: app.function(id="f", triggers=["x" * 201]),
        lambda app: app.function(id="f", triggers=["x"] * 101),
        lambda app: app.function(id="f", triggers=[""]),
        lambda app: app.function(id="f", triggers=None),
        lambda app: app.function(id="f", triggers=5),
        lambda app: app.function(id="f", triggers=iter("x")),
        lambda app: app.function(id="f", cancel_on=None),
        lambda app: app.function(id="f", cancel_on=5),
        lambda app: app.function(id="f", cancel_on=iter([CancelOn(event="x")])),
        lambda app: app.function(id="f", retries=2**31),
        lambda app: app.function(id="f", retries=1.5),
        lambda app: app.function(id="f", concurrency=2**31 - 1),
        lambda app: app.function(id="f", concurrency="5"),
        lambda app: app.function(id="f", cancel_on=[CancelOn(event=LONG)]),
        lambda app: App(LONG),
        lambda app: App(NASTY),
    ],
)
def test_declarations(declare: Callable[[App], Any]) -> None:
    async def work(run: object) -> None:
        pass

    with pytest.raises(UsageError):
        declared = declare(App("billing"))
        declared(work)


NULLS = ("function_id", "function_ids", "if", "started_after", "started_before", "standing", "rate", "reason")


async def test_null_is_not_everything(queue: Queue, client: httpx.AsyncClient, here: Here, embedded_url: str) -> None:
    for field in NULLS:
        body = {"app_id": "billing", field: None}
        with pytest.raises(RequestError) as refused:
            await queue.preview(body)
        assert list(problems(refused.value)) == [field]
        assert problems(refused.value)[field].startswith("must not be null; leave it out")
        answer = await client.post("/v1/cancellations/preview", json=body)
        assert answer.status_code == 400
        assert [detail["message"] for detail in answer.json()["details"]] == list(problems(refused.value).values())
        done = await asyncio.to_thread(here, "preview", "--request", "-", url=embedded_url, stdin=json.dumps(body))
        assert done.code == 2
        assert f"{field}: {problems(refused.value)[field]}" in done.err


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('{"app_id": "billing", "if": "event.data.n == 1", "if": "true"}', "if"),
        ('{"app_id": "billing", "app_id": "crm"}', "app_id"),
    ],
)
async def test_a_key_that_is_there_twice(
    queue: Queue, client: httpx.AsyncClient, here: Here, embedded_url: str, body: str, key: str
) -> None:
    said = f'body: is not JSON: the key "{key}" occurs twice in one object'
    with pytest.raises(RequestError, match=said):
        await queue.preview(body)
    answer = await client.post("/v1/cancellations/preview", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, said)
    done = await asyncio.to_thread(here, "preview", "--request", "-", url=embedded_url, stdin=body)
    assert done.code == 2
    assert said in done.err


async def test_a_key_of_an_event_that_is_there_twice(client: httpx.AsyncClient, here: Here) -> None:
    event = '{"name": "vendor/sync", "data": {"n": 1, "n": 2}}'
    answer = await client.post("/v1/events", content=event, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert 'the key "n" occurs twice' in answer.json()["error"]
    done = await asyncio.to_thread(here, "eval", "event.data.n == 1", "--event", "-", stdin=event)
    assert done.code == 2
    assert 'the key "n" occurs twice' in done.err


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"name": "x", "ts": {}}, "ts"),
        ({"name": "x", "ts": 1.5}, "ts"),
        ({"name": "x", "ts": True}, "ts"),
        ({"name": "x", "id": {}}, "id"),
        ({"name": "x", "id": False}, "id"),
        ({"name": LONG}, "name"),
        ({"name": NASTY}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({}, "name"),
        ([], "event"),
    ],
    ids=str,
)
async def test_events_that_are_sent(queue: Queue, client: httpx.AsyncClient, event: Any, field: str) -> None:
    with pytest.raises(RequestError) as in_python:
        await queue.send(event)
    with pytest.raises(RequestError) as in_sql:
        await queue.database.fetch("select * from secateur.send($1::jsonb)", json.dumps(event))
    assert list(problems(in_python.value)) == list(problems(in_sql.value)) == [field]
    assert problems(in_python.value) == problems(in_sql.value)
    answer = await client.post("/v1/events", json=event)
    assert answer.status_code == 400
    if field != "event":
        assert {detail["field"]: detail["message"] for detail in answer.json()["details"]} == problems(in_python.value)


async def test_what_json_cannot_keep_is_refused_alike(queue: Queue) -> None:
    for text, wrong in (
        ("a\0b", r"contains U\+0000, which Postgres cannot store"),
        (HALF, "cannot be stored: Postgres"),
    ):
        for send in (
            lambda: queue.enqueue("billing", "sync", {"name": "x", "data": text}),  # noqa: B023
            lambda: queue.enqueue_many("billing", "sync", [{"name": "x", "data": text}]),  # noqa: B023
            lambda: queue.enqueue_bulk("billing", "sync", [{"name": "x", "data": text}]),  # noqa: B023
            lambda: queue.send({"name": "x", "data": text}),  # noqa: B023
        ):
            with pytest.raises(RequestError, match=f"event: (item 1 )?{wrong}"):
                await send()


async def test_reasons_authors_and_names_of_fields(queue: Queue, client: httpx.AsyncClient) -> None:
    for body, said in (
        ({"reason": "x" * 2001}, {"reason": "is longer than 2000 characters"}),
        ({"app_id": LONG}, {"app_id": "is longer than 200 characters"}),
        ({"function_ids": [LONG]}, {"function_ids": "is longer than 200 characters"}),
        ({"function_ids": ["f"] * 101}, {"function_ids": "must name at most 100 functions"}),
    ):
        with pytest.raises(RequestError) as refused:
            await queue.preview({"app_id": "billing"} | body)
        assert problems(refused.value) == said
    for also in ({}, {"if": "true"}):
        with pytest.raises(RequestError) as refused:
            await queue.preview({"app_id": "billing", "if_": "true"} | also)
        assert list(problems(refused.value)) == ["if_"]
        assert refused.value.problems[0].suggestion == "did you mean `if`?"
    for author in (LONG, NASTY, "", TURNED):
        with pytest.raises(RequestError, match="author: "):
            await queue.cancel({"app_id": "billing"}, author=author)
    answer = await client.post("/v1/cancellations", json={"app_id": "billing"}, headers={"x-author": "a\x7fb"})
    assert answer.status_code == 400
    assert await queue.history() == []


async def test_the_schema_says_what_is_refused(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/cancellations"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "null" not in json.dumps(schema)
    assert schema["not"] == {"required": ["function_id", "function_ids"]}
    for field in ("app_id", "function_id", "reason"):
        assert schema["properties"][field]["pattern"] == "^[^\\u0000]*$"
