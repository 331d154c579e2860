-- How a worker ends a run: it completes, fails or goes back to the queue.

-- Completes runs. Returns a row for each claim. `done` is true also when the call is repeated with the same token, and false if
-- the claim is no longer yours. A run that was asked to stop but finished first counts as completed. After its lease has ended, a
-- run can still be completed by its last holder as long as nobody has begun it again: from queued, or from failed if that was
-- its last attempt. A run that was cancelled meanwhile stays cancelled.
-- Locks the rows in id order, as cancel_backlog does.
create or replace function secateur.complete_runs(app_id text, run_ids uuid[], claim_tokens uuid[])
  returns table (claim_token uuid, done boolean)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  ids uuid[];
  tokens uuid[];
  slotted boolean;
begin
  if cardinality(run_ids) <> cardinality(claim_tokens) then
    perform secateur.require_same_length('run_ids', cardinality(run_ids), array[cardinality(claim_tokens)]);
  end if;
  with completed as (
    update secateur.runs as run
       set status = 'completed', finished_at = moment, lease_expires_at = null, error = null
     where run.app_id = complete_runs.app_id and run.id = any (run_ids)
       and ((run.id, coalesce(run.last_token, run.claim_token)) in (select * from unnest(run_ids, claim_tokens))) is true
       and (run.status || '' = 'running' or run.last_token is not null and run.status || '' in ('queued', 'failed'))
    -- `last_token` is set if the lease had ended. Without another token the run was queued; with both it had failed.
    returning run.id, coalesce(run.last_token, run.claim_token) as claim_token, run.function_id, run.slot,
              run.last_token is null as was_running, run.claim_token is null as was_queued
  ), counted as (
    insert into secateur.depth_deltas (app_id, function_id, queued, running, failed, drained)
    select complete_runs.app_id, completed.function_id,
           - count(*) filter (where completed.was_queued),
           - count(*) filter (where completed.was_running),
           - count(*) filter (where not (completed.was_running or completed.was_queued)),
           -- A run that had failed was counted as drained at that time.
           count(*) filter (where completed.was_running or completed.was_queued)
      from completed group by completed.function_id
  )
  select coalesce(array_agg(completed.id), '{}'), coalesce(array_agg(completed.claim_token), '{}'),
         bool_or(completed.slot is not null)
    into ids, tokens, slotted
    from completed;
  -- point: completed
  if cardinality(ids) > 0 then
    if exists (select from secateur.cancel_requests as open where open.app_id = complete_runs.app_id and open.run_id = any (ids)) then
      perform secateur.close_requests(complete_runs.app_id, ids, tokens, 'finished_first');
    end if;
    if slotted then
      perform secateur.free_slots(complete_runs.app_id, ids);
    end if;
  end if;
  if cardinality(ids) < cardinality(run_ids) then
    -- Runs that this claim has completed before.
    tokens := tokens || array(
      select coalesce(run.last_token, run.claim_token)
        from secateur.runs as run
       where run.app_id = complete_runs.app_id and run.id = any (run_ids)
         and ((run.id, coalesce(run.last_token, run.claim_token)) in (select * from unnest(run_ids, claim_tokens))) is true
         and run.status || '' = 'completed');
  end if;
  return query
  select mine.claim_token, mine.claim_token = any (tokens) from unnest(claim_tokens) as mine (claim_token);
end
$$;

-- Completes a run; see complete_runs.
create or replace function secateur.complete(app_id text, run_id uuid, claim_token uuid)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return (select ended.done from secateur.complete_runs(app_id, array[run_id], array[claim_token]) as ended);
end
$$;

-- Fails an attempt. Returns the run's status after it: `scheduled` (retried after a back-off of 1 s, 2 s, 4 s … at
-- most an hour, a quarter more or less; or after `retry_after`, a year at most), `failed` (no attempts left, or `discard`: do
-- not try again), `cancelled` (it was asked to stop); null when the claim is no longer yours. Raises SC422.
create or replace function secateur.fail(
  app_id text, run_id uuid, claim_token uuid, error text, retry_after interval default null, discard boolean default false
)
  returns text
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  held text;
  attempts integer;
  allowed integer;
  function text;
  slotted boolean;
  moment timestamptz;
  back_off interval;
