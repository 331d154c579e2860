-- Verdict of a race: how many decisions were wrong, of each kind. The cancellations' words are in their requests.
with decided as (
  select d.*, pg_xact_commit_timestamp(d.xid::text::xid) as at from secateur_test.decisions as d
), ended as (
  select cancellation_id, min(at) filter (where kind = 'ending') as ending_at, min(at) filter (where kind <> 'ending') as at,
         min(at) filter (where kind = 'undo') as undone_at
    from decided where kind in ('ending', 'stop', 'undo') group by cancellation_id
), placed as (
  select c.id, c.serial, c.app_id, c.function_id, c.started_after, c.started_before, c.request ->> 'vendor' as vendor,
         c.request ->> 'region' as region, c.run_id, d.at, ended.ending_at, ended.at as ended_at, ended.undone_at
    from secateur.cancellations as c
    -- One that was stopped while it was pending was never in force; claims that saw it cancelled runs for it all the same.
    left join decided as d on d.kind = 'in force' and d.cancellation_id = c.id
    left join ended on ended.cancellation_id = c.id
), run as (
  select id, app_id, function_id, started_at, event from secateur.runs
  union all
  select run_id, app_id, was ->> 'function_id', (was ->> 'started_at')::timestamptz, was -> 'event'
    from decided where kind = 'prune'
), judged as (
  select d.id, d.kind, d.cancellation_id, d.run_id, run.app_id, run.function_id, run.started_at,
         run.event #>> '{data,vendor_id}' as vendor, run.event #>> '{data,region}' as region, d.at
    from decided as d
    join run on run.app_id = d.app_id and run.id = d.run_id
), met as (
  -- Three joins, for each of which there is something to hash.
  select judged, placed from judged join placed on placed.app_id = judged.app_id and placed.vendor = judged.vendor
  union all
  select judged, placed from judged join placed on placed.app_id = judged.app_id and placed.region = judged.region
  union all
  select judged, placed from judged join placed on placed.run_id = judged.run_id
), reached as (
  select (judged).id as decision, (judged).kind, (judged).at, (judged).cancellation_id, (placed).id, (placed).serial,
         (placed).at as placed_at, (placed).ending_at, (placed).ended_at, (placed).undone_at
    from met
   where ((placed).function_id is null or (placed).function_id = (judged).function_id)
     and ((placed).started_after is null or (judged).started_at > (placed).started_after)
     and (judged).started_at < (placed).started_before
), in_force as (
  select * from reached where at > placed_at and (ending_at is null or at < ending_at)
), owned as (
  select * from reached where id = cancellation_id
), history as (
  select decided.kind, lag(decided.kind) over (partition by decided.run_id order by decided.at, decided.id) as before
    from decided where decided.kind in ('claim', 'return', 'restore')
), restored as (
  select decided.was,
         (select earlier.was from secateur_test.decisions as earlier
           where earlier.kind = 'cancel' and earlier.run_id = decided.run_id and earlier.id < decided.id
           order by earlier.id desc limit 1) as before
    from decided where decided.kind = 'restore'
), paused as (
  select app_id, function_id, kind, at,
         lead(at) over (partition by app_id, function_id order by at, id) as ended_at
    from decided where kind in ('pause', 'resume')
)
select (select count(*) from in_force where kind in ('claim', 'step')) as claimed_after_commit,
       (select count(*) from judged join paused using (app_id, function_id)
         where judged.kind = 'claim' and paused.kind = 'pause' and judged.at > paused.at
           and (paused.ended_at is null or judged.at < paused.ended_at)) as claimed_while_paused,
       (select count(*) from judged where kind in ('cancel', 'hand over', 'restore'))
         - (select count(*) from owned where kind in ('cancel', 'hand over', 'restore')) as cancelled_without_reason,
       (select count(*) from owned where kind in ('cancel', 'hand over') and at > ended_at) as cancelled_after_the_end,
       (select count(*) from in_force join owned using (decision)
         where owned.kind in ('cancel', 'hand over') and in_force.serial < owned.serial) as cancelled_by_a_younger_one,
       (select count(*) from owned where kind = 'restore' and (undone_at is null or at < undone_at))
         as restored_without_undo,
       (select count(*) from in_force where kind = 'restore') as restored_after_commit,
       (select count(*) from restored where before ->> 'status' <> 'running' and was <> before) as restored_otherwise,
       (select count(*) from secateur.cancellations as c join secateur.runs as run
           on run.app_id = c.app_id and run.cancellation_id = c.id
         where c.state = 'undone' and (run.cancelled_from <> 'running' or c.requeue_stopped)) as not_restored,
       (select count(*) from decided join ended using (cancellation_id)
         where decided.kind = 'prune' and decided.at < ended.undone_at) as pruned_before_an_undo,
       (select count(*) from decided
         where decided.kind = 'prune' and decided.was ->> 'status' in ('queued', 'scheduled', 'running'))
         + (select count(*) from secateur_test.pruned_requests where outcome is null) as pruned_too_early,
       (select count(*) from history where kind = 'claim' and before = 'claim') as claimed_twice,
       (select count(*) from secateur.cancellations where state = 'active' or state = 'undone' and restored_at is null)
         as incomplete,
       (select count(*) from secateur.runs where status in ('queued', 'scheduled', 'running')) as unfinished,
       (select count(*) from secateur.cancel_requests where outcome is null) as open_requests,
       (select count(*) from secateur.cancellations as c
          left join lateral (select coalesce(sum(t.cancelled - t.restored - t.handed_over - t.pruned), 0) as cancelled,
                                    coalesce(sum(t.finished_first), 0) as finished_first
                               from secateur.cancellation_deltas as t
                              where t.app_id = c.app_id and t.cancellation_id = c.id) as t on true
         where t.cancelled <> (select count(*) from secateur.runs as run
                               where run.app_id = c.app_id and run.cancellation_id = c.id)
            or t.finished_first <> (select count(*) from secateur.cancel_requests as asked
                                     where asked.app_id = c.app_id and asked.cancellation_id = c.id and asked.outcome = 'finished_first')
                                   + (select count(*) from secateur_test.pruned_requests as asked
                                       where asked.app_id = c.app_id and asked.cancellation_id = c.id and asked.outcome = 'finished_first')
       ) as wrong_tallies,
       (select count(*) from secateur_test.wrong_depth()) as wrong_depth
