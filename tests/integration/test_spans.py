"""Spans of OpenTelemetry: a run goes on with the trace in which it was sent, in another process too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from workers import in_status, working

import secateur
from patience import eventually
from secateur import ActiveRun, App, Queue, SyncRun
from secateur.runs import RunStatus
from secateur.spans import traceparent

SECRET = "hunter2"


@pytest.fixture
async def queue(embedded_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(embedded_url) as queue:
        yield queue


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What this process exports; a provider is set as long as the test lasts."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [each for each in exporter.get_finished_spans() if each.name == name]


def parent_of(span: ReadableSpan) -> tuple[int, int]:
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


async def test_a_run_goes_on_with_the_trace_of_its_sender(
    queue: Queue, embedded_url: str, spans: InMemorySpanExporter
) -> None:
    app = App("billing")

    @app.function(id="sync", triggers=["vendor/sync"], retries=0)
    async def sync(run: ActiveRun) -> None:
        await run.step("fetch", len, "abc")
        if run.event["data"] == SECRET:
            raise ValueError(SECRET)

    @app.function(id="plain")
    def plain(run: SyncRun) -> None:
        run.step("count", len, "abc")

    async with working(embedded_url, app):
        with trace.get_tracer("shop").start_as_current_span("checkout") as checkout:
            sender = checkout.get_span_context().trace_id, checkout.get_span_context().span_id
            [failing] = (await queue.send({"name": "vendor/sync", "data": SECRET})).runs
            event = {"name": "vendor/sync", "data": "calm"}
            [once] = (await queue.send(event, idempotency_key="once")).runs
            ids = [await queue.enqueue("billing", "plain", 7), *await queue.enqueue_many("billing", "plain", [8])]
            await queue.enqueue_bulk("billing", "plain", [9])
        with trace.get_tracer("shop").start_as_current_span("again"):
            # In another trace it is the same event all the same.
            assert [each.id for each in (await queue.send(event, idempotency_key="once")).runs] == [once.id]
        alone = await queue.enqueue("billing", "plain", 10)
        await in_status(queue, failing.id, RunStatus.FAILED)

        async def performed() -> bool:
            return len(named(spans, "secateur.run")) == 6

        await eventually(performed, "all runs to be performed")
    runs = {str((each.attributes or {})["secateur.run"]): each for each in named(spans, "secateur.run")}
    assert runs[str(alone)].parent is None
    for id, run in runs.items():
        if id != str(alone):
            assert parent_of(run) == sender
    assert set(map(str, ids)) < set(runs)
    assert runs[str(failing.id)].status.status_code is StatusCode.ERROR
    assert (runs[str(failing.id)].attributes or {})["error.type"] == "failed"
    steps = {str((each.attributes or {})["secateur.step"]): each for each in named(spans, "secateur.step")}
    assert steps["fetch"].parent is not None
    of_sync = {runs[str(each.id)].get_span_context().span_id for each in (failing, once)}  # type: ignore[union-attr]
    assert steps["fetch"].parent.span_id in of_sync
    assert {parent_of(each)[0] for each in named(spans, "secateur.step")} >= {sender[0]}
    claimed = [(each.attributes or {})["secateur.runs"] for each in named(spans, "secateur.claim")]
    assert sum(claimed) == 6  # type: ignore[arg-type]
    assert SECRET not in "".join(each.to_json() for each in spans.get_finished_spans())
    assert (await queue.engine.run(str(alone))).event == 10


async def test_a_commit_and_its_sweep(queue: Queue, spans: InMemorySpanExporter) -> None:
    await queue.enqueue("billing", "sync", {"data": {"vendor_id": "acme"}})
    made = await queue.cancel({"app_id": "billing", "if": "event.data.vendor_id == 'acme'"}, author="ada")
    await queue.cancellations.wait(made.id)
    (commit,) = named(spans, "secateur.commit")
    assert commit.attributes == {
        "secateur.app": "billing",
        "secateur.kind": "cancel",
        "secateur.cancellations": (str(made.id),),
        "secateur.guarantee": "in_force",
    }
    assert (named(spans, "secateur.sweep")[0].attributes or {})["secateur.cancellation"] == str(made.id)
    assert "acme" not in "".join(each.to_json() for each in spans.get_finished_spans())


async def test_what_is_no_trace_is_left_out(queue: Queue) -> None:
    """Whoever writes SQL by hand may set anything; without a provider nobody sets it."""
    for given in ("x", "00-0-0-00", "'; drop table", ""):
        async with queue.database.transaction() as connection:
            await connection.execute("select set_config('secateur.traceparent', $1, true)", given)
            await connection.fetchval("select secateur.enqueue('billing', 'sync', '1')")
    await queue.enqueue("billing", "sync", 1)
    kept = "select count(*), count(traceparent) from secateur.runs"
    assert tuple(await queue.database.fetchrow(kept)) == (5, 0)
    assert traceparent() is None


def test_nothing_is_imported_without_a_provider() -> None:
    code = (
        "import sys, secateur; from secateur.engines.native.worker import Worker; from secateur.spans import span\n"
        "with span('x') as made: assert made is None\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
