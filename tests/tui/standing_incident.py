"""An incident that stands still: the same counts, ages and rates at every look.

Rates are averages of the last ten seconds; runs that entered or ended an hour *ahead* of the clock stay
within them, so that a screen can be compared with a stored one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from secateur.postgres.database import Database

CULPRIT = "event.data.vendor_id == 'acme_inc'"
FLOODED = 2_000
ACME = 503
"""Of the flooded runs, how many are acme_inc's, the arriving ones not counted; three lack the amount."""
ARRIVING = 120


async def seed(database: Database) -> None:
    """Three apps with two functions each; `billing / vendor-syncs` holds nearly everything and grows."""
    vendors = ["acme_inc", "globex", "initech", "hooli"]
    flood = [_sync(vendors[i % 4], i) for i in range(FLOODED - 3)]
    await _enqueue(database, "billing", "vendor-syncs", flood, "2 hours 14 minutes 20 seconds")
    incomplete = [{"name": "vendor/sync", "data": {"vendor_id": "acme_inc"}} for _ in range(3)]
    await _enqueue(database, "billing", "vendor-syncs", incomplete, "2 hours 14 minutes 20 seconds")
    arriving = [_sync("acme_inc", i) for i in range(ARRIVING)]
    await _enqueue(database, "billing", "vendor-syncs", arriving, "-1 hour")
    await _enqueue(database, "billing", "invoices", [_invoice(i) for i in range(54)], "1 hour 12 minutes 20 seconds")
    await _enqueue(database, "crm", "contact-import", [_contact(i) for i in range(90)], "1 hour 40 minutes 20 seconds")
    await _enqueue(database, "crm", "welcome-mail", [_contact(i) for i in range(22)], "1 hour 20 minutes 20 seconds")
    await _enqueue(database, "growth", "score-leads", [_contact(i) for i in range(4)], "1 hour 2 minutes 20 seconds")
    await _register(database, "growth", "weekly-digest")
    await _later(database, "growth", "weekly-digest", 12)
    await _run(database, "billing", "vendor-syncs", 8)
    await _run(database, "crm", "contact-import", 6)
    for app_id, function_id, ended in (
        ("billing", "vendor-syncs", 30),
        ("billing", "invoices", 40),
        ("crm", "contact-import", 5),
    ):
        await _end(database, app_id, function_id, ended)
    await _sum_up(database)


async def stop_running(database: Database) -> None:
    """Every worker comes to its next step, where a cancelled run ends."""
    await database.execute(
        "select secateur.begin_step(app_id, id, claim_token, 'next') from secateur.runs where status = 'running'"
    )


async def _enqueue(
    database: Database, app_id: str, function_id: str, events: Iterable[dict[str, Any]], age: str
) -> None:
    """Runs that entered so long ago, a microsecond apart, so that their order is certain."""
    await database.execute(
        """
        select secateur.enqueue_many($1, $2, $3::jsonb[], started_at => entered.moments)
          from (
            select array_agg(now() - $4::text::interval + nth * interval '1 microsecond' order by nth) as moments
              from generate_series(1, cardinality($3::jsonb[])) as nth
          ) as entered
        """,
        app_id,
        function_id,
        [json.dumps(event) for event in events],
        age,
    )


async def _register(database: Database, app_id: str, function_id: str) -> None:
    await database.execute("select secateur.register_function($1, $2, '{}', 3)", app_id, function_id)


async def _later(database: Database, app_id: str, function_id: str, runs: int) -> None:
    await database.execute(
        """
        select secateur.enqueue($1, $2, '{"name": "digest"}', scheduled_for => clock_timestamp() + interval '1 day')
          from generate_series(1, $3)
        """,
        app_id,
        function_id,
        runs,
    )


async def _run(database: Database, app_id: str, function_id: str, runs: int) -> None:
    await database.execute(
        "select count(*) from secateur.claim($1, array[$2], $3, 'worker-1', '1 hour')", app_id, function_id, runs
    )


async def _end(database: Database, app_id: str, function_id: str, runs: int) -> None:
    await _enqueue(database, app_id, function_id, [{"name": "ended"}] * runs, "3 hours")
    await database.execute(
        """
        update secateur.runs
           set status = 'completed', finished_at = clock_timestamp() + interval '1 hour'
         where app_id = $1 and function_id = $2 and event ->> 'name' = 'ended'
        """,
        app_id,
        function_id,
    )


async def _sum_up(database: Database) -> None:
    """Depth as the functions would have written it, had all of this been done by them, and at its time."""
    await database.execute("select secateur.check_depth(app_id) from secateur.apps")
    await database.execute("update secateur.depth_deltas set entered = 0, drained = 0, at = at - interval '1 hour'")
    await database.execute("delete from secateur.depth_checks")
    await database.execute(
        """
        insert into secateur.depth_seconds (app_id, function_id, second, entered, drained, grown)
        select app_id, function_id, clock_timestamp() + interval '1 hour', entered, drained, entered - drained
          from (select app_id, function_id,
                       count(*) filter (where started_at > now() - interval '1 minute') as entered,
                       count(*) filter (where finished_at > now() - interval '1 minute') as drained
                  from secateur.runs
                 group by app_id, function_id) as counted
        """
    )


def _sync(vendor: str, number: int) -> dict[str, Any]:
    return {"name": "vendor/sync", "data": {"vendor_id": vendor, "amount": number % 900, "region": "eu-west"}}


def _invoice(number: int) -> dict[str, Any]:
    return {"name": "invoice/created", "data": {"invoice": f"INV-{number:04}", "amount": number * 10}}


def _contact(number: int) -> dict[str, Any]:
    return {"name": "contact/created", "data": {"contact_id": number, "region": "us"}}
