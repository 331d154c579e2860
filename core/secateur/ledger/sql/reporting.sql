-- The records of cancellations, for display.

-- The runs on which conditions take long, until they are decided. If there is secateur's own queue, undecided_runs.sql adds its
-- runs.
create or replace view secateur.undecided as
select slow.app_id, slow.cancellation_id, slow.attempts
  from secateur.slow_jobs as slow
 where slow.verdict is null;

-- Each record as one document: with its tallies, the progress of its sweep, and who now holds the locks that a pending commit, stop or
-- undo waits for. A view, so that a role with SELECT alone can read the history.
create or replace view secateur.cancellation_documents as
select rule.id, rule.serial,
       to_jsonb(rule) - 'job_id' || to_jsonb(tally) || jsonb_build_object(
         'run_id', coalesce(rule.run_id::text, rule.job_id),
         'blocked_by', coalesce(holder.pids, '[]'),
         'blocked_by_prepared', coalesce(holder.gids, '[]'),
         'swept', coalesce(place.clean, false),
         'stepped_at', place.stepped_at,
         'unswept_for', case when rule.state in ('active', 'retrying') or rule.ending or rule.state = 'undone' and rule.restored_at is null
           then greatest(0, extract(epoch from now() - coalesce(place.stepped_at, rule.undone_at, rule.created_at))) end,
         'failures', coalesce(place.failures, 0),
         'failing_since', place.failing_since,
         'last_error', place.last_error,
         'last_error_at', place.last_error_at,
         'undecided', slow.undecided,
         'stuck', slow.stuck,
         -- As `undo_until` says.
         'undo_until', case when home.installation is null or until.time >= now() or rule.pruned_at is not null or tally.pruned > 0
           then until.time end) as record,
       -- Null: of secateur's own queue.
       home.installation
  from secateur.cancellations as rule
 cross join secateur.retention
 cross join lateral (
   select coalesce(rule.stopped_at, rule.completed_at, rule.undone_at) + retention.cancelled as time
 ) as until
  left join secateur.apps as home on home.app_id = rule.app_id
  left join secateur.sweeps as place on place.app_id = rule.app_id and place.cancellation_id = rule.id
  left join lateral (
    select jsonb_agg(distinct one.pid) filter (where one.pid is not null) as pids,
           jsonb_agg(distinct one.gid) filter (where one.gid is not null) as gids
      from secateur.lock_holders as one
     where one.app_id = rule.app_id and one.pid is distinct from pg_backend_pid()
       and (one.kind = 'app' and rule.state = 'active' and rule.in_force_at is null or rule.ending)
  ) as holder on true
  left join lateral (
    select count(*) as undecided, count(*) filter (where pair.attempts > 1) as stuck
      from secateur.undecided as pair
     where pair.app_id = rule.app_id and pair.cancellation_id = rule.id and rule.state = 'active'
  ) as slow on true
  left join lateral (
    select coalesce(sum(one.cancelled), 0) as cancelled,
           coalesce(sum(one.requested), 0) as requested,
           coalesce(sum(one.finished_first), 0) as finished_first,
           coalesce(sum(one.stopping), 0) as stopping,
           coalesce(sum(one.errors), 0) as errors,
           coalesce(sum(one.restored), 0) as restored,
           coalesce(sum(one.handed_over), 0) as handed_over,
           coalesce(sum(one.pruned), 0) as pruned,
           coalesce(sum(one.stopped), 0) as stopped,
           coalesce(sum(one.retried), 0) as retried,
           coalesce(sum(one.left_alone), 0) as left_alone
      from secateur.cancellation_tallies as one
     where one.app_id = rule.app_id and one.cancellation_id = rule.id
  ) as tally on true;

-- The documents of these records, in the order of the ids. Takes no lock, and may be repeated. Volatile, so that it sees what the
-- statement that calls it has written: a commit answers with its records.
create or replace function secateur.cancellation_records(ids uuid[])
  returns setof jsonb
  language plpgsql
  volatile
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return query
  select one.record
    from unnest(cancellation_records.ids) with ordinality as wanted (id, place)
    join secateur.cancellation_documents as one on one.id = wanted.id
   order by wanted.place;
end
$$;
