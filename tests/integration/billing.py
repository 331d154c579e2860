"""A small flood on `billing / vendor-syncs`, for the tests of the command line and the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import secateur
from secateur.ledger.forms import cancellation_form
from secateur.postgres.database import Database

CULPRIT = "event.data.vendor_id == 'acme_inc'"
ACME, GLOBEX, INCOMPLETE, INVOICES = 30, 20, 2, 10
"""Runs of the culprit, of another vendor, without a vendor, and of another function."""

CANCELLATION_KEYS = [
    *("id", "state", "kind", "app_id", "function_id", "if", "started_after", "started_before", "standing"),
    "with_cancelled",
    *("rate", "run_id", "guarantee", "blocked_by", "blocked_by_prepared", "created_at", "created_by"),
    *("created_role", "compiled", "reason", "source"),
    *("undone_at", "undone_by", "undo_until", "only_watched", "restoring", "sweep", "odd", "counts"),
]
COUNT_KEYS = [
    *("expected", "expected_exact", "matched", "cancelled", "requested", "finished_first", "errors"),
    *("undecided", "restored", "handed_over", "not_restored", "pruned"),
    *("retried", "left_alone"),
]
PREVIEW_KEYS = [
    *("matched", "low", "high", "total", "exact", "by_status", "errors", "error_examples", "as_of"),
    *("source", "replica_failed", "evaluated_here", "warnings"),
]
DEPTH_KEYS = [
    *("app_id", "function_id", "queued", "scheduled", "running", "lost", "failed", "cancelling"),
    *("oldest_started_at", "oldest_claimable_at"),
    *("in_per_second", "out_per_second", "growth_per_second", "trend", "drains_in_seconds", "growing_since"),
    *("paused", "checked_at", "drift", "as_of"),
]


async def seed(url: str) -> None:
    """The culprit's runs entered two hours ago, the others now; one of the culprit's is running."""
    async with secateur.connect(url) as queue:
        early = datetime.now(UTC) - timedelta(hours=2)
        acme = [_sync({"vendor_id": "acme_inc"})] * ACME
        await queue.enqueue_many("billing", "vendor-syncs", acme, started_at=[early] * ACME)
        await _start(queue.database, "billing", 1)
        await queue.enqueue_many("billing", "vendor-syncs", [_sync({"vendor_id": "globex"})] * GLOBEX)
        await queue.enqueue_many("billing", "vendor-syncs", [_sync({})] * INCOMPLETE)
        await queue.enqueue_many("billing", "invoices", [_sync({"vendor_id": "initech"})] * INVOICES)


async def end_running(url: str) -> None:
    """The worker finishes what it holds."""
    async with Database.connect(url) as database:
        await database.fetch(
            "select secateur.complete(run.app_id, run.id, run.claim_token)"
            " from secateur.runs as run where run.status = 'running'"
        )


async def unfinished(url: str) -> int:
    async with Database.connect(url) as database:
        count: int = await database.fetchval(
            "select count(*) from secateur.runs where status in ('queued', 'scheduled', 'running')"
        )
    return count


async def cancellations(url: str) -> list[dict[str, Any]]:
    """As JSON, newest first."""
    async with secateur.connect(url) as queue:
        return [cancellation_form(each).as_json() for each in await queue.cancellations.list()]


def _sync(data: dict[str, str]) -> dict[str, object]:
    return {"name": "vendor/sync", "data": data}


async def _start(database: Database, app_id: str, runs: int) -> None:
    await database.fetch(
        "select * from secateur.claim($1, null, $2, 'test-worker', interval '10 minutes')", app_id, runs
    )
