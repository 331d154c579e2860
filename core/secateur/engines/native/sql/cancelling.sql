-- How runs become cancelled: by a claim that meets them, by a sweep, or by their own worker. The callers decide which.

-- Cancels backlog runs of the app: `run_ids[i]` by `cancellation_ids[i]`, unless it has left the backlog meanwhile.
-- Locks the rows in id order, for that is how the primary key is walked for an array. (To lock them all first would write twice
-- to each; and a join could begin with all that the app has.) Returns how many; the tallies, the depth and the announcement
-- follow in the same transaction.
create or replace function secateur.cancel_backlog(app_id text, run_ids uuid[], cancellation_ids uuid[])
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  ids uuid[] := run_ids;
  -- Mostly all of them are one cancellation's.
  owner uuid := cancellation_ids[1];
  owners uuid[];
  changed uuid[];
begin
  if cardinality(run_ids) = 0 then
    return 0;
  end if;
  if cancellation_ids <> array_fill(owner, array[cardinality(cancellation_ids)]) then
    owner := null;
    select array_agg(one.run_id order by one.run_id), array_agg(one.cancellation_id order by one.run_id) into ids, owners
      from unnest(run_ids, cancellation_ids) as one (run_id, cancellation_id);
  end if;
  with cancelled as (
    update secateur.runs as run
       set status = 'cancelled',
           cancelled_from = run.status,
           -- Else by the place of its id among them, found by halving, which takes as long as all the rest.
           cancellation_id = case when owner is not null then owner else owners[width_bucket(run.id, ids)] end,
           finished_at = moment
     -- `status || ''`, so that no partial index matches: see locks.sql.
     where run.app_id = cancel_backlog.app_id and run.id = any (ids)
       and run.status || '' in ('queued', 'scheduled')
    returning run.id, run.function_id, run.cancellation_id, run.cancelled_from
  ), tallied as (
    insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, cancelled)
    select cancel_backlog.app_id, cancelled.cancellation_id, cancelled.function_id, count(*)
      from cancelled group by cancelled.cancellation_id, cancelled.function_id
  ), measured as (
    insert into secateur.depth_deltas (app_id, function_id, queued, scheduled)
    select cancel_backlog.app_id, cancelled.function_id,
           - count(*) filter (where cancelled.cancelled_from = 'queued'),
           - count(*) filter (where cancelled.cancelled_from = 'scheduled')
      from cancelled group by cancelled.function_id
  )
  select coalesce(array_agg(cancelled.id), '{}') into changed from cancelled;
  perform secateur.announce_cancelled(cancel_backlog.app_id, changed);
  return cardinality(changed);
end
$$;

