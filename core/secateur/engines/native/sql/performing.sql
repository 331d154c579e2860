-- What a worker reports about the runs that it has claimed. Each call gives their app and the claim's token.

-- Whether an active cancellation may match the run: its condition takes too long to evaluate, or it matches and the run has not
-- been cancelled yet.
create or replace function secateur.is_undecided(app_id text, run_id uuid)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return exists (select from secateur.slow_verdicts as slow
                  where slow.app_id = is_undecided.app_id and slow.run_id = is_undecided.run_id
                    and slow.verdict is not false
                    and (select rule.state from secateur.cancellations as rule
                          where rule.app_id = slow.app_id and rule.id = slow.cancellation_id) = 'active');
end
$$;

-- Whether the next step of a run may begin. Once this has returned true, the step has begun. False means stop: the run is cancelled
-- (this call records it), or the claim is no longer yours. The latter also if an active cancellation may match the run and takes
-- too long to evaluate: then this call puts the run back into the queue. Without `durable`, the call does not wait for the disk,
-- and commits behind it need not wait for the disk either. If the server then crashes, it may forget which step it was, but neither
-- the claim nor a request to stop. This applies to the whole transaction, so do nothing else in it. Locks: the app's, shared, so
-- that no commit comes between the question and the answer; then the run's row.
create or replace function secateur.begin_step(
  app_id text, run_id uuid, claim_token uuid, step text, durable boolean default true
)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  held text;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  if coalesce(length(begin_step.step) not between 1 and 500, true) then
    raise exception using errcode = 'SC422', column = 'step', message = 'step: must have 1 to 500 characters';
  end if;
  if not durable then
    perform set_config('synchronous_commit', 'off', true);
  end if;
  -- point: before the lock
  if not secateur.share_app(begin_step.app_id) then
    return false;
  end if;
  -- point: locked
  select run.status into held
    from secateur.runs as run
   where run.app_id = begin_step.app_id and run.id = begin_step.run_id and run.claim_token = begin_step.claim_token
     for update;
  if held is distinct from 'running' then
    return false;
  end if;
  -- point: run locked
  if cardinality(secateur.cancel_requested(
       begin_step.app_id, array[begin_step.run_id], array[begin_step.claim_token])) > 0 then
    return false;
  end if;
  if secateur.is_undecided(begin_step.app_id, begin_step.run_id) then
    perform secateur.release(begin_step.app_id, array[begin_step.run_id], array[begin_step.claim_token]);
    return false;
  end if;
  -- point: not cancelled
  moment := clock_timestamp();
  update secateur.runs as run
     set step = begin_step.step, step_at = moment
   where run.app_id = begin_step.app_id and run.id = begin_step.run_id;
  return true;
end
$$;

