-- How runs become cancelled: by a claim that meets them, by a sweep, or by their own worker. The callers decide which.

-- Cancels backlog runs: `run_ids[i]` by `cancellation_ids[i]`, unless it has left the backlog meanwhile.
-- Locks the rows in id order: a nested loop takes them in the order of its outer side. (To lock them all first would write
-- twice to each.) Returns how many; the tallies, the depth and the announcement follow in the same transaction.
create or replace function secateur.cancel_backlog(run_ids uuid[], cancellation_ids uuid[])
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_material = off set jit = off
as $$
declare
  changed uuid[];
begin
  if cardinality(run_ids) = 0 then
    return 0;
  end if;
  with cancelled as (
    update secateur.runs as run
       set status = 'cancelled',
           cancelled_from = run.status,
           cancellation_id = reached.cancellation_id,
           finished_at = clock_timestamp()
      from (select * from unnest(run_ids, cancellation_ids) as one (run_id, cancellation_id)
             order by one.run_id) as reached
     -- In words that no partial index has as its predicate: see apps.sql.
     where run.id = reached.run_id and run.status || '' in ('queued', 'scheduled')
    returning run.id, run.app_id, run.function_id, run.cancellation_id, run.cancelled_from
  ), tallied as (
    insert into secateur.cancellation_deltas (cancellation_id, function_id, cancelled)
    select cancelled.cancellation_id, cancelled.function_id, count(*) from cancelled group by 1, 2
  ), measured as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled)
    select cancelled.app_id, cancelled.function_id,
           - count(*) filter (where cancelled.cancelled_from = 'queued'),
           - count(*) filter (where cancelled.cancelled_from = 'scheduled')
      from cancelled group by 1, 2
  )
  select coalesce(array_agg(cancelled.id), '{}') into changed from cancelled;
  perform secateur.announce_cancelled(changed);
  return cardinality(changed);
end
$$;

-- Closes the open requests of running runs: the oldest commit's has the outcome, any other that asked for the same run is
-- withdrawn; the tallies follow. Returns the oldest ones. The caller holds the runs' rows; locks the requests in the
-- order of runs.
create or replace function secateur.close_requests(run_ids uuid[], claim_tokens uuid[], outcome text)
  returns table (run_id uuid, cancellation_id uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  if not exists (select from unnest(run_ids, claim_tokens) as held (run_id, claim_token)
                   join secateur.cancel_requests as open using (run_id, claim_token)
                  where open.outcome is null) then
    return;
  end if;
  return query
  with open as (
    select request.run_id, request.claim_token, request.cancellation_id, rule.serial
      from unnest(run_ids, claim_tokens) as held (run_id, claim_token)
      join secateur.cancel_requests as request using (run_id, claim_token)
      join secateur.cancellations as rule on rule.id = request.cancellation_id
     where request.outcome is null
     order by request.run_id, rule.serial
       for update of request
  ), turn as (
    select open.*,
           row_number() over (partition by open.run_id, open.claim_token order by open.serial) = 1
             and not exists (select from secateur.cancel_requests as other
                              where other.run_id = open.run_id and other.claim_token = open.claim_token
                                and other.outcome in ('cancelled', 'finished_first')) as owns
      from open
  ), closed as (
    update secateur.cancel_requests as request
       set outcome = case when turn.owns then close_requests.outcome else 'withdrawn' end
      from turn
     where request.run_id = turn.run_id
       and request.claim_token = turn.claim_token
       and request.cancellation_id = turn.cancellation_id
    returning request.run_id, request.cancellation_id, request.function_id, request.outcome
  ), tallied as (
    insert into secateur.cancellation_deltas (
      cancellation_id, function_id, cancelled, stopped, finished_first, withdrawn)
    select closed.cancellation_id, closed.function_id,
           count(*) filter (where closed.outcome = 'cancelled'),
           count(*) filter (where closed.outcome = 'cancelled'),
           count(*) filter (where closed.outcome = 'finished_first'),
           count(*) filter (where closed.outcome = 'withdrawn')
      from closed group by 1, 2
  )
  select closed.run_id, closed.cancellation_id from closed where closed.outcome <> 'withdrawn';
end
$$;

-- Ends those of the running runs that were asked to stop: the run becomes cancelled, its request is closed; the tallies, the
-- depth and the announcement follow. Returns which. The caller holds the runs' rows.
create or replace function secateur.cancel_requested(run_ids uuid[], claim_tokens uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
as $$
declare
  stopped uuid[];
  owners uuid[];
begin
  select coalesce(array_agg(closed.run_id), '{}'), array_agg(closed.cancellation_id) into stopped, owners
    from secateur.close_requests(run_ids, claim_tokens, 'cancelled') as closed;
  if cardinality(stopped) > 0 then
    with cancelled as (
      update secateur.runs as run
         set status = 'cancelled',
             cancelled_from = 'running',
             cancellation_id = closed.cancellation_id,
             finished_at = clock_timestamp(),
             lease_expires_at = null
        from unnest(stopped, owners) as closed (run_id, cancellation_id)
       where run.id = closed.run_id
      returning run.app_id, run.function_id
    )
    insert into secateur.depth_deltas (app_id, function_id, running)
    select cancelled.app_id, cancelled.function_id, - count(*) from cancelled group by 1, 2;
    perform secateur.free_slots(stopped);
    perform secateur.announce_cancelled(stopped);
  end if;
  return stopped;
end
$$;

-- Takes back what running runs were asked for by a cancellation that is no longer active; the tallies follow.
-- Locks the requests in the order of runs.
create or replace function secateur.withdraw_requests(cancellation_id uuid)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
as $$
  with open as (
    select request.run_id, request.claim_token
      from secateur.cancel_requests as request
     where request.cancellation_id = withdraw_requests.cancellation_id and request.outcome is null
     order by request.run_id
       for update
  ), withdrawn as (
    update secateur.cancel_requests as request
       set outcome = 'withdrawn'
      from open
     where request.run_id = open.run_id
       and request.claim_token = open.claim_token
       and request.cancellation_id = withdraw_requests.cancellation_id
    returning request.function_id
  )
  insert into secateur.cancellation_deltas (cancellation_id, function_id, withdrawn)
  select withdraw_requests.cancellation_id, withdrawn.function_id, count(*) from withdrawn group by withdrawn.function_id
$$;
