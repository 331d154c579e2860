"""The HTTP API against a real queue, without a network in between."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api_client import FLOOD, data_of, failure_of, running_api
from billing import (
    ACME,
    CANCELLATION_KEYS,
    COUNT_KEYS,
    CULPRIT,
    DEPTH_KEYS,
    GLOBEX,
    INCOMPLETE,
    PREVIEW_KEYS,
)

from patience import PATIENCE
from secateur.engines.base import Selection
from secateur.engines.native.engine import NativeEngine
from secateur.errors import (
    Busy,
    DatabaseError,
    DiskFull,
    LockUnavailable,
    OutOfResources,
    QueryTimeout,
    Unreachable,
)
from secateur.ledger.commits import Commit
from secateur.ledger.ledger import Ledger
from secateur.postgres.database import Database
from secateur.records import Cancellation
from secateur.runs import Count


async def test_cancel_preview_and_follow(client: httpx.AsyncClient) -> None:
    preview = data_of(await client.post("/v1/cancellations/preview", json=FLOOD))
    assert list(preview) == PREVIEW_KEYS
    assert (preview["matched"], preview["total"]) == (ACME - 1, ACME - 1 + GLOBEX + INCOMPLETE)
    assert (preview["errors"], len(preview["error_examples"])) == (INCOMPLETE, INCOMPLETE)

    response = await client.post("/v1/cancellations", json={**FLOOD, "reason": "a loop"})
    committed = data_of(response, 201)
    assert list(committed) == CANCELLATION_KEYS
    assert list(committed["counts"]) == COUNT_KEYS
    assert (committed["state"], committed["if"], committed["reason"]) == ("active", CULPRIT, "a loop")
    assert (committed["created_by"], committed["source"]) == ("server", "api")
    assert committed["counts"]["expected"] is None
    assert response.headers["location"] == f"/v1/cancellations/{committed['id']}"

    async with asyncio.timeout(PATIENCE):
        while (now := data_of(await client.get(response.headers["location"])))["state"] == "active":
            await asyncio.sleep(0.05)
    assert now["state"] == "complete"
    assert now["counts"]["cancelled"] == now["counts"]["matched"] == ACME - 1
    assert data_of(await client.get("/v1/cancellations")) == [now]


async def test_the_references_body(client: httpx.AsyncClient) -> None:
    body = """{
      "if": "event.data.vendor_id == 'acme_inc'",
      "started_after": "2024-01-21T00:00:00Z",
      "started_before": "2024-01-22T00:00:00Z",
      "app_id": "billing",
      "function_id": "vendor-syncs"
    }"""
    json = {"Content-Type": "application/json; charset=utf-8"}
    committed = data_of(await client.post("/v1/cancellations", content=body, headers=json), 201)
    assert committed["started_after"] == "2024-01-21T00:00:00Z"
    assert committed["started_before"] == "2024-01-22T00:00:00Z"


async def test_idempotency(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/cancellations", json=FLOOD, headers=key)
    again = await client.post("/v1/cancellations", json=FLOOD, headers=key)
    assert data_of(first, 201)["id"] == data_of(again, 201)["id"]
    assert again.headers["idempotency-key"] == "k-1"
    other = await client.post("/v1/cancellations", json={"app_id": "billing"}, headers=key)
    assert "was already used for another request" in failure_of(other, 409).error
    without = [await client.post("/v1/cancellations", json=FLOOD) for _ in range(2)]
    assert len({response.headers["idempotency-key"] for response in without}) == 2
    assert len(data_of(await client.get("/v1/cancellations"))) == 3


async def test_authors_have_names_in_any_script(client: httpx.AsyncClient) -> None:
    author = {b"X-Author": "Jürgen 李".encode()}
    committed = data_of(await client.post("/v1/cancellations", json=FLOOD, headers=author), 201)
    assert committed["created_by"] == "Jürgen 李"


async def test_stop(client: httpx.AsyncClient, flooded: Database) -> None:
    # Held open by a running run, so that it cannot complete before it is stopped.
    await flooded.fetch("select * from secateur.claim('billing', null, 1, 'w', interval '10 minutes')")
    committed = data_of(await client.post("/v1/cancellations", json={"app_id": "billing"}), 201)
    path = f"/v1/cancellations/{committed['id']}"
    assert data_of(await client.delete(path))["state"] == "stopped"
    assert data_of(await client.delete(path))["state"] == "stopped"
    assert failure_of(await client.delete(f"/v1/cancellations/{uuid4()}"), 404).details == []


async def test_pages(client: httpx.AsyncClient) -> None:
    ids = [data_of(await client.post("/v1/cancellations", json=FLOOD), 201)["id"] for _ in range(5)]
    first = [each["id"] for each in data_of(await client.get("/v1/cancellations", params={"limit": 2}))]
    params: dict[str, Any] = {"limit": 10, "before": first[-1]}
    rest = [each["id"] for each in data_of(await client.get("/v1/cancellations", params=params))]
    assert first + rest == ids[::-1]
    failure_of(await client.get("/v1/cancellations", params={"before": str(uuid4())}), 404)
    link = (await client.get("/v1/cancellations", params={"limit": 2})).headers["link"]
    assert re.fullmatch(rf'</v1/cancellations\?limit=2&before={first[-1]}>; rel="next"', link)
    assert "link" not in (await client.get("/v1/cancellations", params=params)).headers


@pytest.mark.parametrize(
    ("path", "params", "message"),
    [
        ("cancellations", {"limit": "0"}, "must be at least 1"),
        ("cancellations", {"limit": "1001"}, "must be at most 1,000"),
        ("cancellations", {"limit": "9" * 30}, "must be at most 1,000"),
        ("cancellations", {"limit": "x"}, "must be a whole number"),
        ("cancellations", {"before": "x"}, "must be a UUID"),
        ("cancellations", {"app_id": ""}, "must not be empty"),
        ("cancellations", {"app_id": "a" * 300}, "is longer than 200 characters"),
        ("proposals", {"all": "perhaps"}, "must be true or false"),
    ],
)
async def test_a_wrong_parameter_is_named_in_plain_words(
    client: httpx.AsyncClient, path: str, params: dict[str, str], message: str
) -> None:
    (detail,) = failure_of(await client.get(f"/v1/{path}", params=params), 400).details
    assert ([detail.field], detail.message) == (list(params), message)


async def test_what_is_missing_or_no_key_is_named_in_plain_words(client: httpx.AsyncClient) -> None:
    (detail,) = failure_of(await client.get("/v1/runs"), 400).details
    assert (detail.field, detail.message) == ("app_id", "is required")
    for key in ("two words", "\xe9"):
        headers = {"Idempotency-Key": key.encode()}
        (detail,) = failure_of(await client.post("/v1/cancellations", json=FLOOD, headers=headers), 400).details
        assert (detail.field, detail.message) == (
            "Idempotency-Key",
            "must be 1 to 200 printable ASCII characters without spaces",
        )
    assert data_of(await client.get("/v1/cancellations")) == []


async def test_the_operations_guide_lists_every_status_of_a_failure(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    answers = [status for path in paths.values() for method in path.values() for status in method["responses"]]
    guide = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    listed = set(re.findall(r"^\| (\d{3}) \|", guide, re.MULTILINE))
    assert {status for status in answers if status[0] in "45"} <= listed


async def test_an_unknown_path_says_where_the_paths_are(client: httpx.AsyncClient) -> None:
    answered = await client.get("/v1/cancelations")
    assert (
        answered.json()["error"] == "there is no resource at /v1/cancelations; /openapi.json lists those that there are"
    )


async def test_a_list_of_cancellations_is_filtered(client: httpx.AsyncClient) -> None:
    of_function = data_of(await client.post("/v1/cancellations", json=FLOOD), 201)
    of_app = data_of(await client.post("/v1/cancellations", json={"app_id": "billing", "if": "false"}), 201)
    data_of(await client.post(f"/v1/cancellations/{of_app['id']}/undo"))

    async def ids(**params: str) -> list[str]:
        return [each["id"] for each in data_of(await client.get("/v1/cancellations", params=params))]

    assert await ids(app_id="billing") == [of_app["id"], of_function["id"]]
    assert await ids(app_id="other") == []
    assert await ids(app_id="billing", function_id="vendor-syncs") == [of_app["id"], of_function["id"]]
    assert await ids(app_id="billing", function_id="invoices") == [of_app["id"]]
    assert await ids(state="undone") == [of_app["id"]]
    assert await ids(since=of_app["created_at"]) == [of_app["id"]]
    assert await ids(until=of_app["created_at"]) == [of_function["id"]]
    assert await ids(until=of_app["created_at"], before=of_app["id"], app_id="billing") == [of_function["id"]]
    for wrong in (
        {"state": "resting"},
        {"state": "x"},
        {"app_id": ""},
        {"function_id": "x" * 201},
        {"since": "soon"},
    ):
        (detail,) = failure_of(await client.get("/v1/cancellations", params=wrong), 400).details
        assert [detail.field] == list(wrong)
    turned = {"since": "2024-01-02T00:00:00Z", "until": "2024-01-01T00:00:00Z"}
    assert failure_of(await client.get("/v1/cancellations", params=turned), 400).details[0].field == "since"


async def test_queues_and_health(client: httpx.AsyncClient) -> None:
    depth = data_of(await client.get("/v1/queues"))
    assert [list(each) for each in depth] == [DEPTH_KEYS] * 2
    assert data_of(await client.get("/healthz")) == {"status": "ok", "problems": []}


@pytest.mark.parametrize("path", ["/v1/cancellations", "/v1/cancellations/preview"])
async def test_all_problems_of_a_request_are_told_at_once(path: str, client: httpx.AsyncClient) -> None:
    body = {"functon_id": "x", "started_after": "2024-01-21T00:00:00", "if": "evnt.data.x\n  == "}
    failure = failure_of(await client.post(path, json=body), 400)
    told = {detail.field: detail for detail in failure.details}
    assert set(told) == {"app_id", "functon_id", "started_after", "if"}
    assert told["app_id"].message == "is required"
    assert told["functon_id"].suggestion == "did you mean `function_id`?"
    assert "needs an offset" in told["started_after"].message
    assert told["if"].line == 2
    misspelt = failure_of(await client.post(path, json={**FLOOD, "if": "evnt.data.x == 1"}), 400)
    assert [detail.model_dump() for detail in misspelt.details] == [
        {
            "field": "if",
            "message": "there is no variable `evnt`",
            "line": 1,
            "column": 1,
            "suggestion": "did you mean `event`?",
            "excerpt": "evnt.data.x == 1\n^^^^",
        }
    ]
    unknown = failure_of(await client.post(path, json={"app_id": "biling"}), 400)
    assert [detail.field for detail in unknown.details] == ["app_id"]


NO_REQUESTS = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"app_id": "\\u0000"}',
    b'{"app_id": "\\ud800"}',
    b'{"app_id": "billing", "reason": "\\u0000"}',
    b'{"app_id": "billing", "if": "event.data.x == \'\\u0000\'"}',
    b'{"app_id": "billing", "if": "event.data.x == \'\\ud800\'"}',
    b'{"app_id": "billing", "started_before": "2999-01-01T00:00:00Z"}',
    b'{"app_id": "billing", "started_after": 1705795200}',
    b'{"app_id": "billing", "started_after": "2024-01-21T00:00:00.1234567Z"}',
    b'{"app_id": "billing", "standing": 1}',
    b'{"app_id": 5}',
]


async def test_a_body_that_means_nothing_is_a_bad_request(client: httpx.AsyncClient) -> None:
    json = {"Content-Type": "application/json"}
    for body in NO_REQUESTS:
        failure = failure_of(await client.post("/v1/cancellations", content=body, headers=json), 400)
        assert failure.details, body


async def test_failures_of_http_have_the_same_form(client: httpx.AsyncClient) -> None:
    assert "/v1/nothing" in failure_of(await client.get("/v1/nothing"), 404).error
    failure_of(await client.get("/v1/cancellations/"), 404)
    failure_of(await client.get("/docs"), 404)
    wrong = await client.put("/v1/queues")
    assert "does not allow PUT" in failure_of(wrong, 405).error
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS"
    failure_of(await client.get("/v1/cancellations/17"), 400)
    failure_of(await client.get(f"/v1/cancellations/{uuid4()}"), 404)
    for key in ("", "two words", "x" * 201):
        headers = {"Idempotency-Key": key}
        failure_of(await client.post("/v1/cancellations", json=FLOOD, headers=headers), 400)
    text = {"Content-Type": "text/plain"}
    failure_of(await client.post("/v1/cancellations", content=b"{}", headers=text), 415)
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    failure_of(
        await client.post("/v1/cancellations", content=gzip.compress(b'{"app_id": "billing"}'), headers=packed), 415
    )
    large = {**FLOOD, "reason": "x" * 300_000}
    failure_of(await client.post("/v1/cancellations", json=large), 413)


async def test_what_is_said_twice_is_refused(client: httpx.AsyncClient) -> None:
    for path, name in (("runs?app_id=billing&app_id=crm", "app_id"), ("cancellations?limit=1&limit=2", "limit")):
        [detail] = failure_of(await client.get(f"/v1/{path}"), 400).details
        assert (detail.field, detail.message) == (name, "must be given once")
    assert (await client.get("/v1/runs?app_id=billing&status=failed&status=queued")).status_code == 200
    twice = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    [detail] = failure_of(await client.post("/v1/cancellations", json=FLOOD, headers=twice), 400).details
    assert (detail.field, detail.message) == ("Idempotency-Key", "must be sent once")
    assert (await client.get("/v1/cancellations")).json()["data"] == []


SENDERS = [
    ({"Host": "evil.example"}, 403),
    ({"Host": "127.0.0.1.evil.example:8484"}, 403),
    ({"Host": "evil.example@127.0.0.1"}, 200),
    ({"Host": "[::1"}, 403),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://localhost:3000"}, 403),
    ({"Origin": "http://127.0.0.1:8484.evil.example"}, 403),
    ({"Origin": "http://127.0.0.1:8484"}, 200),
    ({"Host": "localhost:9999"}, 200),
    ({"Host": "[::1]:8484"}, 200),
    ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Sec-Fetch-Site": "none"}, 200),
]


async def test_pages_of_other_sites_are_kept_out(client: httpx.AsyncClient) -> None:
    for headers, status in SENDERS:
        response = await client.get("/healthz", headers=headers)
        assert response.status_code == status, headers
        if status == 403:
            failure_of(response, 403)
            failure_of(await client.post("/v1/cancellations", json=FLOOD, headers=headers), 403)


async def test_a_page_of_another_site_may_link_but_not_write(client: httpx.AsyncClient) -> None:
    """It need not send an Origin: the browser says for it where it is."""
    for site in ("cross-site", "same-site", "anything"):
        headers = {"Sec-Fetch-Site": site}
        assert (await client.get("/v1/queues", headers=headers)).status_code == 200
        failure_of(await client.post("/v1/cancellations", json=FLOOD, headers=headers), 403)
        failure_of(await client.post("/v1/queues/billing/pause", headers=headers), 403)
        failure_of(await client.delete(f"/v1/cancellations/{uuid4()}", headers=headers), 403)
    twice = [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]
    failure_of(await client.post("/v1/queues/billing/pause", headers=twice), 403)
    assert data_of(await client.get("/v1/cancellations")) == []


SOME_ID = "01a21c1c-e5a9-7030-8000-000000000000"
ALLOWED = {
    "/v1/cancellations": "GET, HEAD, OPTIONS, POST",
    "/v1/cancellations/preview": "OPTIONS, POST",
    f"/v1/cancellations/{SOME_ID}": "DELETE, GET, HEAD, OPTIONS",
    f"/v1/cancellations/{SOME_ID}/undo": "OPTIONS, POST",
    f"/v1/cancellations/{SOME_ID}/unrestored": "GET, HEAD, OPTIONS",
    f"/v1/runs/{SOME_ID}": "GET, HEAD, OPTIONS",
    f"/v1/runs/{SOME_ID}/cancel": "OPTIONS, POST",
    f"/v1/runs/{SOME_ID}/restore": "OPTIONS, POST",
    f"/v1/runs/{SOME_ID}/why": "GET, HEAD, OPTIONS",
    "/v1/events": "OPTIONS, POST",
    "/v1/queues": "GET, HEAD, OPTIONS",
    "/v1/queues/billing": "DELETE, OPTIONS",
    "/v1/queues/billing/invoices": "DELETE, OPTIONS",
    "/v1/queues/billing/a%2Fb": "DELETE, OPTIONS",
    # A function may be called so.
    "/v1/queues/billing/suggestions": "DELETE, GET, HEAD, OPTIONS",
    "/v1/queues/billing/a%2Fb/suggestions": "DELETE, GET, HEAD, OPTIONS",
    "/v1/queues/billing/pause": "DELETE, OPTIONS, POST",
    "/v1/queues/billing/resume": "DELETE, OPTIONS, POST",
    "/v1/queues/billing/a%2Fb/pause": "DELETE, OPTIONS, POST",
    "/v1/queues/billing/invoices/resume": "DELETE, OPTIONS, POST",
    "/v1/audit": "GET, HEAD, OPTIONS",
    "/v1/engines": "GET, HEAD, OPTIONS",
    "/healthz": "GET, HEAD, OPTIONS",
    "/openapi.json": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
async def test_each_path_says_which_methods_it_takes(path: str, client: httpx.AsyncClient) -> None:
    allow = ALLOWED[path]
    asked = await client.options(path)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allow, b"")
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - set(allow.split(", ")):
        refused = await client.request(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allow), method
        if method != "HEAD":
            assert f"does not allow {method}; it allows {allow}" in failure_of(refused, 405).error


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    for path, status in {"/healthz": 200, "/v1/queues": 200, "/v1/nothing": 404, "/v1/runs/17": 400}.items():
        head, get = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (status, b"")
        if status == 400:
            assert head.headers["content-length"] == get.headers["content-length"]


class FailingLedger(Ledger):
    error: Exception

    async def commit_all(self, commits: Sequence[Commit]) -> list[Cancellation]:
        raise self.error


class Failing(NativeEngine):
    """An engine that meets what a real database can do, at the moment of the commit and of the count."""

    error: Exception = Unreachable("the connection to pg-3/billing was lost")

    @property
    def ledger(self) -> Ledger:
        ledger = FailingLedger(self._database)
        ledger.error = self.error
        return ledger

    async def count_with_errors(self, selection: Selection, *, on_primary: bool = False) -> Count:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Unreachable("the connection to pg-3/billing was lost"), 503, "1"),
        (LockUnavailable("an open transaction holds a lock"), 503, "1"),
        (Busy("others are being counted"), 503, "1"),
        (OutOfResources("pg-3/billing is short of resources"), 503, "1"),
        (QueryTimeout("the statement's time ran out"), 504, None),
        (DiskFull("the disk of pg-3/billing is full"), 507, None),
        (DatabaseError("Postgres refused: out of paper"), 500, None),
        (ZeroDivisionError("a bug, and nobody's business"), 500, None),
    ],
)
async def test_what_goes_wrong_out_there_has_a_status(
    error: Exception, status: int, retry_after: str | None, flooded: Database, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing(flooded)
    failing.error = error
    async with running_api(flooded, engine=failing) as client:
        for path in ("/v1/cancellations", "/v1/cancellations/preview"):
            response = await client.post(path, json=FLOOD)
            failure = failure_of(response, status)
            assert response.headers.get("retry-after") == retry_after
            assert "nobody's business" not in failure.error
    if isinstance(error, ZeroDivisionError):
        assert "POST /v1/cancellations failed" in caplog.text


async def test_a_lost_answer_leaves_the_key_to_ask_again_with(flooded: Database) -> None:
    async with running_api(flooded, engine=Failing(flooded)) as client:
        given = await client.post("/v1/cancellations", json=FLOOD, headers={"Idempotency-Key": "k-1"})
        made = await client.post("/v1/cancellations", json=FLOOD)
    assert given.headers["idempotency-key"] == "k-1"
    assert "it is unknown whether the cancellation is in force" in failure_of(given, 503).error
    key = {"Idempotency-Key": made.headers["idempotency-key"]}
    async with running_api(flooded) as client:
        first = data_of(await client.post("/v1/cancellations", json=FLOOD, headers=key), 201)
        again = data_of(await client.post("/v1/cancellations", json=FLOOD, headers=key), 201)
    assert first["id"] == again["id"]


PATHS = {
    "/v1/cancellations": ["get", "post"],
    "/v1/cancellations/preview": ["post"],
    "/v1/cancellations/{cancellation_id}": ["delete", "get"],
    "/v1/cancellations/{cancellation_id}/undo": ["post"],
    "/v1/cancellations/{cancellation_id}/unrestored": ["get"],
    "/v1/retries": ["post"],
    "/v1/retries/preview": ["post"],
    "/v1/runs": ["get"],
    "/v1/runs/{run_id}": ["get"],
    "/v1/runs/{run_id}/cancel": ["post"],
    "/v1/runs/{run_id}/restore": ["post"],
    "/v1/runs/{run_id}/why": ["get"],
    "/v1/events": ["post"],
    "/v1/queues": ["get"],
    "/v1/queues/{app_id}": ["delete"],
    "/v1/queues/{app_id}/{function_id}": ["delete"],
    "/v1/queues/history": ["get"],
    "/v1/queues/{app_id}/suggestions": ["get"],
    "/v1/queues/{app_id}/{function_id}/suggestions": ["get"],
    "/v1/queues/{app_id}/pause": ["post"],
    "/v1/queues/{app_id}/resume": ["post"],
    "/v1/queues/{app_id}/{function_id}/pause": ["post"],
    "/v1/queues/{app_id}/{function_id}/resume": ["post"],
    "/v1/audit": ["get"],
    "/v1/engines": ["get"],
    "/v1/proposals": ["get"],
    "/v1/proposals/{proposal_id}": ["get"],
    "/v1/proposals/{proposal_id}/approve": ["post"],
    "/v1/proposals/{proposal_id}/reject": ["post"],
    "/metrics": ["get"],
    "/healthz": ["get"],
}


async def test_the_documentation_describes_what_is_answered(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    assert {path: sorted(operations) for path, operations in paths.items()} == PATHS
    for path, operations in paths.items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert {"401", "403", "408", "429", "500", "503", "504", "507", "default"} <= set(operation["responses"])
            for status, response in operation["responses"].items():
                if status == "204" or (path, status) == ("/metrics", "200"):
                    continue
                schema = response["content"]["application/json"]["schema"]
                forms = [each["$ref"] for each in schema.get("anyOf", [schema])]
                failing = status not in ("200", "201", "202")
                assert [form.endswith("/Failure") for form in forms] == [failing] * len(forms)
            named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert named == set(re.findall(r"\{(.+?)\}", path))
    post = paths["/v1/cancellations"]["post"]
    assert {
        "200",
        "201",
        "202",
        *("400", "401", "403", "408", "409", "413", "415", "429"),
        *("500", "503", "504", "507"),
        "default",
    } == set(post["responses"])
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {
        *("app_id", "function_id", "function_ids", "if", "started_after", "started_before"),
        *("standing", "rate", "reason"),
    }
    assert body["required"] == ["app_id"]
    cancellation = document["components"]["schemas"]["CancellationForm"]
    assert list(cancellation["properties"]) == CANCELLATION_KEYS


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/cancellations?dry_run=true", "dry_run"),
        ("POST", "/v1/cancellations/preview?app_id=billing", "app_id"),
        ("GET", "/v1/cancellations?app=billing", "app"),
        ("GET", "/v1/runs?app_id=billing&statuses=queued", "statuses"),
        ("GET", "/v1/queues?app_id=billing", "app_id"),
        ("GET", "/v1/queues/billing/vendor-syncs/suggestions?sinc=2026-01-01T00:00:00Z", "sinc"),
        ("GET", "/v1/audit?offset=5", "offset"),
    ],
)
async def test_a_query_parameter_that_a_path_does_not_have_is_refused(
    client: httpx.AsyncClient, flooded: Database, method: str, path: str, name: str
) -> None:
    failure = failure_of(await client.request(method, path, json=FLOOD if method == "POST" else None), 400)
    (detail,) = failure.details
    assert detail.field == name
    assert detail.message.startswith(f"is no query parameter of {path.split('?')[0].split('/billing')[0]}")
    assert await flooded.fetchval("select count(*) from secateur.cancellations") == 0


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_monitors_may_add_parameters_of_their_own(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"{path}?cluster=a&_=17")).status_code == 200