-- Stores what steps returned, so that a later attempt need not run them again (see finished_steps). Returns for each, in the
-- order of the call: true, stored; false, the claim is no longer yours and nothing was stored. Works for a run that was asked to
-- stop, because the step is done; and after the lease has ended, until somebody begins the run again. Repeatable. If a step
-- finishes again in a later attempt, the last result is kept.
-- Raises SC422. Locks the runs' rows in id order.
create or replace function secateur.finish_steps(
  app_id text, run_ids uuid[], claim_tokens uuid[], steps text[], results jsonb[]
)
  returns boolean[]
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  held uuid[];
begin
  perform secateur.require_same_length('run_ids', cardinality(run_ids), array[
    cardinality(claim_tokens), cardinality(finish_steps.steps), cardinality(results)]);
  if exists (select from unnest(run_ids, steps, results) as done (run_id, step, result)
              where coalesce(length(done.step) not between 1 and 500, true) or done.result is null) then
    raise exception using
      errcode = 'SC422', column = 'step',
      message = 'step: each must have a name of 1 to 500 characters and a result that is JSON';
  end if;
  if exists (select from unnest(results) as result where pg_column_size(result) > 67108864) then
    raise exception using errcode = 'SC422', column = 'result', message = 'result: is larger than 64 MB';
  end if;
  held := array(
    select coalesce(run.last_token, run.claim_token)
      from secateur.runs as run
     -- Written so that the planner uses neither a partial index nor a join, here and below: see locks.sql.
     where run.app_id = finish_steps.app_id and run.id = any (run_ids)
       and ((run.id, coalesce(run.last_token, run.claim_token)) in (select * from unnest(run_ids, claim_tokens))) is true
       and (run.status || '' = 'running' or run.last_token is not null and run.status || '' in ('queued', 'failed'))
     order by run.id
       for update);
  -- point: runs locked
  insert into secateur.steps as kept (app_id, run_id, step, result)
  select distinct on (done.run_id, done.step) finish_steps.app_id, done.run_id, done.step, done.result
    from unnest(run_ids, claim_tokens, finish_steps.steps, results)
         with ordinality as done (run_id, claim_token, step, result, place)
   where done.claim_token = any (held)
   order by done.run_id, done.step, done.place desc
  on conflict on constraint steps_pkey do update
     set result = excluded.result, finished_at = excluded.finished_at;
  return array(select claimed.token = any (held) from unnest(claim_tokens) with ordinality as claimed (token, place)
                order by claimed.place);
end
$$;

-- Stores what one step returned; see finish_steps.
create or replace function secateur.finish_step(app_id text, run_id uuid, claim_token uuid, step text, result jsonb)
  returns boolean
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return (secateur.finish_steps(app_id, array[run_id], array[claim_token], array[step], array[result]))[1];
end
$$;

-- The steps that earlier attempts at a run finished, and what they returned. A worker asks once, after claiming a run that
-- `resumes`, and repeats none of these steps. No rows if the claim is no longer yours.
create or replace function secateur.finished_steps(app_id text, run_id uuid, claim_token uuid)
  returns table (step text, result jsonb)
  language plpgsql
  stable
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return query
  select kept.step, kept.result
    from secateur.runs as run join secateur.steps as kept on kept.app_id = run.app_id and kept.run_id = run.id
   where run.app_id = finished_steps.app_id
     and run.id = finished_steps.run_id
     and run.claim_token = finished_steps.claim_token
     and run.status || '' = 'running'
   order by kept.finished_at;
end
$$;

-- Extends the leases of the caller's running runs to `lease` from now. Returns only the runs that must stop, and why:
-- `cancelled` (asked to stop; the lease is extended nevertheless, and the run ends at its next step) or `lost` (no longer the
-- caller's). Locks the rows in id order.
create or replace function secateur.heartbeat(app_id text, run_ids uuid[], claim_tokens uuid[], lease interval)
  returns table (run_id uuid, reason text)
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  expires timestamptz;
  held uuid[];
begin
  perform secateur.require_same_length('run_ids', cardinality(run_ids), array[cardinality(claim_tokens)]);
  perform secateur.require_interval('lease', heartbeat.lease, '1 millisecond', '1 day');
  expires := clock_timestamp() + heartbeat.lease;
  with extended as (
    update secateur.runs as run
       set lease_expires_at = expires
     where run.app_id = heartbeat.app_id and run.id = any (run_ids)
       and ((run.id, run.claim_token) in (select * from unnest(run_ids, claim_tokens))) is true
       and run.status || '' = 'running'
    returning run.claim_token
  )
  select coalesce(array_agg(extended.claim_token), '{}') into held from extended;
  return query
  select mine.run_id, case when mine.held then 'cancelled' else 'lost' end
    from (select one.run_id, one.claim_token, (one.claim_token in (select unnest(held))) is true as held
            from unnest(run_ids, claim_tokens) as one (run_id, claim_token)) as mine
   where not mine.held
      or exists (select from secateur.cancel_requests as open
                  where open.app_id = heartbeat.app_id and open.run_id = mine.run_id
                    and open.claim_token = mine.claim_token and coalesce(open.outcome, '') = ''
                 offset 0);
end
$$;
