"""What a suggestion costs: statements, runs that are read, and how often an event is decompressed."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

import secateur
from secateur.cel import compile as compile_source
from secateur.engines import arriving
from secateur.engines.arriving import SampleQuestion
from secateur.engines.native.engine import NativeEngine
from secateur.engines.populations import Population
from secateur.engines.sampled import SAMPLE_PAGES
from secateur.looking import contrasts, suggesting
from secateur.looking.contrasts import Contrast

RUNS = 2_000
POPULATION = Population("billing", ("syncs",))

Enqueued = tuple[datetime, datetime]


async def enqueue(queue: Any, payload: Any) -> Enqueued:
    """One run after the other for an hour; most of its second half are of one vendor. Returns its middle and end."""
    now = await queue.engine.clock()
    times = [now - timedelta(hours=1) + timedelta(hours=1) * number / RUNS for number in range(RUNS)]
    vendors = ["acme" if number > RUNS / 2 and number % 4 else f"v{number % 7}" for number in range(RUNS)]
    events = [{"data": {"vendor": vendor, "payload": payload(number)}} for number, vendor in enumerate(vendors)]
    await queue.enqueue_many("billing", "syncs", events, started_at=times)
    return times[RUNS // 2], now


async def test_statements_of_a_suggestion(
    embedded_url: str, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two samples, each of them counted and drawn; two tallies only where the samples leave a question open."""
    async with secateur.connect(embedded_url) as queue:
        middle, _ = await enqueue(queue, lambda number: number % 3)
        await queue.suggest("billing", "syncs", since=middle)
        for open_, drawn in ((False, 2), (True, 6)):
            statements.clear()
            monkeypatch.setattr(suggesting, "is_open", lambda *_, open_=open_: open_)
            found = await queue.suggest("billing", "syncs", since=middle)
            assert found.suggestions[0].if_ == "event.data.vendor == 'acme'"
            of_pages = [each for each in statements if "tablesample" in each]
            # A query logger is not told of cursors, by which samples are drawn.
            assert len(of_pages) == drawn
            populations = 4 if open_ else 2
            assert len(statements) <= 1 + 7 * populations + len(of_pages) - populations


@pytest.mark.parametrize("text", ["x" * 6_000, None], ids=["well compressed", "not compressible"])
async def test_a_sample_of_large_events_is_of_the_whole_time(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """Rows come in the order of the pages, nearly that of the arrivals: a sample that is cut lacks the newest."""
    random = Random(5)
    monkeypatch.setattr(arriving, "MOST_BYTES", 400_000)
    monkeypatch.setattr(arriving, "MOST_CHARACTERS", 800_000)
    async with secateur.connect(embedded_url) as queue:
        middle, end = await enqueue(queue, lambda _: text or f"{random.getrandbits(12_000):x}")
        found = await queue.engine.arrivals(POPULATION, 1_000)
        characters = sum(len(json.dumps(each.event)) for each in found.sample)
        assert 200_000 < characters < 900_000
        assert found.total == RUNS
        later = sum(each.started_at > middle for each in found.sample)
        assert 0.3 * len(found.sample) < later < 0.7 * len(found.sample)
        assert found.sample[-1].started_at > end - (end - middle) / 5


async def test_an_event_is_decompressed_once(embedded_url: str) -> None:
    """However many conditions read it. Told from the pages of large values that are read."""
    random = Random(7)
    async with secateur.connect(embedded_url) as queue:
        await enqueue(queue, lambda number: f"{random.getrandbits(12_000):x}" if number % 10 == 0 else number)
        await queue.database.execute("vacuum analyze secateur.runs")
        engine = queue.engine
        assert isinstance(engine, NativeEngine)
        filters = [compile_source(f"event.data.vendor == 'v{number}'") for number in range(40)]
        pages = []
        for tallied in (filters[:1], filters):
            question = SampleQuestion(POPULATION, await engine.clock(), "count(*)", tallied)
            sql, *parameters = engine.statement("arrivals_on_pages", question, 100.0, 1.0)
            plan = await queue.database.fetch(f"explain (analyze, buffers, timing off) {sql}", *parameters)
            pages.append(int(re.findall(r"shared hit=(\d+)", "\n".join(row[0] for row in plan))[0]))
        assert pages[0] > RUNS / 10, "the large events are not in the table itself"
        assert pages[1] <= pages[0] + 40


async def test_counting_decompresses_nothing(embedded_url: str) -> None:
    random = Random(9)
    async with secateur.connect(embedded_url) as queue:
        await enqueue(queue, lambda number: f"{random.getrandbits(12_000):x}")
        engine = queue.engine
        assert isinstance(engine, NativeEngine)
        question = SampleQuestion(POPULATION, await engine.clock(), arriving._COUNTS)
        sql, *parameters = engine.statement("arrivals_on_pages", question, 100.0, 1.0)
        plan = await queue.database.fetch(f"explain (analyze, buffers, timing off) {sql}", *parameters)
        table = await queue.database.fetchval("select pg_relation_size('secateur.runs') / 8192")
        assert int(re.findall(r"shared hit=(\d+)", "\n".join(row[0] for row in plan))[0]) <= table + 20
        assert table < SAMPLE_PAGES


def test_a_path_is_read_once_for_all_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for each path, not for each value."""
    calls = 0
    plain = contrasts.Contrast._read

    def counted(*given: Any) -> None:
        nonlocal calls
        calls += 1
        plain(*given)

    monkeypatch.setattr(contrasts.Contrast, "_read", counted)
    events = [{"data": {f"field_{key}": number * key for key in range(30)}, "tags": ["a", "b"]} for number in range(50)]
    contrast = Contrast(events, events)
    assert calls == len(list(contrast.fields())) == 30 + 4


def test_numbers_that_no_double_holds() -> None:
    """They are of their types, and on no scale."""
    values = [10**400, -(10**400), 2**63, 2**64, float("inf"), 1, 1.0, True]
    contrast = Contrast([{"n": value} for value in values], [])
    (field,) = (each for each in contrast.fields() if each.path == ("n",))
    counts = {"double": 5, "uint": 1, "int": 1, "bool": 1}
    assert {name: len(numbers) for name, numbers in field.types.items()} == counts
    assert field.numbers == {2**63: [2], 2**64: [3], 1: [5, 6]}
