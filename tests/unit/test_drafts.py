"""What is typed in Filter, kept per scope while the console runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from secateur.errors import RequestError
from secateur.requests import RetryRequest
from secateur.runs import Scope, Window
from secateur_tui.drafts import Draft, Drafts
from secateur_tui.expressions import Kept

SYNCS, BILLING = Scope("billing", "vendor-syncs"), Scope("billing")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_scope_has_a_draft_to_cancel_and_one_to_retry() -> None:
    drafts = Drafts()
    assert drafts.newest is None
    cancels, retries, whole = Draft(SYNCS, "a"), Draft(SYNCS, "b", retry=True), Draft(BILLING, "c")
    for draft in (cancels, retries, whole):
        drafts.opened(draft)
        assert drafts.newest is draft
    assert drafts.of(SYNCS, retry=False) is cancels
    assert drafts.of(SYNCS, retry=True) is retries
    assert drafts.of(BILLING, retry=True) == Draft(BILLING, retry=True)


def test_the_draft_that_was_opened_last_is_the_newest_one() -> None:
    drafts = Drafts()
    for draft in (Draft(SYNCS), Draft(BILLING), again := Draft(SYNCS, "event.name == 'a'")):
        drafts.opened(draft)
    assert drafts.newest is again


def test_a_commit_ends_what_stands_of_its_own_scope() -> None:
    drafts = Drafts()
    for scope in (SYNCS, BILLING):
        drafts.opened(Draft(scope, standing=True))
    drafts.committed(SYNCS)
    assert [drafts.of(scope, retry=False).standing for scope in (SYNCS, BILLING)] == [False, True]


def test_a_request_has_the_times_of_the_window() -> None:
    draft = Draft(SYNCS, " \n", "-1h", "now", retry=True, with_cancelled=True)
    request = draft.request(Window(NOON, None))
    assert isinstance(request, RetryRequest)
    assert (request.if_, request.started_after, request.started_before) == (None, NOON, None)
    assert request.with_cancelled
    with pytest.raises(RequestError, match="standing"):
        Draft(SYNCS, standing=True).request(Window())


def test_a_kept_filter_comes_back_as_it_was_typed() -> None:
    draft = Draft(SYNCS, "event.name == 'a'", "-2h", "2026-06-01")
    assert Draft.of_kept(draft.kept()) == draft
    assert Draft(BILLING, " true\n").kept() == Kept("billing", None, "true")
