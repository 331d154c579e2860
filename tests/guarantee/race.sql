-- Verdict of a race: how many decisions were wrong, of each kind. The cancellations' words are in their requests.
with placed as (
  select c.id, c.app_id, c.function_id, c.started_after, c.started_before, c.request ->> 'vendor' as vendor,
         c.request ->> 'region' as region, pg_xact_commit_timestamp(d.xid::text::xid) as at
    from secateur.cancellations as c
    join secateur_test.decisions as d on d.kind = 'in force' and d.cancellation_id = c.id
), judged as (
  select d.kind, d.cancellation_id, run.app_id, run.function_id, run.started_at, run.event #>> '{data,vendor_id}' as vendor,
         run.event #>> '{data,region}' as region, pg_xact_commit_timestamp(d.xid::text::xid) as at
    from secateur_test.decisions as d
    join secateur.runs as run on run.id = d.run_id
), reached as (
  select judged.kind, judged.at, judged.cancellation_id, placed.id, placed.at as placed_at
    from judged
    join placed
      on placed.vendor = judged.vendor
     and placed.app_id = judged.app_id
     and (placed.function_id is null or placed.function_id = judged.function_id)
     and (placed.started_after is null or judged.started_at > placed.started_after)
     and judged.started_at < placed.started_before
  union all
  select judged.kind, judged.at, judged.cancellation_id, placed.id, placed.at
    from judged
    join placed
      on placed.region = judged.region
     and placed.app_id = judged.app_id
     and (placed.function_id is null or placed.function_id = judged.function_id)
     and (placed.started_after is null or judged.started_at > placed.started_after)
     and judged.started_at < placed.started_before
)
select (select count(*) from reached where kind in ('claim', 'step') and at > placed_at) as claimed_after_commit,
       (select count(*) from secateur_test.decisions where kind = 'cancel')
         - (select count(*) from reached where kind = 'cancel' and id = cancellation_id) as cancelled_without_reason,
       (select count(*) from secateur.cancellations where state <> 'complete') as incomplete,
       (select count(*) from secateur.runs where status in ('queued', 'scheduled', 'running')) as unfinished,
       (select count(*) from secateur.cancel_requests where outcome is null) as open_requests,
       (select count(*) from secateur.cancellations as c
          left join lateral (select coalesce(sum(t.cancelled), 0) as cancelled,
                                    coalesce(sum(t.finished_first), 0) as finished_first
                               from secateur.cancellation_tallies as t where t.cancellation_id = c.id) as t on true
         where t.cancelled <> (select count(*) from secateur.runs as run where run.cancellation_id = c.id)
            or t.finished_first <> (select count(*) from secateur.cancel_requests as asked
                                     where asked.cancellation_id = c.id and asked.outcome = 'finished_first')
       ) as wrong_tallies