begin
  -- The run must be able to fail whatever the error's text is.
  fail.error := left(fail.error, 10000);
  if fail.retry_after is not null then
    perform secateur.require_interval('retry_after', fail.retry_after, '0', '366 days');
  end if;
  select run.status, run.attempt, run.function_id, run.slot is not null,
         (select known.max_attempts from secateur.functions as known
           where known.app_id = fail.app_id and known.function_id = run.function_id)
    into held, attempts, function, slotted, allowed
    from secateur.runs as run
   where run.app_id = fail.app_id and run.id = fail.run_id and run.claim_token = fail.claim_token
     for update;
  if held is distinct from 'running' then
    return null;
  end if;
  -- point: run locked
  moment := clock_timestamp();
  if attempts >= allowed or fail.discard then
    update secateur.runs as run
       set status = 'failed', finished_at = moment, lease_expires_at = null, error = fail.error
     where run.app_id = fail.app_id and run.id = fail.run_id;
    insert into secateur.depth_deltas (app_id, function_id, running, failed, drained)
    values (fail.app_id, function, -1, 1, 1);
    perform secateur.close_requests(fail.app_id, array[fail.run_id], array[fail.claim_token], 'finished_first');
    if slotted then
      perform secateur.free_slots(fail.app_id, array[fail.run_id]);
    end if;
    return 'failed';
  end if;
  if cardinality(secateur.cancel_requested(fail.app_id, array[fail.run_id], array[fail.claim_token])) > 0 then
    update secateur.runs as run set error = fail.error where run.app_id = fail.app_id and run.id = fail.run_id;
    return 'cancelled';
  end if;
  -- point: not cancelled
  back_off := coalesce(
    fail.retry_after, least(3600, 2 ^ least(attempts - 1, 12)) * (0.75 + random() / 2) * interval '1 second');
  update secateur.runs as run
     set status = 'scheduled',
         scheduled_for = moment + back_off,
         claim_token = null,
         lease_expires_at = null,
         worker = null,
         error = fail.error,
         past_attempts = secateur.with_attempt(
           run.past_attempts, run.attempt, 'failed', run.claimed_at, moment, run.worker, fail.error)
   where run.app_id = fail.app_id and run.id = fail.run_id;
  insert into secateur.depth_deltas (app_id, function_id, running, scheduled) values (fail.app_id, function, -1, 1);
  if slotted then
    perform secateur.free_slots(fail.app_id, array[fail.run_id]);
  end if;
  perform secateur.note_due(fail.app_id, function, moment + back_off);
  -- An idle worker sleeps until the next run is due; this one may be due earlier.
  perform secateur.wake(fail.app_id);
  return 'scheduled';
end
$$;

-- Returns claimed runs that have not begun to the queue, as a worker does when it stops. The attempt does not count. A run
-- that was asked to stop is cancelled. Returns how many were the caller's. Locks the rows in id order.
create or replace function secateur.release(app_id text, run_ids uuid[], claim_tokens uuid[])
  returns integer
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  ids uuid[];
  tokens uuid[];
  cancelled uuid[];
  back uuid[];
  slotted boolean;
begin
  perform secateur.require_same_length('run_ids', cardinality(run_ids), array[cardinality(claim_tokens)]);
  select array_agg(held.id), array_agg(held.claim_token), bool_or(held.slot is not null) into ids, tokens, slotted
    from (select run.id, run.claim_token, run.slot
            from secateur.runs as run
           where run.app_id = release.app_id and run.id = any (run_ids)
             and ((run.id, run.claim_token) in (select * from unnest(run_ids, claim_tokens))) is true
             and run.status || '' = 'running'
           order by run.id
             for update) as held;
  if ids is null then
    return 0;
  end if;
  cancelled := secateur.cancel_requested(release.app_id, ids, tokens);
  back := array(select unnest(ids) except select unnest(cancelled));
  with released as (
    update secateur.runs as run
       set status = 'queued', attempt = run.attempt - 1, claim_token = null, lease_expires_at = null, worker = null
     where run.app_id = release.app_id and run.id = any (back)
    returning run.function_id
  )
  insert into secateur.depth_deltas (app_id, function_id, queued, running)
  select release.app_id, released.function_id, count(*), -count(*) from released group by released.function_id;
  perform secateur.lower_floors(release.app_id, back);
  if slotted then
    perform secateur.free_slots(release.app_id, ids);
  end if;
  if cardinality(back) > 0 then
    perform secateur.wake(release.app_id);
  end if;
  return cardinality(ids);
end
$$;

-- Returns a run that has begun to the queue, as a worker does that must stop and cannot wait for the run. As with release,
-- finished steps are kept and the attempt does not count; but only ten times, so that a run that never ends in time does not
-- go round for ever. From then on each interruption counts as a failed attempt, as with fail. Returns the run's status after it:
-- `queued`, `cancelled` (it was asked to stop), `scheduled` or `failed` (interrupted too often); null when the claim is no
-- longer yours.
create or replace function secateur.interrupt(app_id text, run_id uuid, claim_token uuid, error text)
  returns text
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  before integer;
begin
  select run.interruptions into before
    from secateur.runs as run
   where run.app_id = interrupt.app_id and run.id = interrupt.run_id and run.claim_token = interrupt.claim_token
     and run.status || '' = 'running'
     for update;
  if before is null then
    return null;
  end if;
  -- point: run locked
  if before >= 10 then
    return secateur.fail(
      interrupt.app_id, run_id, claim_token, format('%s; it was interrupted %s times before', interrupt.error, before));
  end if;
  update secateur.runs as run
     set interruptions = before + 1, error = interrupt.error,
         past_attempts = secateur.with_attempt(
           run.past_attempts, run.attempt, 'interrupted', run.claimed_at, clock_timestamp(), run.worker, interrupt.error)
   where run.app_id = interrupt.app_id and run.id = interrupt.run_id;
  perform secateur.release(interrupt.app_id, array[run_id], array[claim_token]);
  return (select run.status from secateur.runs as run
           where run.app_id = interrupt.app_id and run.id = interrupt.run_id);
end
$$;
