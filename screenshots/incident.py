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
  'vendor_id', case when nth % 25 < {acme} then 'acme_inc' else (array['globex', 'initech', 'hooli'])[1 + nth % 3] end,
  'amount', case when nth % 40000 <> 1 then 12 + nth * 37 % 4800 end,
  'region', (array['eu-west', 'eu-west', 'us-east'])[1 + nth % 3],
  'source', (array['webhook', 'schedule'])[1 + nth % 2])))
"""
_FLOOD, _USUAL = _SYNC.format(acme=24), _SYNC.format(acme=1)
"""24 of 25 runs are acme's; before, one of 25 was."""
_OTHER = "jsonb_build_object('name', 'other', 'data', jsonb_build_object('number', nth, 'region', 'eu-west'))"


async def seed(database: Database) -> None:
    """Rates are averages of ten seconds; runs dated ahead of the clock keep them up while pictures are taken."""
    sync, other = _ENQUEUE.format(event=_FLOOD), _ENQUEUE.format(event=_OTHER)
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
    await _end_before(database, 4_000)
    await database.execute(
        """
        select secateur.enqueue('growth', 'weekly-digest', '{}', scheduled_for => now() + interval '1 day',
                                started_at => now() - interval '1 hour')
          from generate_series(1, 12)
        """
    )
    await _sum_up(database)
    await _remember(database)
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


async def _end_before(database: Database, runs: int) -> None:
    """What vendor-syncs did on the day before: the usual mixture, all of it done."""
    usual = _ENQUEUE.format(event=_USUAL)
    await database.execute(usual, "billing", "vendor-syncs", "20 hours", "15 seconds", runs)
    await database.execute(
        """
        update secateur.runs
           set status = 'completed', finished_at = started_at + interval '2 seconds'
         where function_id = 'vendor-syncs' and status = 'queued' and started_at < now() - interval '2 hours 20 minutes'
        """
    )


_REMEMBER = """
insert into secateur.depth_samples
       (app_id, coarse, at, function_ids, queued, scheduled, running, failed, entered, drained, cancelling)
select each.app_id, $1, moment.at,
       array_agg(each.function_id order by each.function_id),
       array_agg(depth.queued order by each.function_id),
       array_agg(each.scheduled order by each.function_id),
       array_agg(each.running order by each.function_id),
       array_agg(0::bigint order by each.function_id),
       array_agg(depth.entered order by each.function_id),
       array_agg(depth.entered - depth.queued order by each.function_id),
       case when $1 then array_agg(0::bigint order by each.function_id) end
  from generate_series(date_bin('10 s', now(), '2000-01-01') - $2::text::interval, now() - interval '2 seconds',
                       $3::text::interval) as moment (at)
 cross join (values ('billing', '', 0, 40), ('billing', 'invoices', 0, 8), ('billing', 'vendor-syncs', 0, 32),
                    ('crm', '', 0, 6), ('crm', 'contact-import', 0, 6), ('growth', '', 12, 3),
                    ('growth', 'score-leads', 0, 3), ('growth', 'weekly-digest', 12, 0))
         as each (app_id, function_id, scheduled, running)
 cross join lateral (
   select extract(epoch from moment.at - (now() - interval '2 hours 14 minutes'))::float8 as since,
          extract(epoch from moment.at)::bigint as second
 ) as clock
 cross join lateral (
   select case
            when each.function_id = 'vendor-syncs' or (each.app_id, each.function_id) = ('billing', '')
            then 40 + clock.second % 37 + greatest(0, clock.since * 39.4)
            when each.function_id = 'contact-import' or (each.app_id, each.function_id) = ('crm', '')
            then 900 - 20 * (clock.second / 10 % 3)
            when each.function_id = 'invoices' then 250 + clock.second % 41
            when each.function_id = 'weekly-digest' then 0
            else clock.second % 4
          end::bigint as queued,
          (1000000 + greatest(0, clock.since * 77) + clock.second % 40)::bigint as entered
 ) as depth
 group by each.app_id, moment.at
"""
"""The depth as samples would have it: `$1` whether they are coarse, for `$2` until now, one each `$3`."""


async def _remember(database: Database) -> None:
    for coarse, reach, step in ((True, "6 hours", "10 seconds"), (False, "15 minutes", "1 second")):
        await database.execute(_REMEMBER, coarse, reach, step)
