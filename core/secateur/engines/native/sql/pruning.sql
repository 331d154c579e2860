-- Deleting what has outlived its retention.

-- Tries to make this transaction the only one that does the task for the app, until it ends. Returns whether it is. Waits
-- for nobody. False without an app.
create or replace function secateur.is_alone(app_id text, task text)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = '1ms'
as $$
begin
  perform from secateur.upkeep as kept
    where kept.app_id = is_alone.app_id and kept.task = is_alone.task
      for update skip locked;
  if found then
    return true;
  end if;
  -- The app's first: whoever has just inserted the row is at it.
  insert into secateur.upkeep (app_id, task)
  select apps.app_id, is_alone.task from secateur.apps where apps.app_id = is_alone.app_id
  on conflict do nothing;
  return found;
exception when lock_not_available then
  return false;
end
$$;

-- Deletes these runs, whose rows the caller has locked, with their steps and requests. Part of a prune.
create or replace function secateur.delete_runs(app_id text, run_ids uuid[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  perform secateur.drop_keys(delete_runs.app_id, run_ids);
  delete from secateur.steps as step where step.app_id = delete_runs.app_id and step.run_id = any (run_ids);
  delete from secateur.cancel_requests as request
   where request.app_id = delete_runs.app_id and request.run_id = any (run_ids);
  delete from secateur.slow_verdicts as slow where slow.app_id = delete_runs.app_id and slow.run_id = any (run_ids);
  with deleted as (
    delete from secateur.runs as run where run.app_id = delete_runs.app_id and run.id = any (run_ids)
    returning run.function_id, run.status
  )
  insert into secateur.depth_deltas (app_id, function_id, failed)
  select delete_runs.app_id, deleted.function_id, -count(*) from deleted where deleted.status = 'failed' group by deleted.function_id;
end
$$;

-- Locks up to `batch` runs of the app that ended before `ended_before` and cannot be brought back (completed, failed, or cancelled
-- without a cancellation), oldest first. Skips locked rows, and runs with a request that a sweep has yet to settle. Part of a
-- prune.
create or replace function secateur.lock_finished(app_id text, ended_before timestamptz, batch integer)
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  ids uuid[];
begin
  ids := array(
    select run.id from secateur.runs as run
     where run.app_id = lock_finished.app_id
       and run.status in ('completed', 'failed')
       and run.finished_at < lock_finished.ended_before
       and not exists (select from secateur.cancel_requests as open
                        where open.app_id = lock_finished.app_id and open.run_id = run.id
                          and coalesce(open.outcome, '') = ''
                       offset 0)
     order by run.finished_at
     limit lock_finished.batch
       for update of run skip locked);
  return ids || array(
    select run.id from secateur.runs as run
     where run.app_id = lock_finished.app_id
       and run.status = 'cancelled'
       and run.cancellation_id is null
       and run.finished_at < lock_finished.ended_before
     order by run.finished_at
     limit lock_finished.batch - cardinality(ids)
       for update skip locked);
end
$$;

-- Deletes up to `batch` runs of those cancellations of the app that ended before `ended_before`; these can no longer be undone, and
-- their tallies say so. Returns how many. Skips records that another session has locked. Part of a prune.
-- Locks: the records, so that no undo begins meanwhile and no restore hands runs over; then runs, skipping locked ones.
create or replace function secateur.prune_cancelled(app_id text, ended_before timestamptz, batch integer)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off
as $$
declare
  ended uuid;
  ids uuid[];
  pruned integer := 0;
  moment constant timestamptz := clock_timestamp();
begin
  for ended in
    select rule.id
      from secateur.cancellations as rule
     where rule.app_id = prune_cancelled.app_id
       and rule.state <> 'active'
       and not rule.ending
       and rule.pruned_at is null
       and (rule.state <> 'undone' or rule.restored_at is not null)
       and greatest(rule.completed_at, rule.stopped_at, rule.restored_at) < prune_cancelled.ended_before
     order by greatest(rule.completed_at, rule.stopped_at, rule.restored_at)
     limit 100
       for update skip locked
  loop
    -- point: record locked
    ids := array(select run.id from secateur.runs as run
                  where run.app_id = prune_cancelled.app_id and run.cancellation_id = ended and run.status = 'cancelled'
                  order by run.id
                  limit prune_cancelled.batch - pruned
                    for update skip locked);
    -- point: runs locked
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, pruned)
    select prune_cancelled.app_id, ended, run.function_id, count(*)
      from secateur.runs as run
     where run.app_id = prune_cancelled.app_id and run.id = any (ids)
     group by run.function_id;
    perform secateur.delete_runs(prune_cancelled.app_id, ids);
    -- point: runs deleted
    pruned := pruned + cardinality(ids);
    if not exists (select from secateur.runs as run
                    where run.app_id = prune_cancelled.app_id and run.cancellation_id = ended) then
      update secateur.cancellations as rule
         set pruned_at = moment
       where rule.app_id = prune_cancelled.app_id and rule.id = ended;
    end if;
    exit when pruned >= prune_cancelled.batch;
  end loop;
  return pruned;
end
$$;

-- Deletes up to `batch` runs of the app that have outlived the retention, with their steps and requests: completed and failed
-- runs, and runs of cancellations that can no longer be undone. `more` is true if there seem to be others: call it again.
-- The audit and the cancellations themselves stay. Does nothing while another process prunes. Raises SC422.
-- Locks: the app's `prune`, tried; records and runs, skipping locked ones.
create or replace function secateur.prune(app_id text, batch integer default 1000)
  returns table (runs integer, more boolean)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  kept secateur.retention;
  ids uuid[];
begin
  perform secateur.require_read_committed();
  perform secateur.require_number('batch', prune.batch, 1, 100000);
  runs := 0;
  more := false;
  if not secateur.is_alone(prune.app_id, 'prune') then
    return next;
    return;
  end if;
  -- point: alone
  select retention.* into kept from secateur.retention;
  ids := secateur.lock_finished(prune.app_id, now() - kept.finished, prune.batch);
  -- point: finished runs locked
  perform secateur.delete_runs(prune.app_id, ids);
  -- point: finished runs deleted
  runs := cardinality(ids);
  if runs < prune.batch then
    runs := runs + secateur.prune_cancelled(prune.app_id, now() - kept.cancelled, prune.batch - runs);
  end if;
  delete from secateur.depth_checks as past
   where past.app_id = prune.app_id and past.checked_at < now() - interval '30 days';
  more := runs >= prune.batch;
  return next;
end
$$;