-- Closes the open requests of running runs: the oldest commit's has the outcome, any other that asked for the same run is
-- withdrawn; the tallies follow. Returns the oldest ones. The caller holds the runs' rows; locks the requests in the
-- order of runs.
create or replace function secateur.close_requests(app_id text, run_ids uuid[], claim_tokens uuid[], outcome text)
  returns table (run_id uuid, cancellation_id uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
declare
  asked_runs uuid[];
  asked_tokens uuid[];
  asked_by uuid[];
  outcomes text[];
begin
  -- By the key, here and below: the index of all open requests would be gone through for each of the runs.
  if not exists (select from secateur.cancel_requests as open
                  where open.app_id = close_requests.app_id and open.run_id = any (run_ids)
                    and coalesce(open.outcome, '') = '') then
    return;
  end if;
  select array_agg(open.run_id), array_agg(open.claim_token), array_agg(open.cancellation_id)
    into asked_runs, asked_tokens, asked_by
    from (select request.run_id, request.claim_token, request.cancellation_id
            from secateur.cancel_requests as request
           where request.app_id = close_requests.app_id and request.run_id = any (run_ids)
             and ((request.run_id, request.claim_token) in (select * from unnest(run_ids, claim_tokens))) is true
             and coalesce(request.outcome, '') = ''
           order by request.run_id, (select rule.serial from secateur.cancellations as rule
                                      where rule.app_id = request.app_id and rule.id = request.cancellation_id)
             for update of request) as open;
  if asked_runs is null then
    return;
  end if;
  outcomes := array(
    select case when row_number() over (partition by open.run_id, open.claim_token order by open.place) = 1
                 and not exists (select from secateur.cancel_requests as other
                                  where other.app_id = close_requests.app_id
                                    and other.run_id = open.run_id and other.claim_token = open.claim_token
                                    and other.outcome in ('cancelled', 'finished_first')
                                 offset 0)
                then close_requests.outcome else 'withdrawn' end
      from unnest(asked_runs, asked_tokens) with ordinality as open (run_id, claim_token, place)
     order by open.place);
  return query
  with closed as (
    update secateur.cancel_requests as request
       set outcome = case when (request.run_id, request.claim_token, request.cancellation_id) in (
                               select turn.run_id, turn.claim_token, turn.cancellation_id
                                 from unnest(asked_runs, asked_tokens, asked_by, outcomes)
                                      as turn (run_id, claim_token, cancellation_id, outcome)
                                where turn.outcome <> 'withdrawn')
                          then close_requests.outcome else 'withdrawn' end
     where request.app_id = close_requests.app_id and request.run_id = any (asked_runs)
       and ((request.run_id, request.claim_token, request.cancellation_id)
            in (select * from unnest(asked_runs, asked_tokens, asked_by))) is true
    returning request.run_id, request.cancellation_id, request.function_id, request.outcome
  ), tallied as (
    insert into secateur.cancellation_deltas (
      app_id, cancellation_id, function_id, cancelled, stopped, finished_first, withdrawn)
    select close_requests.app_id, closed.cancellation_id, closed.function_id,
           count(*) filter (where closed.outcome = 'cancelled'),
           count(*) filter (where closed.outcome = 'cancelled'),
           count(*) filter (where closed.outcome = 'finished_first'),
           count(*) filter (where closed.outcome = 'withdrawn')
      from closed group by closed.cancellation_id, closed.function_id
  )
  select closed.run_id, closed.cancellation_id from closed where closed.outcome <> 'withdrawn';
end
$$;

-- Ends those of the running runs that were asked to stop: the run becomes cancelled, its request is closed; the tallies, the
-- depth and the announcement follow. Returns which. The caller holds the runs' rows.
create or replace function secateur.cancel_requested(app_id text, run_ids uuid[], claim_tokens uuid[])
  returns uuid[]
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  moment constant timestamptz := clock_timestamp();
  stopped uuid[];
  owners uuid[];
begin
  select coalesce(array_agg(closed.run_id order by closed.run_id), '{}'),
         array_agg(closed.cancellation_id order by closed.run_id)
    into stopped, owners
    from secateur.close_requests(cancel_requested.app_id, run_ids, claim_tokens, 'cancelled') as closed;
  if cardinality(stopped) > 0 then
    with cancelled as (
      update secateur.runs as run
         set status = 'cancelled',
             cancelled_from = 'running',
             cancellation_id = owners[width_bucket(run.id, stopped)],
             finished_at = moment,
             lease_expires_at = null
       where run.app_id = cancel_requested.app_id and run.id = any (stopped)
      returning run.function_id
    )
    insert into secateur.depth_deltas (app_id, function_id, running)
    select cancel_requested.app_id, cancelled.function_id, - count(*) from cancelled group by cancelled.function_id;
    perform secateur.free_slots(cancel_requested.app_id, stopped);
    perform secateur.announce_cancelled(cancel_requested.app_id, stopped);
  end if;
  return stopped;
end
$$;

-- Withdraws the requests by which a cancellation that is no longer active asked running runs to stop. The tallies follow. Those that
-- others hold are left if they hold them for long, or at once unless it `waits`. Locks the requests in the order of runs.
create or replace function secateur.withdraw_requests(app_id text, cancellation_id uuid, waits boolean)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set lock_timeout = '250ms'
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  open uuid[];
begin
  if waits then
    begin
      open := array(
        select request.run_id
          from secateur.cancel_requests as request
         where request.app_id = withdraw_requests.app_id
           and request.cancellation_id = withdraw_requests.cancellation_id
           and request.outcome is null
         order by request.run_id
           for update);
    exception when lock_not_available then
      null;
    end;
  end if;
  if open is null then
    open := array(
      select request.run_id
        from secateur.cancel_requests as request
       where request.app_id = withdraw_requests.app_id
         and request.cancellation_id = withdraw_requests.cancellation_id
         and request.outcome is null
       order by request.run_id
         for update skip locked);
  end if;
  with withdrawn as (
    update secateur.cancel_requests as request
       set outcome = 'withdrawn'
     where request.app_id = withdraw_requests.app_id
       and request.run_id = any (open)
       and request.cancellation_id = withdraw_requests.cancellation_id
       and request.outcome is null
    returning request.function_id
  )
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, withdrawn)
  select withdraw_requests.app_id, withdraw_requests.cancellation_id, withdrawn.function_id, count(*)
    from withdrawn group by withdrawn.function_id;
end
$$;

-- Whether running runs are still asked to stop by the cancellation.
create or replace function secateur.has_requests(app_id text, cancellation_id uuid)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
begin
  return exists (select from secateur.cancel_requests as open
                  where open.app_id = has_requests.app_id and open.cancellation_id = has_requests.cancellation_id
                    and open.outcome is null);
end
$$;

-- Asks every running run that the cancellation matches to stop, also when an older one asked before; whom it asked already
-- is not asked twice. Part of a commit.
create or replace function secateur.request_running(rule secateur.cancellations)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  app constant text := rule.app_id;
  running uuid[];
  slow uuid[];
begin
  if rule.run_id is not null then
    running := array[rule.run_id];
  else
    running := array(
      select run.id from secateur.runs as run
       where run.app_id = app
         and run.status = 'running'
         -- It has one. The index of all that is unfinished has none, and would otherwise do without a look at the table.
         and run.lease_expires_at is not null
         and (rule.function_id is null or run.function_id = rule.function_id));
  end if;
  select coalesce(array_agg(hit.run_id) filter (where hit.cancellation_id is not null), '{}'),
         coalesce(array_agg(hit.run_id) filter (where hit.undecided_by is not null), '{}')
    into running, slow
    from secateur.reached(app, array[rule], running, quickly => true, budget => '250 ms') as hit;
  -- None of these begins another step: see begin_step. Nobody else writes of a cancellation that is being committed.
  insert into secateur.slow_verdicts (app_id, cancellation_id, run_id, function_id)
  select app, rule.id, run.id, run.function_id
    from secateur.runs as run where run.app_id = app and run.id = any (slow)
  on conflict do nothing;
  -- point: running runs known
  with requested as (
    insert into secateur.cancel_requests (app_id, run_id, claim_token, cancellation_id, function_id)
    select run.app_id, run.id, run.claim_token, rule.id, run.function_id
      from secateur.runs as run
     where run.app_id = app and run.id = any (running) and run.status || '' = 'running'
    on conflict do nothing
    returning cancel_requests.function_id
  )
  insert into secateur.cancellation_deltas (app_id, cancellation_id, function_id, requested)
  select app, rule.id, requested.function_id, count(*) from requested group by requested.function_id;
end
$$;
