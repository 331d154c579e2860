-- Committing and stopping cancellations.

-- A horizon: above the id of every transaction that has one by now, so that they all have ended when the oldest open one
-- is not below it. The end of a snapshot alone is only above the last transaction that *ended*, and the caller's own id
-- may be an old one; a subtransaction takes a new id when it locks a row (nobody else waits for a cancellation's place), and
-- has ended when it is rolled back.
create or replace function secateur.horizon(cancellation_id uuid)
  returns xid8
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  begin
    perform from secateur.sweeps as place where place.cancellation_id = horizon.cancellation_id for update;
    raise exception using errcode = 'SC000';
  exception when sqlstate 'SC000' then
    null;
  end;
  return pg_snapshot_xmax(pg_current_snapshot());
end
$$;

-- Asks every running run that the cancellation matches to stop, also when an older one asked before. Part of a commit.
create or replace function secateur.request_running(rule secateur.cancellations)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
as $$
  with running as (
    select run.id, run.claim_token, run.function_id from secateur.runs as run
     where run.app_id = rule.app_id
       and run.status = 'running'
       and (rule.function_id is null or run.function_id = rule.function_id)
  ), requested as (
    insert into secateur.cancel_requests (run_id, claim_token, cancellation_id, function_id)
    select running.id, running.claim_token, rule.id, running.function_id
      from secateur.reached(array[rule], array(select running.id from running)) as hit
      join running on running.id = hit.run_id
     where hit.cancellation_id is not null
    returning cancel_requests.function_id
  )
  insert into secateur.cancellation_deltas (cancellation_id, function_id, requested)
  select rule.id, requested.function_id, count(*) from requested group by requested.function_id
$$;

-- The cancellation that was committed under an idempotency key; null if none was. Raises SC409 if it was another request.
create or replace function secateur.committed_under(idempotency_key text, request jsonb)
  returns secateur.cancellations
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  committed secateur.cancellations;
begin
  select rule.* into committed
    from secateur.cancellations as rule where rule.idempotency_key = committed_under.idempotency_key;
  if found and committed.request <> committed_under.request then
    raise exception using errcode = 'SC409',
      message = format('the idempotency key %L was used before, for another request', committed_under.idempotency_key),
      hint = format('that was cancellation %s; use a new key', committed.id);
  end if;
  return committed;
end
$$;

-- Commits a cancellation, and returns its record once no matching run can be claimed any more.
--
-- O(running runs), whatever the backlog: it inserts the record, and a cancel request for each matching running run.
-- Repeatable under its idempotency key: the same request gives the same record, another one raises SC409.
-- Raises SC404 (no such app or function), SC422 with the field (window), SC423 (lock), SC400 (condition).
--
-- Locks: the app's, exclusive, until the transaction ends; no run. Its time is taken after the lock; then the horizon,
-- below which lies every transaction that may still insert a run that started before that time.
create or replace function secateur.commit_cancellation(
  id uuid,
  app_id text,
  function_id text,
  "if" text,
  started_after timestamptz,
  started_before timestamptz,
  standing boolean,
  condition text,
  parameters jsonb,
  compiler integer,
  request jsonb,
  idempotency_key text,
  reason text,
  source text,
  created_by text,
  expected bigint,
  expected_by_function jsonb
)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  committed secateur.cancellations;
  moment timestamptz;
begin
  perform secateur.require_read_committed();
  perform secateur.check_condition(commit_cancellation.condition);
  if not exists (select from secateur.apps where apps.app_id = commit_cancellation.app_id) then
    raise exception using errcode = 'SC422', column = 'app_id',
      message = format('there is no app %s', quote_literal(commit_cancellation.app_id)),
      hint = (select 'known are: ' || string_agg(known.app_id, ', ' order by known.app_id)
                from (select apps.app_id from secateur.apps order by 1 limit 20) as known);
  end if;
  if commit_cancellation.function_id is not null
     and not exists (select from secateur.functions as known
                      where known.app_id = commit_cancellation.app_id
                        and known.function_id = commit_cancellation.function_id) then
    raise exception using errcode = 'SC422', column = 'function_id',
      message = format('app %s has no function %s', quote_literal(commit_cancellation.app_id),
                       quote_literal(commit_cancellation.function_id)),
      hint = (select 'known are: ' || string_agg(known.function_id, ', ' order by known.function_id)
                from secateur.functions as known where known.app_id = commit_cancellation.app_id);
  end if;
  if commit_cancellation.standing then
    raise exception using errcode = 'SC422', column = 'standing',
      message = 'standing cancellations are not supported yet: leave it out to cancel what has arrived so far';
  end if;
  -- point: before the lock
  perform secateur.lock_app(commit_cancellation.app_id);
  -- point: locked
  committed := secateur.committed_under(commit_cancellation.idempotency_key, commit_cancellation.request);
  if committed.id is not null then
    return committed;
  end if;
  moment := clock_timestamp();
  if commit_cancellation.started_before > moment then
    raise exception using errcode = 'SC422', column = 'started_before',
      message = format('%s lies in the future: it is %s now by the database''s clock',
                       to_char(commit_cancellation.started_before at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                       to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
      hint = 'leave it out to mean the moment of the commit';
  end if;
  if commit_cancellation.started_after >= coalesce(commit_cancellation.started_before, moment) then
    raise exception using errcode = 'SC422', column = 'started_after',
      message = 'must be before started_before, and in the past';
  end if;
  -- point: before the record
  insert into secateur.cancellations (
    id, kind, state, app_id, function_id, "if", started_after, started_before, standing, condition, parameters, compiler,
    request, idempotency_key, reason, source, created_at, created_by, created_role, expected, expected_by_function,
    in_force_at)
  values (
    commit_cancellation.id, 'bulk', 'active', commit_cancellation.app_id, commit_cancellation.function_id,
    commit_cancellation."if", commit_cancellation.started_after,
    coalesce(commit_cancellation.started_before, moment), false, commit_cancellation.condition,
    commit_cancellation.parameters
      || jsonb_build_object('now', to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
    commit_cancellation.compiler, commit_cancellation.request, commit_cancellation.idempotency_key,
    commit_cancellation.reason, commit_cancellation.source, moment, commit_cancellation.created_by, session_user,
    commit_cancellation.expected, commit_cancellation.expected_by_function, moment)
  on conflict on constraint cancellations_idempotency_key_key do nothing
  returning * into committed;
  if committed.id is null then
    -- Another app's commit, under another lock, took the key at the same time.
    return secateur.committed_under(commit_cancellation.idempotency_key, commit_cancellation.request);
  end if;
  insert into secateur.sweeps (cancellation_id) values (committed.id);
  update secateur.sweeps as place set horizon = secateur.horizon(committed.id) where place.cancellation_id = committed.id;
  -- point: recorded
  perform secateur.request_running(committed);
  -- point: running runs asked to stop
  perform secateur.record_audit('commit', committed.app_id, committed.function_id, committed.id, committed.created_by,
                                committed.source, jsonb_build_object('request', committed.request));
  perform pg_notify('secateur_cancellations', committed.id::text);
  return committed;
end
$$;

-- Stops an active cancellation: from now on it matches nothing, and running runs that were only asked to stop go on. What
-- it cancelled stays cancelled. Repeatable. Raises SC404.
-- Locks: the record, which a sweep's batch holds shared; only then the app's, exclusive, so that claims need not wait for
-- that batch; then the requests in the order of runs.
create or replace function secateur.stop_cancellation(id uuid, author text, source text default null)
  returns secateur.cancellations
  language plpgsql
  security definer set search_path = pg_catalog, pg_temp
as $$
declare
  stopped secateur.cancellations;
begin
  perform secateur.require_read_committed();
  select rule.* into stopped
    from secateur.cancellations as rule where rule.id = stop_cancellation.id for no key update;
  if not found then
    raise exception using errcode = 'SC404', message = format('there is no cancellation %s', stop_cancellation.id);
  end if;
  if stopped.state <> 'active' then
    return stopped;
  end if;
  -- point: before the lock
  perform secateur.lock_app(stopped.app_id);
  -- point: locked
  update secateur.cancellations as rule
     set state = 'stopped', stopped_at = clock_timestamp(), stopped_by = stop_cancellation.author
   where rule.id = stop_cancellation.id
  returning rule.* into stopped;
  -- point: stopped
  with open as (
    select request.run_id, request.claim_token
      from secateur.cancel_requests as request
     where request.cancellation_id = stopped.id and request.outcome is null
     order by request.run_id
       for update
  ), withdrawn as (
    update secateur.cancel_requests as request
       set outcome = 'withdrawn'
      from open
     where request.run_id = open.run_id and request.claim_token = open.claim_token and request.cancellation_id = stopped.id
    returning request.function_id
  )
  insert into secateur.cancellation_deltas (cancellation_id, function_id, withdrawn)
  select stopped.id, withdrawn.function_id, count(*) from withdrawn group by withdrawn.function_id;
  perform secateur.record_audit('stop', stopped.app_id, stopped.function_id, stopped.id, stop_cancellation.author,
                                stop_cancellation.source, '{}');
  perform pg_notify('secateur_cancellations', stopped.id::text);
  return stopped;
end
$$;
