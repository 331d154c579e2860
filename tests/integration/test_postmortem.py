"""The story of a cancellation as Markdown: true, complete, and nothing in it that Markdown would take for its own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from billing import CULPRIT
from command_line import Here

import secateur
from secateur.engines.native.client import Queue
from secateur.errors import NotFound
from secateur.looking.postmortem import postmortem, write
from secateur.words.charts import chart
from secateur.words.figures import number

pytestmark = pytest.mark.one_postgres

FLOOD = ("--app", "billing", "--function", "vendor-syncs", "--if", CULPRIT)


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with secateur.connect(database_url) as connected:
        yield connected


@pytest.fixture
def url(billing_url: str) -> str:
    return billing_url


async def story(queue: Queue, cancellation_id: UUID) -> str:
    return await postmortem(queue.cancellations, queue.reader, cancellation_id, "prod")


async def test_it_tells_what_was_cancelled_by_whom_and_what_came_back(queue: Queue) -> None:
    await queue.enqueue_bulk("bill|ing", "sync*s", ({"data": {"n": i}} for i in range(30)))
    done = await queue.cancel(
        {"app_id": "bill|ing", "function_id": "sync*s", "if": "event.data.n >= 10"},
        reason="a `loop`|",
        author="nadia",
        wait=True,
    )
    told = await story(queue, done.id)
    assert told.startswith("# Cancellation of bill\\|ing / sync\\*s, ")
    assert "```cel\nevent.data.n >= 10\n```" in told
    assert "cancelled 20 · 0 were running" in told
    assert "a \\`loop\\`\\|" in told
    assert re.search(r"\| .* UTC \| committed by nadia, from python; in force at once \|", told)
    assert re.search(r"\| .* UTC \| commit \| nadia \| postgres \|", told)
    assert "backlog\n" in told
    await queue.undo(done.id, author="jun", wait=True)
    after = await story(queue, done.id)
    assert "- 20 came back as they were" in after
    assert "undone by jun" in after


async def test_what_others_did_meanwhile_says_to_what(queue: Queue) -> None:
    await queue.enqueue("billing", "sync*s", {"data": {}})
    done = await queue.cancel({"app_id": "billing", "function_id": "sync*s"}, author="nadia", wait=True)
    other = await queue.cancel({"app_id": "billing", "if": "false"}, author="jun", wait=True)
    await queue.pause("billing", "sync*s", author="ida")
    told = await story(queue, done.id)
    assert f"| commit by jun, of the whole app ({other.id}) |" in told
    assert "| pause by ida, of sync\\*s |" in told


async def test_of_an_expression_with_a_fence_the_fence_is_longer(queue: Queue) -> None:
    await queue.enqueue("billing", "syncs", {"data": {"t": "x"}})
    done = await queue.cancel(
        {"app_id": "billing", "if": "event.data.t == '```'\n|| event.data.t == '````'"}, author="nadia"
    )
    assert "`````cel\nevent.data.t == '```'\n|| event.data.t == '````'\n`````" in await story(queue, done.id)


async def test_an_unknown_one_is_not_found(queue: Queue) -> None:
    with pytest.raises(NotFound):
        await story(queue, UUID("0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b"))


async def test_a_file_never_replaces_another_and_its_name_stays_in_the_folder(queue: Queue, tmp_path: Path) -> None:
    await queue.enqueue("../../etc", "a/b", {"data": {}})
    done = await queue.cancel({"app_id": "../../etc"}, author="nadia")
    first, second = write("one", done, tmp_path), write("two", done, tmp_path)
    assert first != second
    assert {first.parent, second.parent} == {tmp_path}
    assert (first.read_text(), second.read_text()) == ("one", "two")


def test_a_chart_shows_what_is_known_on_its_scale() -> None:
    assert chart([0, 4, 8, None], 4, 2, number) == ["8 │  █", "0 │ ██·"]
    assert chart([], 4, 2, number)[-1] == "0 │"
    assert chart([0.001, 1000], 2, 1, str)[-1].endswith("▁█")


def test_the_command_writes_it_to_stdout(here: Here, url: str) -> None:
    committed = here("cancel", *FLOOD, "--yes", "--reason", "a storm", "--json", url=url).json["id"]
    told = here("postmortem", committed, url=url)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("# Cancellation of billing / vendor-syncs, ")
    assert "“a storm”" in told.out
    assert "not counted before" in told.out
    missing = here("postmortem", "0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b", url=url)
    assert (missing.code, "there is no cancellation" in missing.err) == (1, True)
