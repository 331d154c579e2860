-- What a sweep does besides its walk: it closes cancel requests, cancels the runs of dead workers, and applies late verdicts.

-- Closes a cancellation's open requests to runs whose claim is over. The request to a run that finished in that claim gets the
-- outcome `finished_first`: the worker never saw it. If the run is in the backlog again, where the walk finds it, or was
-- cancelled, claimed again or pruned, the outcome is `withdrawn`. Returns how many were withdrawn.
-- Locks those requests, by run. Part of a sweep.
create or replace function secateur.settle_requests(app_id text, cancellation_id uuid)
  returns bigint
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  ids uuid[];
  tokens uuid[];
  settled bigint;
begin
  select array_agg(run.id order by run.id), array_agg(run.claim_token order by run.id)
    into ids, tokens
    from secateur.cancel_requests as open,
         lateral (select one.id, one.claim_token from secateur.runs as one
                   where one.app_id = settle_requests.app_id and one.id = open.run_id
                     -- `status || ''`, here and below, so that no partial index matches: see locks.sql.
                     and one.claim_token = open.claim_token and one.status || '' in ('completed', 'failed')
                  offset 0) as run
   where open.app_id = settle_requests.app_id
     and open.cancellation_id = settle_requests.cancellation_id
     and open.outcome is null;
  if cardinality(ids) > 0 then
    perform secateur.close_requests(settle_requests.app_id, ids, tokens, 'finished_first');
  end if;
  ids := array(
    select open.run_id
      from secateur.cancel_requests as open
      left join lateral (select one.claim_token, one.status from secateur.runs as one
                          where one.app_id = settle_requests.app_id and one.id = open.run_id
                         offset 0) as run on true
     where open.app_id = settle_requests.app_id
       and open.cancellation_id = settle_requests.cancellation_id
       and open.outcome is null
       and (run.claim_token is distinct from open.claim_token or run.status in ('queued', 'scheduled', 'cancelled'))
     order by open.run_id
       for update of open);
  with withdrawn as (
    update secateur.cancel_requests as open
       set outcome = 'withdrawn'
     where open.app_id = settle_requests.app_id
       and open.run_id = any (ids)
       and open.cancellation_id = settle_requests.cancellation_id
       and open.outcome is null
    returning open.function_id
  ), tallied as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, withdrawn)
    select settle_requests.app_id, settle_requests.cancellation_id, withdrawn.function_id, count(*)
      from withdrawn group by withdrawn.function_id
    returning cancellation_deltas.withdrawn
  )
  select coalesce(sum(tallied.withdrawn), 0) into settled from tallied;
  return settled;
end
$$;

-- Cancels the runs that were asked to stop and whose lease has expired: their worker has died. A claim would take them back
-- too, but perhaps no worker claims from their queue any more. Skips locked rows. Part of a sweep.
create or replace function secateur.cancel_abandoned(app_id text, cancellation_id uuid)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  ids uuid[];
  tokens uuid[];
begin
  select array_agg(abandoned.id), array_agg(abandoned.claim_token)
    into ids, tokens
    from (
      select run.id, run.claim_token
        from (select request.run_id, request.claim_token
                from secateur.cancel_requests as request
               where request.app_id = cancel_abandoned.app_id
                 and request.cancellation_id = cancel_abandoned.cancellation_id
                 and request.outcome is null
               order by request.run_id) as open,
             lateral (select one.id, one.claim_token from secateur.runs as one
                       where one.app_id = cancel_abandoned.app_id and one.id = open.run_id
                         and one.claim_token = open.claim_token
                         and one.status || '' = 'running' and one.lease_expires_at < now()
                       offset 0
                         for update skip locked) as run
    ) as abandoned;
  if cardinality(ids) > 0 then
    perform secateur.cancel_requested(cancel_abandoned.app_id, ids, tokens);
  end if;
end
$$;

-- Applies late verdicts. Where a condition is too slow for a claim or a batch, the background evaluates it later, into
-- slow_verdicts. This cancels up to 1,000 of the waiting runs that turned out to match, each for the oldest active cancellation
-- that matches it, and deletes the verdicts on runs that have ended. Returns how many runs it cancelled.
-- Part of a sweep, which holds the gate.
create or replace function secateur.cancel_decided(rule secateur.cancellations)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  app constant text := rule.app_id;
  matching uuid[];
  owners uuid[];
  cancelled integer;
begin
  matching := array(select slow.run_id from secateur.slow_verdicts as slow
                     where slow.app_id = app and slow.cancellation_id = rule.id and slow.verdict
                     order by slow.run_id
                     limit 1000);
  if cardinality(matching) = 0 then
    return 0;
  end if;
  select array_agg(hit.id order by hit.id), array_agg(coalesce(owner.cancellation_id, rule.id) order by hit.id)
    into matching, owners
    from unnest(matching) as hit (id)
    left join secateur.reached(app, secateur.older_active(rule), matching, quickly => true, budget => '250 ms') as owner
      on owner.run_id = hit.id;
  cancelled := secateur.cancel_backlog(app, matching, owners);
  delete from secateur.slow_verdicts as slow
   where slow.app_id = app and slow.cancellation_id = rule.id and slow.run_id = any (matching)
     and not exists (select from secateur.runs as run
                      where run.app_id = app and run.id = slow.run_id
                        and run.status || '' in ('queued', 'scheduled', 'running'));
  return cancelled;
end
$$;

-- Whether running runs of a cancellation have not stopped yet, or runs of it are not decided or not cancelled yet on which its condition
-- takes long. Part of a sweep.
create or replace function secateur.awaits_runs(app_id text, cancellation_id uuid)
  returns boolean
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
begin
  return exists (select from secateur.cancel_requests as open
                  where open.app_id = awaits_runs.app_id and open.cancellation_id = awaits_runs.cancellation_id
                    and open.outcome is null)
      or exists (select from secateur.slow_verdicts as slow
                  where slow.app_id = awaits_runs.app_id and slow.cancellation_id = awaits_runs.cancellation_id
                    and slow.verdict is not false);
end
$$;
