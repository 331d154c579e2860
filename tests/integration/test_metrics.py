"""`GET /metrics` and `--metrics-port`: what a scrape says of a real queue, what it costs, and what is built upon it."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from api_client import FLOOD, data_of, failure_of, running_api
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

import secateur
from patience import eventually
from secateur.engines.native.engine import NativeEngine
from secateur.engines.native.observing import AttemptEnd
from secateur.engines.native.worker import Worker
from secateur.errors import SecateurError
from secateur.ledger.ledger import Ledger
from secateur.metrics.exposition import Exposition, Family
from secateur.metrics.families import of_depth
from secateur.metrics.queues import QueueMetrics
from secateur.metrics.shown import OTHERS, TopFunctions
from secateur.metrics.workers import WorkerMetrics
from secateur.open_queue import OpenQueue
from secateur.postgres.database import Database
from secateur.runs import FunctionDepth

DOCS = Path(__file__).parents[2] / "docs"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return read(answer.text)


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


SYNCS = {"app": "billing", "function": "vendor-syncs"}


async def test_it_tells_what_the_depth_does(client: httpx.AsyncClient, flooded: Database) -> None:
    (depth,) = [each for each in data_of(await client.get("/v1/queues")) if each["function_id"] == "vendor-syncs"]
    found = await scrape(client)
    assert found[of("secateur_runs", status="queued", **SYNCS)] == depth["queued"] > 0
    assert found[of("secateur_oldest_claimable_seconds", **SYNCS)] > 3600
    assert found[of("secateur_drain_seconds", **SYNCS)] == float("inf")
    assert found[of("secateur_functions")] == 2
    assert found[of("secateur_build_info", version=secateur.__version__, engine="native")] == 1
    assert found[of("process_cpu_seconds_total")] > 0


async def test_counters_only_grow(client: httpx.AsyncClient, flooded: Database) -> None:
    names = ("secateur_runs_entered_total", "secateur_runs_left_total", "secateur_runs_failed_total")

    async def counters() -> list[float]:
        await flooded.execute("select secateur.compact_depth('billing')")
        await asyncio.sleep(0.5)  # younger looks are answered again
        found = await scrape(client)
        return [found[of(name, **SYNCS)] for name in names]

    entered, left, failed = await counters()
    claim = "select id, claim_token from secateur.claim('billing', array['vendor-syncs'], 2, 'w', '1 minute')"
    first, second = await flooded.fetch(claim)
    await flooded.fetch("select secateur.fail('billing', $1, $2, 'no', discard => true)", *first)
    await flooded.fetch("select secateur.complete('billing', $1, $2)", *second)
    assert await counters() == [entered, left + 2, failed + 1]
    await flooded.execute("update secateur.runs set finished_at = now() - interval '1 year' where id = $1", first["id"])
    assert await flooded.fetchval("select runs from secateur.prune('billing')") == 1
    assert await counters() == [entered, left + 2, failed + 1]


async def test_it_tells_what_cancellations_do(client: httpx.AsyncClient) -> None:
    committed = data_of(await client.post("/v1/cancellations", json=FLOOD), 201)
    path = f"/v1/cancellations/{committed['id']}"

    async def complete() -> bool:
        return bool(data_of(await client.get(path))["state"] == "complete")

    await eventually(complete, "the sweep")
    counts = data_of(await client.get(path))["counts"]

    async def told() -> bool:
        found = await scrape(client)
        return found[of("secateur_cancellations", state="complete")] == 1

    await eventually(told, "the figures")
    found = await scrape(client)
    assert found[of("secateur_runs_swept_total")] == counts["cancelled"] > 0
    assert found[of("secateur_runs_matched_total")] == counts["matched"]
    assert found[of("secateur_cancellations", state="active")] == 0
    assert found[of("secateur_sweep_lag_seconds")] == 0


async def test_a_pending_guarantee_and_a_failing_sweep(flooded: Database) -> None:
    async with flooded.transaction() as connection:
        await connection.execute("select * from secateur.claim('billing', null, 1, 'w', '1 minute')")
        async with running_api(flooded) as client:
            data_of(await client.post("/v1/cancellations", json={"app_id": "billing"}), 202)
            found = await scrape(client)
            assert found[of("secateur_cancellations_pending")] == 1
            assert found[of("secateur_cancellation_pending_seconds")] > 0
    await flooded.execute("update secateur.sweeps set failures = 3, stepped_at = now() - interval '10 minutes'")
    figures = await Ledger(flooded).figures()
    assert figures.failing == 1
    assert 600 <= figures.sweep_lag_seconds < 1000


async def test_openmetrics_if_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in read_openmetrics(answer.text)} >= {"secateur_runs", "secateur_runs_entered"}


async def test_several_scrapers_get_one_look(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    figures = Ledger.figures

    async def counted(self: Ledger) -> Any:
        nonlocal looks
        looks += 1
        return await figures(self)

    monkeypatch.setattr(Ledger, "figures", counted)
    answers = await asyncio.gather(*(client.get("/metrics") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert looks == 1


async def test_a_scrape_asks_as_often_however_many_functions_there_are(
    flooded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("fetch", "fetchrow", "fetchval"):
        original = getattr(Database, name)

        async def counted(self: Database, sql: str, *args: Any, original: Any = original, **options: Any) -> Any:
            asked.append(sql)
            return await original(self, sql, *args, **options)

        monkeypatch.setattr(Database, name, counted)
    costs = []
    for functions in (2, 1002):
        asked.clear()
        text, _ = await QueueMetrics(OpenQueue.over(NativeEngine(flooded))).scrape("")
        found = read(text.decode())
        assert found[of("secateur_functions")] == functions
        assert len(found) < 201 * 16 + 100
        costs.append(len(asked))
        await flooded.execute("select secateur.ensure_function('billing', 'f' || n) from generate_series(1, 1000) as n")
    assert 0 < costs[0] == costs[1] <= 4


async def test_without_a_database_it_fails_as_everything_does(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(self: Ledger) -> Any:
        raise secateur.errors.QueryTimeout("the statement timed out")

    monkeypatch.setattr(Ledger, "figures", refused)
    failure_of(await client.get("/metrics"), 504)


# Many functions

NOW = datetime.now(UTC)


def depth(number: int, queued: int, entered: int = 0) -> FunctionDepth:
    return FunctionDepth(
        *("app", f"f{number:05}", queued, 0, 0, 0, NOW, 1.0, 1.0, NOW),
        oldest_claimable_at=NOW - timedelta(seconds=queued),
        ever_entered=entered,
        ever_left=0,
        ever_failed=0,
    )


def shown(choice: TopFunctions, depths: list[FunctionDepth]) -> Samples:
    return read(Exposition().write(list(of_depth(choice.show(depths))), "")[0].decode())


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_only_the_figures_of_lines_are_written_anew(accept: str) -> None:
    """Whatever the labels are, and also when series come and go."""
    kept = Exposition()
    odd = ("it is", 'a"b', "# HELP x 5", "back\\slash", "new\nline 7", "", "\u2028", "x 1.0")
    for turn in range(4):
        gauge, counter = Family("g", "A gauge.", ("app", "function")), Family("c", "A counter.", ("app",), "counter")
        for number, name in enumerate(odd[turn // 2 :]):
            gauge.add((name, name), number * turn + 0.5)
            counter.add((name,), math.inf if number == 2 else number + turn)
        families = [Family("empty", "Without samples."), gauge, counter]
        text, content_type = kept.write(families, accept)
        assert text == Exposition().write(families, accept)[0]
        parse = read_openmetrics if "openmetrics" in content_type else text_string_to_metric_families
        found = [sample for family in parse(text.decode()) for sample in family.samples]
        assert [(tuple(each.labels.values()), each.value) for each in found] == [
            *zip(gauge.names, gauge.values, strict=True),
            *zip(counter.names, counter.values, strict=True),
        ]


REST = {"app": OTHERS[0], "function": OTHERS[1]}


def test_ten_thousand_functions_cost_no_more_samples_than_some_hundreds() -> None:
    found = shown(TopFunctions(most=200), [depth(number, number) for number in range(10_000)])
    assert len(found) < 201 * 16
    assert found[of("secateur_functions")] == 10_000
    assert found[of("secateur_runs", status="queued", app="app", function="f09999")] == 9999
    assert found[of("secateur_runs", status="queued", **REST)] == sum(range(9800))
    assert found[of("secateur_oldest_claimable_seconds", **REST)] == 9799
    assert sum(value for (name, _), value in found.items() if name == "secateur_runs") == sum(range(10_000))


def test_the_others_counters_never_fall() -> None:
    """Whoever is shown next, and whatever it had when it was one of the others."""
    choice = TopFunctions(most=2)
    counters = []
    for moment, deepest in enumerate((0, 1, 2, 3, 4, 5, 0, 3)):
        depths = [depth(number, 100 if number == deepest else number, 10 + moment) for number in range(6)]
        counters.append(shown(choice, depths)[of("secateur_runs_entered_total", **REST)])
    assert counters == sorted(counters)
    assert counters[0] == 0
    assert counters[-1] <= 7 * 6


def test_a_function_stays_as_long_as_it_is_near_the_top() -> None:
    choice = TopFunctions(most=4)
    first = [depth(number, number) for number in range(10)]
    assert {names for names, _ in choice.show(first).groups} == {("app", f"f0000{n}") for n in (6, 7, 8, 9)} | {OTHERS}
    second = [depth(number, 6.5 if number == 5 else number) for number in range(10)]  # type: ignore[arg-type]
    assert ("app", "f00006") in {names for names, _ in choice.show(second).groups}
    flood = [depth(number, 1000 if number == 0 else number) for number in range(10)]
    assert ("app", "f00000") in {names for names, _ in choice.show(flood).groups}


# Workers


async def test_a_worker_tells_its_claims_and_attempts(database_url: str) -> None:
    app = secateur.App("billing")

    @app.function(id="sync", retries=0)
    async def sync(run: secateur.ActiveRun) -> None:
        if run.event["fails"]:
            raise ValueError("no")

    async with secateur.connect(database_url) as queue:
        await queue.enqueue_many("billing", "sync", [{"fails": False}, {"fails": True}, {"fails": False}])
    worker = Worker(database_url, apps=[app], name="one", concurrency=3)
    worker.observer = metrics = WorkerMetrics(worker.name, worker.concurrency)
    with metrics.served("127.0.0.1", 0) as port:
        working = asyncio.create_task(worker.run())

        async def figures() -> Samples:
            async with httpx.AsyncClient() as client:
                return read((await client.get(f"http://127.0.0.1:{port}/metrics")).text)

        async def done() -> bool:
            assert not working.done(), working.result()
            found = await figures()
            return sum(value for (name, _), value in found.items() if name == "secateur_worker_attempts_total") == 3

        await eventually(done, "three runs")
        found = await figures()
        worker.stop()
        await working
    ended = {"app": "billing", "function": "sync"}
    assert found[of("secateur_worker_attempts_total", end="completed", **ended)] == 2
    assert found[of("secateur_worker_attempts_total", end="failed", **ended)] == 1
    assert found[of("secateur_worker_claimed_runs_total", app="billing")] == 3
    assert found[of("secateur_worker_claim_seconds_count", app="billing")] >= 1
    assert found[of("secateur_worker_running_runs", app="billing")] == 0
    assert found[of("secateur_worker_concurrency")] == 3


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        metrics = WorkerMetrics("one", 1)
        with (
            pytest.raises(SecateurError, match=f"cannot serve metrics on 127.0.0.1:{port}: Address already in use"),
            metrics.served("127.0.0.1", port),
        ):
            pass


# What is built upon them


def known(worker: WorkerMetrics, text: str) -> set[str]:
    """The names of all samples."""
    worker.claimed("billing", 1, 0.1)
    worker.claim_failed("billing")
    worker.began("billing")
    worker.ended("billing", "sync", AttemptEnd.COMPLETED, 0.1)
    return {name for name, _ in (*read(text), *read(generate_latest(worker.registry).decode()))}


def expressions() -> dict[str, list[str]]:
    """By place: the rules' and the panels'."""
    rules = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"][0]["rules"]
    board = json.loads((DOCS / "grafana.json").read_text())
    found = {rule["alert"]: [rule["expr"]] for rule in rules}
    found |= {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in board["panels"]}
    found |= {each["name"]: [each["query"]["query"]] for each in board["templating"]["list"] if each["type"] == "query"}
    return found


async def test_rules_and_panels_name_what_there_is(client: httpx.AsyncClient) -> None:
    names = known(WorkerMetrics("one", 1), (await client.get("/metrics")).text)
    for place, written in expressions().items():
        for expression in written:
            used = set(re.findall(r"\b(?:secateur|process)_\w+", expression))
            assert used, place
            assert used <= names, place
            for label in re.findall(r"[{,]\s*(\w+)=", expression):
                assert label in {"app", "status", "state"}, place


def test_every_alert_says_when_it_fires_when_it_clears_and_what_to_do() -> None:
    (group,) = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"]: rule for rule in group["rules"]}
    assert set(alerts) == {
        *("SecateurBacklogGrows", "SecateurClaimableAge", "SecateurStalled", "SecateurSweepStuck"),
        *("SecateurGuaranteePending", "SecateurFailingShare", "SecateurNotScraped"),
    }
    for rule in alerts.values():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert set(rule["annotations"]) == {"summary", "fires_when", "clears_when", "what_to_do"}
        assert all(rule["annotations"].values())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(DOCS / "alerts.yaml")], check=True)


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    board = json.loads((DOCS / "grafana.json").read_text())
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(board)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 11
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & area, panel["title"]
        taken |= area
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
