"""The incident that the pictures show: 318,000 runs waiting, nearly all of one function, most of one vendor."""

from __future__ import annotations

from secateur.postgres.database import Database

_ENQUEUE = """
select count(*)
  from (
    select secateur.enqueue_many(
             $1, $2, array_agg({event} order by nth),
             started_at => array_agg(now() - $3::text::interval + nth * $4::text::interval order by nth))
      from generate_series(1, $5::int) as nth
  ) as entered
"""

_SYNC = """
jsonb_build_object('name', 'vendor/sync', 'data', jsonb_strip_nulls(jsonb_build_object(
  'vendor_id', (array['globex', 'acme_inc', 'initech', 'acme_inc', 'hooli', 'acme_inc'])[1 + nth % 6],
  'amount', case when nth % 40000 <> 1 then 12 + nth * 37 % 4800 end,
  'source', case when nth % 20 > 0 then 'retry-storm' else 'webhook' end)))
"""
_OTHER = "jsonb_build_object('name', 'other', 'data', jsonb_build_object('number', nth, 'region', 'eu-west'))"


async def seed(database: Database) -> None:
    """Rates are averages of ten seconds; runs dated ahead of the clock keep them up while pictures are taken."""
    sync, other = _ENQUEUE.format(event=_SYNC), _ENQUEUE.format(event=_OTHER)
    waiting = [
        (sync, "billing", "vendor-syncs", "2 hours 14 minutes", "25 milliseconds", 315_900),
        (sync, "billing", "vendor-syncs", "-1 hour", "1 microsecond", 2_080),
        (other, "billing", "invoices", "22 seconds", "30 milliseconds", 254),
        (other, "billing", "invoices", "-1 hour", "1 microsecond", 21),
        (other, "crm", "contact-import", "40 seconds", "30 milliseconds", 890),
        (other, "crm", "welcome-mail", "15 seconds", "30 milliseconds", 22),
        (other, "crm", "welcome-mail", "-1 hour", "1 microsecond", 8),
        (other, "growth", "score-leads", "3 seconds", "30 milliseconds", 4),
    ]
    for sql, *arguments in waiting:
        await database.execute(sql, *arguments)
    for app_id, function_id, running in (
        ("billing", "vendor-syncs", 32),
        ("billing", "invoices", 8),
        ("crm", "contact-import", 6),
        ("growth", "score-leads", 3),
    ):
        claim = "select count(*) from secateur.claim($1, array[$2], $3, 'worker-1', '1 hour')"
        await database.execute(claim, app_id, function_id, running)
    for app_id, function_id, ended in (
        ("billing", "vendor-syncs", 307),
        ("billing", "invoices", 74),
        ("crm", "contact-import", 196),
        ("crm", "welcome-mail", 24),
    ):
        await _end(database, other, app_id, function_id, ended)
    await database.execute(
        """
        select secateur.enqueue('growth', 'weekly-digest', '{}', scheduled_for => now() + interval '1 day',
                                started_at => now() - interval '1 hour')
          from generate_series(1, 12)
        """
    )
    await _sum_up(database)
    await database.execute("vacuum analyze secateur.runs")


async def _sum_up(database: Database) -> None:
    """Depth and rates as they would be, had all of this been done by workers, and at its time."""
    await database.execute("select secateur.check_depth()")
    await database.execute("delete from secateur.depth_checks")
    await database.execute("update secateur.depth_deltas set entered = 0, drained = 0, at = at - interval '1 hour'")
    await database.execute("delete from secateur.depth_seconds")
    await database.execute(
        """
        insert into secateur.depth_seconds (app_id, function_id, second, entered, drained, grown)
        select app_id, function_id, clock_timestamp() + interval '1 hour', entered, drained, entered - drained
          from (select app_id, function_id,
                       count(*) filter (where started_at > now()) as entered,
                       count(*) filter (where finished_at > now()) as drained
                  from secateur.runs
                 group by app_id, function_id) as counted
        """
    )


async def _end(database: Database, sql: str, app_id: str, function_id: str, runs: int) -> None:
    """Runs that have just come to their end."""
    await database.execute(sql, app_id, function_id, "1 day", "1 second", runs)
    await database.execute(
        """
        update secateur.runs
           set status = 'completed', finished_at = now() + interval '1 hour'
         where app_id = $1 and function_id = $2 and started_at < now() - interval '20 hours'
        """,
        app_id,
        function_id,
    )
